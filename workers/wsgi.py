"""Serve a WSGI application (Flask, Django, ...) from a Worker's `fetch`, after PEP 3333.

The application runs in the event itself, as in the Workers runtime: `pyodide.ffi.run_sync` suspends it there and the
event loop goes on; what it computes itself keeps the loop. The request body is read before the application is called.
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes, urlsplit

from workers.compat import stacks
from workers.compat import web as js
from workers.compat.streams import ReadableStream
from workers.request import Request

__all__ = ["build_environ", "fetch", "process_request"]

Application: TypeAlias = "Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]"

_NULL_BODY = frozenset({101, 103, 204, 205, 304})
# The name the SDK gives it: users configure it.
_log = logging.getLogger("wsgi")


def _js_request(request: Request | js.Request) -> js.Request:
    return request.js_object if isinstance(request, Request) else request


def build_environ(req: Request | js.Request, env: Any, body: bytes | io.IOBase) -> dict[str, Any]:
    """Return the WSGI environ of a request; the bindings are under `workers.env`."""
    request = _js_request(req)
    url = urlsplit(request.url)
    headers = request.headers.combined()
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        # PEP 3333 native strings: one character a byte.
        "PATH_INFO": unquote_to_bytes(url.path or "/").decode("latin-1"),
        "QUERY_STRING": url.query,
        "SERVER_NAME": url.hostname or "localhost",
        "SERVER_PORT": str(url.port or (443 if url.scheme == "https" else 80)),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": request.headers.get("cf-connecting-ip") or "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": url.scheme,
        "wsgi.input": io.BytesIO(body) if isinstance(body, bytes) else body,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "workers.env": env,
    }
    for name, value in headers:
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    if isinstance(body, bytes) and body:
        environ["CONTENT_LENGTH"] = str(len(body))
    return environ


class _Answer:
    """What the application said: status and headers by `start_response`, early output by `write`."""

    def __init__(self) -> None:
        self.status: str | None = None
        self.headers: list[tuple[str, str]] = []
        self.written: list[bytes] = []
        self.sent = False

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None:
            if self.sent:
                raise exc_info[1].with_traceback(exc_info[2])
        elif self.status is not None:
            raise AssertionError("start_response() was called twice without exc_info")
        self.status, self.headers = status, list(headers)
        return self.written.append


def _close(iterable: object) -> None:
    close = getattr(iterable, "close", None)
    if close is not None:
        close()


class _Pump:
    """The rest of a streamed body: each chunk is made when the client can take it."""

    def __init__(self, chunks: Iterator[bytes], result: object) -> None:
        self._chunks = chunks
        self._result = result
        self._context = copy_context()  # the client takes them outside the event, where no Worker is running

    def __aiter__(self) -> _Pump:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await stacks.call(self._context.run, self._next)
        except BaseException:
            await self.aclose()
            raise
        if chunk is None:
            await self.aclose()
            raise StopAsyncIteration
        return chunk

    def _next(self) -> bytes | None:
        return next((chunk for chunk in self._chunks if chunk), None)

    async def aclose(self) -> None:
        """Tell the application that its body is done with, read to the end or not."""
        result, self._result = self._result, None
        if result is not None:
            await stacks.call(self._context.run, _close, result)


def _announced_length(headers: list[tuple[str, str]]) -> int | None:
    text = next((value for name, value in headers if name.lower() == "content-length"), "")
    return int(text) if text.isdigit() else None


def process_request(
    app: Application,
    req: Request | js.Request,
    env: Any,
    body: bytes | io.IOBase,
) -> js.Response:
    """Call the application for a request whose body is at hand.

    Raises:
        RuntimeError: The application did not call `start_response`.
    """
    answer = _Answer()
    result = app(build_environ(req, env, body), answer.start_response)
    try:
        chunks = iter(result)
        # An application may call start_response as late as its first chunk.
        first = next((chunk for chunk in chunks if chunk), b"")
        if answer.status is None:
            raise RuntimeError("The WSGI application did not call start_response()")
        answer.sent = True
        code, _, reason = answer.status.partition(" ")
        options: dict[str, Any] = {"status": int(code), "statusText": reason or None, "headers": answer.headers}
        if int(code) in _NULL_BODY:
            _close(result)
            return js.Response(None, **options)
        head = b"".join([*answer.written, first])
        if isinstance(result, (list, tuple)):
            data = head + b"".join(chunks)
            _close(result)
            return js.Response(data, **options)
    except BaseException:
        _close(result)
        raise

    def rest() -> Iterator[bytes]:
        yield head
        yield from chunks

    stream = ReadableStream.from_iterator(_Pump(rest(), result), length=_announced_length(answer.headers))
    return js.Response(stream, **options)


async def fetch(app: Application, req: Request | js.Request, env: Any, ctx: Any = None) -> js.Response:
    """Answer a request with a WSGI application: `return await wsgi.fetch(app, request, self.env)`."""
    request = _js_request(req)
    body = await request.read()
    try:
        stacks.arm()
        return await stacks.call(process_request, app, request, env, body)
    except Exception:
        _log.exception("WSGI request failed")
        raise
