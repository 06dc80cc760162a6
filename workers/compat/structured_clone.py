"""JavaScript's structured clone for Python values, as V8 serialization (version 15).

Python -> JavaScript: None null, bool, str, int and float number (beyond 2^53 BigInt), dict Object, list Array, set Set,
bytes Uint8Array, datetime Date, exception Error. Back: null and undefined None, Object and Map attribute dicts, buffers
memoryview, Date a naive UTC datetime, whole numbers int. Kinds met only in data written by JavaScript (RegExp, sparse
arrays, wrapped primitives) are left to the `v8serialize` package, which is slower.
"""

from __future__ import annotations

import datetime as dt
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any, cast

from workers.compat.js_string import js_string, whole
from workers.compat.proxies import JsDict, JsException, JsMap, JsNull, JsRangeError, JsTypeError

__all__ = ["DataCloneError", "deserialize", "serialize"]

_HEADER = b"\xff\x0f"
_SAFE_INTEGER = 2**53 - 1
_SMI_LIMIT = 2**30  # V8 writes the tag "I" only for small integers, everything else as a double
_UTC = dt.timezone.utc  # noqa: UP017 - the name `datetime.UTC` would hide which module it is from
_ERROR_TAGS = {
    "EvalError": b"E",
    "RangeError": b"R",
    "ReferenceError": b"F",
    "SyntaxError": b"S",
    "TypeError": b"T",
    "URIError": b"U",
}
_ERROR_NAMES = {tag[0]: name for name, tag in _ERROR_TAGS.items()}
_DOUBLE = struct.Struct("<d")
_VIEW_SIZES = {
    ord("b"): "b",
    ord("C"): "B",
    ord("w"): "h",
    ord("W"): "H",
    ord("d"): "i",
    ord("D"): "I",
    ord("f"): "f",
    ord("F"): "d",
    ord("q"): "q",
    ord("Q"): "Q",
}


class DataCloneError(JsException):
    """The value cannot be copied between isolates or into storage."""

    default_name = "DataCloneError"

    def __init__(
        self, message: object = "", *, name: str | None = None, cause: object = None, **properties: object
    ) -> None:
        super().__init__(message, name=name, cause=cause, **{"code": 25, **properties})


class _Unsupported(Exception):
    """The fast decoder met a tag that it leaves to v8serialize."""


# -- writing


def serialize(value: object) -> bytes:
    """Return the V8 serialization of `value`.

    Raises:
        DataCloneError: It holds something that cannot be cloned, such as a function.
        JsTypeError: It holds a tuple or bytearray, which the SDK refuses.
    """
    out = bytearray(_HEADER)
    _write(out, value, {})
    return bytes(out)


def _varint(out: bytearray, number: int) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _write(out: bytearray, value: Any, seen: dict[int, int]) -> None:
    writer = _WRITERS.get(value.__class__)
    if writer is None:
        writer = _writer_for(value)
    writer(out, value, seen)


def _write_null(out: bytearray, value: Any, seen: dict[int, int]) -> None:
    out += b"0"


def _write_bool(out: bytearray, value: Any, seen: dict[int, int]) -> None:
    out += b"T" if value else b"F"


def _write_int(out: bytearray, value: Any, seen: dict[int, int]) -> None:
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


def _write_float(out: bytearray, value: Any, seen: dict[int, int]) -> None:
    if value.is_integer() and -_SMI_LIMIT <= value < _SMI_LIMIT and (value or math.copysign(1, value) > 0):
        _write_int(out, int(value), seen)
    else:
        out += b"N"
        out += _DOUBLE.pack(value)


def _write_str(out: bytearray, value: Any, seen: dict[int, int]) -> None:
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


def _is_reference(out: bytearray, value: object, seen: dict[int, int]) -> bool:
    """Write a back reference when the object was written before; else give it the next id."""
    number = seen.get(id(value))
    if number is None:
        seen[id(value)] = len(seen)
        return False
    out += b"^"
    _varint(out, number)
    return True


def _write_list(out: bytearray, value: Any, seen: dict[int, int]) -> None:
    if _is_reference(out, value, seen):
        return
    out += b"A"
    _varint(out, len(value))
    for item in value:
        _write(out, item, seen)
    out += b"$\0"
    _varint(out, len(value))


