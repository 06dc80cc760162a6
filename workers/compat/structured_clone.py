"""JavaScript's structured clone for Python values, as V8 serialization (version 15).

Python -> JavaScript: None null, bool, str, int and float number (beyond 2^53 BigInt), dict Object, list Array, set Set,
bytes Uint8Array, datetime Date, exception Error. Back: null and undefined None, Object and Map attribute dicts, buffers
memoryview, Date a naive UTC datetime, whole numbers int; a Set or Map with objects for members or keys is a list of
them (`MemberList`, `PairList`), which is written as what it was.
"""

from __future__ import annotations

import datetime as dt
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any

from workers.compat.deep import deeply
from workers.compat.js_string import js_string
from workers.compat.proxies import JsDict, JsException, JsMap, JsNull, JsTypeError, MemberList, PairList
from workers.compat.v8_reader import ERROR_TAGS, HOST_ERROR, HOST_ERROR_NAMES, VIEW_FORMATS, deserialize

__all__ = ["DataCloneError", "deserialize", "error_facts", "serialize"]

_HEADER = b"\xff\x0f"
_SAFE_INTEGER = 2**53 - 1
_SMI_LIMIT = 2**30  # V8 writes the tag "I" only for small integers, everything else as a double
_UTC = dt.timezone.utc  # noqa: UP017 - the name `datetime.UTC` would hide which module it is from
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=_UTC)
_DOUBLE = struct.Struct("<d")
_ERROR_FIELDS = frozenset({"name", "message", "cause", "properties", "stack"})


_VIEW_TAGS = {letter: tag for tag, letter in VIEW_FORMATS.items()}


class DataCloneError(JsException):
    """The value cannot be copied between isolates or into storage."""

    default_name = "DataCloneError"

    def __init__(
        self, message: object = "", *, name: str | None = None, cause: object = None, **properties: object
    ) -> None:
        super().__init__(message, name=name, cause=cause, **{"code": 25, **properties})


# -- writing


class _Seen:
    """The objects written so far; V8 numbers them in this order."""

    __slots__ = ("numbers", "objects")

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}
        self.objects: list[object] = []  # kept alive: another object could get the identity of a freed one

    def add(self, value: object) -> None:
        self.numbers[id(value)] = len(self.objects)
        self.objects.append(value)


def serialize(value: object) -> bytes:
    """Return the V8 serialization of `value`.

    Raises:
        DataCloneError: It holds something that cannot be cloned, such as a function.
        JsTypeError: It holds a tuple or bytearray, which the SDK refuses.
        JsRangeError: It is nested some thousand levels deep.
    """
    try:
        return _written(value)
    except RecursionError:
        return deeply(lambda: _written(value))


def _written(value: object) -> bytes:
    out = bytearray(_HEADER)
    _write(out, value, _Seen())
    return bytes(out)


def _varint(out: bytearray, number: int) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _write(out: bytearray, value: Any, seen: _Seen) -> None:
    writer = _WRITERS.get(value.__class__)
    if writer is None:
        writer = _writer_for(value)
    writer(out, value, seen)


def _write_null(out: bytearray, value: Any, seen: _Seen) -> None:
    out += b"0"


def _write_bool(out: bytearray, value: Any, seen: _Seen) -> None:
    out += b"T" if value else b"F"


def _write_int(out: bytearray, value: Any, seen: _Seen) -> None:
    if -_SMI_LIMIT <= value < _SMI_LIMIT:
        out += b"I"
        _varint(out, (value << 1) ^ (value >> 31) if value >= 0 else ((-value) << 1) - 1)
    elif -_SAFE_INTEGER <= value <= _SAFE_INTEGER:
        out += b"N"
        out += _DOUBLE.pack(value)
    else:
        magnitude = abs(value)
        size = (magnitude.bit_length() + 63) // 64 * 8
        out += b"Z"
        _varint(out, size << 1 | (value < 0))
        out += magnitude.to_bytes(size, "little")


def _write_float(out: bytearray, value: Any, seen: _Seen) -> None:
    if value.is_integer() and -_SMI_LIMIT <= value < _SMI_LIMIT and (value or math.copysign(1, value) > 0):
        _write_int(out, int(value), seen)
    else:
        out += b"N"
        out += _DOUBLE.pack(value)


def _write_str(out: bytearray, value: Any, seen: _Seen) -> None:
    try:
        encoded = value.encode("latin-1")
    except UnicodeEncodeError:
        encoded = value.encode("utf-16-le", "surrogatepass")
        size = bytearray()
        _varint(size, len(encoded))
        if (len(out) + 1 + len(size)) & 1:
            out += b"\0"  # V8 reads two-byte text in place, so it must start at an even offset
        out += b"c"
        out += size
    else:
        out += b'"'
        _varint(out, len(encoded))
    out += encoded


def _is_reference(out: bytearray, value: object, seen: _Seen) -> bool:
    """Write a back reference when the object was written before; else give it the next number."""
    number = seen.numbers.get(id(value))
    if number is None:
        seen.add(value)
        return False
    out += b"^"
    _varint(out, number)
    return True


def _write_list(out: bytearray, value: Any, seen: _Seen) -> None:
    if _is_reference(out, value, seen):
        return
    out += b"A"
    _varint(out, len(value))
    for item in value:
        _write(out, item, seen)
    out += b"$\0"
    _varint(out, len(value))


