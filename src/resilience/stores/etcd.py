"""A store in etcd: shared by all who reach the cluster, and strict, for etcd commits by consensus.

It speaks the JSON gateway that every etcd from 3.4 on has under ``/v3/``. What is asked and decided is in `_etcd_verbs`, how
records are laid out in `_etcd_words`. Expiry is etcd's own: a record is alive while a key that is bound to an etcd lease is
there, so that "unexpired" is compared in the same transaction as everything else, and no clock is read to judge it.
"""

from __future__ import annotations

import os
import re
import secrets
import ssl
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from typing_extensions import override

from resilience._core import checks
from resilience._core.description import Description, Fault, faults_but
from resilience._core.steps import Verb, checked_key
from resilience._io import world
from resilience._io.ambient import scope_now
from resilience.errors import ConfigError, ResilienceError, StoreError
from resilience.stores._base import LARGEST_VALUE, StoreBase
from resilience.stores._etcd_talk import Answer, Ask, Program, ServerTime, broken, refused
from resilience.stores._etcd_verbs import carry_out, incarnation
from resilience.stores._etcd_words import Json, Names
from resilience.typing import Seconds


try:
    import httpx
except ImportError as _missing:
    raise ImportError("EtcdStore needs httpx: pip install 'resilience-primitives[etcd]'") from _missing


__all__ = ["EtcdStore"]

R = TypeVar("R")

_SECURE = {"etcd": False, "etcds": True}
_HOST = re.compile(r"[a-z0-9._:-]+")
#: Seconds. An answer that comes later would tell nothing of when a lease ends (see `_etcd_words.SOONER`).
_LONGEST = 25.0
_OK = 200


