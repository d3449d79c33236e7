"""A real RabbitMQ of the test's own, and a server that speaks just enough AMQP 0-9-1 to break off where it is told."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pamqp.commands as amqp
from pamqp import frame as amqp_frame
from tests.servers.http import free_port
from tests.servers.process import Server, missing, program


#: Where packages put the program itself. What they put on the path changes the user, and where it keeps its things.
PLACES = os.pathsep.join(["/usr/lib/rabbitmq/bin", "/opt/homebrew/opt/rabbitmq/sbin", "/usr/local/opt/rabbitmq/sbin"])


class Broker:
    """A node of its own: nothing of a RabbitMQ that is already on this machine is read, written or spoken to.

    Args:
        folder: Where it keeps its things.
        definitions: What it has of its own, beside the user "guest" and the virtual host "/".
    """

    def __init__(self, folder: Path, definitions: dict[str, list[dict[str, Any]]]) -> None:
        found = shutil.which("rabbitmq-server", path=PLACES)
        if found is None:
            missing(f"rabbitmq-server is in none of {PLACES}")
        self._programs = Path(str(found)).parent
        self.port = free_port()
        settings = {
            "listeners.tcp.1": f"127.0.0.1:{self.port}",
            # Enough of the machine may be in use by others.
            "disk_free_limit.absolute": "1MB",
            "vm_memory_high_watermark.absolute": "4GB",
            "load_definitions": str(folder / "definitions.json"),
        }
        have: dict[str, list[dict[str, Any]]] = {
            "users": [{"name": "guest", "password": "guest", "tags": ["administrator"]}],
            "vhosts": [{"name": "/"}],
            "permissions": [{"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}],
        }
        for kind, more in definitions.items():
            have.setdefault(kind, []).extend(more)
        files = {
            "rabbitmq.conf": "".join(f"{name} = {value}\n" for name, value in settings.items()),
            "env.conf": "",
            "advanced.config": "[].\n",
            "plugins": "[].\n",
            "definitions.json": json.dumps(have),
        }
        for name, text in files.items():
            (folder / name).write_text(text)
        for place in ("home", "data", "log"):
            (folder / place).mkdir()
        names = free_port()
        self._environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(folder / "home"),
            "ERL_CRASH_DUMP": str(folder / "crash.dump"),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(names),
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONF_ENV_FILE": str(folder / "env.conf"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
        }
        # The node would start the daemon of names by itself, and leave it behind.
        self._names = Server(
            [program("epmd"), "-address", "127.0.0.1", "-port", str(names)],
            lambda: socket.create_connection(("127.0.0.1", names), 1).close(),
            folder / "epmd.log",
            env=self._environment,
        )
        try:
            self._node = Server([str(found)], self._greets, folder / "node.log", env=self._environment, cwd=folder)
        except BaseException:
            self._names.kill()
            raise

    def ctl(self, *arguments: str) -> str:
        """What rabbitmqctl says."""
        command = [str(self._programs / "rabbitmqctl"), "--quiet", *arguments]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def close(self) -> None:
        """End all of it."""
        self._node.kill()
        self._names.kill()

    def _greets(self) -> bool:
        """Accepting is not enough: it does so before it has users."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as peer:
            peer.settimeout(5)
            peer.sendall(b"AMQP\0\0\x09\x01")
            return peer.recv(1) == b"\x01"


#: What to answer to a method of the client: frames, or None for what a broker would.
Script: TypeAlias = Callable[[Any], "list[Any] | None"]

#: What a broker answers to the methods that the clients begin with.
_USUAL: dict[str, Callable[[Any], list[Any]]] = {
    "Connection.StartOk": lambda _: [amqp.Connection.Tune(channel_max=10, frame_max=131_072, heartbeat=0)],
    "Connection.TuneOk": lambda _: [],
    "Connection.Open": lambda _: [amqp.Connection.OpenOk()],
    "Connection.Close": lambda _: [amqp.Connection.CloseOk()],
    "Channel.Open": lambda _: [amqp.Channel.OpenOk()],
    "Channel.Close": lambda _: [amqp.Channel.CloseOk()],
    "Confirm.Select": lambda _: [amqp.Confirm.SelectOk()],
    "Queue.Declare": lambda method: [amqp.Queue.DeclareOk(queue=method.queue, message_count=0, consumer_count=0)],
}

_START = amqp.Connection.Start(
    server_properties={"capabilities": {"publisher_confirms": True, "basic.nack": True, "connection.blocked": True}}
)


class HangUp(Exception):
    """The connection is to be closed, or is."""


@contextlib.contextmanager
def scripted(script: Script, first: Any = _START) -> Iterator[int]:
    """A server that answers as the script says; gives its port. It greets with the frame (or bytes) that is `first`.

    An answer may be `HangUp`: close the connection.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        opened: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                opened.append(peer)
                with contextlib.suppress(OSError, HangUp), contextlib.closing(peer):
                    _converse(peer, script, first)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            for each in (listener, *opened):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def _converse(peer: socket.socket, script: Script, first: Any) -> None:
    _exactly(peer, 8)
    _say(peer, 0, first)
    while True:
        head = _exactly(peer, 7)
        data = head + _exactly(peer, int.from_bytes(head[3:7], "big") + 1)
        _, channel, method = amqp_frame.unmarshal(data)
        name = getattr(method, "name", "")
        answers = script(method)
        if answers is None:
            answers = _USUAL[name](method) if name in _USUAL else []
        for each in answers:
            _say(peer, 0 if name.startswith("Connection.") else channel, each)


def _say(peer: socket.socket, channel: int, what: Any) -> None:
    if what is HangUp:
        raise HangUp
    on = 0 if str(getattr(what, "name", "")).startswith("Connection.") else channel
    peer.sendall(what if isinstance(what, bytes) else amqp_frame.marshal(what, on))


def _exactly(peer: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = peer.recv(size - len(data))
        if not more:
            raise HangUp
        data += more
    return data
