"""Real gRPC servers on loopback: one that answers as it is told, and ones that break the protocol beneath it."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, TypeAlias

import grpc
import grpc.aio
from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


#: What to do with a request: give an answer, or abort the call.
Answer: TypeAlias = Callable[[bytes, Any], bytes]

#: One request and one answer, as they are.
UNARY = "/test.Test/Unary"
#: One request, one message of the stream, then the answer as its last.
STREAM = "/test.Test/Stream"


#: For clients: gRPC's own retries off, and no connection shared with the channel of another test.
OPTIONS = (("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1))


def channel(target: str, options: Any = (), credentials: Any = None, colour: Any = grpc) -> Any:
    """A client's channel, with TLS where there are credentials; its colour is `grpc` or `grpc.aio`."""
    if credentials is None:
        return colour.insecure_channel(target, options=(*OPTIONS, *options))
    return colour.secure_channel(target, credentials, options=(*OPTIONS, *options))


@frozen
class _Service(grpc.GenericRpcHandler):
    answer: Answer

    def service(self, details: Any) -> Any:
        def stream(request: bytes, context: Any) -> Iterator[bytes]:
            yield b"first"
            yield self.answer(request, context)

        if details.method == UNARY:
            return grpc.unary_unary_rpc_method_handler(self.answer)
        return grpc.unary_stream_rpc_method_handler(stream) if details.method == STREAM else None


@contextlib.contextmanager
def serving(answer: Answer, credentials: Any = None) -> Iterator[tuple[str, Any]]:
    """A server that answers every request so; gives its address, and itself. Its name is localhost."""
    pool = futures.ThreadPoolExecutor(4)
    server = grpc.server(pool, handlers=(_Service(answer),))
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield f"localhost:{port}", server
    finally:
        server.stop(0).wait(5)
        pool.shutdown()


def aborts(status: grpc.StatusCode, details: str = "said by the handler", **metadata: str) -> Answer:
    """Abort the call; ``grpc_retry_pushback_ms="7"`` is trailing metadata."""

    def answer(_request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata(tuple((name.replace("_", "-"), value) for name, value in metadata.items()))
        return bytes(context.abort(status, details))

    return answer


@frozen
class Certificate:
    """A certificate for localhost that nobody has signed but itself.

    Args:
        name: Whose it is.
    """

    name: str = "localhost"
    _key: ec.EllipticCurvePrivateKey = field(init=False, factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    #: What a client may trust.
    pem: bytes = field(init=False)

    @pem.default
    def _sign(self) -> bytes:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.name)])
        now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
        builder = x509.CertificateBuilder(name, name, self._key.public_key(), 1, now - day, now + day)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(self.name)]), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    @property
    def credentials(self) -> Any:
        """What a server shows."""
        private = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return grpc.ssl_server_credentials(((private, self.pem),))


# -- beneath gRPC ----------------------------------------------------------------------------------------------------


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    """One frame of HTTP/2 (RFC 9113 §4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def reset_stream(code: int) -> bytes:
    """Give up the first stream of the connection (§6.4)."""
    return frame(3, code.to_bytes(4, "big"), stream=1)


@contextlib.contextmanager
def accepting(converse: Callable[[socket.socket], object]) -> Iterator[str]:
    """A server that deals so with one connection, and closes it; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            # Whatever a client does to its connection is its own affair.
            with contextlib.suppress(OSError), contextlib.closing(listener.accept()[0]) as peer:
                converse(peer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def says_http2(answer: bytes) -> Callable[[socket.socket], None]:
    """Take one whole request, say this, and end the connection."""

    def converse(peer: socket.socket) -> None:
        peer.sendall(frame(4))
        _take_request(peer)
        peer.sendall(frame(4, flags=1) + answer)
        peer.shutdown(socket.SHUT_WR)
        # Until the client has read it all: closed at once, the answer could be lost.
        while peer.recv(65_536):
            pass

    return converse


def _take_request(peer: socket.socket) -> None:
    """Read the preface of the connection (§3.4), and frames up to a DATA frame that ends its stream."""
    with peer.makefile("rb") as stream:
        stream.read(24)
        while True:
            head = stream.read(9)
            stream.read(int.from_bytes(head[:3], "big"))
            if not head or (head[3] == 0 and head[4] & 1):
                return


@contextlib.contextmanager
def serving_dns(code: int) -> Iterator[int]:
    """A name server that answers every question with this code (RFC 1035 §4.1.1) and nothing else; gives its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]

        def serve() -> None:
            while True:
                question, asker = listener.recvfrom(4096)
                if not question:
                    return
                counts = b"\0\1\0\0\0\0\0\0"
                end = question.index(b"\0", 12) + 5
                listener.sendto(question[:2] + bytes([0x81, 0x80 | code]) + counts + question[12:end], asker)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield port
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", ("127.0.0.1", port))
            thread.join(5)
