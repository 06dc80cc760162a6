"""Reading V8 serialization: the value that `structured_clone.serialize`, or JavaScript, wrote.

Everything V8 15 and workerd write into storage is read here. Holes of arrays are None, wrapped primitives are what they
wrap; a RegExp, which Python cannot run, is the `v8serialize` package's plain description of it.
"""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Callable
from typing import Any

from workers.compat.deep import deeply
from workers.compat.js_string import js_string, whole
from workers.compat.proxies import (
    JsDict,
    JsException,
    JsRangeError,
    JsSyntaxError,
    JsTypeError,
    MemberList,
    PairList,
)

__all__ = ["ERROR_TAGS", "HOST_ERROR", "HOST_ERROR_NAMES", "VIEW_FORMATS", "deserialize"]

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
HOST_ERROR = 10
"""Of the objects that workerd itself writes, the one kind that storage holds."""
HOST_ERROR_NAMES = (
    "",  # the name follows
    "Error",
    "TypeError",
    "RangeError",
    "ReferenceError",
    "SyntaxError",
    "CompileError",
    "LinkError",
    "RuntimeError",
    "SuspendError",
    "EvalError",
    "URIError",
    "AggregateError",
    "SuppressedError",
)
_ERROR_CLASSES = {"TypeError": JsTypeError, "RangeError": JsRangeError, "SyntaxError": JsSyntaxError}
_ERROR_OWN = frozenset({"self", "name", "message", "cause", "stack", "properties", "args"})
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


def deserialize(data: bytes) -> Any:
    """Return the Python value of V8-serialized `data`.

    Raises:
        ValueError: `data` is not such a serialization.
    """
    try:
        try:
            return _Reader(data).value()
        except RecursionError:
            return deeply(lambda: _Reader(data).value())
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
            raise ValueError(f"stored value is of a kind that Python has no word for (V8 tag {chr(tag)!r})")
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
                self.position += 1
                items.append(None)  # a hole
            else:
                items.append(self.value())
        self._properties({}, ord("$"))
        self.varint()
        return items

    def sparse_array(self) -> list[Any]:
        items: list[Any] = [None] * self.varint()
        self.known.append(items)
        found: dict[str, Any] = {}
        self._properties(found, ord("@"))
        self.varint()
        for key, item in found.items():
            if key.isdecimal() and int(key) < len(items):
                items[int(key)] = item
        return items

    def map(self) -> JsDict | PairList:
        place = len(self.known)
        self.known.append(found := JsDict())
        pairs: list[tuple[Any, Any]] = []
        while self.peek() != ord(":"):
            pairs.append((self.value(), self.value()))
        self.position += 1
        self.varint()
        try:
            found.update(pairs)
        except TypeError:  # a key is an object
            self.known[place] = listed = PairList(list(pair) for pair in pairs)
            return listed
        return found

    def set(self) -> set[Any] | MemberList:
        place = len(self.known)
        self.known.append(found := set[Any]())
        members: list[Any] = []
        while self.peek() != ord(","):
            members.append(self.value())
        self.position += 1
        self.varint()
        try:
            found.update(members)
        except TypeError:  # a member is an object
            self.known[place] = listed = MemberList(members)
            return listed
        return found

    def buffer(self) -> memoryview:
        return self._or_view(self.known_value(memoryview(self.take(self.varint()))))

    def resizable_buffer(self) -> memoryview:
        size = self.varint()
        self.varint()  # how far it could grow
        return self._or_view(self.known_value(memoryview(self.take(size))))

    def _or_view(self, content: memoryview) -> memoryview:
        """A view is written after its buffer, and after the reference to a buffer that was written before."""
        if self.position < len(self.data) and self.data[self.position] == ord("V"):
            self.position += 1
            return self.view(content)
        return content

    def known_value(self, value: Any) -> Any:
        """Give the value the next id."""
        self.known.append(value)
        return value

    def view(self, content: memoryview) -> memoryview:
        kind = self.data[self.position]
        self.position += 1
        offset, size = self.varint(), self.varint()
        if self.version >= 14 and self.varint() & 1:
            size = len(content) - offset  # it reaches to the end of a resizable buffer, whatever its length
        part: Any = content[offset : offset + size]
        if kind in VIEW_FORMATS:
            part = part.cast(VIEW_FORMATS[kind])
        self.known.append(part)
        return part

    def date(self) -> dt.datetime:
        (milliseconds,) = _DOUBLE.unpack(self.take(8))
        try:
            value = dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=milliseconds)
        except (ValueError, OverflowError):  # NaN, or outside the years 1 to 9999
            text = "an invalid Date" if milliseconds != milliseconds else f"the Date {milliseconds:.0f}"
            raise ValueError(f"stored value holds {text}, which Python cannot express") from None
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
                raise ValueError("stored value holds a damaged Error")
        self.position += 1
        self.known[place] = found = _ERROR_CLASSES.get(name, JsException)(message, name=name, cause=cause)
        return found

    def host_object(self) -> JsException:
        """An Error as workerd writes it since 2026: kind, message, then its own properties as an object."""
        if self.varint() != HOST_ERROR:
            raise ValueError("stored value is an object of the runtime that Python has no word for")
        place = len(self.known)
        self.known.append(None)
        kind = self.varint()
        name = HOST_ERROR_NAMES[kind] if 0 < kind < len(HOST_ERROR_NAMES) else js_string(self.value())
        message = js_string(self.value())
        own: dict[str, Any] = self.value()
        extra = {key: item for key, item in own.items() if key not in _ERROR_OWN}
        found = _ERROR_CLASSES.get(name, JsException)(message, name=name, cause=own.get("cause"), **extra)
        self.known[place] = found
        return found

    def regexp(self) -> Any:
        # Imported here: it costs 0.1 s, and most programs never need it.
        from v8serialize.jstypes import JSRegExp, JSRegExpFlag

        place = len(self.known)
        self.known.append(None)
        source = js_string(self.value())
        self.known[place] = found = JSRegExp(source, JSRegExpFlag(self.varint()))
        return found

    def reference(self) -> Any:
        value = self.known[self.varint()]
        return self._or_view(value) if value.__class__ is memoryview else value


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
    ord("\\"): _Reader.host_object,
    ord("R"): _Reader.regexp,
    ord("a"): _Reader.sparse_array,
    ord("~"): _Reader.resizable_buffer,
    ord("x"): lambda reader: reader.known_value(False),
    ord("y"): lambda reader: reader.known_value(True),
    ord("n"): lambda reader: reader.known_value(reader.number()),
    ord("z"): lambda reader: reader.known_value(reader.bigint()),
    ord("s"): lambda reader: reader.known_value(reader.value()),
    ord("^"): _Reader.reference,
}
