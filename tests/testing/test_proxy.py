"""The proxy does to a connection what it is told, where it is told, and to no other."""

from __future__ import annotations

import asyncio
import contextlib
import operator
import re
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from resilience.errors import ConfigError
from resilience.testing.proxy import FaultProxy, ProxyFault


#: Seconds: what is not there by now is not coming. Only silence is waited for that long.
SILENCE = 0.08


class LineServer:
    """Answers every line with the same in capitals, and says what it did, and how connections to it ended."""

    def __init__(self, greeting: bytes = b"", *, alone: bool = False) -> None:
        self.done: list[bytes] = []
        self.ended = threading.Semaphore(0)
        self.greeting = greeting
        #: Whether it hangs up after each line without an answer.
        self.alone = alone
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.peers: list[socket.socket] = []
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.threads[0].join(5)
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        for thread in self.threads[1:]:
            thread.join(5)
        self.listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self.listener.accept()
                self.peers.append(peer)
                self.threads.append(threading.Thread(target=self._serve, args=(peer,)))
                self.threads[-1].start()

    def _serve(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError), peer, peer.makefile("rb") as lines:
            peer.sendall(self.greeting)
            for line in lines:
                self.done.append(line.strip())
                if self.alone:
                    break
                peer.sendall(line.upper())
        self.ended.release()


class Client:
    """Says lines, and hears what comes."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.socket = socket.create_connection((proxy.host, proxy.port), timeout=5)

    def say(self, line: bytes) -> None:
        self.socket.sendall(line + b"\n")

    def hear(self) -> bytes:
        """What comes next; nothing if the connection was closed in good order."""
        return self.socket.recv(65_536)

    def ask(self, line: bytes) -> bytes:
        self.say(line)
        answer = b""
        while not answer.endswith(b"\n"):
            more = self.hear()
            if not more:
                return answer
            answer += more
        return answer

    @property
    def is_silent(self) -> bool:
        """Whether nothing comes, not even an end."""
        self.socket.settimeout(SILENCE)
        try:
            self.hear()
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(5)
        return False

    @property
    def was_reset(self) -> bool:
        try:
            self.hear()
        except ConnectionResetError:
            return True
        return False


@pytest.fixture
def server() -> Iterator[LineServer]:
    with contextlib.closing(LineServer()) as server:
        yield server


@pytest.fixture
def proxy(server: LineServer) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", server.port) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[Client]:
    with connected(proxy) as client:
        assert client.ask(b"hello") == b"HELLO\n"
        yield client


@contextlib.contextmanager
def connected(proxy: FaultProxy) -> Generator[Client]:
    client = Client(proxy)
    with client.socket:
        yield client


def assert_reset_at_once(proxy: FaultProxy) -> None:
    """Perhaps before the client has even been told that it is connected."""
    with pytest.raises(ConnectionResetError), connected(proxy) as client:
        client.hear()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


# What is left alone.


def test_bytes_pass_as_they_are_and_are_counted(proxy: FaultProxy) -> None:
    with connected(proxy) as first, connected(proxy) as second:
        assert first.ask(b"one") == b"ONE\n"
        assert second.ask(b"three") == b"THREE\n"
    assert (proxy.connections, proxy.request_bytes, proxy.reply_bytes, proxy.strikes) == (2, 10, 10, 0)


def test_megabytes_pass_to_a_client_that_reads_late(proxy: FaultProxy) -> None:
    line = b"x" * 8_000_000
    with connected(proxy) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 19)
        client.say(line)
        until(lambda: proxy.reply_bytes > 0)
        time.sleep(SILENCE)
        assert proxy.reply_bytes < len(line)  # what it does not read is not heaped up
        heard = 0
        while heard <= len(line):
            more = client.hear()
            assert more, heard
            heard += len(more)
    assert proxy.reply_bytes == heard == len(line) + 1


def test_a_side_that_ends_lets_the_other_finish(proxy: FaultProxy, server: LineServer) -> None:
    with connected(proxy) as client:
        client.say(b"last words")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.hear() + client.hear() == b"LAST WORDS\n"
        assert client.hear() == b""
    assert server.ended.acquire(timeout=5)


def test_a_client_that_does_not_read_holds_up_no_other(proxy: FaultProxy) -> None:
    with connected(proxy) as deaf, connected(proxy) as other:
        deaf.socket.settimeout(SILENCE)
        with contextlib.suppress(TimeoutError):
            while True:
                deaf.socket.sendall(b"x" * 65_536 + b"\n")
        assert other.ask(b"me") == b"ME\n"


def test_a_connection_to_a_server_that_is_not_there_is_reset() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with FaultProxy("localhost", nobody.getsockname()[1]) as proxy:
            assert_reset_at_once(proxy)


def test_a_connection_to_a_server_that_has_no_address_is_reset() -> None:
    with FaultProxy("nowhere.invalid", 1) as proxy:
        assert_reset_at_once(proxy)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Where the host "somewhere" is."""
    found: list[Any] = []
    plain = socket.getaddrinfo

    def resolve(host: str, *args: Any, **kwargs: Any) -> Any:
        return found if host == "somewhere" else plain(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return found


def test_the_next_address_of_a_server_is_tried_and_nothing_said_meanwhile_is_lost(
    found: list[Any], server: LineServer
) -> None:
    with socket.socket() as nobody, FaultProxy("somewhere", 1) as proxy:
        nobody.bind(("127.0.0.1", 0))
        found += [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
            for port in (nobody.getsockname()[1], server.port)
        ]
        with connected(proxy) as client:
            assert client.ask(b"here") == b"HERE\n"


def test_an_address_that_cannot_be_is_passed_over(found: list[Any], server: LineServer) -> None:
    """Broadcast is refused on the spot, not later."""
    found += [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, server.port)) for host in ("255.255.255.255", "127.0.0.1")
    ]
    with FaultProxy("somewhere", 1) as proxy, connected(proxy) as client:
        assert client.ask(b"here") == b"HERE\n"