def _write_dict(out: bytearray, value: Any, seen: _Seen) -> None:
    if _is_reference(out, value, seen):
        return
    out += b"o"
    for key, item in value.items():
        if key.__class__ is str:
            _write_str(out, key, seen)
        else:
            _write_str(out, js_string(key), seen)
        _write(out, item, seen)
    out += b"{"
    _varint(out, len(value))


def _write_map(out: bytearray, value: Any, seen: _Seen) -> None:
    if _is_reference(out, value, seen):
        return
    out += b";"
    for key, item in value.items():
        _write(out, key, seen)
        _write(out, item, seen)
    out += b":"
    _varint(out, len(value) * 2)


def _write_set(out: bytearray, value: Any, seen: _Seen) -> None:
    if _is_reference(out, value, seen):
        return
    out += b"'"
    for item in value:
        _write(out, item, seen)
    out += b","
    _varint(out, len(value))


def _write_pairs(out: bytearray, value: Any, seen: _Seen) -> None:
    if _is_reference(out, value, seen):
        return
    out += b";"
    for key, item in value:
        _write(out, key, seen)
        _write(out, item, seen)
    out += b":"
    _varint(out, len(value) * 2)


def _write_bytes(out: bytearray, value: Any, seen: _Seen) -> None:
    _write_view(out, value, value, ord("B"), seen)


def _write_memoryview(out: bytearray, value: Any, seen: _Seen) -> None:
    kind = ord("B") if value.format == "B" else _VIEW_TAGS.get(value.format, ord("B"))
    _write_view(out, value, bytes(value), kind, seen)


def _write_view(out: bytearray, value: object, content: bytes, kind: int, seen: _Seen) -> None:
    if id(value) in seen.numbers:
        _is_reference(out, value, seen)
        return
    seen.objects.append(None)  # the buffer under the view takes a number of its own
    seen.add(value)
    out += b"B"
    _varint(out, len(content))
    out += content
    out += b"V" + bytes([kind, 0])
    _varint(out, len(content))
    out += b"\0"


def _write_date(out: bytearray, value: Any, seen: _Seen) -> None:
    if not _is_reference(out, value, seen):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=_UTC)
        microseconds = (aware - _EPOCH) // dt.timedelta(microseconds=1)
        whole_ms = abs(microseconds) // 1000  # a Date cuts the rest off
        out += b"D"
        out += _DOUBLE.pack(float(whole_ms if microseconds >= 0 else -whole_ms))


def error_facts(error: BaseException) -> tuple[str, str, object, dict[str, object]]:
    """Return name, message, cause and further own properties of an exception as JavaScript sees it.

    Of a Python exception only the plain values among its attributes are told.
    """
    cause = getattr(error, "cause", None) or error.__cause__
    if isinstance(error, JsException):
        own = {key: item for key, item in error.__dict__.items() if key not in _ERROR_FIELDS}
        return error.name, error.message, cause, own
    own = {key: item for key, item in error.__dict__.items() if item.__class__ in _WRITERS and key[:1] != "_"}
    return "Error", str(error), cause, own


def _write_error(out: bytearray, value: Any, seen: _Seen) -> None:
    if _is_reference(out, value, seen):
        return
    name, message, cause, own = error_facts(value)
    if own or (name not in ERROR_TAGS and name != "Error"):  # V8's own form has no place for them
        out += b"\\" + bytes([HOST_ERROR])
        if name in HOST_ERROR_NAMES:
            out.append(HOST_ERROR_NAMES.index(name))
        else:
            out.append(0)
            _write_str(out, name, seen)
        _write_str(out, message, seen)
        _write_dict(out, {"stack": f"{name}: {message}", **({} if cause is None else {"cause": cause}), **own}, seen)
        return
    out += b"r"
    out += ERROR_TAGS.get(name, b"")
    out += b"m"
    _write_str(out, message, seen)
    out += b"s"
    _write_str(out, f"{name}: {message}", seen)
    if cause is not None:  # only after the stack: V8 wants it there
        out += b"c"
        _write(out, cause, seen)
    out += b"."


def _refuse_tuple(out: bytearray, value: Any, seen: _Seen) -> None:
    raise JsTypeError(f"{type(value)} cannot be sent over RPC.")


_Writer = Callable[[bytearray, Any, _Seen], None]
_WRITERS: dict[type, _Writer] = {
    type(None): _write_null,
    JsNull: _write_null,
    bool: _write_bool,
    int: _write_int,
    float: _write_float,
    str: _write_str,
    list: _write_list,
    dict: _write_dict,
    JsDict: _write_dict,
    JsMap: _write_map,
    set: _write_set,
    frozenset: _write_set,
    MemberList: _write_set,
    PairList: _write_pairs,
    bytes: _write_bytes,
    memoryview: _write_memoryview,
    dt.datetime: _write_date,
    tuple: _refuse_tuple,
    bytearray: _refuse_tuple,
}


def _writer_for(value: Any) -> _Writer:
    """Find the writer of a subclass, or refuse as structured clone does."""
    if isinstance(value, BaseException):
        return _write_error
    for known, writer in _WRITERS.items():
        if isinstance(value, known):
            return writer
    if isinstance(value, Mapping):
        return _write_dict
    # DIFFERS(class-instances): JavaScript stores them as plain objects.
    text = f"{value!r}" if callable(value) else f"{type(value).__name__}"
    raise DataCloneError(f"{text} could not be cloned.")
