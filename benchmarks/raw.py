"""The floors of the stores: what each verb comes down to on its engine, written by hand with nothing around it.

One statement, one script or one published file; no checks, no checksums, no errors told apart, no conditions but the one
that makes a compare-and-set one.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import psycopg
import redis


KEY = "bench:0000"
VALUE = b"v" * 200


class Raw(Protocol):
    """What a verb comes down to; each call succeeds."""

    def load(self, x: int) -> object: ...
    def swap(self, x: int) -> object: ...
    def lease(self, x: int) -> object: ...
    def extend(self, keys: Sequence[str]) -> object: ...
    def scan(self, x: int) -> object: ...
    def close(self) -> None: ...


def keys(number: int) -> list[str]:
    """So many keys, the one that is read and written first."""
    return [f"bench:{each:04}" for each in range(number)]


class RawSQLite:
    """A table, two connections: one that waits for the disk, one that does not."""

    def __init__(self, path: Path) -> None:
        self._lasting, self._quick = (sqlite3.connect(path, isolation_level=None) for _ in range(2))
        self._quick.execute("PRAGMA journal_mode=WAL")
        self._quick.execute("PRAGMA synchronous=NORMAL")
        self._lasting.execute("PRAGMA synchronous=FULL")
        self._quick.execute(
            "CREATE TABLE records (key BLOB PRIMARY KEY, revision INTEGER, expires REAL, value BLOB) WITHOUT ROWID"
        )
        self._quick.executemany(
            "INSERT INTO records VALUES (?, 1, 1e12, ?)", [(key.encode(), VALUE) for key in keys(1000)]
        )
        self._quick.execute("INSERT INTO records VALUES (?, 1, 1e12, ?)", (b"lease", b""))
        self._revision = self._token = 1
        self._expires = 1e12

    def load(self, x: int) -> object:
        return self._quick.execute(
            "SELECT revision, expires, value FROM records WHERE key = ?", (KEY.encode(),)
        ).fetchone()

    def swap(self, x: int) -> object:
        self._revision += 1  # SQLite writes nothing where nothing changes
        statement = "UPDATE records SET revision = ?, value = ? WHERE key = ? AND revision = ?"
        return self._lasting.execute(statement, (self._revision, VALUE, KEY.encode(), self._revision - 1))

    def lease(self, x: int) -> object:
        for _ in range(2):
            self._token += 1
            statement = "UPDATE records SET revision = ?, expires = 1e12 WHERE key = ? AND revision = ?"
            self._quick.execute(statement, (self._token, b"lease", self._token - 1))
        return None

    def extend(self, keys: Sequence[str]) -> object:
        self._expires += 1
        self._quick.execute("BEGIN IMMEDIATE")
        self._quick.executemany(
            "UPDATE records SET expires = ? WHERE key = ? AND revision >= 1 AND expires > 1",
            [(self._expires, key.encode()) for key in keys],
        )
        return self._quick.execute("COMMIT")

    def scan(self, x: int) -> object:
        return self._quick.execute(
            "SELECT * FROM records WHERE key >= ? ORDER BY key LIMIT 1000", (b"bench",)
        ).fetchall()

    def close(self) -> None:
        self._lasting.close()
        self._quick.close()


class RawFiles:
    """A directory: a file for each key, published as it must be."""

    def __init__(self, place: Path) -> None:
        place.mkdir()
        self._place = place
        for key in [*keys(1000), "lease"]:
            (place / key).write_bytes(VALUE)

    def load(self, x: int) -> object:
        return (self._place / KEY).read_bytes()

    def swap(self, x: int) -> object:
        self._publish(KEY)
        return None

    def lease(self, x: int) -> object:
        for _ in range(2):
            self._publish("lease")
        return None

    def extend(self, keys: Sequence[str]) -> object:
        for key in keys:
            descriptor = os.open(self._place / key, os.O_WRONLY)
            os.pwrite(descriptor, b"x" * 64, 0)
            os.close(descriptor)
        return None

    def scan(self, x: int) -> object:
        return [(self._place / name).read_bytes() for name in sorted(os.listdir(self._place))[:1000]]

    def close(self) -> None:
        """Nothing is open."""

    def _publish(self, name: str) -> None:
        path = f"{self._place}/{name}"
        descriptor = os.open(f"{path}.new", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        os.write(descriptor, VALUE)
        os.fsync(descriptor)
        os.close(descriptor)
        os.replace(f"{path}.new", path)
        directory = os.open(self._place, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)


#: Each does with one hash, or with each of many, what the verb does, and no more.
_LOAD = "return redis.call('HMGET', KEYS[1], 'value', 'revision', 'expires')"
_SWAP = """
    if redis.call('HGET', KEYS[1], 'revision') ~= ARGV[1] then return 0 end
    redis.call('HSET', KEYS[1], 'value', ARGV[2], 'revision', ARGV[1], 'expires', redis.call('TIME')[1] + 30)
    return 1