# Armed: the next exchange.


def test_a_lost_request_is_not_done_and_the_next_passes(proxy: FaultProxy, client: Client, server: LineServer) -> None:
    proxy.arm(ProxyFault.LOSE_REQUEST)
    client.say(b"lost")
    assert client.was_reset
    with connected(proxy) as again:
        assert again.ask(b"kept") == b"KEPT\n"
    assert (server.done, proxy.strikes) == ([b"hello", b"kept"], 1)


@pytest.mark.parametrize("fault", [ProxyFault.LOSE_REPLY, ProxyFault.HANG_UP], ids=str)
def test_a_lost_reply_leaves_the_work_done(
    fault: ProxyFault, proxy: FaultProxy, client: Client, server: LineServer
) -> None:
    proxy.arm(fault)
    client.say(b"work")
    if fault == ProxyFault.LOSE_REPLY:
        assert client.was_reset
    else:
        assert client.hear() == b""
    assert server.done == [b"hello", b"work"]


@pytest.mark.parametrize("fault", [ProxyFault.DROP_REQUEST, ProxyFault.DROP_REPLY], ids=str)
def test_what_is_dropped_leaves_a_silent_open_connection(
    fault: ProxyFault, proxy: FaultProxy, client: Client, server: LineServer
) -> None:
    proxy.arm(fault)
    client.say(b"work")
    assert client.is_silent
    client.say(b"more")
    assert client.is_silent
    worked = [b"work", b"more"] if fault == ProxyFault.DROP_REPLY else []
    assert server.done == [b"hello", *worked]
    with connected(proxy) as other:
        assert other.ask(b"other") == b"OTHER\n"


def test_an_exchange_is_known_by_bytes_that_may_come_in_pieces(
    proxy: FaultProxy, client: Client, server: LineServer
) -> None:
    proxy.arm(ProxyFault.LOSE_REPLY, request=b"pay 10", reply=b"10\n")
    assert client.ask(b"look") == b"LOOK\n"
    client.socket.sendall(b"pa")
    until(lambda: proxy.request_bytes == len(b"hello\nlook\npa"))
    client.say(b"y 10")
    assert client.was_reset
    assert (server.done, proxy.strikes) == ([b"hello", b"look", b"pay 10"], 1)


def test_replies_before_the_marked_one_are_swallowed_with_it(proxy: FaultProxy, client: Client) -> None:
    proxy.arm(ProxyFault.LOSE_REPLY, reply=b"B\n")
    client.say(b"a")
    assert client.is_silent
    client.say(b"b")
    assert client.was_reset


