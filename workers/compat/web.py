"""Request and Response as JavaScript code sees them: the form in which every room exchanges HTTP messages.

They follow the Fetch standard with the Workers' limits and error texts. Nothing is computed before somebody asks: a
request that came from the network keeps its header list and body as they arrived.
https://developers.cloudflare.com/workers/runtime-apis/request/ and .../response/
"""

from __future__ import annotations

from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any, Self

from workers.compat.abort import AbortSignal
from workers.compat.blob import Blob, File
from workers.compat.body import Body, extract
from workers.compat.edge_facts import local_cf
from workers.compat.formdata import FormData
from workers.compat.headers import Headers
from workers.compat.json_text import stringify
from workers.compat.proxies import ClassOrInstance, JsDict, JsRangeError, JsTypeError, init_options
from workers.compat.streams import ReadableStream
from workers.compat.url import URL, URLSearchParams, normalise

__all__ = [
    "EDGE_ENCODINGS",
    "URL",
    "Blob",
    "Body",
    "File",
    "FormData",
    "Headers",
    "Request",
    "Response",
    "URLSearchParams",
]

_METHODS = {name: name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE")}
_OTHER_METHODS = {
    "ACL", "BIND", "CHECKOUT", "COPY", "LABEL", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL",
    "MKREDIRECTREF", "MKWORKSPACE", "MOVE", "MSEARCH", "NOTIFY", "ORDERPATCH", "PRI", "PROPFIND", "PROPPATCH", "PURGE",
    "REBIND", "REPORT", "SEARCH", "SOURCE", "SUBSCRIBE", "UNBIND", "UNCHECKOUT", "UNLINK", "UNLOCK", "UNSUBSCRIBE",
    "UPDATE", "UPDATEREDIRECTREF", "VERSION_CONTROL",
}  # fmt: skip
_NULL_BODY = frozenset({101, 204, 205, 304})
EDGE_ENCODINGS = "br, gzip"
"""The Accept-Encoding of a request that came through the edge."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REASONS = {status.value: status.phrase for status in HTTPStatus} | {418: "I'm a teapot", 413: "Payload Too Large"}


def _method(value: object) -> str:
    text = str(getattr(value, "value", value))
    known = _METHODS.get(text) or _METHODS.get(text.upper())
    if known is None:
        if text not in _OTHER_METHODS:
            raise JsTypeError(f"Invalid HTTP method string: {text}")
        return text
    return known


class Request(Body):
    """An HTTP request; `Request(url_or_request, {...})` or with the options as keyword arguments."""

    __slots__ = ("_at_edge", "_cf", "_url", "_url_checked", "fetcher", "given_signal", "method", "redirect")

    def __init__(
        self,
        input: object,
        init: object = None,
        /,
        *,
        method: object = None,
        headers: object = None,
        body: object = None,
        cf: Any = None,
        redirect: str | None = None,
        signal: Any = None,
        fetcher: Any = None,
        **_ignored: Any,
    ) -> None:
        super().__init__()
        if init is not None:
            given = {"method": method, "headers": headers, "body": body, "cf": cf, "redirect": redirect,
                     "signal": signal, "fetcher": fetcher}  # fmt: skip
            options = init_options(init, {name: value for name, value in given.items() if value is not None})
            method, headers, body = options.get("method"), options.get("headers"), options.get("body")
            cf, redirect, signal = options.get("cf"), options.get("redirect"), options.get("signal")
            fetcher = options.get("fetcher")
        if redirect not in (None, "follow", "manual"):
            _refuse_redirect(redirect)
        self._url_checked = True
        self.fetcher = fetcher
        if isinstance(input, Request):
            self._of_request(input, method, headers, body, cf, redirect, signal)
            return
        self._url = normalise(input if isinstance(input, str) else str(input))
        self.method = "GET" if method is None else _method(method)
        self.redirect = redirect or "follow"
        self._cf = JsDict.wrap(cf)
        self._at_edge: list[tuple[str, str]] | None = None
        self.given_signal = signal
        self._set_body(body)
        self._take_headers(headers)

    def _set_body(self, body: object) -> None:
        if body is None:
            return
        if self.method in ("GET", "HEAD"):
            raise JsTypeError("Request with a GET or HEAD method cannot have a body.")
        self._content, self._default_type = extract(body)

    def _of_request(
        self, source: Request, method: object, headers: object, body: object, cf: Any, redirect: str | None, signal: Any
    ) -> None:
        self._url, self._url_checked = source._url, source._url_checked
        self.method = source.method if method is None else _method(method)
        self.redirect = redirect or source.redirect
        self._cf = source.cf if cf is None else JsDict.wrap(cf)
        self._at_edge: list[tuple[str, str]] | None = None
        self.given_signal = source.given_signal if signal is None else signal
        if body is None:
            if source.bodyUsed:
                raise JsTypeError("Cannot reconstruct a Request with a used body.")
            self._content = source.take_body()
            if self._content is not None and self.method in ("GET", "HEAD"):
                raise JsTypeError("Request with a GET or HEAD method cannot have a body.")
        else:
            self._set_body(body)
        if headers is None:
            self._headers = source.headers.copy()
        else:
            self._take_headers(headers)

    @classmethod
    def incoming(
        cls,
        url: str,
        method: str,
        headers: list[tuple[str, str]],
        body: bytes | ReadableStream | None = None,
        *,
        cf: Any = None,
        signal: Any = None,
        at_edge: bool = True,
    ) -> Request:
        """Make the request of a server event from checked wire data: headers immutable, redirect "manual".

        `url` is absolute; it is brought into normal form when first read. `at_edge` says that the request came from
        outside: then the client's Accept-Encoding is kept in `cf` and replaced by what the edge sends on.
        """
        request = cls.__new__(cls)
        request._content = body
        request._stream = None
        request._used = False
        request._headers = None if at_edge else Headers.of_wire(headers)
        request._default_type = None
        request._url = url
        request._url_checked = False
        request.method = method
        request.redirect = "manual"
        request._cf = cf
        request._at_edge = headers if at_edge else None
        request.given_signal = signal
        request.fetcher = None
        return request

    @property
    def url(self) -> str:
        """The absolute URL in normal form."""
        if not self._url_checked:
            self._url = normalise(self._url)
            self._url_checked = True
        return self._url

    @property
    def cf(self) -> Any:
        """What the edge knows about the client; None on requests made here without it."""
        if self._cf is None and self._at_edge is not None:
            offered = [value for name, value in self._at_edge if name.lower() == "accept-encoding"]
            self._cf = local_cf(", ".join(offered))
        return self._cf

    @property
    def headers(self) -> Headers:
        """The header fields."""
        if self._headers is None and self._at_edge is not None:
            pairs = [pair for pair in self._at_edge if pair[0].lower() != "accept-encoding"]
            pairs.append(("accept-encoding", EDGE_ENCODINGS))
            self._headers = Headers.of_wire(pairs)
        return super().headers

    def header_pairs(self) -> list[tuple[str, str]]:
        """Return the wire form of the headers; do not modify the list."""
        return self.headers.pairs()

    @property
    def signal(self) -> Any:
        """The signal that ends the request; one that never fires if none was given (`given_signal` is then None)."""
        if self.given_signal is None:
            self.given_signal = AbortSignal()
        return self.given_signal

    keepalive = False
    cache = None
    credentials = None
    destination = None
    integrity = ""
    isHistoryNavigation = None
    mode = None
    referrer = None
    referrerPolicy = None

    def clone(self) -> Request:
        """Return a copy with a body of its own; this one stays readable."""
        copy = Request.__new__(Request)
        Body.__init__(copy)
        self._share_body(copy)
        copy._url, copy._url_checked, copy.method = self._url, self._url_checked, self.method
        copy.redirect, copy.given_signal, copy.fetcher = self.redirect, self.given_signal, self.fetcher
        copy._cf, copy._at_edge = self.cf, None
        copy._headers = self.headers.copy()
        return copy

    def __repr__(self) -> str:
        return f"Request({self.method} {self._url})"


def _refuse_redirect(value: object) -> None:
    if value == "error":
        raise JsTypeError(
            'Invalid redirect value, must be one of "follow" or "manual" ("error" won\'t be implemented since it does'
            ' not make sense at the edge; use "manual" and check the response status code).'
        )
    raise JsTypeError(f'Invalid redirect value, must be one of "follow" or "manual" (got "{value}").')


def _status(value: object) -> int:
    try:
        status = int(value if isinstance(value, int) else float(str(value)))
    except (ValueError, OverflowError):
        status = 0
    if not 200 <= status <= 599:
        raise JsRangeError("Responses may only be constructed with status codes in the range 200 to 599, inclusive.")
    return status


class Response(Body):
    """An HTTP response; `Response(body, {...})` or with the options as keyword arguments."""

    __slots__ = ("_status_text", "cf", "encodeBody", "redirected", "status", "type", "url", "webSocket")

    def __init__(
        self,
        body: object = None,
        init: object = None,
        /,
        *,
        status: object = None,
        statusText: str | None = None,
        headers: object = None,
        webSocket: Any = None,
        cf: Any = None,
        encodeBody: str | None = None,
        **_ignored: Any,
    ) -> None:
        if init is not None:
            if isinstance(init, Response):
                init = {"status": init.status, "statusText": init._status_text, "headers": init.headers, "cf": init.cf,
                        "webSocket": init.webSocket, "encodeBody": init.encodeBody}  # fmt: skip
            options = init_options(init, {})
            status = options.get("status") if status is None else status
            statusText = options.get("statusText") if statusText is None else statusText
            headers = options.get("headers") if headers is None else headers
            webSocket = options.get("webSocket") if webSocket is None else webSocket
            cf = options.get("cf") if cf is None else cf
            encodeBody = options.get("encodeBody") if encodeBody is None else encodeBody
        self._stream = None
        self._used = False
        self._headers = None
        self.webSocket = webSocket
        self._status_text = None if statusText is None else str(statusText)
        self.cf = cf
        self.encodeBody = encodeBody or "automatic"
        self.url = ""
        self.redirected = False
        self.type = "default"
        if webSocket is not None:
            self.status = 200 if status is None else int(str(status))
            if self.status != 101:
                raise JsRangeError("Responses with a WebSocket must have status code 101.")
        else:
            self.status = 200 if status is None else _status(status)
        self._content, self._default_type = extract(body)
        if self.status in _NULL_BODY and self._content is not None:
            if self._content != b"":
                raise JsTypeError("Response with null body status (101, 204, 205, or 304) cannot have a body.")
            self._content = self._default_type = None
        if headers is not None:
            self._take_headers(headers)

    @classmethod
    def fetched(
        cls,
        status: int,
        statusText: str,
        headers: list[tuple[str, str]],
        body: bytes | ReadableStream | None,
        *,
        url: str = "",
        redirected: bool = False,
        webSocket: Any = None,
    ) -> Response:
        """Make the answer of an outbound fetch from wire data: headers immutable, any status allowed."""
        response = cls()
        response._content = body
        response._headers = Headers.of_wire(headers)
        response.status, response._status_text = status, statusText
        response.url, response.redirected, response.webSocket = url, redirected, webSocket
        return response

    def seen_as_fetched(self, url: str, *, redirected: bool = False) -> Response:
        """Return this response as the caller of a service binding receives it; the body moves to the copy."""
        return Response.fetched(
            self.status, self.statusText, list(self.header_pairs()), self.take_body(),
            url=url, redirected=redirected, webSocket=self.webSocket,
        )  # fmt: skip

    @property
    def ok(self) -> bool:
        """Whether the status is in the 200s."""
        return 200 <= self.status <= 299

    @property
    def statusText(self) -> str:
        """The text after the status code: the one given, or the usual one for the status."""
        if self._status_text is not None:
            return self._status_text
        usual = _REASONS.get(self.status)
        if usual is not None:
            return usual
        return {2: "OK", 3: "Redirect", 4: "Client Error", 5: "Server Error"}.get(self.status // 100, "")

    @property
    def reason(self) -> str:
        """`statusText`, under the name HTTP libraries use."""
        return self.statusText

    def clone(self) -> Response:
        """Return a copy with a body of its own; this one stays readable."""
        if self.webSocket is not None:
            raise JsTypeError("Cannot clone a response to a WebSocket handshake.")
        copy = Response()
        self._share_body(copy)
        copy.status, copy._status_text, copy.cf, copy.encodeBody = (
            self.status,
            self._status_text,
            self.cf,
            self.encodeBody,
        )
        copy.url, copy.redirected, copy.type = self.url, self.redirected, self.type
        copy._headers = self.headers.copy()
        return copy

    # One name, two meanings, as in JavaScript: `Response.json(data)` makes one, `response.json()` reads one.
    json: ClassOrInstance[Response, Coroutine[Any, Any, Any]] = ClassOrInstance("json_of", Body.json)  # pyright: ignore[reportIncompatibleMethodOverride] - it is still the method on instances

    @classmethod
    def json_of(cls, data: object, init: object = None, /, **members: Any) -> Response:
        """`Response.json(data, {...})`: compact JSON with content type application/json unless one is given."""
        # Undefined has no JSON form: JavaScript sends its name.
        response = cls(stringify(data) or "undefined", init, **members)
        given = init_options(None if isinstance(init, Response) else init, members).get("headers")
        response._default_type = "application/json"
        if given is None:
            response._headers = None
        response._take_headers(given)
        return response

    @classmethod
    def redirect(cls, url: object, status: int = 302) -> Self:
        """`Response.redirect(url, status)`: an empty answer whose `location` is the URL in normal form."""
        if status not in _REDIRECTS:
            raise JsRangeError(
                f"{status} is not a redirect status code. It must be one of: 301, 302, 303, 307, or 308."
            )
        try:
            location = normalise(str(url))
        except JsTypeError:
            raise JsTypeError(f"Unable to parse URL: {url}") from None
        return cls(None, status=status, headers=[("location", location)])

    @classmethod
    def error(cls) -> Response:
        """`Response.error()`: status 0, type "error"."""
        response = cls()
        response.status, response.type = 0, "error"
        return response

    def __repr__(self) -> str:
        return f"Response({self.status})"
