"""A real PostgreSQL of the test's own: a new cluster on a free loopback port, ended and removed afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from tests.servers.http import free_port
from tests.servers.process import Server, missing, program


#: Debian and Ubuntu keep PostgreSQL's programs out of the PATH, one directory a version.
PLACES = [
    str(place) for place in sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda place: -int(place.parts[4]))
]
#: How to end it: wait until every session has gone; end the sessions; end everything on the spot.
SMART, FAST, IMMEDIATE = signal.SIGTERM, signal.SIGINT, signal.SIGQUIT
#: Everybody may come in, except these two.
WHO_MAY = """
host all secretive all scram-sha-256
host all unwelcome all reject
host all all all trust
local all all trust
"""
#: One code or more for each row of the SQLSTATEs: what raises it in one session, the row, its kind, whether throttled.
#: What PostgreSQL itself does not come to say in one session, a statement of ours says in its place.
CODES: dict[str, tuple[tuple[str, ...], str, str, bool]] = {
    "08000": (("RAISE",), "08*", "unsure", False),
    "08001": (("RAISE",), "08001", "transient", False),
    "08003": (("RAISE",), "08*", "unsure", False),
    "08004": (("RAISE",), "08004", "transient", False),
    "08006": (("RAISE",), "08*", "unsure", False),
    "08007": (("RAISE",), "08*", "unsure", False),
    "08P01": (("RAISE",), "08*", "unsure", False),
    "0A000": (("select * from elsewhere.public.it",), "any other", "permanent", False),
    "22012": (("select 1 / 0",), "22*", "permanent", False),
    "23502": (("create temp table one (it int not null)", "insert into one values (null)"), "23*", "permanent", False),
    "25006": (("begin read only", "create table one (it int)"), "25006", "transient", False),
    "25P02": (("RAISE",), "25P02", "permanent", False),
    "25P03": (("RAISE",), "25P03", "transient", False),
    "25P04": (("RAISE",), "25P04", "transient", False),
    "28000": (("RAISE",), "28*", "permanent", False),
    "3D000": (("drop database elsewhere",), "3D000", "permanent", False),
    "40000": (("RAISE",), "40000", "transient", False),
    "40001": (("RAISE",), "40001", "transient", False),
    "40002": (("RAISE",), "any other", "permanent", False),
    "40003": (("RAISE",), "40003", "unsure", False),
    "40P01": (("RAISE",), "40P01", "transient", False),
    "42P01": (("select * from nowhere",), "42*", "permanent", False),
    "42501": (("set role pg_monitor", "create role another"), "42*", "permanent", False),
    "53000": (("RAISE",), "53000", "transient", True),
    "53100": (("copy (select 1) to '/dev/full'",), "53100", "permanent", False),
    "53200": (("select pg_advisory_lock(it) from generate_series(1, 1000000) it",), "53200", "transient", True),
    "53300": (("RAISE",), "53300", "transient", True),
    "53400": (("RAISE",), "any other", "permanent", False),
    "55000": (("create temp sequence one", "select currval('one')"), "any other", "permanent", False),
    "55006": (
        ("create temp table one ()", "begin", "declare it cursor for select * from one", "drop table one"),
        *("55006", "transient", False),
    ),
    "55P03": (("RAISE",), "55P03", "transient", False),
    "57014": (("select pg_cancel_backend(pg_backend_pid()), pg_sleep(9)",), "57014", "permanent", False),
    "57014, timeout": (
        ("set statement_timeout = 20", "select pg_sleep(9)"),
        *("57014, statement timeout", "transient", False),
    ),
    "57P01": (("RAISE",), "57P01", "transient", False),
    "57P02": (("RAISE",), "57P02", "unsure", False),
    "57P03": (("RAISE",), "57P03", "transient", False),
    "57P04": (("RAISE",), "any other", "permanent", False),
    "57P05": (("RAISE",), "57P05", "transient", False),
    "58030": (("RAISE",), "any other", "permanent", False),
    "72000": (("RAISE",), "72000", "transient", False),
    "P0001": (("RAISE",), "any other", "permanent", False),
    "XX000": (("RAISE",), "any other", "permanent", False),
    "ZZ999": (("RAISE",), "any other", "permanent", False),
}
#: Nothing of this has to outlive the test.
IN_A_HURRY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "lc_messages": "C"}


def causing(code: str) -> tuple[str, ...]:
    """The statements of which the last one ends in this SQLSTATE."""
    statements, *_ = CODES[code]
    return (f"do $$ begin raise 'said' using errcode = '{code}'; end $$",) if statements == ("RAISE",) else statements


def _wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, "not within 30 s"
        time.sleep(0.02)


class Postgres(Server):
    """The server process, and where it is. The user is ``postgres``, who may do anything, and so is the database.

    Args:
        data: The data directory, as `initdb` made it; the sockets are in it too.
        log: Where its output goes.
        settings: Settings of the server, by their names.
        options: More for `subprocess.Popen`, such as ``user=``.
    """

    def __init__(self, data: Path, log: Path, settings: dict[str, str], **options: Any) -> None:
        self.port = free_port()
        self.data = data
        self.dsn = self.dsn_of()
        argv = [program("postgres", *PLACES), "-D", str(data), "-h", "127.0.0.1", "-p", str(self.port), "-k", str(data)]
        argv += [word for name, value in {**IN_A_HURRY, **settings}.items() for word in ("-c", f"{name}={value}")]
        super().__init__(argv, self._says_yes, log, **options)

    def _says_yes(self) -> None:
        import psycopg

        psycopg.connect(self.dsn, connect_timeout=2).close()

    def dsn_of(self, user: str = "postgres", database: str = "postgres") -> str:
        """Where somebody else finds it, or another database; a password may follow the name: ``me:secret``."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def end(self, session: int) -> None:
        """End one session by its process id, as `pg_terminate_backend` does."""
        assert session in self.children
        os.kill(session, signal.SIGTERM)

    def crash(self, session: int) -> None:
        """Kill one session: the server ends all its processes, and recovers."""
        self.doomed = set(self.children)
        assert session in self.doomed
        os.kill(session, signal.SIGKILL)

    def recover(self) -> None:
        """Wait until it has got over the crash."""
        _wait_until(lambda: not self.doomed & set(self.children))
        self.wait()

    @contextlib.contextmanager
    def shutting_down(self) -> Iterator[None]:
        """It lets nobody in any more, and waits for the sessions that it has; started again afterwards."""
        import psycopg

        with contextlib.closing(psycopg.connect(self.dsn)):
            os.kill(self.process.pid, SMART)
            try:
                self.wait(False)
                yield
            finally:
                self.stop(FAST)
                self.start()

    @contextlib.contextmanager
    def standing_by(self) -> Iterator[None]:
        """It is a standby, which only reads; promoted afterwards."""
        import psycopg

        self.stop(FAST)
        (self.data / "standby.signal").touch()
        self.start()
        try:
            yield
        finally:
            with contextlib.closing(psycopg.connect(self.dsn)) as connection:
                connection.execute("select pg_promote()")

    def wait(self, answering: bool = True) -> None:
        """Wait until it lets somebody in, or until it does not."""
        _wait_until(lambda: self._answers() is answering)

    def _answers(self) -> bool:
        with contextlib.suppress(Exception):
            self._says_yes()
            return True
        return False

    @property
    def children(self) -> list[int]:
        """The process ids of its sessions and of its helpers. Each is in a group of its own."""
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], check=True, capture_output=True, text=True)
        pairs = (line.split() for line in listed.stdout.splitlines())
        return [int(pid) for pid, parent in pairs if int(parent) == self.process.pid]

    def _signal(self, number: signal.Signals) -> None:
        # To be stopped or killed is for all of them; to shut down is for the one that tells the others.
        if self.process.poll() is not None:
            return
        everybody = number in {signal.SIGSTOP, signal.SIGCONT, signal.SIGKILL}
        children = self.children if everybody else []
        super()._signal(number)
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