def test_a_fault_armed_for_two_strikes_twice_and_then_refuses(proxy: FaultProxy) -> None:
    proxy.arm(ProxyFault.LOSE_REQUEST, times=2, then_refuse=True)
    for _ in range(2):
        with connected(proxy) as client:
            client.say(b"lost")
            assert client.was_reset
    with pytest.raises(ConnectionRefusedError):
        Client(proxy)
    proxy.open()
    proxy.open()
    with connected(proxy) as client:
        assert client.ask(b"kept") == b"KEPT\n"
    assert proxy.strikes == 2


@pytest.mark.parametrize(("first", "heard"), [(0, b""), (3, b"WOR"), (-1, b"WORK"), (-3, b"WO")])
def test_a_cut_reply_breaks_off_where_it_is_told(
    first: int, heard: bytes, proxy: FaultProxy, client: Client, server: LineServer
) -> None:
    proxy.arm(ProxyFault.cut_reply(first))
    assert client.ask(b"work") == heard
    assert client.hear() == b""
    assert server.done == [b"hello", b"work"]


def test_a_reply_shorter_than_its_cut_is_counted_with_the_next(proxy: FaultProxy, client: Client) -> None:
    proxy.arm(ProxyFault.cut_reply(8))
    assert client.ask(b"work") == b"WORK\n"
    assert client.ask(b"work") == b"WOR"


def test_a_reply_is_cut_at_its_mark(proxy: FaultProxy, client: Client) -> None:
    proxy.arm(ProxyFault.cut_reply(-1), reply=b"ORK")
    assert client.ask(b"work") == b"WOR"


def test_a_stalled_reply_comes_when_the_client_asks_again(
    proxy: FaultProxy, client: Client, server: LineServer
) -> None:
    proxy.arm(ProxyFault.STALL_REPLY, request=b"pay")
    client.say(b"pay")
    assert client.is_silent
    client.say(b"look")
    assert client.is_silent
    heard = client.ask(b"pay")
    while len(heard) < 13:  # how it is cut into pieces is the network's affair
        heard += client.hear()
    assert heard == b"PAY\nLOOK\nPAY\n"
    assert server.done == [b"hello", b"pay", b"look", b"pay"]


def test_the_end_of_a_server_is_stalled_with_its_reply() -> None:
    with (
        contextlib.closing(LineServer(b"hi\n", alone=True)) as server,
        FaultProxy("127.0.0.1", server.port) as proxy,
        connected(proxy) as client,
    ):
        assert client.hear() == b"hi\n"
        proxy.arm(ProxyFault.STALL_REPLY)
        client.say(b"work")
        assert server.ended.acquire(timeout=5)
        assert client.is_silent


@pytest.mark.parametrize(
    "fault", [ProxyFault.LOSE_REPLY, ProxyFault.HANG_UP, ProxyFault.GO_AWAY, ProxyFault.cut_reply()], ids=str
)
def test_a_server_that_hangs_up_without_the_awaited_reply_ends_the_exchange(fault: ProxyFault) -> None:
    with (
        contextlib.closing(LineServer(b"hi\n", alone=True)) as server,
        FaultProxy("127.0.0.1", server.port) as proxy,
        connected(proxy) as client,
    ):
        assert client.hear() == b"hi\n"
        proxy.arm(fault)
        client.say(b"work")
        assert client.hear() == b""


def test_a_server_that_goes_away_answers_first_and_then_nobody_listens(proxy: FaultProxy, client: Client) -> None:
    proxy.arm(ProxyFault.GO_AWAY)
    assert client.ask(b"work") == b"WORK\n"
    assert client.hear() == b""
    with pytest.raises(ConnectionRefusedError):
        Client(proxy)


def test_an_armed_delay_is_over_with_its_exchange(proxy: FaultProxy, client: Client) -> None:
    proxy.arm(ProxyFault.delay(reply=0.06))
    started = time.monotonic()
    assert client.ask(b"late") == b"LATE\n"
    assert time.monotonic() - started >= 0.06
    started = time.monotonic()
    assert client.ask(b"soon") == b"SOON\n"
    assert time.monotonic() - started < 0.06


def test_an_armed_reset_befalls_one_connection(proxy: FaultProxy, client: Client) -> None:
    with connected(proxy) as other:
        proxy.arm(ProxyFault.RESET, request=b"me")
        assert other.ask(b"you") == b"YOU\n"
        client.say(b"me")
        assert client.was_reset
        assert other.ask(b"you") == b"YOU\n"


