"""The store in etcd against a real etcd: the contract, and what befalls servers and the way to them."""

from __future__ import annotations

import base64
import importlib.util
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, SupportsIndex

import httpx
import pytest
from tests.servers.etcd import EtcdServer, etcd_server
from tests.servers.http import cut_off, free_port, says, serving
from tests.servers.proxy import Fault, proxying
from typing_extensions import override

from resilience import deadline
from resilience._core.description import Fault as Befalls
from resilience._io.clock import SystemClock
from resilience.errors import (
    ConfigError,
    CorruptStateError,
    GuardRefusedError,
    OutcomeUnknownError,
    StorageFullError,
    StoreError,
    StoreUnavailableError,
    UnknownFormatError,
    VersionConflictError,
)
from resilience.stores import ABSENT, ANY, VACANT, Beat, Guard, Seen
from resilience.stores import _etcd_talk as talk
from resilience.stores import _etcd_verbs as verbs
from resilience.stores import etcd as home
from resilience.stores.etcd import EtcdStore
from resilience.stores.kit import Extend
from resilience.testing import StoreContract
from resilience.testing.contracts import bench
from resilience.typing import Clock


LIMIT = 0.3
SLACK = 0.25


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def call(server: EtcdServer, path: str, **body: Any) -> Any:
    """Somebody else's request."""
    return httpx.post(f"http://127.0.0.1:{server.port}/v3/{path}", json=body, timeout=5, trust_env=False).json()


def parts(server: EtcdServer, namespace: str) -> dict[bytes, Any]:
    """All keys under a namespace."""
    begin, end = text(namespace.encode() + b"/"), text(namespace.encode() + b"0")
    found = call(server, "kv/range", key=begin, range_end=end).get("kvs", [])
    return {base64.b64decode(kv["key"]): kv for kv in found}


