"""The body that Request and Response share: null, bytes at hand, or a stream; read once.

https://fetch.spec.whatwg.org/#body-mixin with the error texts of the Workers runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.message import Message
from http.client import HTTPMessage
from typing import Any, cast

from workers.compat.blob import Blob
from workers.compat.buffers import ArrayBuffer, Uint8Array
from workers.compat.formdata import FormData, encode_multipart, parse_form
from workers.compat.headers import Headers
from workers.compat.json_text import parse_json
from workers.compat.proxies import JsNull, JsProxy, JsTypeError
from workers.compat.streams import ReadableStream, chunk_bytes
from workers.compat.url import URLSearchParams

__all__ = ["Body", "extract", "header_message", "python_body", "python_headers"]

_USED = "Body has already been used. It can only be used once. Use tee() first if you need to read it twice."
_LOCKED = "This ReadableStream is currently locked to a reader."
_TEXT = "text/plain;charset=UTF-8"


def extract(body: object) -> tuple[bytes | ReadableStream | None, str | None]:
    """Turn a body argument into its stored form and the content type it implies."""
    if body is None or isinstance(body, JsNull):
        return None, None
    if isinstance(body, str):
        return body.encode("utf-8", "replace"), _TEXT
    if isinstance(body, bytes):
        return body, None
    if isinstance(body, ReadableStream):
        if body.disturbed:
            raise JsTypeError(
                "This ReadableStream is disturbed (has already been read from), and cannot be used as a body."
            )
        if body.locked:
            raise JsTypeError(_LOCKED)
        return body, None
    if isinstance(body, (bytearray, memoryview)):
        return bytes(cast(bytearray, body)), None
    if isinstance(body, Blob):
        return body.data, body.type or None
    if isinstance(body, URLSearchParams):
        return body.toString().encode(), "application/x-www-form-urlencoded;charset=UTF-8"
    if isinstance(body, FormData):
        return encode_multipart(body)
    if isinstance(body, JsProxy) and hasattr(body, "to_bytes"):
        return chunk_bytes(body), None
    if isinstance(body, bool):
        return b"true" if body else b"false", _TEXT
    if isinstance(body, (int, float)):
        return str(body).encode(), _TEXT
    return b"[object Object]", _TEXT


class Body(JsProxy):
    """The reading half of Request and Response."""

    __slots__ = ("_content", "_default_type", "_headers", "_stream", "_used")

    def __init__(self) -> None:
        self._content: bytes | ReadableStream | None = None
        self._stream: ReadableStream | None = None
        self._used = False
        self._headers: Headers | None = None
        self._default_type: str | None = None

    @property
    def headers(self) -> Headers:
        """The header fields."""
        headers = self._headers
        if headers is None:
            headers = self._headers = Headers()
            if self._default_type is not None:
                headers.set_default("content-type", self._default_type)
        return headers

    def header_pairs(self) -> list[tuple[str, str]]:
        """Return the wire form of the headers without making objects for it; do not modify the list."""
        if self._headers is not None:
            return self._headers.pairs()
        return [] if self._default_type is None else [("content-type", self._default_type)]

    def _take_headers(self, init: object) -> None:
        if init is None or isinstance(init, JsNull):
            return
        self._headers = Headers(init)
        if self._default_type is not None:
            self._headers.set_default("content-type", self._default_type)

    @property
    def raw_body(self) -> bytes | ReadableStream | None:
        """The body as it will be sent, not consumed by this read: None, bytes, or a stream of unknown content.

        Raises:
            JsTypeError: Somebody has read it already.
        """
        content = self._content
        if content is None:
            return None
        if self.bodyUsed:
            raise JsTypeError(_USED)
        stream = content if isinstance(content, ReadableStream) else self._stream
        if stream is None:
            return content
        if stream.locked:
            raise JsTypeError(_LOCKED)
        data = stream.known_bytes
        return stream if data is None else data

    def take_body(self) -> bytes | ReadableStream | None:
        """Return `raw_body` and mark the body as used: what the server does when it begins to send.

        Raises:
            JsTypeError: Somebody has read it already.
        """
        content = self.raw_body
        if content is not None:
            self._used = True
        return content

    @property
    def body(self) -> ReadableStream | None:
        """The body as a stream, or None for a null body."""
        content = self._content
        if content is None or isinstance(content, ReadableStream):
            return content
        if self._stream is None:
            self._stream = ReadableStream.from_bytes(content)
            if self._used:
                self._stream.disturbed = True
        return self._stream

    @property
    def bodyUsed(self) -> bool:
        """Whether the body was read, in part at least. A null body never is."""
        if self._used:
            return True
        stream = self._content if isinstance(self._content, ReadableStream) else self._stream
        return stream is not None and stream.disturbed

    async def read(self) -> bytes:
        """Read the body as plain bytes."""
        content = self.take_body()
        if content is None:
            return b""
        return content if isinstance(content, bytes) else await content.read_all()

    async def bytes(self) -> Uint8Array:
        """Read the body as a Uint8Array."""
        return Uint8Array(await self.read())

    async def arrayBuffer(self) -> ArrayBuffer:
        """Read the body as an ArrayBuffer."""
        return ArrayBuffer(await self.read())

    async def text(self) -> str:
        """Read the body as UTF-8: a byte order mark is dropped, invalid bytes become U+FFFD."""
        return (await self.read()).decode("utf-8-sig", "replace")

    async def json(self) -> Any:
        """Read the body as JSON; objects in it are readable by attribute."""
        return parse_json(await self.text())

    async def blob(self) -> Blob:
        """Read the body as a Blob whose type is the content type."""
        kind = self.headers.get("content-type") or ""
        return Blob([await self.read()], type=kind)

    async def formData(self) -> FormData:
        """Read the body as a form, by its content type."""
        kind = self.headers.get("content-type")
        if kind is None:
            raise JsTypeError("Parsing a Body as FormData requires a Content-Type header.")
        return parse_form(await self.read(), kind)

    def set_default_type(self, kind: str) -> None:
        """Set the content type for which no header field was given."""
        self._default_type = kind
        if self._headers is not None:
            self._headers.set_default("content-type", kind)

    def _share_body(self, other: Body) -> None:
        """Give `other` the same unread body: bytes are shared, a stream is split in two."""
        if self.bodyUsed or (isinstance(self._content, ReadableStream) and self._content.locked):
            raise JsTypeError("This ReadableStream is currently locked to a reader,")
        content = self._content
        if self._stream is not None and self._stream.locked:
            raise JsTypeError("This ReadableStream is currently locked to a reader,")
        if isinstance(content, ReadableStream):
            self._content, other._content = content.tee()
        else:
            other._content = content


def python_body(body: object, owner: str) -> object:
    """Return the JavaScript-level form of a body given to the Python API.

    Raises:
        TypeError: `Unsupported type in <owner>: <type>`; dicts, numbers, tuples and Python blobs are refused.
    """
    if body is None or isinstance(body, (str, bytes, bytearray, memoryview)):
        return cast(object, body)
    if isinstance(body, JsProxy) and not isinstance(body, dict):
        return body
    form = getattr(body, "js_object", None)
    if isinstance(form, FormData):
        return form
    raise TypeError(f"Unsupported type in {owner}: {type(body).__name__}")


def header_message(headers: Headers) -> HTTPMessage:
    """Return a copy of the headers as the standard library's case-insensitive message object.

    Repeated fields are joined by ", ", except Set-Cookie, which stays separate (`get_all`).
    """
    message = HTTPMessage()
    for name, value in headers.combined():
        message.set_raw(name, value)
    return message


def python_headers(headers: object) -> object:
    """Return the JavaScript-level form of a headers argument of the Python API.

    Raises:
        TypeError: It is not a dict, a list of pairs or JavaScript Headers.
    """
    if isinstance(headers, (dict, list, Headers)):
        return cast(object, headers)
    if isinstance(headers, (Mapping, Message)):
        return list(cast("Mapping[str, str]", headers).items())
    raise TypeError("Received unexpected type for headers argument")