@pytest.mark.parametrize("first", ["client", "server"])
def test_what_both_sides_say_at_the_moment_of_the_end_is_lost(
    first: str, proxy: FaultProxy, client: Client, server: LineServer
) -> None:
    proxy.arm(ProxyFault.LOSE_REPLY, reply=b"now")
    client.say(b"work")
    assert client.is_silent
    if first == "client":
        proxy.arm(ProxyFault.RESET)
        client.say(b"struck no more")
        assert client.is_silent
    busy, free = threading.Event(), threading.Event()

    def stay() -> None:
        busy.set()
        free.wait(5)

    staying = threading.Thread(target=proxy._board.do, args=(stay,))
    staying.start()
    busy.wait(5)
    said = {"server": (server.peers[0], b"now"), "client": (client.socket, b"more\n")}
    for side in (first, "client" if first == "server" else "server"):
        half, words = said[side]
        half.sendall(words)
        time.sleep(0.01)
    free.set()
    staying.join(5)
    assert client.was_reset
    assert proxy.strikes == (first == "server")


# Lasting: all that passes.


def test_nobody_is_let_in_while_it_refuses_and_who_is_in_stays(proxy: FaultProxy, client: Client) -> None:
    with proxy.during(ProxyFault.REFUSE):
        with pytest.raises(ConnectionRefusedError):
            Client(proxy)
        assert client.ask(b"still") == b"STILL\n"
    with connected(proxy) as other:
        assert other.ask(b"again") == b"AGAIN\n"


def test_a_proxy_that_refused_before_the_block_refuses_after_it(server: LineServer) -> None:
    with FaultProxy("127.0.0.1", server.port, listening=False) as proxy:
        with proxy.during(ProxyFault.REFUSE):
            pass
        with pytest.raises(ConnectionRefusedError):
            Client(proxy)


def test_connections_are_reset_and_new_ones_too(proxy: FaultProxy, client: Client, server: LineServer) -> None:
    with proxy.during(ProxyFault.RESET):
        assert client.was_reset
        assert_reset_at_once(proxy)
    assert (proxy.strikes, server.done) == (2, [b"hello"])


def test_what_is_said_into_a_black_hole_arrives_when_it_is_over(
    proxy: FaultProxy, client: Client, server: LineServer
) -> None:
    with proxy.during(ProxyFault.BLACKHOLE), connected(proxy) as late:
        client.say(b"old")
        late.say(b"new")
        assert client.is_silent
        assert late.is_silent
        assert server.done == [b"hello"]
    assert client.hear() == b"OLD\n"
    until(lambda: sorted(server.done) == [b"hello", b"new", b"old"])


def test_a_reply_under_way_falls_into_the_black_hole(proxy: FaultProxy, client: Client) -> None:
    proxy.arm(ProxyFault.delay(reply=0.03))
    client.say(b"work")
    until(lambda: proxy.reply_bytes == 11)
    with proxy.during(ProxyFault.BLACKHOLE):
        assert proxy.strikes == 0  # what is armed goes before
        assert client.hear() == b"WORK\n"


@pytest.mark.parametrize("used", [True, False], ids=["open", "new"])
def test_a_half_open_connection_is_silent_until_the_client_learns_of_it(
    proxy: FaultProxy, client: Client, server: LineServer, used: bool
) -> None:
    with proxy.during(ProxyFault.HALF_OPEN), connected(proxy) as new:
        tried = client if used else new
        tried.say(b"lost")
        assert tried.is_silent
        assert server.ended.acquire(timeout=5)
        assert proxy.strikes == 2
    if used:
        assert client.was_reset
    assert server.done == [b"hello"]


def test_a_client_that_leaves_a_half_open_connection_is_let_go(proxy: FaultProxy) -> None:
    with proxy.during(ProxyFault.HALF_OPEN):
        with connected(proxy) as client:
            assert client.is_silent
        with connected(proxy) as other:
            assert other.is_silent


@pytest.mark.parametrize("fault", [ProxyFault.DROP_REQUEST, ProxyFault.DROP_REPLY], ids=str)
def test_a_connection_that_lost_bytes_is_reset_when_the_block_ends(
    fault: ProxyFault, proxy: FaultProxy, client: Client
) -> None:
    with proxy.during(fault), connected(proxy) as unused:
        client.say(b"lost")
        assert client.is_silent
        spared = unused
        assert spared.is_silent
    assert client.was_reset