def put(server: EtcdServer, name: bytes, value: bytes) -> None:
    call(server, "kv/put", key=text(name), value=text(value))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with etcd_server(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture
def store(server: EtcdServer) -> Iterator[EtcdStore]:
    with EtcdStore(server.url, namespace=uuid.uuid4().hex) as store:
        yield store


def namespace_of(store: EtcdStore) -> str:
    return store._names.namespace


def another(store: EtcdStore) -> EtcdStore:
    return EtcdStore(store._names.store.partition("(")[2].partition(",")[0], namespace=namespace_of(store))


# -- the contract ------------------------------------------------------------------------------------------------------


class TestEtcdStore(StoreContract):
    """As a store with a time of its own.

    The contract's short leases are of 50 ms, etcd's of a second at least. So when the contract has waited, the test does
    what etcd would do later, and in the same way: it revokes the etcd leases of a second. That they end by themselves is a
    test of its own below.
    """

    clock_is_ours = False
    max_examples = 25
    lacks = {"clock": "expiry is judged by etcd's leases, whose time nobody can set"}
    server: EtcdServer

    @pytest.fixture(autouse=True)
    def _short_leases_end(self, server: EtcdServer, monkeypatch: pytest.MonkeyPatch) -> None:
        type(self).server = server
        test = self

        class Hasty(SystemClock):
            @override
            def sleep(self, seconds: float | SupportsIndex, /) -> None:
                super().sleep(seconds)
                for name, kv in parts(server, test.namespace).items():
                    if b"\0\1l/" in name and "lease" in kv and float(base64.b64decode(kv["value"]).split()[1]) <= 1:
                        call(server, "lease/revoke", ID=kv["lease"])

        monkeypatch.setattr(bench, "SystemClock", Hasty)

    def make_store(self, clock: Clock) -> EtcdStore:
        self.namespace = uuid.uuid4().hex
        return EtcdStore(self.server.url, namespace=self.namespace)

    def another(self, store: EtcdStore) -> EtcdStore:
        return EtcdStore(self.server.url, namespace=self.namespace)

    def reopen(self, store: EtcdStore) -> EtcdStore:
        store.close()
        return self.another(store)


# -- time --------------------------------------------------------------------------------------------------------------


def test_a_lease_ends_by_itself_late_and_never_early(store: EtcdStore) -> None:
    began = time.monotonic()
    lease = store.compare_and_set("lease", b"me", expected=VACANT, ttl=0.3, write_id="w")
    store.compare_and_set("held", b"", expected=VACANT, ttl=30)
    assert store.extend([Beat("lease", lease.revision, 0.4)]) == frozenset()
    held = store.load("lease")
    assert held is not None
    assert (held.beats, held.ttl, held.expires_in, held.expired) == (1, 0.4, 0.4, False)
    while not (there := store.load("lease")).expired:  # type: ignore[union-attr]
        assert time.monotonic() < began + 10
        time.sleep(0.05)
    assert time.monotonic() - began > 1
    assert there is not None
    assert (there.value, there.revision, there.beats, there.ttl, there.expires_in) == (b"me", lease.revision, 1, 0.4, 0)
    assert store.extend([Beat("lease", lease.revision, 30)]) == {"lease"}
    with pytest.raises(GuardRefusedError):
        store.remove("held", expected=ANY, guard=Guard("lease", lease.revision))
    assert [key for key, _ in store.scan(expired=True)] == ["lease"]
    other = store.load("held")
    assert other is not None
    assert other.expires_in is not None
    assert 20 < other.expires_in < 30
    assert store.compare_and_set("lease", b"you", expected=VACANT).revision > lease.revision


def test_a_beat_that_was_overtaken_shortens_nothing(server: EtcdServer, store: EtcdStore) -> None:
    lease = store.compare_and_set("lease", b"", expected=VACANT, ttl=2)
    late = verbs.carry_out(store._names, Extend([Beat("lease", lease.revision, 20)]), None)
    asked = next(late)
    asked = late.send(talk.Answer(call(server, asked.path, **asked.body), time.time()))
    assert store.extend([Beat("lease", lease.revision, 500)]) == frozenset()
    with pytest.raises(StopIteration) as ended:
        late.send(talk.Answer(call(server, asked.path, **asked.body), time.time()))
    assert ended.value.value == frozenset()
    there = store.load("lease")
    assert there is not None
    assert there.expires_in is not None
    assert (there.beats, there.expires_in > 400) == (2, True)


def test_the_marks_of_a_lease_that_is_renewed_often_are_few(server: EtcdServer, store: EtcdStore) -> None:
    lease = store.compare_and_set("lease", b"", expected=VACANT, ttl=100)
    for ttl in (200, 300, 400, 500):
        assert store.extend([Beat("lease", lease.revision, ttl)]) == frozenset()
    names = [name for name in parts(server, namespace_of(store)) if b"\0\1l/" in name]
    assert len(names) == 1


def test_a_ttl_of_thirty_years_is_granted(store: EtcdStore) -> None:
    written = store.compare_and_set("lease", b"", expected=VACANT, ttl=1e9)
    there = store.load("lease")
    assert there is not None
    assert there.expires_in is not None
    assert (there.revision, there.ttl) == (written.revision, 1e9)
    assert there.expires_in > 1e9 - 60


def test_a_refused_write_leaves_no_etcd_lease_behind(server: EtcdServer, store: EtcdStore) -> None:
    lease = store.compare_and_set("lease", b"", expected=VACANT, ttl=900)
    before = len(call(server, "lease/leases")["leases"])
    for _ in range(3):
        with pytest.raises(VersionConflictError):
            store.compare_and_set("lease", b"", expected=VACANT, ttl=900)
        with pytest.raises(GuardRefusedError):
            store.compare_and_set("new", b"", expected=ANY, ttl=900, guard=Guard("lease", lease.revision + 1))
    assert len(call(server, "lease/leases")["leases"]) == before


def test_the_server_s_clock_is_known_between_its_dates() -> None:
    agreeing = talk.ServerTime.first(date=100.0, boottime=5.0, wall=100.7)
    assert agreeing.at(5.5) == pytest.approx(101.2)
    other = talk.ServerTime.first(date=100.0, boottime=5.0, wall=200.0)
    assert other.at(5.5) == 100.5
    assert other.heard(100.0, 5.9) is other
    assert other.heard(102.0, 6.0).at(6.0) == 102.0  # it was later than was known
    assert other.heard(90.0, 6.0).at(7.0) == 91.0  # it was set back


# -- revisions ---------------------------------------------------------------------------------------------------------


def test_a_revision_is_above_those_of_clients_whose_clocks_are_ahead(store: EtcdStore) -> None:
    now = store._hear(httpx.Headers({}))
    with another(store) as ahead:

        def written(key: str) -> int:
            ahead._time = talk.ServerTime(now + 3600, SystemClock().boottime())
            return ahead.compare_and_set(key, b"", expected=ANY).revision

        first = written("key")
        assert store.compare_and_set("key", b"", expected=ANY).revision == first + 1
        gone = written("gone")
        assert store.remove("gone", expected=ANY)
        again = store.compare_and_set("gone", b"", expected=VACANT)
        assert again.revision > gone
        lower = store.compare_and_set("gone", b"", expected=again.revision)
        assert store.remove("gone", expected=lower.revision)
        assert store.compare_and_set("other", b"", expected=ABSENT).revision > lower.revision


def test_the_floor_is_one_key(server: EtcdServer, store: EtcdStore) -> None:
    for number in range(5):
        store.compare_and_set(f"{number}", b"", expected=ABSENT)
    for number in reversed(range(5)):
        assert store.remove(f"{number}", expected=ANY)
    assert len(parts(server, namespace_of(store))) == 1


@pytest.mark.parametrize("what", [Befalls.EMPTIED, Befalls.RESTORED, Befalls.REBOOTED])
def test_revisions_go_on_whatever_befalls_etcd(tmp_path: Path, what: Befalls) -> None:
    with etcd_server(tmp_path) as server, EtcdStore(server.url) as store:
        about = store.describe()
        data, saved = server.directory / "data", tmp_path / "saved"
        seen = [store.compare_and_set("key", b"1", expected=ANY).revision for _ in range(3)]
        server.stop()
        shutil.copytree(data, saved)
        server.start()
        lease = store.compare_and_set("lease", b"me", expected=VACANT, ttl=60)
        seen.append(store.compare_and_set("key", b"2", expected=seen[-1]).revision)
        server.kill()
        if what is not Befalls.REBOOTED:
            shutil.rmtree(data)
        if what is Befalls.RESTORED:
            shutil.copytree(saved, data)
        server.start()
        there = store.load("key")
        kept = {Befalls.EMPTIED: None, Befalls.RESTORED: b"1", Befalls.REBOOTED: b"2"}[what]
        assert (there and there.value) == kept
        if what is Befalls.REBOOTED:  # killed by -9: nothing that was acknowledged is lost, and the lease is held
            held = store.load("lease")
            assert held is not None
            assert (held.value, held.revision, held.expired) == (b"me", lease.revision, False)
            store.compare_and_set("guarded", b"", expected=ABSENT, guard=Guard("lease", lease.revision))
        assert store.compare_and_set("key", b"3", expected=ANY).revision > max(seen)
        assert frozenset({what}) in about.revisions_survive
        assert (store.describe().incarnation == about.incarnation) is (what is not Befalls.EMPTIED)


# -- many --------------------------------------------------------------------------------------------------------------


def test_more_than_fits_into_one_transaction_is_read_and_renewed(store: EtcdStore) -> None:
    keys = [f"{number:03}" for number in range(verbs.BATCH + 20)]
    for key in keys:
        store.compare_and_set(key, b"v", expected=ABSENT, ttl=60)
    many = store.load_many([*keys, "none", keys[0]])
    assert many["none"] is None
    assert all(many[key] is not None for key in keys)
    beats = [Beat(key, there.revision, 600) for key, there in many.items() if there is not None]
    twice = [*beats, Beat(keys[0], 1, 5), beats[1], Beat("none", 7, 5)]
    assert store.extend(twice) == {"none", keys[0]}
    page = store.scan(limit=1000)
    assert [(key, there.beats) for key, there in page] == [(key, 1 + (key == keys[1])) for key in keys]
    assert [key for key, _ in store.scan("0", after=keys[3], limit=2)] == keys[4:6]
    assert store.scan(expired=True, limit=1) == []
    assert store.scan("0", after="1") == []
    assert store.extend([]) == frozenset()
    assert store.load_many([]) == {}


# -- where nobody answers ----------------------------------------------------------------------------------------------

READS: dict[str, Callable[[Any], Any]] = {
    "load": lambda store: store.load("key"),
    "load_many": lambda store: store.load_many(["key", "other"]),
    "scan": lambda store: store.scan(),
    "describe": lambda store: store.describe(),
    "a lease, of which nothing but a grant was asked": lambda store: store.compare_and_set(
        "k", b"", expected=ANY, ttl=5
    ),
}
WRITES: dict[str, Callable[[Any], Any]] = {
    "write": lambda store: store.compare_and_set("key", b"new", expected=ANY),
    "remove": lambda store: store.remove("key", expected=ANY),
}


@pytest.fixture
def paused(server: EtcdServer) -> Iterator[EtcdServer]:
    yield server
    server.resume()


@pytest.mark.parametrize("verb", [*READS, *WRITES])
def test_a_verb_on_a_stopped_server_ends_at_the_deadline(paused: EtcdServer, store: EtcdStore, verb: str) -> None:
    store.ping()
    paused.pause()
    began = time.monotonic()
    with pytest.raises(OutcomeUnknownError if verb in WRITES else StoreUnavailableError) as caught, deadline(LIMIT):
        {**READS, **WRITES}[verb](store)
    assert LIMIT - 0.05 < time.monotonic() - began < LIMIT + SLACK
    assert isinstance(caught.value.__cause__, httpx.TimeoutException)
    paused.resume()
    assert store.load("none") is None


@pytest.mark.parametrize("verb", [*READS, *WRITES])
def test_where_nobody_listens_nothing_was_applied(verb: str) -> None:
    with EtcdStore(f"etcd://127.0.0.1:{free_port()}") as store:
        with pytest.raises(StoreUnavailableError, match="cannot be reached"):
            {**READS, **WRITES}[verb](store)


@pytest.mark.parametrize("fault", [Fault.LOSE_REPLY, Fault.HANG_UP, Fault.CUT_REPLY])
def test_a_write_whose_answer_is_lost_was_perhaps_applied(server: EtcdServer, fault: Fault) -> None:
    space = uuid.uuid4().hex
    with proxying(server.port) as proxy, EtcdStore(f"etcd://127.0.0.1:{proxy.port}", namespace=space) as store:
        store.ping()
        proxy.arm(fault, request=b"kv/txn")
        with pytest.raises(OutcomeUnknownError):
            store.compare_and_set("key", b"1", expected=ABSENT, ttl=60, write_id="mine")
        there = store.load("key")
        assert there is not None
        assert (there.value, there.write_id) == (b"1", "mine")
        proxy.arm(fault, request=b"lease/grant")
        with pytest.raises(StoreUnavailableError):
            store.compare_and_set("key", b"2", expected=there.revision, ttl=60)
        proxy.arm(fault, request=b"kv/range")
        with pytest.raises(StoreUnavailableError):
            store.load("key")
        proxy.arm(fault, request=b"lease/revoke")
        with pytest.raises(VersionConflictError):  # that its etcd lease was not given back is nobody's concern
            store.compare_and_set("key", b"2", expected=ABSENT, ttl=1)


def test_a_write_whose_request_is_lost_is_not_sent_again(server: EtcdServer) -> None:
    with (
        proxying(server.port) as proxy,
        EtcdStore(f"etcd://127.0.0.1:{proxy.port}", namespace=uuid.uuid4().hex) as store,
    ):
        store.ping()
        proxy.arm(Fault.LOSE_REQUEST, request=b"kv/txn")
        with pytest.raises(OutcomeUnknownError):
            store.compare_and_set("key", b"1", expected=ABSENT)
        assert store.load("key") is None


def test_what_was_renewed_before_the_connection_went_is_not_called_undone(server: EtcdServer) -> None:
    with (
        proxying(server.port) as proxy,
        EtcdStore(f"etcd://127.0.0.1:{proxy.port}", namespace=uuid.uuid4().hex) as store,
    ):
        lease = store.compare_and_set("lease", b"", expected=ABSENT, ttl=60)
        proxy.arm(Fault.GO_AWAY, request=b"kv/txn")
        beat = Beat("lease", lease.revision, 60)
        with pytest.raises(OutcomeUnknownError):
            store.extend([beat, beat])
        proxy.open()
        there = store.load("lease")
        assert there is not None
        assert there.beats == 1


# -- what etcd refuses ---------------------------------------------------------------------------------------------------


def test_what_etcd_will_never_take_is_an_error_of_the_store_s(server: EtcdServer) -> None:
    with EtcdStore(server.url, namespace=uuid.uuid4().hex, max_value_bytes=1 << 22) as store:
        with pytest.raises(StoreError, match="larger than max") as caught:
            store.compare_and_set("key", b"x" * (3 << 20), expected=ANY)
        assert type(caught.value) is StoreError
        assert store.load("key") is None


def test_a_full_etcd_has_no_room(tmp_path: Path) -> None:
    with etcd_server(tmp_path, "--quota-backend-bytes", "200000") as server, EtcdStore(server.url) as store:
        first = store.compare_and_set("key", b"x" * 150_000, expected=ANY)
        with pytest.raises(StorageFullError, match="space exceeded"):
            for _ in range(10):
                store.compare_and_set("key", b"y" * 150_000, expected=ANY)
        there = store.load("key")
        assert there is not None
        assert there.revision >= first.revision


@pytest.mark.parametrize(
    ("stake", "answer", "kind"),
    [
        ("read", {"error": "etcdserver: leader changed", "code": 14}, StoreUnavailableError),
        ("write", {"error": "etcdserver: request timed out", "code": 14}, OutcomeUnknownError),
        ("write", {"error": "etcdserver: too many requests", "code": 8}, StoreUnavailableError),
        ("write", {"error": "etcdserver: requested lease not found", "code": 5}, StoreUnavailableError),
        (
            "read",
            {"error": "etcdserver: mvcc: required revision has been compacted", "code": 11},
            StoreUnavailableError,
        ),
        ("read", {"error": "etcdserver: permission denied", "code": 7}, StoreError),
        ("begun", {"error": "etcdserver: requested lease not found", "code": 5}, OutcomeUnknownError),
        ("read", None, StoreUnavailableError),
        ("write", None, OutcomeUnknownError),
        ("write", ["babble"], OutcomeUnknownError),
    ],
)
def test_what_a_refusal_means(stake: talk.Stake, answer: object, kind: type[Exception]) -> None:
    found = talk.refused("EtcdStore(…)", talk.Ask("kv/txn", {}, stake), 503, answer)
    assert type(found) is kind
    assert ("503" in str(found)) is not isinstance(answer, dict)


# -- what etcd keeps -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "value", "kind"),
    [
        (b"r/%016x" % 7, b'{"format": 2, "ttl": null, "write_id": null}\nx', UnknownFormatError),
        (b"r/%016x" % 7, b"babble", CorruptStateError),
        (b"r/%016x" % 7, b"[]\n", CorruptStateError),
        (b"r/seven", b'{"format": 1, "ttl": null, "write_id": null}\nx', CorruptStateError),
        (b"l/%016x/never" % 7, b"", CorruptStateError),
    ],
)
def test_what_cannot_be_read_is_reported_and_left(
    server: EtcdServer, store: EtcdStore, part: bytes, value: bytes, kind: type[Exception]
) -> None:
    name = namespace_of(store).encode() + b"/record/bad\0\1" + part
    put(server, name, value)
    store.compare_and_set("good", b"", expected=ANY)
    with pytest.raises(kind, match="bad"):
        store.load("bad")
    with pytest.raises(kind, match="bad"):
        store.compare_and_set("bad", b"", expected=1)
    with pytest.raises(kind, match="bad"):
        store.compare_and_set("good", b"", expected=ANY, guard=Guard("bad", 1))
    assert name in parts(server, namespace_of(store))


