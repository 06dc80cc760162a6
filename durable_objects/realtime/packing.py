"""Frames as MessagePack, for clients that negotiated `flarelet-v1.msgpack`. The package `msgpack` is optional.

Frames are JSON text everywhere inside. A text is packed once, however many clients it goes to in a row.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from durable_objects.realtime.core.codes import Code, Malformed
from durable_objects.realtime.core.protocol import dumps, loads

__all__ = ["is_available", "packed", "unpacked"]

_found: bool | None = None
_last: tuple[str, str | bytes] = ("", b"")


def is_available() -> bool:
    """Whether the package is installed."""
    global _found
    if _found is None:
        _found = find_spec("msgpack") is not None
    return _found


def packed(text: str) -> str | bytes:
    """Return a frame as MessagePack, the same object for the same text as the last time.

    What MessagePack has no room for (nesting beyond 1,000) stays text; integers beyond 64 bits become strings.
    """
    global _last
    if _last[0] is not text:
        try:
            _last = text, _msgpack().packb(loads(text), default=str)
        except (ValueError, OverflowError, RecursionError):
            _last = text, text
    return _last[1]


def unpacked(data: bytes, *, max_bytes: int) -> str:
    """Return a client's frame as JSON text.

    Raises:
        Malformed: It is too big, no MessagePack, or holds what JSON cannot.
    """
    if len(data) > max_bytes:
        raise Malformed(Code.TOO_BIG, f"frame is larger than {max_bytes} bytes")
    try:
        value = _msgpack().unpackb(data, raw=False, strict_map_key=True)
        return dumps(value)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Malformed(Code.NOT_JSON, f"frame is not MessagePack of JSON values: {error}"[:200]) from error


def _msgpack() -> Any:
    return import_module("msgpack")
