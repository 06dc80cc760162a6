"""Reading V8 serialization: the value that `structured_clone.serialize`, or JavaScript, wrote.

Kinds met only in data written by JavaScript (RegExp, sparse arrays, wrapped primitives) are left to the `v8serialize`
package, which is slower.
"""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Callable, Mapping
from typing import Any, cast

from workers.compat.js_string import js_string, whole
from workers.compat.proxies import JsDict, JsException, JsRangeError, JsTypeError

__all__ = ["ERROR_TAGS", "VIEW_FORMATS", "deserialize"]

_DOUBLE = struct.Struct("<d")
ERROR_TAGS = {
    "EvalError": b"E",
    "RangeError": b"R",
    "ReferenceError": b"F",
    "SyntaxError": b"S",
    "TypeError": b"T",
    "URIError": b"U",
}
"""Name of a JavaScript error class -> its tag."""
_ERROR_NAMES = {tag[0]: name for name, tag in ERROR_TAGS.items()}
VIEW_FORMATS = {
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
"""Tag of a typed array -> format of the memoryview it becomes."""


class _Unsupported(Exception):
    """The fast decoder met a tag that it leaves to v8serialize."""


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
        if kind in VIEW_FORMATS:
            part = part.cast(VIEW_FORMATS[kind])
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