def _write_dict(out: bytearray, value: Any, seen: dict[int, int]) -> None:
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


def _write_map(out: bytearray, value: Any, seen: dict[int, int]) -> None:
    if _is_reference(out, value, seen):
        return
    out += b";"
    for key, item in value.items():
        _write(out, key, seen)
        _write(out, item, seen)
    out += b":"
    _varint(out, len(value) * 2)


def _write_set(out: bytearray, value: Any, seen: dict[int, int]) -> None:
    if _is_reference(out, value, seen):
        return
    out += b"'"
    for item in value:
        _write(out, item, seen)
    out += b","
    _varint(out, len(value))


def _write_bytes(out: bytearray, value: Any, seen: dict[int, int]) -> None:
    if id(value) not in seen:
        seen[-1 - id(value)] = len(seen)  # the buffer under the view takes an id of its own
        out += b"B"
        _varint(out, len(value))
        out += value
        seen[id(value)] = len(seen)
        out += b"VB\0"
        _varint(out, len(value))
        out += b"\0"
    else:
        _is_reference(out, value, seen)


def _write_memoryview(out: bytearray, value: Any, seen: dict[int, int]) -> None:
    _write_bytes(out, bytes(value), seen)


def _write_date(out: bytearray, value: Any, seen: dict[int, int]) -> None:
    if not _is_reference(out, value, seen):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=_UTC)
        out += b"D"
        out += _DOUBLE.pack(float(round(aware.timestamp() * 1000)))


def _write_error(out: bytearray, value: Any, seen: dict[int, int]) -> None:
    if _is_reference(out, value, seen):
        return
    name, message = (value.name, value.message) if isinstance(value, JsException) else ("Error", str(value))
    out += b"r"
    out += _ERROR_TAGS.get(name, b"")
    out += b"m"
    _write_str(out, message, seen)
    out += b"s"
    _write_str(out, f"{name}: {message}", seen)
    out += b"."


def _refuse_tuple(out: bytearray, value: Any, seen: dict[int, int]) -> None:
    raise JsTypeError(f"{type(value)} cannot be sent over RPC.")


_Writer = Callable[[bytearray, Any, "dict[int, int]"], None]
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
    text = f"{value!r}" if callable(value) else f"{type(value).__name__}"
    raise DataCloneError(f"{text} could not be cloned.")


# -- reading


def deserialize(data: bytes) -> Any:
    """Return the Python value of V8-serialized `data`.

    Raises:
        ValueError: `data` is not such a serialization.
    """
    try:
        return _Reader(data).value()
    except _Unsupported:
        return _deserialize_rare(data)
    except (IndexError, struct.error) as error:
        raise ValueError("stored value is not a complete V8 serialization") from error


