"""Synchronous HTTP clients (requests, urllib3, httpx) below a handler: they go out by the Worker's own `fetch`.

As on Cloudflare, where there are no sockets to block on: the handler is suspended (`stacks.py`), and other requests
are answered meanwhile, the one that the client may be sending to this very server among them. Elsewhere, in threads and
in programs that run no Worker, the clients are what they always were.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable, Iterable
from functools import wraps
from http.client import HTTPMessage
from types import SimpleNamespace
from typing import Any, cast

from workers.compat import ambient, outbound, stacks, web
from workers.compat.proxies import JsException

__all__ = ["NAMES", "adapt"]

NAMES = frozenset({"requests", "urllib3", "httpx"})
"""Packages that `adapt` knows."""

_MARK = "__sends_by_fetch__"
_OURS = frozenset({"connection", "transfer-encoding", "keep-alive"})


class _Failed(Exception):
    """The request got no answer."""


class _TookTooLong(Exception):
    """Nothing came within the time that the caller gave."""


def adapt() -> None:
    """Let what is imported of these packages send by `fetch`; called again, it looks for what is new."""
    pools: Any = sys.modules.get("urllib3.connectionpool")
    if pools is not None:
        _replace(pools.HTTPConnectionPool, "_make_request", _urllib3_request)
    client: Any = sys.modules.get("httpx")
    if client is not None:
        _replace(client.HTTPTransport, "handle_request", _httpx_request)


def _replace(owner: Any, name: str, send: Callable[..., Any]) -> None:
    original = getattr(owner, name)
    if hasattr(original, _MARK):
        return

    @wraps(original)
    def sent(*args: Any, **kwargs: Any) -> Any:
        by_fetch = stacks.has_stack() and ambient.current.get(None) is not None
        return send(*args, **kwargs) if by_fetch else original(*args, **kwargs)

    setattr(sent, _MARK, True)
    setattr(owner, name, sent)


def _bytes(body: Any) -> bytes | None:
    if body is None or isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode("latin-1", "replace")
    if hasattr(body, "read"):
        read = body.read()
        return read.encode() if isinstance(read, str) else bytes(read)
    if isinstance(body, (bytearray, memoryview)):
        return bytes(cast(bytearray, body))
    return b"".join(part.encode() if isinstance(part, str) else bytes(part) for part in body)


def _exchange(
    method: str, url: str, headers: Iterable[tuple[str, str]], body: bytes | None, timeout_s: float | None
) -> tuple[web.Response, bytes]:
    """Send a request and wait for the whole answer.

    Raises:
        _Failed: There is none.
        _TookTooLong: It did not come in time.
    """

    async def exchange() -> tuple[web.Response, bytes]:
        pairs = [(name, value) for name, value in headers if name.lower() not in _OURS]
        sent = None if method in ("GET", "HEAD") else body
        request = web.Request(url, method=method, headers=pairs, body=sent, redirect="manual")
        async with asyncio.timeout(timeout_s):
            response = await outbound.fetch(request)
            return response, await response.read()

    try:
        return stacks.wait(exchange())
    except TimeoutError as error:
        raise _TookTooLong(url) from error
    except (JsException, OSError) as error:
        raise _Failed(str(error)) from error


def _urllib3_request(
    pool: Any,
    conn: Any,
    method: str,
    url: str,
    body: Any = None,
    headers: Any = None,
    retries: Any = None,
    timeout: Any = None,
    chunked: bool = False,
    response_conn: Any = None,
    preload_content: bool = True,
    decode_content: bool = True,
    enforce_content_length: bool = True,
) -> Any:
    """Stand in for `HTTPConnectionPool._make_request`."""
    urllib3: Any = sys.modules["urllib3"]
    read_timeout = pool._get_timeout(timeout).read_timeout
    limit = read_timeout if isinstance(read_timeout, (int, float)) else None
    host = f"[{pool.host}]" if ":" in pool.host and not pool.host.startswith("[") else pool.host
    port = f":{pool.port}" if pool.port else ""
    pairs = list(cast("dict[str, str]", headers or {}).items())
    address = url if "://" in url else f"{pool.scheme}://{host}{port}{url}"
    try:
        response, content = _exchange(method, address, pairs, _bytes(body), limit)
    except _TookTooLong as error:
        raise urllib3.exceptions.ReadTimeoutError(pool, url, f"Read timed out. (read timeout={limit})") from error
    except _Failed as error:
        raise urllib3.exceptions.ProtocolError(str(error)) from error
    message = HTTPMessage()
    for name, value in response.header_pairs():
        message.add_header(name, value)
    return urllib3.HTTPResponse(
        body=io.BytesIO(content),
        headers=urllib3.HTTPHeaderDict(response.header_pairs()),
        status=response.status,
        version=11,
        reason=response.statusText,
        preload_content=preload_content,
        decode_content=decode_content,
        # Where requests looks for cookies.
        original_response=SimpleNamespace(msg=message, isclosed=lambda: True, close=lambda: None),
        retries=retries,
        request_method=method,
        request_url=url,
    )


def _httpx_request(transport: Any, request: Any) -> Any:
    """Stand in for `httpx.HTTPTransport.handle_request`."""
    httpx: Any = sys.modules["httpx"]
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
    limits = request.extensions.get("timeout", {})
    try:
        response, content = _exchange(request.method, str(request.url), headers, request.read(), limits.get("read"))
    except _TookTooLong as error:
        raise httpx.ReadTimeout("The read operation timed out", request=request) from error
    except _Failed as error:
        raise httpx.ConnectError(str(error), request=request) from error
    return httpx.Response(
        response.status,
        headers=response.header_pairs(),
        stream=httpx.ByteStream(content),
        extensions={"http_version": b"HTTP/1.1", "reason_phrase": response.statusText.encode("ascii", "ignore")},
    )
