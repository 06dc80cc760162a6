"""Response: what a handler returns and what `fetch` gives."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from http import HTTPStatus
from http.client import HTTPMessage
from typing import Any

from workers.blob import Blob
from workers.compat import web as js
from workers.compat.body import header_message, python_body, python_headers
from workers.compat.buffers import ArrayBuffer
from workers.compat.json_text import js_json
from workers.compat.proxies import ClassOrInstance, JsDict, JsMap, JsProxy, to_py
from workers.compat.streams import ReadableStream
from workers.formdata import FormData
from workers.types import Body, Headers

__all__ = ["FetchResponse", "Response"]


class FetchResponse:
    """The reading half of a response, over the JavaScript-level object `js_object`."""

    __slots__ = ("_headers", "_js_response")

    def __init__(self, js_response: js.Response) -> None:
        self._js_response = js_response
        self._headers: HTTPMessage | None = None

    @property
    def js_object(self) -> js.Response:
        """The JavaScript-level response."""
        return self._js_response

    @property
    def js_response(self) -> js.Response:
        """The JavaScript-level response."""
        return self._js_response

    @property
    def status(self) -> int:
        """The status code."""
        return self._js_response.status

    @property
    def status_text(self) -> str:
        """The text after the status code."""
        return self._js_response.statusText

    @property
    def ok(self) -> bool:
        """Whether the status is in the 200s."""
        return self._js_response.ok

    @property
    def url(self) -> str:
        """The URL it came from after redirects; empty for a response made here."""
        return self._js_response.url

    @property
    def redirected(self) -> bool:
        """Whether a redirect was followed."""
        return self._js_response.redirected

    @property
    def type(self) -> str:
        """The response type, "default" or "error"."""
        return self._js_response.type

    @property
    def headers(self) -> HTTPMessage:
        """A copy of the headers: case-insensitive, repeated fields joined, Set-Cookie separate (`get_all`)."""
        if self._headers is None:
            self._headers = header_message(self._js_response.headers)
        return self._headers

    @property
    def body(self) -> ReadableStream | None:
        """The body as a stream, None when there is none."""
        return self._js_response.body

    @property
    def body_used(self) -> bool:
        """Whether the body was read."""
        return self._js_response.bodyUsed

    @property
    def web_socket(self) -> Any:
        """The WebSocket of an upgrade (status 101), else None."""
        return self._js_response.webSocket

    def _unread(self) -> js.Response:
        if self._js_response.bodyUsed:
            raise OSError("Body already used")
        return self._js_response

    # The spelling that the first versions of the SDK had.
    def formData(self) -> Coroutine[Any, Any, FormData]:
        """Read the body as a form, multipart or urlencoded."""
        return self.form_data()

    def raise_for_status(self) -> None:
        """Raise OSError when the status is 400 or more."""
        if 400 <= self.status < 600:
            kind = "Client" if self.status < 500 else "Server"
            raise OSError(f"{self.status} {kind} Error: {self.status_text} for url: {self.url}")

    async def buffer(self) -> ArrayBuffer:
        """Read the body as an ArrayBuffer."""
        return await self._unread().arrayBuffer()

    async def bytes(self) -> bytes:
        """Read the body as bytes."""
        return await self._unread().read()

    async def text(self) -> str:
        """Read the body as UTF-8 text."""
        return await self._unread().text()

    async def blob(self) -> Blob:
        """Read the body as a Blob."""
        return Blob(await self._unread().blob())

    async def form_data(self) -> FormData:
        """Read the body as a form, multipart or urlencoded."""
        return FormData(await self._unread().formData())

    async def string(self) -> str:
        """Read the body as UTF-8 text."""
        return await self.text()

    async def memoryview(self) -> memoryview:
        """Read the body as a memoryview."""
        return memoryview(await self.bytes())

    async def json(self, **kwargs: Any) -> Any:
        """Read the body as JSON; keyword arguments go to `json.loads`."""
        return json.loads(await self.text(), **kwargs)


class Response(FetchResponse):
    """An HTTP response made of text, bytes, a form, a stream or another JavaScript-level body."""

    __slots__ = ()

    def __init__(
        self,
        body: Body = None,
        status: HTTPStatus | int | None = None,
        status_text: str = "",
        headers: Headers | None = None,
        web_socket: Any = None,
    ) -> None:
        self._headers = None
        if not (status or status_text or headers or web_socket):
            if isinstance(body, js.Response):
                self._js_response = body
            else:
                self._js_response = js.Response(body if type(body) is str else python_body(body, "Response"))
            return
        if isinstance(body, js.Response):
            raise ValueError("Expected no options when constructing Response from a js.Response")
        self._js_response = js.Response(
            python_body(body, "Response"),
            status=int(status) if status else None,
            statusText=status_text or None,
            headers=python_headers(headers) if headers else None,
            webSocket=web_socket,
        )

    # One name, two meanings: `Response.json(data)` makes a response, `await response.json()` reads one.
    json: ClassOrInstance[Response, Coroutine[Any, Any, Any]] = ClassOrInstance("from_json", FetchResponse.json)  # pyright: ignore[reportIncompatibleMethodOverride] - it is still the method on instances

    @classmethod
    def from_json(
        cls,
        data: Any,
        status: HTTPStatus | int | None = None,
        status_text: str = "",
        headers: Headers | None = None,
    ) -> Response:
        """Make a JSON response: `json.dumps(data)` with content type application/json unless one is given.

        A JavaScript-level `data` is written the way JSON.stringify writes it, without spaces.
        """
        text = js_json(to_py(data)) if isinstance(data, (JsProxy, JsDict, JsMap)) else json.dumps(data)
        # As bytes the text implies no type of its own, so that the default below is the only one.
        response = cls(text.encode(), status, status_text, headers)
        response._js_response.set_default_type("application/json")
        return response

    @classmethod
    def redirect(cls, url: str, status: HTTPStatus | int = 302) -> js.Response:
        """Make a redirect to an absolute URL; the result is the JavaScript-level response.

        Raises:
            JsRangeError: `status` is not 301, 302, 303, 307 or 308.
            JsTypeError: The URL is not absolute.
        """
        return js.Response.redirect(url, int(status))

    @classmethod
    def error(cls) -> Response:
        """Make a network error response."""
        return cls(js.Response.error())

    def clone(self) -> Response:
        """Return a copy with a body of its own.

        Raises:
            OSError: The body was read already.
        """
        return Response(self._unread().clone())

    def replace_body(self, body: Body) -> Response:
        """Return a response with the same status and headers and another body."""
        source = self._js_response
        return Response(js.Response(python_body(body, "Response"), source))

    def __repr__(self) -> str:
        kind = self._js_response.headers.get("content-type")
        shown = "" if kind is None else f", content_type={kind!r}"
        return f"Response(status={self.status}, status_text={self.status_text!r}{shown})"