class _Reader:
    """Cursor over one serialization; object ids are handed out in the order V8 reads them."""

    __slots__ = ("data", "known", "position", "version")

    def __init__(self, data: bytes) -> None:
        if len(data) < 3 or data[0] != 0xFF:
            raise ValueError("stored value is not a V8 serialization")
        self.data = data
        self.version = data[1]
        self.position = 2
        self.known: list[Any] = []

    def varint(self) -> int:
        data, position, shift, number = self.data, self.position, 0, 0
        while True:
            byte = data[position]
            position += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                self.position = position
                return number
            shift += 7

    def take(self, size: int) -> bytes:
        start = self.position
        self.position = end = start + size
        if end > len(self.data):
            raise ValueError("stored value is cut short")
        return self.data[start:end]

    def value(self) -> Any:
        tag = self.data[self.position]
        self.position += 1
        while tag == 0:
            tag = self.data[self.position]
            self.position += 1
        read = _READERS.get(tag)
        if read is None:
            raise _Unsupported
        return read(self)

    def peek(self) -> int:
        while self.data[self.position] == 0:
            self.position += 1
        return self.data[self.position]

    def number(self) -> int | float:
        (value,) = _DOUBLE.unpack(self.take(8))
        return whole(value)

    def zigzag(self) -> int:
        number = self.varint()
        return number >> 1 if not number & 1 else -((number + 1) >> 1)

    def bigint(self) -> int:
        field = self.varint()
        magnitude = int.from_bytes(self.take(field >> 1), "little")
        return -magnitude if field & 1 else magnitude

    def latin1(self) -> str:
        return self.take(self.varint()).decode("latin-1")

    def utf16(self) -> str:
        return self.take(self.varint()).decode("utf-16-le", "surrogatepass")

    def utf8(self) -> str:
        return self.take(self.varint()).decode("utf-8", "replace")

    def object(self) -> JsDict:
        found = JsDict()
        self.known.append(found)
        self._properties(found, ord("{"))
        return found

    def _properties(self, into: dict[Any, Any], end: int) -> None:
        while self.peek() != end:
            key = self.value()
            into[key if isinstance(key, str) else js_string(key)] = self.value()
        self.position += 1
        self.varint()

    def array(self) -> list[Any]:
        items: list[Any] = []
        self.known.append(items)
        for _ in range(self.varint()):
            if self.peek() == ord("-"):
                raise _Unsupported  # a hole
            items.append(self.value())
        self._properties({}, ord("$"))
        self.varint()
        return items

    def map(self) -> JsDict:
        found = JsDict()
        self.known.append(found)
        while self.peek() != ord(":"):
            key = self.value()
            found[key] = self.value()
        self.position += 1
        self.varint()
        return found

    def set(self) -> set[Any]:
        found: set[Any] = set()
        self.known.append(found)
        while self.peek() != ord(","):
            found.add(self.value())
        self.position += 1
        self.varint()
        return found

    def buffer(self) -> memoryview:
        content = memoryview(self.take(self.varint()))
        self.known.append(content)
        if self.position < len(self.data) and self.data[self.position] == ord("V"):
            self.position += 1
            return self.view(content)
        return content

    def view(self, content: memoryview) -> memoryview:
        kind = self.data[self.position]
        self.position += 1
        offset, size = self.varint(), self.varint()
        if self.version >= 14:
            self.varint()
        part: Any = content[offset : offset + size]
        if kind in _VIEW_SIZES:
            part = part.cast(_VIEW_SIZES[kind])
        self.known.append(part)
        return part

    def date(self) -> dt.datetime:
        (milliseconds,) = _DOUBLE.unpack(self.take(8))
        value = dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=milliseconds)
        self.known.append(value)
        return value

    def error(self) -> JsException:
        name, message, cause = "Error", "", None
        place = len(self.known)
        self.known.append(None)
        while (tag := self.data[self.position]) != ord("."):
            self.position += 1
            if tag in _ERROR_NAMES:
                name = _ERROR_NAMES[tag]
            elif tag == ord("m"):
                message = str(self.value())
            elif tag == ord("s"):
                self.value()
            elif tag == ord("c"):
                cause = self.value()
            else:
                raise _Unsupported
        self.position += 1
        kind = {"TypeError": JsTypeError, "RangeError": JsRangeError}.get(name, JsException)
        self.known[place] = found = kind(message, name=name, cause=cause)
        return found

    def reference(self) -> Any:
        return self.known[self.varint()]


_READERS: dict[int, Callable[[_Reader], Any]] = {
    ord("0"): lambda reader: None,
    ord("_"): lambda reader: None,
    ord("T"): lambda reader: True,
    ord("F"): lambda reader: False,
    ord("I"): _Reader.zigzag,
    ord("U"): _Reader.varint,
    ord("N"): _Reader.number,
    ord("Z"): _Reader.bigint,
    ord('"'): _Reader.latin1,
    ord("c"): _Reader.utf16,
    ord("S"): _Reader.utf8,
    ord("o"): _Reader.object,
    ord("A"): _Reader.array,
    ord(";"): _Reader.map,
    ord("'"): _Reader.set,
    ord("B"): _Reader.buffer,
    ord("D"): _Reader.date,
    ord("r"): _Reader.error,
    ord("^"): _Reader.reference,
}


def _deserialize_rare(data: bytes) -> Any:
    import v8serialize  # here only: it costs 0.1 s to import and most programs never need it

    return _from_library(v8serialize.loads(data))


def _from_library(value: Any) -> Any:
    if isinstance(value, float):
        return whole(value)
    if isinstance(value, Mapping):
        pairs = cast(Mapping[Any, Any], value).items()
        return JsDict({key if isinstance(key, str) else js_string(key): _from_library(item) for key, item in pairs})
    kind = type(value).__name__
    if kind == "JSArray":
        return [_from_library(item) for item in value.array]
    if kind == "JSUndefinedEnum":
        return None
    return value