def test_a_floor_that_cannot_be_read_is_reported(server: EtcdServer, store: EtcdStore) -> None:
    put(server, namespace_of(store).encode() + b"/floor/zzz", b"")
    with pytest.raises(CorruptStateError, match="floor"):
        store.compare_and_set("key", b"", expected=ANY)


def test_stores_whose_namespaces_begin_alike_are_apart(server: EtcdServer) -> None:
    space = uuid.uuid4().hex
    with EtcdStore(server.url, namespace=space) as one, EtcdStore(server.url, namespace=f"{space}x") as other:
        one.compare_and_set("key", b"1", expected=ABSENT)
        other.compare_and_set("key", b"2", expected=ABSENT)
        assert [there.value for _, there in one.scan()] == [b"1"]
        assert one.describe().incarnation != other.describe().incarnation


# -- judging, where etcd's answer is not yet a reason --------------------------------------------------------------------


def test_every_expectation_is_judged_as_etcd_compares_it(store: EtcdStore) -> None:
    first = store.compare_and_set("key", b"1", expected=VACANT)
    for wrong in (ABSENT, VACANT, first.revision - 1, Seen(first.revision, 1), 10**30):
        for refused in (
            lambda: store.compare_and_set("key", b"2", expected=wrong),
            lambda: store.remove("key", expected=wrong),
        ):
            with pytest.raises(VersionConflictError) as caught:
                refused()
            assert caught.value.current == first
    assert store.remove("key", expected=Seen(first.revision, 0))
    assert not store.remove("key", expected=ABSENT)
    with pytest.raises(VersionConflictError):
        store.compare_and_set("key", b"2", expected=Seen(first.revision, 0))


