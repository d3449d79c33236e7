"""A stand-in for a MongoDB server: it speaks the wire protocol (OP_MSG), and answers each command what it is told."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import bson
from attrs import Factory, define


#: What to answer to a command; None is to hang up.
Answer: TypeAlias = Callable[[dict[str, Any]], "dict[str, Any] | bytes | None"]

#: The one opcode that servers and drivers of today have in common.
OP_MSG = 2013
OK = {"ok": 1.0}
#: Commands by which a driver introduces itself, looks after the server, and says goodbye.
HELLO = {"hello", "isMaster", "ismaster"}


@define
class Standing:
    """What a test sees of it.

    Args:
        port: Where it listens.
        commands: What came, but for what drivers say of themselves.
    """

    port: int
    commands: list[dict[str, Any]] = Factory(list)

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"


def failure(code: int, errmsg: str = "no", **more: Any) -> dict[str, Any]:
    """A command that failed, as a server says it."""
    return {"ok": 0.0, "errmsg": errmsg, "code": code, "codeName": "Name", **more}


@contextlib.contextmanager
def mongo_server(
    answer: Answer, *, connections: int = 1000, ssl_context: ssl.SSLContext | None = None, **hello: Any
) -> Iterator[Standing]:
    """A primary of a replica set of its own.

    Args:
        answer: What to say to each command; bytes are sent as they are.
        connections: After how many it listens no longer; a driver's first one is that of its monitor.
        ssl_context: For TLS.
        hello: More to say of itself, or other things; ``hello=None`` hangs up on whoever asks on a later connection.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    server = Standing(listener.getsockname()[1])
    opened: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(peer: socket.socket, number: int) -> None:
        # Whatever a driver does to its connection is its own affair.
        with contextlib.suppress(OSError), contextlib.closing(wrapped(peer)) as plain, plain.makefile("rb") as stream:
            while (request := _read(stream)) is not None:
                identity, command = request
                reply = respond(command, number)
                if reply is None:
                    plain.shutdown(socket.SHUT_RDWR)
                    return
                plain.sendall(reply if isinstance(reply, bytes) else _message(identity, reply))

    def respond(command: dict[str, Any], number: int) -> dict[str, Any] | bytes | None:
        name = next(iter(command))
        if name in HELLO:
            return None if number > 1 and hello.get("hello", OK) is None else _introduction(server.port, hello)
        if name == "endSessions":
            return OK
        server.commands.append(command)
        return answer(command)

    def wrapped(peer: socket.socket) -> socket.socket:
        return peer if ssl_context is None else ssl_context.wrap_socket(peer, server_side=True)

    def accept() -> None:
        with contextlib.suppress(OSError):
            for number in range(1, connections + 1):
                peer, _ = listener.accept()
                opened.append(peer)
                threads.append(threading.Thread(target=serve, args=(peer, number)))
                threads[-1].start()
        listener.close()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield server
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        acceptor.join(5)
        for peer in opened:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(5)


def _introduction(port: int, more: dict[str, Any]) -> dict[str, Any]:
    """A primary without the streaming of news: the monitor asks again when it wants to know."""
    return {
        **OK,
        "isWritablePrimary": True,
        "helloOk": True,
        "setName": "one",
        "setVersion": 1,
        "me": f"127.0.0.1:{port}",
        "primary": f"127.0.0.1:{port}",
        "hosts": [f"127.0.0.1:{port}"],
        "secondary": False,
        "logicalSessionTimeoutMinutes": 30,
        "maxBsonObjectSize": 16_777_216,
        "maxMessageSizeBytes": 48_000_000,
        "maxWriteBatchSize": 100_000,
        "minWireVersion": 0,
        "maxWireVersion": 25,
        **{name: value for name, value in more.items() if name != "hello"},
    }


def _read(stream: Any) -> tuple[int, dict[str, Any]] | None:
    """The identity of the next request, and its command with its documents in it; None if the driver has gone."""
    head = stream.read(16)
    if len(head) < 16:
        return None
    length, identity, _, opcode = struct.unpack("<iiii", head)
    body = stream.read(length - 16)
    if len(body) < length - 16 or opcode != OP_MSG:
        return None
    command: dict[str, Any] = {}
    place = 4
    while place < len(body):
        section, size = body[place], struct.unpack_from("<i", body, place + 1)[0]
        content = body[place + 1 : place + 1 + size]
        if section == 0:
            command = {**bson.decode(content), **command}
        else:
            name, _, documents = content[4:].partition(b"\0")
            command[name.decode()] = bson.decode_all(documents)
        place += 1 + size
    first = next(name for name in command if name not in {"documents", "updates", "deletes", "ops", "nsInfo"})
    return identity, {first: command.pop(first), **command}


def _message(request: int, document: dict[str, Any]) -> bytes:
    body = struct.pack("<iB", 0, 0) + bson.encode(document)
    return struct.pack("<iiii", 16 + len(body), 1, request, OP_MSG) + body