@contextlib.contextmanager
def postgres_server(logs: Path, **settings: str) -> Iterator[Postgres]:
    """Start one; its log goes into the directory `logs`, its settings may be given: ``max_connections="4"``.

    PostgreSQL refuses to be root: then it runs as the user ``postgres``, in a directory of that one's.
    With ``ssl="on"`` it has a certificate that nobody trusts.
    """
    as_user: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    # Not in the test's own directory: that is closed to any other user, and too deep for the name of a socket.
    home = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        data, key = home / "data", home / "untrusted.pem"
        shutil.copyfile(Path(__file__).with_name("untrusted.pem"), key)
        key.chmod(0o600)
        for path in (home, key) if as_user else ():
            try:
                shutil.chown(path, "postgres", "postgres")
            except LookupError:
                missing("root may not run PostgreSQL, and there is no user postgres")
        make = [program("initdb", *PLACES), "--no-sync", "--no-locale", "--encoding=UTF8", "--username=postgres"]
        subprocess.run([*make, "--auth=trust", "-D", str(data)], check=True, capture_output=True, **as_user)
        (data / "pg_hba.conf").write_text(WHO_MAY)
        tls = {"ssl_cert_file": str(key), "ssl_key_file": str(key)}
        server = Postgres(data, logs / "postgres.log", tls | settings, **as_user)
        try:
            yield server
        finally:
            server.stop(IMMEDIATE)
    finally:
        shutil.rmtree(home)


#: What to do with something that the server said: what to pass on of it, and whether to go on after that.
Passing: TypeAlias = Callable[[bytes], "tuple[bytes, bool]"]


def faithfully(said: bytes) -> tuple[bytes, bool]:
    """Pass on everything, also that the server hung up."""
    return said, bool(said)


def nothing(_said: bytes) -> tuple[bytes, bool]:
    """Hang up instead of the answer."""
    return b"", False


def half(said: bytes) -> tuple[bytes, bool]:
    """Hang up within the answer."""
    return said[: len(said) // 2], False


def never_hanging_up(said: bytes) -> tuple[bytes, bool]:
    """Keep it from the client that the server hung up."""
    return said, True


class Relay:
    """Stands between a client and a server, and passes on what they say; what the server says, as it is told.

    Args:
        server: Whose place it takes.
    """

    def __init__(self, server: Postgres) -> None:
        self.server = server
        self.passing: Passing = faithfully
        self.listener = socket.create_server(("127.0.0.1", 0))
        port = self.listener.getsockname()[1]
        #: Without TLS, which would not be fooled.
        self.dsn = f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable"
        self.sockets = [self.listener]
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def close(self) -> None:
        """Hang up on everybody."""
        for one in self.sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(5)
        for one in self.sockets:
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.server.port))
                self.sockets += [client, server]
                ways = ((client, server, lambda: faithfully), (server, client, lambda: self.passing))
                for way in ways:
                    self.threads.append(threading.Thread(target=self._pass, args=way))
                    self.threads[-1].start()

    def _pass(self, source: socket.socket, target: socket.socket, how: Callable[[], Passing]) -> None:
        with contextlib.suppress(OSError):
            said, on = b"-", True
            while said and on:
                said = source.recv(65_536)
                pass_on, on = how()(said)
                target.sendall(pass_on)
            if not on:
                target.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def relaying(server: Postgres) -> Iterator[Relay]:
    """A `Relay` to this server, closed afterwards."""
    relay = Relay(server)
    try:
        yield relay
    finally:
        relay.close()