# -- opening and closing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "",
        "etcd:",
        "http://host:1",
        "etcd://host:x",
        "etcd://host/path",
        "etcd://host?a=b",
        "etcd://host#f",
        "etcd://a b",
        7,
        None,
    ],
)
def test_a_url_that_cannot_be_is_refused(url: Any) -> None:
    with pytest.raises(ConfigError, match="etcd://host:port"):
        EtcdStore(url)


def test_a_user_is_refused_and_a_password_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        EtcdStore("etcd://me:hunter2@host:1")
    assert caught.value.value == "one with a user"
    assert caught.value.__context__ is None or "hunter2" not in str(caught.value.__context__)


def test_a_timeout_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="timeout"):
        EtcdStore("etcd://host", timeout=30)


@pytest.mark.parametrize("namespace", ["", "a/b", 7])
def test_a_namespace_that_cannot_be_is_refused(namespace: Any) -> None:
    with pytest.raises(ConfigError, match="namespace"):
        EtcdStore("etcd://host", namespace=namespace)


def test_a_store_says_where_it_is() -> None:
    with EtcdStore("etcds://[::1]:7", namespace="n") as store:
        assert repr(store) == "<EtcdStore(etcds://[::1]:7, namespace='n')>"
        assert store._url == "https://[::1]:7/v3/"


