"""Codecs: how a value becomes the bytes that a store keeps. There is none for pickle: reading one runs whatever it says."""

from __future__ import annotations

import json
from typing import Any

from resilience.errors import ConfigError


__all__ = ["Bytes", "Json"]


class Json:
    """JSON, as small as it gets; refuses what would not come back as it was.

    Tuples come back as lists, keys that are not text as text, NaN not at all: such values are refused, rather than
    changed in silence.

    >>> from resilience.stores import Json
    >>> Json().encode({"seats": [1, 2]})
    b'{"seats":[1,2]}'
    """

    __slots__ = ()

    def encode(self, value: Any, /) -> bytes:
        """The bytes, in UTF-8."""
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            data = text.encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError("value", value, f"JSON ({error})") from None
        if json.loads(text) != value:
            raise ConfigError("value", value, "JSON that comes back as it was: lists for tuples, text for keys")
        return data

    def decode(self, data: bytes, /) -> Any:
        """The value: a new one each time."""
        return json.loads(data)

    def __repr__(self) -> str:
        return "Json()"


class Bytes:
    """The bytes themselves.

    >>> from resilience.stores import Bytes
    >>> Bytes().decode(b"as it is")
    b'as it is'
    """

    __slots__ = ()

    def encode(self, value: bytes, /) -> bytes:
        """The bytes, as they are."""
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value)
        raise ConfigError("value", value, "bytes")

    def decode(self, data: bytes, /) -> bytes:
        """The bytes, as they are."""
        return data

    def __repr__(self) -> str:
        return "Bytes()"