"""
_EXTEND = """
    local now = redis.call('TIME')[1]
    for _, key in ipairs(KEYS) do
        local found = redis.call('HMGET', key, 'revision', 'expires', 'beats')
        if found[1] == '1' and tonumber(found[2]) > 0 then
            redis.call('HSET', key, 'expires', math.max(found[2], now + 30), 'ttl', 30, 'beats', (found[3] or 0) + 1)
        end
    end
    return 1
"""
_SCAN = """
    local page = {}
    for _, key in ipairs(redis.call('ZRANGEBYLEX', KEYS[1], '[bench', '+', 'LIMIT', 0, 1000)) do
        page[#page + 1] = {key, redis.call('HMGET', key, 'value', 'revision', 'expires')}
    end
    return page
"""


class RawRedis:
    """Hashes, and a script for each verb, called through the driver's client."""

    def __init__(self, url: str) -> None:
        self._client: Any = redis.Redis.from_url(url)
        for key in [*keys(1000), "lease"]:
            self._client.hset(key, mapping={"value": VALUE, "revision": 1, "expires": 9e9})
            self._client.zadd("index", {key: 0})
        self._load, self._swap, self._extend, self._scan = map(self._client.script_load, (_LOAD, _SWAP, _EXTEND, _SCAN))

    def load(self, x: int) -> object:
        return self._client.evalsha(self._load, 1, KEY)

    def swap(self, x: int) -> object:
        return self._client.evalsha(self._swap, 1, KEY, 1, VALUE)

    def lease(self, x: int) -> object:
        for _ in range(2):
            self._client.evalsha(self._swap, 1, "lease", 1, b"")
        return None

    def extend(self, keys: Sequence[str]) -> object:
        return self._client.evalsha(self._extend, len(keys), *keys)

    def scan(self, x: int) -> object:
        return self._client.evalsha(self._scan, 1, "index")

    def close(self) -> None:
        self._client.close()


class RawPostgres:
    """A table, and one statement a verb; not prepared, as it must be behind a transaction pooler."""

    def __init__(self, dsn: str) -> None:
        self._connection: Any = psycopg.connect(dsn, autocommit=True, prepare_threshold=None)
        self._connection.execute(
            "CREATE TABLE raw (key bytea PRIMARY KEY, revision bigint, expires timestamptz, value bytea)"
        )
        rows = [(key.encode(), VALUE) for key in [*keys(1000), "lease"]]
        self._connection.cursor().executemany("INSERT INTO raw VALUES (%s, 1, '9999-01-01', %s)", rows)

    def load(self, x: int) -> object:
        return self._connection.execute(
            "SELECT revision, expires, value FROM raw WHERE key = %s", (KEY.encode(),)
        ).fetchone()

    def swap(self, x: int) -> object:
        statement = "UPDATE raw SET revision = 1, value = %s WHERE key = %s AND revision = 1 RETURNING revision"
        return self._connection.execute(statement, (VALUE, KEY.encode())).fetchone()

    def lease(self, x: int) -> object:
        for _ in range(2):
            self._connection.execute(
                "UPDATE raw SET revision = 1, expires = clock_timestamp() + '30 s' WHERE key = %s AND revision = 1",
                (b"lease",),
            )
        return None

    def extend(self, keys: Sequence[str]) -> object:
        return self._connection.execute(
            "UPDATE raw SET expires = '9999-01-01' FROM unnest(%s::bytea[]) AS asked (key) "
            "WHERE raw.key = asked.key AND revision = 1 AND expires > clock_timestamp()",
            ([key.encode() for key in keys],),
        )

    def scan(self, x: int) -> object:
        return self._connection.execute("SELECT * FROM raw WHERE key >= 'bench' ORDER BY key LIMIT 1000").fetchall()

    def close(self) -> None:
        self._connection.close()