def test_tls_is_spoken_to_nobody_without_a_certificate(server: EtcdServer) -> None:
    with EtcdStore(server.url.replace("etcd:", "etcds:")) as store, pytest.raises(StoreUnavailableError, match="SSL"):
        store.load("key")


def test_a_store_that_another_thread_closes_is_closed(store: EtcdStore) -> None:
    store._client.close()
    with pytest.raises(StoreError, match="closed"):
        store.load("key")


def test_a_child_process_has_connections_of_its_own(store: EtcdStore) -> None:
    store.compare_and_set("key", b"parent", expected=ABSENT)
    mine = store._client
    child = os.fork()
    if not child:
        try:
            there = store.load("key")
            ok = there is not None and there.value == b"parent" and store._client is not mine
            store.compare_and_set("key", b"child", expected=ANY)
            store.close()
            os._exit(0 if ok else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    there = store.load("key")
    assert there is not None
    assert there.value == b"child"


def test_what_was_never_used_in_a_child_is_closed_there_without_touching_the_parent_s(store: EtcdStore) -> None:
    store.ping()
    store._pid = -1  # as a child sees it
    store.close()
    assert not store._client.is_closed
    mine = store._client
    mine.close()


def test_connections_are_made_anew_in_a_child(store: EtcdStore) -> None:
    store.ping()
    mine = store._client
    store._pid = -1
    store.ping()
    assert store._client is not mine
    mine.close()


@pytest.mark.parametrize("headers", [{}, {"date": "soon"}], ids=["none", "babble"])
def test_where_answers_have_no_date_this_host_s_clock_stands_in(store: EtcdStore, headers: dict[str, str]) -> None:
    for _ in range(2):
        assert abs(store._hear(httpx.Headers(headers)) - time.time()) < 1


@pytest.mark.parametrize(
    "answer", [says(502, b"<h1>Bad gateway</h1>"), says(200, b"[]"), cut_off], ids=["502", "list", "cut"]
)
def test_what_is_no_etcd_s_answer_is_none(answer: Any) -> None:
    with serving(answer) as server, EtcdStore(f"etcd://127.0.0.1:{server.port}") as store:
        with pytest.raises(StoreUnavailableError):
            store.load("key")
        store._hear(httpx.Headers({}))
        with pytest.raises(OutcomeUnknownError):
            store.compare_and_set("key", b"", expected=ANY)
        assert len(server.requests) == 2


def test_without_the_driver_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    spec = importlib.util.spec_from_file_location("without_driver", home.__file__)
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ImportError, match=r"pip install 'resilience-primitives\[etcd\]'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
