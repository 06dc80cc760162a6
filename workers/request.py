"""Request: what a handler receives and what `fetch` takes."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from http import HTTPMethod
from http.client import HTTPMessage
from typing import Any, Unpack, cast

from workers.blob import Blob
from workers.compat import web as js
from workers.compat.body import header_message, python_body, python_headers
from workers.compat.buffers import ArrayBuffer
from workers.compat.streams import ReadableStream
from workers.formdata import FormData
from workers.types import FetchKwargs

__all__ = ["Request"]


class Request:
    """An HTTP request. Everything is read from the JavaScript-level object, `js_object`, when it is asked for."""

    __slots__ = ("_headers", "_js_request")

    def __init__(self, input: Request | str | js.Request, **other_options: Unpack[FetchKwargs]) -> None:
        self._headers: HTTPMessage | None = None
        if isinstance(input, js.Request):
            if other_options:
                raise ValueError("Expected no options when constructing Request from a js.Request")
            self._js_request = input
            return
        options = cast("dict[str, Any]", other_options)
        if options.get("body") is not None:
            options["body"] = python_body(options["body"], "Request")
        if options.get("headers") is not None:
            options["headers"] = python_headers(options["headers"])
        self._js_request = js.Request(input._js_request if isinstance(input, Request) else input, **options)

    @property
    def js_object(self) -> js.Request:
        """The JavaScript-level request."""
        return self._js_request

    @property
    def method(self) -> HTTPMethod:
        """The method; it equals its name, `request.method == "GET"`."""
        return HTTPMethod[self._js_request.method]

    @property
    def url(self) -> str:
        """The absolute URL."""
        return self._js_request.url

    @property
    def headers(self) -> HTTPMessage:
        """A copy of the headers: case-insensitive, repeated fields joined, Set-Cookie separate (`get_all`)."""
        if self._headers is None:
            self._headers = header_message(self._js_request.headers)
        return self._headers

    @property
    def body(self) -> ReadableStream | None:
        """The body as a stream, None when there is none."""
        return self._js_request.body

    @property
    def body_used(self) -> bool:
        """Whether the body was read."""
        return self._js_request.bodyUsed

    @property
    def cf(self) -> Any:
        """What the edge knows about the client (country, colo, TLS, ...), readable by attribute."""
        return self._js_request.cf

    @property
    def cache(self) -> str | None:
        """Cache mode; never set by this runtime."""
        return self._js_request.cache

    @property
    def credentials(self) -> str | None:
        """Credentials mode; never set by this runtime."""
        return self._js_request.credentials

    @property
    def destination(self) -> str | None:
        """Destination; never set by this runtime."""
        return self._js_request.destination

    @property
    def integrity(self) -> str:
        """Subresource integrity; always empty."""
        return self._js_request.integrity

    @property
    def is_history_navigation(self) -> bool | None:
        """Whether a browser history navigation asked; never set by this runtime."""
        return self._js_request.isHistoryNavigation

    @property
    def keepalive(self) -> bool:
        """The `keepalive` option; always False."""
        return self._js_request.keepalive

    @property
    def mode(self) -> str | None:
        """Request mode; never set by this runtime."""
        return self._js_request.mode

    @property
    def redirect(self) -> str:
        """What to do about redirects: "follow", or "manual" as on incoming requests."""
        return self._js_request.redirect

    @property
    def referrer(self) -> str | None:
        """Referrer; never set by this runtime. The header is in `headers`."""
        return self._js_request.referrer

    @property
    def referrer_policy(self) -> str | None:
        """Referrer policy; never set by this runtime."""
        return self._js_request.referrerPolicy

    @property
    def signal(self) -> Any:
        """The abort signal, if any."""
        return self._js_request.signal

    def _unread(self) -> js.Request:
        if self._js_request.bodyUsed:
            raise OSError("Body already used")
        return self._js_request

    async def buffer(self) -> ArrayBuffer:
        """Read the body as an ArrayBuffer."""
        return await self._unread().arrayBuffer()

    async def bytes(self) -> bytes:
        """Read the body as bytes."""
        return await self._unread().read()

    async def text(self) -> str:
        """Read the body as UTF-8 text."""
        return await self._unread().text()

    async def json(self, **kwargs: Any) -> Any:
        """Read the body as JSON; keyword arguments go to `json.loads`."""
        return json.loads(await self.text(), **kwargs)

    async def blob(self) -> Blob:
        """Read the body as a Blob."""
        return Blob(await self._unread().blob())

    async def form_data(self) -> FormData:
        """Read the body as a form, multipart or urlencoded."""
        return FormData(await self._unread().formData())

    # The spelling that the first versions of the SDK had.
    def formData(self) -> Coroutine[Any, Any, FormData]:
        """Read the body as a form, multipart or urlencoded."""
        return self.form_data()

    def clone(self) -> Request:
        """Return a copy with a body of its own.

        Raises:
            OSError: The body was read already.
        """
        return Request(self._unread().clone())

    def __repr__(self) -> str:
        return f"Request(method={self._js_request.method!r}, url={self.url!r})"