class EtcdStore(StoreBase):
    """A `resilience.typing.Store` in etcd 3.4 or later, by its JSON gateway. Safe for threads, and usable after a fork.

    What is acknowledged is on the disks of a majority. Each verb is one transaction, with these round trips beside it:

    * a write with a TTL, and `extend`, ask for an etcd lease first: until the transaction binds a key to it, it means
      nothing, and one that is not used ends by itself. A write that is refused gives it back;
    * a write whose revision would be too low (another client's clock is ahead) is answered so, not done, and asked again;
    * an instance that is to write before it has heard the server's clock asks for that, once;
    * more than 100 keys of `load_many`, and the pages behind a `scan`, are read as of the moment of the first;
    * more than 100 beats of `extend` are several transactions, each beat judged for itself. `describe` says so.

    **Expiry is late, never early.** etcd counts whole seconds, looks for what is over every half second, grants 2 s at least
    as it comes (3/2 of its election timeout, rounded up), and counts anew when its leader changes: a record of 0.3 s lives for
    about 2 s. `ttl` shows what was asked; `expires_in` is told by the dates of the server's answers, to about a second.

    There is no user and no password: use the certificates of ``etcds://``, or a network of your own.

    Args:
        url: etcd://host:port, or etcds://host:port for TLS.
        namespace: What the keys of this store begin with, without slashes; several stores can share a cluster.
        timeout: Seconds that one round trip may take, at most 25; less where the deadline around is near.
        max_value_bytes: The limit of a value; etcd refuses requests over 1.5 MiB.

    Raises:
        ConfigError: A URL or namespace that cannot be. Nothing is connected before the first verb.

    >>> from resilience.stores.etcd import EtcdStore
    >>> EtcdStore("etcd://etcd.example", namespace="bridge")
    <EtcdStore(etcd://etcd.example:2379, namespace='bridge')>
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "resilience",
        timeout: Seconds = 5.0,
        max_value_bytes: int = LARGEST_VALUE,
    ) -> None:
        secure, place = _place(url)
        if "/" in checked_key("namespace", namespace):
            raise ConfigError("namespace", namespace, "text without slashes, which divide the names in etcd")
        scheme = "etcds" if secure else "etcd"
        super().__init__(f"EtcdStore({scheme}://{place}, namespace={namespace!r})", max_value_bytes)
        self._names = Names(self._name, namespace)
        self._timeout = checks.seconds("timeout", timeout, longest=_LONGEST)
        self._url = f"{'https' if secure else 'http'}://{place}/v3/"
        # A context of its own, for httpx would read a file of certificates also where there is no TLS.
        self._tls = ssl.create_default_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._time: ServerTime | None = None
        self._connect()

    def _connect(self) -> None:
        """Start with no connection. In a child process too: those of its parent are not touched."""
        self._pid = os.getpid()
        self._client = httpx.Client(verify=self._tls, trust_env=False)

    @override
    def _run(self, verb: Verb[R]) -> R:
        known = self._time
        now = None if known is None else known.at(world.current.clock.boottime())
        return self._converse(carry_out(self._names, verb, now))

    @override
    def describe(self) -> Description:
        """What this store promises, and what it may lose."""
        return Description(
            store=self._name,
            clock="server",
            incarnation=self._converse(incarnation(self._names, secrets.token_hex(8))),
            durable=True,
            survives_crash=True,
            survives_reboot=True,
            shared=True,
            batch_extend=False,
            wakes=False,
            revisions_survive=faults_but((Fault.EMPTIED, Fault.CLOCK_SET_BACK), (Fault.RESTORED, Fault.CLOCK_SET_BACK)),
        )

    @override
    def _close(self) -> None:
        if self._pid == os.getpid():
            self._client.close()

    def _converse(self, program: Program[R]) -> R:
        """Carry a program out to its end."""
        self._ready()
        try:
            ask = next(program)
            while True:
                try:
                    answer = self._answer(ask)
                except ResilienceError as error:
                    ask = program.throw(error)
                else:
                    ask = program.send(answer)
        except StopIteration as done:
            result: R = done.value
            return result

    def _answer(self, ask: Ask) -> Answer:
        """One round trip."""
        seconds = scope_now().timeout(cap=self._timeout)
        if self._pid != os.getpid():
            self._connect()
        try:
            reply = self._client.post(self._url + ask.path, json=ask.body, timeout=seconds)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise broken(self._name, ask, f"it cannot be reached: {error!r}", sent=False) from error
        except httpx.RequestError as error:
            raise broken(self._name, ask, f"it did not answer: {error!r}", sent=True) from error
        except RuntimeError as error:  # another thread closed the client
            raise StoreError(self._name, "it is closed") from error
        now = self._hear(reply.headers)
        try:
            body: Any = reply.json()
        except ValueError:
            body = None
        if reply.status_code != _OK or not isinstance(body, dict):
            raise refused(self._name, ask, reply.status_code, body)
        return Answer(cast("Json", body), now)

    def _hear(self, headers: httpx.Headers) -> float:
        """What the server's clock shows now; this host's, where the answer does not say."""
        clock = world.current.clock
        wall, boottime = clock.wall(), clock.boottime()
        date = _dated(headers.get("date", ""))
        known = self._time
        if date is None:
            date = wall if known is None else known.at(boottime)
        heard = ServerTime.first(date, boottime, wall) if known is None else known.heard(date, boottime)
        self._time = heard
        return heard.at(boottime)


def _dated(header: str) -> float | None:
    """Unix seconds; None where a proxy took the date away, or wrote something else."""
    try:
        return parsedate_to_datetime(header).timestamp()
    except ValueError:
        return None


def _place(url: object) -> tuple[bool, str]:
    """Whether by TLS, and host and port."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        host, secure, port = parts.hostname or "", _SECURE[parts.scheme], parts.port or 2379
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        httpx.URL(f"http://{place}/")
    except (ValueError, KeyError, httpx.InvalidURL):
        pass
    else:
        more = "@" in parts.netloc or parts.path.strip("/") or parts.query or parts.fragment
        if _HOST.fullmatch(host) and not more:
            return secure, place
    shown = "one with a user" if "@" in str(url) else url  # there may be a password in it
    raise ConfigError("url", shown, "etcd://host:port or etcds://host:port, and no more")
