"""ArrayBuffer and Uint8Array: bytes with the conversions of a JavaScript buffer proxy.

They are `bytes`, so everything that takes bytes takes them; unlike in JavaScript they cannot be written to.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self, cast

from workers.compat.proxies import JsProxy

__all__ = ["ArrayBuffer", "JsBuffer", "Uint8Array"]


class JsBuffer(bytes, JsProxy):
    """Bytes that came from JavaScript."""

    __slots__ = ()

    @classmethod
    def new(cls, source: Any = b"", byteOffset: int = 0, length: int | None = None) -> Self:
        """Construct from a length, a buffer or numbers, as JavaScript's `new` does."""
        if isinstance(source, int):
            return cls(source)
        data = bytes(cast("bytes | Iterable[int]", source))
        return cls(data[byteOffset:] if length is None else data[byteOffset : byteOffset + length])

    @classmethod
    def of(cls, *numbers: int) -> Self:
        """Construct from numbers."""
        return cls(bytes(number & 0xFF for number in numbers))

    def to_bytes(self) -> bytes:
        """Return plain bytes."""
        return bytes(self)

    def to_py(self, **_options: Any) -> memoryview:
        """Return a memoryview, as Pyodide does."""
        return memoryview(self)

    def to_memoryview(self) -> memoryview:
        """Return a memoryview."""
        return memoryview(self)

    def tobytes(self) -> bytes:
        """Return plain bytes, under the name that memoryview uses."""
        return bytes(self)

    def to_string(self, encoding: str = "utf-8") -> str:
        """Decode the content."""
        return self.decode(encoding)

    @property
    def byteLength(self) -> int:
        """Number of bytes."""
        return len(self)

    def slice(self, start: int = 0, end: int | None = None) -> Self:
        """Return a copy of a part; negative numbers count from the end."""
        return type(self)(self[start:end])


class ArrayBuffer(JsBuffer):
    """A block of bytes."""

    __slots__ = ()


class Uint8Array(JsBuffer):
    """A view of bytes as numbers 0 to 255."""

    __slots__ = ()

    @property
    def buffer(self) -> ArrayBuffer:
        """The bytes as an ArrayBuffer."""
        return ArrayBuffer(self)

    @property
    def length(self) -> int:
        """Number of elements."""
        return len(self)

    @property
    def byteOffset(self) -> int:
        """Always 0."""
        return 0

    def subarray(self, start: int = 0, end: int | None = None) -> Uint8Array:
        """Return a part."""
        return self.slice(start, end)