def test_a_connection_that_lost_nothing_goes_on_after_the_block(proxy: FaultProxy, client: Client) -> None:
    with proxy.during(ProxyFault.DROP_REPLY):
        pass
    assert client.ask(b"still") == b"STILL\n"


def test_a_client_that_gives_up_on_dropped_replies_is_let_go(proxy: FaultProxy, server: LineServer) -> None:
    with proxy.during(ProxyFault.DROP_REPLY):
        with connected(proxy) as client:
            client.say(b"work")
            assert client.is_silent
        assert server.ended.acquire(timeout=5)


def test_stalled_replies_come_when_the_block_ends(proxy: FaultProxy, client: Client) -> None:
    with proxy.during(ProxyFault.STALL_REPLY):
        client.say(b"one")
        assert client.is_silent
        assert client.ask(b"two") == b"ONE\n"
        assert proxy.strikes == 2
        assert client.is_silent
    assert client.hear() == b"TWO\n"


def test_a_greeting_is_struck_too() -> None:
    with (
        contextlib.closing(LineServer(b"hi\n")) as server,
        FaultProxy("127.0.0.1", server.port) as proxy,
        proxy.during(ProxyFault.LOSE_REPLY),
        contextlib.suppress(ConnectionResetError),  # also before connecting has come to its end
        connected(proxy) as client,
    ):
        assert client.was_reset
        raise ConnectionResetError
    assert proxy.strikes == 1


def test_each_direction_has_a_delay_of_its_own(proxy: FaultProxy, client: Client, server: LineServer) -> None:
    with proxy.during(ProxyFault.delay(0.05, 0.02)):
        for word in (b"one", b"two"):
            started = time.monotonic()
            assert client.ask(word) == word.upper() + b"\n"
            assert 0.07 <= time.monotonic() - started < 1
        assert proxy.strikes == 2
    started = time.monotonic()
    client.ask(b"three")
    assert time.monotonic() - started < 0.05


def test_bytes_keep_their_order_when_a_delay_ends(proxy: FaultProxy, client: Client) -> None:
    with proxy.during(ProxyFault.delay(request=0.05)):
        client.say(b"first")
        until(lambda: proxy.request_bytes == 12)
    client.say(b"second")
    heard = b""
    while len(heard) < 13:
        heard += client.hear()
    assert heard == b"FIRST\nSECOND\n"


def test_a_trickle_lets_through_so_many_bytes_a_second(proxy: FaultProxy, client: Client) -> None:
    with proxy.during(ProxyFault.trickle(400)):
        started = time.monotonic()
        assert client.ask(b"0123456789" * 2) == b"0123456789" * 2 + b"\n"
        # 21 bytes there, and 21 back; the server begins when the last has come.
        assert 42 / 400 <= time.monotonic() - started < 1


def test_a_slow_trickle_lets_through_one_byte_at_a_time(proxy: FaultProxy, client: Client) -> None:
    proxy.arm(ProxyFault.delay(request=0.0, reply=0.001))
    with proxy.during(ProxyFault.trickle(15)):
        started = time.monotonic()
        assert client.ask(b"") == b"\n"
        assert time.monotonic() - started < 0.06  # what was armed comes first
        assert client.ask(b"") == b"\n"
        assert time.monotonic() - started >= 2 / 15


def test_chance_lets_some_exchanges_pass(proxy: FaultProxy) -> None:
    with proxy.during(ProxyFault.HANG_UP, chance=0.5):
        struck = 0
        for _ in range(40):
            with connected(proxy) as client:
                struck += client.ask(b"work") == b""
    assert proxy.strikes == struck
    assert 0 < struck < 40  # neither has a chance of 1 in 10**12


def test_no_chance_strikes_never_and_is_drawn_for_each_exchange(proxy: FaultProxy, client: Client) -> None:
    with proxy.during(ProxyFault.LOSE_REPLY, chance=0.0):
        for _ in range(3):
            assert client.ask(b"work") == b"WORK\n"
    assert proxy.strikes == 0


def test_an_inner_block_replaces_an_outer_one(proxy: FaultProxy, client: Client) -> None:
    with proxy.during(ProxyFault.BLACKHOLE):
        with proxy.during(ProxyFault.delay(reply=0.001)):
            assert client.ask(b"work") == b"WORK\n"
        client.say(b"more")
        assert client.is_silent
    assert client.hear() == b"MORE\n"


