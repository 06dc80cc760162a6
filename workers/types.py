"""Typing aliases of the official API."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from http import HTTPMethod
from typing import Any, Protocol, TypeAlias, TypedDict

from workers.compat import blob as js_blob
from workers.compat import formdata as js_formdata
from workers.compat import headers as js_headers
from workers.compat import web as js
from workers.compat.streams import ReadableStream
from workers.compat.url import URLSearchParams
from workers.formdata import FormData

__all__ = ["Body", "Context", "FetchKwargs", "Headers", "JSBody", "RequestInitCfProperties"]

JSBody: TypeAlias = (
    "js_blob.Blob | js_formdata.FormData | ReadableStream | URLSearchParams | bytearray | memoryview | js.Response"
)
"""A JavaScript object, or a buffer, that can be a body."""

Body: TypeAlias = "str | bytes | FormData | JSBody | None"
"""What a request or response body can be made of."""

Headers: TypeAlias = "Mapping[str, str] | Iterable[tuple[str, str]] | js_headers.Headers"
"""What header fields can be given as."""


class Context(Protocol):
    """`self.ctx` of a Worker entrypoint."""

    def waitUntil(self, promise: Awaitable[Any], /) -> None:
        """Keep the Worker alive until the awaitable is done."""
        ...

    def passThroughOnException(self) -> None:
        """Ask for the origin's answer should the handler fail."""
        ...


class RequestInitCfProperties(TypedDict, total=False):
    """Options for Cloudflare's own features; accepted and handed on, few have a meaning locally."""

    apps: bool
    cacheEverything: bool
    cacheKey: str
    cacheTags: list[str]
    cacheTtl: int
    cacheTtlByStatus: dict[str, int]
    image: dict[str, Any]
    mirage: bool
    polish: str
    resolveOverride: str
    scrapeShield: bool
    webp: bool


class FetchKwargs(TypedDict, total=False):
    """Options of `Request(...)` and `fetch(...)`."""

    headers: Headers | None
    body: Body
    method: HTTPMethod | str
    redirect: str | None
    cf: RequestInitCfProperties | None
    fetcher: Any
    signal: Any
