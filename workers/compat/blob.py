"""Blob and File as JavaScript sees them: immutable bytes with a type and, for files, a name and a date.

https://developer.mozilla.org/docs/Web/API/Blob
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, cast

from workers.compat.clock import now_ms
from workers.compat.proxies import JsProxy, init_options
from workers.compat.streams import ReadableStream, chunk_bytes

__all__ = ["Blob", "File"]


def _part_bytes(part: object) -> bytes:
    if isinstance(part, Blob):
        return part.data
    if isinstance(part, (str, bytes, bytearray, memoryview, JsProxy)):
        return chunk_bytes(cast(object, part))
    return str(part).encode()


class Blob(JsProxy):
    """Immutable bytes with a content type."""

    __slots__ = ("data", "type")

    def __init__(self, parts: object = None, options: object = None, /, **members: Any) -> None:
        settings = init_options(options, members)
        pieces: Iterable[Any] = () if parts is None else cast(Iterable[Any], parts)
        if isinstance(parts, (str, bytes, bytearray, memoryview, Blob)):
            pieces = [parts]
        self.data = b"".join(_part_bytes(piece) for piece in pieces)
        if settings.get("endings") == "native":
            self.data = self.data.replace(b"\r\n", b"\n")
        kind = str(settings.get("type") or "")
        self.type = kind.lower() if kind.isascii() and kind.isprintable() else ""

    @property
    def size(self) -> int:
        """Number of bytes."""
        return len(self.data)

    async def text(self) -> str:
        """Return the content decoded as UTF-8."""
        return self.data.decode("utf-8", "replace")

    async def bytes(self) -> bytes:
        """Return the content."""
        return self.data

    async def arrayBuffer(self) -> bytes:
        """Return the content."""
        return self.data

    def stream(self) -> ReadableStream:
        """Return a stream of the content, whose length is known."""
        return ReadableStream.from_bytes(self.data)

    def slice(self, start: int = 0, end: int | None = None, contentType: str = "") -> Blob:
        """Return the part from `start` to `end`; negative numbers count from the end."""
        return Blob([self.data[slice(start, end)]], type=contentType)

    def to_bytes(self) -> bytes:
        """Return the content."""
        return self.data

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[int]:
        return iter(self.data)

    def __bool__(self) -> bool:
        return True


class File(Blob):
    """A Blob with a name and the time of its last change in milliseconds."""

    __slots__ = ("lastModified", "name")

    def __init__(self, parts: object, name: str, options: object = None, /, **members: Any) -> None:
        settings = init_options(options, members)
        super().__init__(parts, settings)
        self.name = str(name)
        modified: Any = settings.get("lastModified")
        if isinstance(modified, datetime):
            modified = modified.timestamp() * 1000
        self.lastModified = int(modified) if modified is not None else now_ms()
