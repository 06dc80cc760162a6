"""The numeric views of JavaScript (Int8Array, Float32Array, DataView, ...) over memory of their own.

Uint8Array is not here: it is `bytes` (`buffers.py`), since that is what bodies and sockets carry.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, ClassVar, Self, cast

from workers.compat.buffers import ArrayBuffer
from workers.compat.proxies import JsProxy, JsRangeError

__all__ = [
    "BigInt64Array",
    "BigUint64Array",
    "DataView",
    "Float32Array",
    "Float64Array",
    "Int8Array",
    "Int16Array",
    "Int32Array",
    "TypedArray",
    "Uint8ClampedArray",
    "Uint16Array",
    "Uint32Array",
]


class TypedArray(JsProxy):
    """Numbers of one fixed size; made of a length, a buffer or numbers."""

    __slots__ = ("_data",)

    format: ClassVar[str] = "B"
    BYTES_PER_ELEMENT: ClassVar[int] = 1

    def __init_subclass__(cls) -> None:
        setattr(cls, "BYTES_PER_ELEMENT", struct.calcsize(cls.format))  # noqa: B010 - a constant of each subclass

    def __init__(self, source: Any = 0, byteOffset: int = 0, length: int | None = None) -> None:
        size = self.BYTES_PER_ELEMENT
        if isinstance(source, int):
            self._data = bytearray(source * size)
        elif isinstance(source, (bytes, bytearray, memoryview)):
            data = bytes(cast(bytes, source))[byteOffset:]
            data = data if length is None else data[: length * size]
            if len(data) % size:
                raise JsRangeError(f"byte length of {type(self).__name__} should be a multiple of {size}")
            self._data = bytearray(data)
        else:
            self._data = bytearray().join(self._pack(number) for number in cast(Iterable[Any], source))

    @classmethod
    def of(cls, *numbers: Any) -> Self:
        """Construct from numbers, or their text."""
        return cls(numbers)

    def _pack(self, number: Any) -> bytes:
        value = float(number)
        if self.format in "fd":
            return struct.pack(self.format, value)
        bits = 8 * self.BYTES_PER_ELEMENT
        whole = int(number) if isinstance(number, int) else int(value)
        whole &= (1 << bits) - 1
        if self.format.islower() and whole >= 1 << (bits - 1):
            whole -= 1 << bits
        return struct.pack(self.format, whole)

    def _view(self) -> memoryview[Any]:
        view: Any = memoryview(self._data)
        return view.cast(self.format)

    @property
    def buffer(self) -> ArrayBuffer:
        """A copy of the bytes."""
        return ArrayBuffer(self._data)

    @property
    def length(self) -> int:
        """Number of elements."""
        return len(self)

    @property
    def byteLength(self) -> int:
        """Number of bytes."""
        return len(self._data)

    @property
    def byteOffset(self) -> int:
        """Always 0: a view has memory of its own."""
        return 0

    def subarray(self, start: int = 0, end: int | None = None) -> Self:
        """Return a part, as a copy."""
        size = self.BYTES_PER_ELEMENT
        first, last, _ = slice(start, end).indices(len(self))
        return type(self)(bytes(self._data[first * size : max(first, last) * size]))

    slice = subarray

    def set(self, numbers: Iterable[Any], offset: int = 0) -> None:
        """Write numbers from `offset` on."""
        for place, number in enumerate(numbers, offset):
            self[place] = number

    def fill(self, number: Any) -> Self:
        """Write one number everywhere."""
        self._data[:] = self._pack(number) * len(self)
        return self

    def to_bytes(self) -> bytes:
        """Return the bytes."""
        return bytes(self._data)

    def tobytes(self) -> bytes:
        """Return the bytes, under the name that memoryview uses."""
        return bytes(self._data)

    def to_py(self, **_options: Any) -> memoryview[Any]:
        """Return a memoryview of the numbers."""
        return self._view()

    def to_memoryview(self) -> memoryview[Any]:
        """Return a memoryview of the numbers."""
        return self._view()

    def __len__(self) -> int:
        return len(self._data) // self.BYTES_PER_ELEMENT

    def __iter__(self) -> Iterator[Any]:
        return iter(self._view())

    def __getitem__(self, place: int) -> Any:
        return self._view()[place]

    def __setitem__(self, place: int, number: Any) -> None:
        start = place * self.BYTES_PER_ELEMENT
        if not 0 <= start < len(self._data):
            raise IndexError(place)
        self._data[start : start + self.BYTES_PER_ELEMENT] = self._pack(number)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self)!r})"


class Int8Array(TypedArray):
    """Signed 8-bit integers."""

    __slots__ = ()
    format = "b"


class Uint8ClampedArray(TypedArray):
    """Unsigned 8-bit integers; values outside 0 to 255 become the nearest bound."""

    __slots__ = ()
    format = "B"

    def _pack(self, number: Any) -> bytes:
        return bytes([min(255, max(0, round(float(number))))])


class Int16Array(TypedArray):
    """Signed 16-bit integers."""

    __slots__ = ()
    format = "h"


class Uint16Array(TypedArray):
    """Unsigned 16-bit integers."""

    __slots__ = ()
    format = "H"


class Int32Array(TypedArray):
    """Signed 32-bit integers."""

    __slots__ = ()
    format = "i"


class Uint32Array(TypedArray):
    """Unsigned 32-bit integers."""

    __slots__ = ()
    format = "I"


class BigInt64Array(TypedArray):
    """Signed 64-bit integers."""

    __slots__ = ()
    format = "q"


class BigUint64Array(TypedArray):
    """Unsigned 64-bit integers."""

    __slots__ = ()
    format = "Q"


class Float32Array(TypedArray):
    """Single precision numbers."""

    __slots__ = ()
    format = "f"


class Float64Array(TypedArray):
    """Double precision numbers."""

    __slots__ = ()
    format = "d"


class DataView(TypedArray):
    """Bytes read as numbers of any size at any place."""

    __slots__ = ()

    def _read(self, code: str, offset: int, little_endian: bool = False) -> Any:
        return struct.unpack_from(f"{'<' if little_endian else '>'}{code}", self._data, offset)[0]

    def _write(self, code: str, offset: int, number: Any, little_endian: bool = False) -> None:
        struct.pack_into(f"{'<' if little_endian else '>'}{code}", self._data, offset, number)

    def __getattr__(self, name: str) -> Any:
        code = _VIEW_FORMATS.get(name[3:])
        if code is None or name[:3] not in ("get", "set"):
            raise AttributeError(name)
        return partial(self._read if name[:3] == "get" else self._write, code)


_VIEW_FORMATS = {
    "Int8": "b",
    "Uint8": "B",
    "Int16": "h",
    "Uint16": "H",
    "Int32": "i",
    "Uint32": "I",
    "BigInt64": "q",
    "BigUint64": "Q",
    "Float32": "f",
    "Float64": "d",
}
