"""The files of a record: how they are called, and what is in them.

**Names.** What cannot go wrong anywhere stands for itself, every other byte of the key's UTF-8 is escaped: capitals, for
not every file system tells them apart, and all beyond ASCII, which some normalise. A prefix and an ending keep names apart
from those that Windows reserves, from ``..``, and from the store's own files. A key too long for a name is cut and its
SHA-256 added; the whole key stands in the file, and is compared.

**Contents.** One line of JSON for people and for this library, then the value, then a **seal**: the SHA-256 of every byte
before it. The seal is compared byte for byte, before anything is parsed, so there is no second way to write the same record
and nothing that could be changed unseen.

**Beats.** A renewal must not cost a sync, so it is not published but written in place, in a small file beside the record's.
That has two sealed slots, written in turn: whatever becomes of the one being written, the renewal before it is still there.
A slot counts if its seal is right and it is of the record's revision, so a new record need not touch it.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import Any

from resilience._core.records import Record
from resilience.errors import ConfigError, CorruptStateError, UnknownFormatError


__all__ = [
    "BEATS",
    "RECORD",
    "beat_of",
    "could_be_under",
    "dump_record",
    "escaped",
    "is_cut",
    "key_of",
    "name_of",
    "parse_record",
    "renewed_by",
    "sealed",
    "unsealed",
]

#: How the names of the two files of a record end.
RECORD = ".record"
BEATS = ".beats"

_PREFIX = "k-"
#: Characters of a name, prefix and ending not counted; the strictest file systems of today allow 143 in all.
_LONGEST_NAME = 120
#: Characters of a long key that are kept, before its hash.
_KEPT = 48
_CUT = "~"

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_.")
_ESCAPES = [chr(byte) if byte in _PLAIN else f"%{byte:02x}" for byte in range(256)]

_FORMAT = "resilience.record"
_VERSION = 1

#: Bytes: a value longer than this is compressed, if that makes it shorter.
_COMPRESS_ABOVE = 100 * 1024
#: zlib's way to say gzip, without a time stamp.
_GZIP = 31

#: Bytes, the seal included: one sector.
SLOT = 512


def escaped(text: str) -> str:
    """Text as it stands in names; a longer text begins with the same."""
    return "".join([_ESCAPES[byte] for byte in text.encode()])


def name_of(key: str) -> str:
    """The name of a key's files, without their endings: of ASCII characters without capitals, another for every key."""
    name = escaped(key)
    if len(name) > _LONGEST_NAME:
        name = f"{name[:_KEPT]}{_CUT}{hashlib.sha256(key.encode()).hexdigest()}"
    return f"{_PREFIX}{name}"


def key_of(name: str) -> str | None:
    """The key that has this name; None if it is cut, or is not the name of any key."""
    first, *rest = name.removeprefix(_PREFIX).split("%")
    try:
        data = first.encode() + b"".join(bytes.fromhex(part[:2]) + part[2:].encode() for part in rest)
        key = data.decode()
    except ValueError:
        return None
    return key if name_of(key) == name else None


def is_cut(name: str) -> bool:
    """Whether only the file says of which key it is."""
    return name.startswith(_PREFIX) and _CUT in name


def could_be_under(name: str, prefix: str) -> bool:
    """Whether a key of this name could begin with what is `escaped` in `prefix`."""
    known, cut, _ = name.removeprefix(_PREFIX).partition(_CUT)
    return known.startswith(prefix) or bool(cut and prefix.startswith(known))


def sealed(body: bytes) -> bytes:
    """Bytes, and the seal that says that they are whole."""
    return body + _seal(body)


def unsealed(data: bytes, where: str) -> bytes:
    """The bytes without their seal.

    Raises:
        CorruptStateError: They are not what was written.
    """
    body = data[:-_SEAL]
    if data[-_SEAL:] != _seal(body):
        raise CorruptStateError(where, f"its checksum is wrong: its {len(data)} bytes are not what was written")
    return body


def _seal(body: bytes) -> bytes:
    return b"\nsha256:%s\n" % hashlib.sha256(body).hexdigest().encode()


_SEAL = len(_seal(b""))


def dump_record(key: str, record: Record) -> bytes:
    """What is in the file of a record."""
    value = record.value
    if len(value) > _COMPRESS_ABOVE:
        value = min(value, zlib.compress(value, 1, _GZIP), key=len)
    head = {
        "format": _FORMAT,
        "v": _VERSION,
        "key": key,
        **_fields(record),
        "write_id": record.write_id,
        "gzip": value is not record.value,
    }
    return sealed(b"%s\n%s" % (_json(head), value))


def parse_record(data: bytes, where: str) -> tuple[str, Record]:
    """The key and the record in a file.

    Raises:
        CorruptStateError: It is not what was written.
        UnknownFormatError: It is whole, but no record that this version knows.
    """
    line, _, value = unsealed(data, where).partition(b"\n")
    try:
        head = json.loads(line)
        if (head.pop("format"), head.pop("v")) != (_FORMAT, _VERSION):
            raise ValueError
        key = head.pop("key")
        if head.pop("gzip"):
            value = zlib.decompress(value, _GZIP)
        return key, Record(value=value, **head)
    except (AttributeError, KeyError, TypeError, ValueError, zlib.error):
        raise UnknownFormatError(where, f"not a record in version {_VERSION} of its format") from None


def beat_of(record: Record) -> tuple[bytes, int]:
    """The slot for a renewed record, and where in the file it is written."""
    body = _json(_fields(record))
    room = SLOT - _SEAL
    if len(body) > room:
        raise ConfigError("clock.boot()", record.boot, f"short enough for a slot of {SLOT} bytes")
    return sealed(body.ljust(room)), record.beats % 2 * SLOT


def renewed_by(record: Record, data: bytes) -> Record:
    """A record, as the last renewal of it in the file of its beats left it."""
    for at in (0, SLOT):
        try:
            beat: Mapping[str, Any] = json.loads(unsealed(data[at : at + SLOT], ""))
        except CorruptStateError:  # never written, or torn by a power cut
            continue
        if beat["revision"] == record.revision and beat["beats"] > record.beats:
            record = record._replace(**beat)
    return record


def _fields(record: Record) -> dict[str, object]:
    """What a renewal changes, and the revision it belongs to."""
    return {
        "revision": record.revision,
        "beats": record.beats,
        "ttl": record.ttl,
        "expires_boottime": record.expires_boottime,
        "expires_wall": record.expires_wall,
        "boot": record.boot,
    }


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
