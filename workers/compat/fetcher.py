"""A service binding: `fetch` and RPC calls that go to another Worker in this process, without the network.

https://developers.cloudflare.com/workers/runtime-apis/bindings/service-bindings/
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from workers.compat.abort import guarded
from workers.compat.proxies import JsException, JsProxy, JsTypeError
from workers.compat.url import URL
from workers.compat.web import Request, Response

__all__ = ["Fetcher", "Target"]

_MAX_REDIRECTS = 20
_NO_UPGRADE = (
    "Worker tried to return a WebSocket in a response to a request which did not contain the header "
    '"Upgrade: websocket".'
)


class Target(Protocol):
    """The Worker behind the binding."""

    async def fetch(self, request: Request) -> Response:
        """Answer a request; an exception of the handler is raised here."""
        ...

    def method(self, name: str) -> Callable[..., Awaitable[Any]] | None:
        """Return an RPC method, which copies arguments and result itself; None when there is none of that name."""
        ...


def _remote(error: Exception) -> Exception:
    """Mark an exception as the other Worker's; JavaScript errors keep class and message."""
    if isinstance(error, JsException):
        error.properties["remote"] = True
        vars(error)["remote"] = True
    return error


class Fetcher(JsProxy):
    """`env.SERVICE`: `await env.SERVICE.fetch(url_or_request, ...)`, `await env.SERVICE.method(...)`.

    `face` turns the answer into what the caller's language expects; by default it stays the JavaScript-level response.
    """

    __slots__ = ("_face", "_target")

    def __init__(self, target: Target, face: Callable[[Response], Any] | None = None) -> None:
        self._target = target
        self._face = face

    async def fetch(self, resource: object, init: object = None, /, **options: Any) -> Any:
        """Send a request to the service; redirects are followed inside it unless `redirect` is "manual"."""
        inner = getattr(resource, "js_object", resource)
        request = (
            inner if isinstance(inner, Request) and init is None and not options else Request(inner, init, **options)
        )
        response = await guarded(request.given_signal, self._follow(request))
        return response if self._face is None else self._face(response)

    async def _follow(self, request: Request) -> Response:
        redirected, is_manual = False, request.redirect == "manual"
        for _ in range(_MAX_REDIRECTS + 1):
            body = request.take_body()
            response = await self._once(_copy(request, request.url, request.method, body))
            location = response.headers.get("location")
            if is_manual or location is None or response.status not in (301, 302, 303, 307, 308):
                return response.seen_as_fetched(request.url, redirected=redirected)
            redirected = True
            url = URL(location, request.url).href
            if response.status in (307, 308):
                if body is not None and not isinstance(body, bytes):
                    raise JsTypeError("A request with a one-time-use body encountered a redirect requiring the body.")
                request = _copy(request, url, request.method, body)
            else:
                request = _copy(request, url, "HEAD" if request.method == "HEAD" else "GET", None)
        raise JsException("Too many redirects.")

    async def _once(self, request: Request) -> Response:
        try:
            response = await self._target.fetch(request)
            if response.webSocket is not None and (request.headers.get("upgrade") or "").lower() != "websocket":
                raise JsTypeError(_NO_UPGRADE)
        except Exception as error:
            raise _remote(error) from None
        return response

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        if name.startswith("_") or name in ("then", "js_object", "to_bytes", "toJSON"):
            raise AttributeError(name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            method = self._target.method(name)
            if method is None:
                raise _remote(JsTypeError(f'The RPC receiver does not implement the method "{name}".'))
            try:
                return await method(*args, *([kwargs] if kwargs else []))
            except Exception as error:
                raise _remote(error) from None

        return call


def _copy(request: Request, url: str, method: str, body: Any) -> Request:
    """Return the request as the service receives it: its own object, headers immutable, redirects its own affair."""
    pairs = list(request.header_pairs())
    return Request.incoming(url, method, pairs, body, cf=request.cf, signal=request.given_signal, at_edge=False)