def test_a_block_inside_one_that_refuses_lets_nobody_in(proxy: FaultProxy) -> None:
    with proxy.during(ProxyFault.REFUSE):
        with proxy.during(ProxyFault.RESET):
            pass
        with pytest.raises(ConnectionRefusedError):
            Client(proxy)
    with connected(proxy) as client:
        assert client.ask(b"in") == b"IN\n"


def test_a_server_that_goes_away_is_back_after_the_block(proxy: FaultProxy, client: Client) -> None:
    with proxy.during(ProxyFault.GO_AWAY):
        assert client.ask(b"bye") == b"BYE\n"
        with pytest.raises(ConnectionRefusedError):
            Client(proxy)
    with connected(proxy) as other:
        assert other.ask(b"back") == b"BACK\n"


# Its life.


def test_connections_are_closed_in_good_order_on_demand(proxy: FaultProxy, client: Client) -> None:
    proxy.hang_up()
    assert client.hear() == b""


def test_a_closed_proxy_is_closed_again_in_silence_and_says_so(server: LineServer) -> None:
    proxy = FaultProxy("127.0.0.1", server.port)
    with connected(proxy) as client, proxy.during(ProxyFault.STALL_REPLY):
        assert re.fullmatch(r"<FaultProxy 127\.0\.0\.1:\d+ before 127\.0\.0\.1:\d+>", repr(proxy))
        proxy.close()
        proxy.close()
        assert client.hear() == b""
    assert repr(proxy).endswith("(closed)>")
    with pytest.raises(ValueError, match="closed"):
        proxy.arm(ProxyFault.LOSE_REPLY)
    assert not [thread for thread in threading.enumerate() if thread.name == "resilience-fault-proxy"]


def test_it_waits_without_spending_time(proxy: FaultProxy, client: Client) -> None:
    before = time.process_time()
    with proxy.during(ProxyFault.delay(reply=0.06)):
        client.ask(b"late")
    with proxy.during(ProxyFault.BLACKHOLE):
        client.say(b"held")
        assert client.is_silent
    proxy.arm(ProxyFault.HALF_OPEN)
    client.hear()
    client.say(b"lost")
    assert client.is_silent
    assert time.process_time() - before < 0.05


def test_async_code_uses_it_as_it_is(server: LineServer) -> None:
    async def main() -> None:
        with FaultProxy("127.0.0.1", server.port) as proxy:
            reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
            with proxy.during(ProxyFault.LOSE_REPLY):
                writer.write(b"work\n")
                with pytest.raises(ConnectionResetError):
                    await reader.read(1)
            writer.close()
            with contextlib.suppress(ConnectionResetError):
                await writer.wait_closed()

    asyncio.run(main())
    assert server.done == [b"work"]


# What cannot be.


@pytest.mark.parametrize(
    "wrong",
    {
        "refusal of one exchange": lambda proxy: proxy.arm(ProxyFault.REFUSE),
        "no times": lambda proxy: proxy.arm(ProxyFault.RESET, times=0),
        "chance above 1": lambda proxy: proxy.during(ProxyFault.RESET, chance=2).__enter__(),
        "chance of refusal": lambda proxy: proxy.during(ProxyFault.REFUSE, chance=0.5).__enter__(),
        "no delay": lambda _: ProxyFault.delay(),
        "negative delay": lambda _: ProxyFault.delay(-1),
        "no bytes": lambda _: ProxyFault.trickle(0),
        "endless bytes": lambda _: ProxyFault.trickle(float("inf")),
        "half a byte": lambda _: ProxyFault.cut_reply(1.5),  # type: ignore[arg-type]
    }.items(),
    ids=operator.itemgetter(0),
)
def test_what_cannot_be_is_refused(wrong: tuple[str, Callable[[Any], object]], proxy: FaultProxy) -> None:
    with pytest.raises(ConfigError):
        wrong[1](proxy)


def test_faults_are_values() -> None:
    assert ProxyFault.delay(1) == ProxyFault.delay(1.0, 0) != ProxyFault.delay(0, 1)
    assert len({ProxyFault.LOSE_REPLY, ProxyFault.LOSE_REPLY, ProxyFault.cut_reply(), ProxyFault.cut_reply(-1)}) == 2
    assert (str(ProxyFault.RESET), repr(ProxyFault.trickle(2.5))) == ("RESET", "ProxyFault.trickle(2.5)")
