"""Blob and File: immutable bytes with a content type, and for files a name and a date."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeAlias

from workers.compat import blob as js

__all__ = ["Blob", "BlobEnding", "BlobValue", "File"]


class BlobEnding(StrEnum):
    """What happens to line ends in the parts: kept as they are, or made the platform's own."""

    TRANSPARENT = "transparent"
    NATIVE = "native"


class Blob:
    """Immutable bytes with a content type, made of strings, bytes and other blobs; or the face of a JavaScript Blob."""

    __slots__ = ("_js_blob",)

    def __init__(
        self,
        blob_parts: Sequence[BlobValue] | BlobValue,
        content_type: str | None = None,
        endings: BlobEnding | str | None = None,
    ) -> None:
        if isinstance(blob_parts, js.Blob) and content_type is None:
            self._js_blob = blob_parts
            return
        if isinstance(blob_parts, Blob) and content_type is None:
            content_type = blob_parts.content_type
        options = {"type": content_type, "endings": None if endings is None else str(endings)}
        self._js_blob = js.Blob(_js_parts(blob_parts), options)

    @property
    def js_object(self) -> js.Blob:
        """The JavaScript object, for `Response(blob.js_object)` and binding calls."""
        return self._js_blob

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self._js_blob.size

    @property
    def content_type(self) -> str:
        """The content type; empty when none was given."""
        return self._js_blob.type

    async def text(self) -> str:
        """Return the content decoded as UTF-8."""
        return await self._js_blob.text()

    async def bytes(self) -> bytes:
        """Return the content."""
        return await self._js_blob.bytes()

    def slice(self, start: int = 0, end: int | None = None, content_type: str | None = None) -> Blob:
        """Return the part from `start` to `end`; negative numbers count from the end."""
        return Blob(self._js_blob.slice(start, end, content_type or ""))


class File(Blob):
    """A Blob with a file name and the time of its last change."""

    __slots__ = ()

    def __init__(
        self,
        blob_parts: Sequence[BlobValue] | BlobValue,
        filename: str | None = None,
        content_type: str | None = None,
        endings: BlobEnding | str | None = None,
        last_modified: int | datetime | None = None,
    ) -> None:
        if isinstance(blob_parts, js.File) and filename is None:
            self._js_blob = blob_parts
            return
        if filename is None:
            raise TypeError("File() needs a filename")
        options = {
            "type": content_type,
            "endings": None if endings is None else str(endings),
            "lastModified": last_modified,
        }
        self._js_blob = js.File(_js_parts(blob_parts), filename, options)

    @property
    def js_object(self) -> js.File:
        """The JavaScript object."""
        assert isinstance(self._js_blob, js.File)
        return self._js_blob

    @property
    def name(self) -> str:
        """The file name."""
        return self.js_object.name

    @property
    def last_modified(self) -> datetime:
        """When the file last changed, in UTC."""
        return datetime.fromtimestamp(self.js_object.lastModified / 1000, UTC)


BlobValue: TypeAlias = "str | bytes | bytearray | memoryview | Blob | js.Blob"
"""What a Blob can be made of."""


def _js_parts(parts: Sequence[BlobValue] | BlobValue) -> list[object]:
    pieces = [parts] if isinstance(parts, (str, bytes, bytearray, memoryview, Blob, js.Blob)) else parts
    return [piece.js_object if isinstance(piece, Blob) else piece for piece in pieces]
