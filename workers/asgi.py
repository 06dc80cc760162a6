"""Serve an ASGI application (FastAPI, Starlette, ...) from a Worker's `fetch`, after the ASGI 3 specification.

Each request runs one lifespan cycle and one call of the application, as in the Workers runtime. The application goes on
after its response has begun: streams, sockets and background work. `scope["env"]` holds the bindings.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import unquote

from workers.compat import background, sync_bridge
from workers.compat import web as js
from workers.compat.transform import TransformStream, WritableStreamDefaultWriter
from workers.compat.websocket import Event, WebSocket, WebSocketPair
from workers.request import Request

__all__ = [
    "fetch",
    "process_request",
    "process_websocket",
    "request_to_scope",
    "run_in_background",
    "start_application",
    "websocket",
]

Message: TypeAlias = "MutableMapping[str, Any]"
Receive: TypeAlias = "Callable[[], Awaitable[Message]]"
Send: TypeAlias = "Callable[[Message], Awaitable[None]]"
Application: TypeAlias = "Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]"

ASGI = {"spec_version": "2.0", "version": "3.0"}
_NULL_BODY = frozenset({101, 103, 204, 205, 304})
# The name the SDK gives it: users configure it.
_log = logging.getLogger("asgi")


def _js_request(request: Request | js.Request) -> js.Request:
    return request.js_object if isinstance(request, Request) else request


def request_to_scope(
    req: Request | js.Request, env: Any, ws: bool = False, state: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the ASGI connection scope of a request."""
    request = _js_request(req)
    url = js.URL(request.url)
    scheme = url.protocol.removesuffix(":")
    if ws:
        scheme = {"http": "ws", "https": "wss"}.get(scheme, scheme)
    scope: dict[str, Any] = {
        "type": "websocket" if ws else "http",
        "asgi": ASGI,
        "http_version": "1.1",
        "method": request.method,
        "scheme": scheme,
        "path": unquote(url.pathname),
        "raw_path": url.pathname.encode(),
        "root_path": "",
        "query_string": url.search[1:].encode(),
        "headers": [(name.encode(), value.encode("utf-8", "replace")) for name, value in request.headers.combined()],
        "client": (request.headers.get("cf-connecting-ip") or "127.0.0.1", 0),
        "server": (url.hostname, int(url.port or (443 if url.protocol == "https:" else 80))),
        "env": env,
    }
    if ws:
        offered = request.headers.get("sec-websocket-protocol") or ""
        scope["subprotocols"] = [name.strip() for name in offered.split(",") if name.strip()]
    if state is not None:
        scope["state"] = dict(state)
    return scope


def run_in_background(coro: Coroutine[Any, Any, Any]) -> asyncio.Task[None]:
    """Run a coroutine beside the request; a failure is logged."""
    return background.start(coro, "asgi-background")


def _header_pairs(message: Message) -> list[tuple[str, str]]:
    pairs: list[tuple[bytes, bytes]] = list(message.get("headers") or [])
    return [(bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in pairs]


class _Lifespan:
    """One startup and shutdown of an application; one that knows no lifespan is served without."""

    def __init__(self, app: Application) -> None:
        loop = asyncio.get_running_loop()
        self.state: dict[str, Any] = {}
        self.started: asyncio.Future[bool] = loop.create_future()
        self._stopped: asyncio.Future[None] = loop.create_future()
        self._stop = asyncio.Event()
        self._asked = False
        self._app = app

    async def run(self) -> None:
        scope: dict[str, Any] = {"type": "lifespan", "asgi": ASGI, "state": self.state}
        try:
            await self._app(scope, self._receive, self._send)
        except Exception:
            if self.started.done():
                _log.exception("ASGI lifespan failed")
            else:
                # The specification: an exception before the startup answer means "lifespan is not supported".
                _log.debug("the ASGI application knows no lifespan", exc_info=True)
        finally:
            self._settle(started=False)

    def _settle(self, *, started: bool, failure: Exception | None = None) -> None:
        if not self.started.done():
            if failure is None:
                self.started.set_result(started)
            else:
                self.started.set_exception(failure)
        if not started and not self._stopped.done():
            self._stopped.set_result(None)

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "lifespan.startup"}
        await self._stop.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "lifespan.startup.complete":
            self._settle(started=True)
        elif kind == "lifespan.startup.failed":
            self._settle(started=False, failure=RuntimeError(message.get("message") or "ASGI lifespan startup failed"))
        elif kind in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            # A lifespan that is cancelled with its event loop reports that too; nobody asked it to stop.
            if kind.endswith("failed") and self._stop.is_set():
                _log.error("ASGI lifespan shutdown failed: %s", message.get("message") or "no reason given")
            self._settle(started=False)
        else:
            raise RuntimeError(f"Unexpected lifespan event {kind}")

    async def shutdown(self) -> None:
        """Run the application's shutdown, if it was started."""
        self._stop.set()
        await self._stopped


async def start_application(app: Application) -> tuple[Callable[[], Awaitable[None]], dict[str, Any]]:
    """Start the application's lifespan; return its shutdown and its state.

    Raises:
        RuntimeError: The application answered `lifespan.startup.failed`.
    """
    lifespan = _Lifespan(app)
    background.start(lifespan.run(), "asgi-lifespan")
    await lifespan.started
    return lifespan.shutdown, lifespan.state


class _Exchange:
    """One HTTP request and its response, as the application's `receive` and `send` see them."""

    def __init__(self, request: js.Request) -> None:
        stream = request.body
        self._chunks = None if stream is None else stream.raw_chunks()
        self._body_done = False
        self._status: int | None = None
        self._headers: list[tuple[str, str]] = []
        self._writer: WritableStreamDefaultWriter | None = None
        self._finished = asyncio.Event()
        self.response: asyncio.Future[js.Response] = asyncio.get_running_loop().create_future()

    async def receive(self) -> Message:
        if self._body_done:
            await self._finished.wait()
            return {"type": "http.disconnect"}
        if self._chunks is not None:
            async for chunk in self._chunks:
                return {"type": "http.request", "body": chunk, "more_body": True}
        self._body_done = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = _header_pairs(message)
        elif message["type"] == "http.response.body":
            await self._send_body(bytes(message.get("body", b"")), bool(message.get("more_body", False)))

    async def _send_body(self, body: bytes, more: bool) -> None:
        if self._status is None:
            raise RuntimeError("http.response.body was sent before http.response.start")
        if self._writer is None and more:
            stream = TransformStream()
            self._writer = stream.writable.getWriter()
            self.response.set_result(js.Response(stream.readable, status=self._status, headers=self._headers))
        if self._writer is None:
            content = None if self._status in _NULL_BODY else body
            self.response.set_result(js.Response(content, status=self._status, headers=self._headers))
        elif body:
            await self._writer.write(body)
        if not more:
            if self._writer is not None:
                await self._writer.close()
            self._finished.set()

    async def run(self, app: Application, scope: dict[str, Any], shutdown: Callable[[], Awaitable[None]]) -> None:
        sync_bridge.enable()
        try:
            await app(scope, self.receive, self.send)
            if not self.response.done():
                raise RuntimeError("The application did not generate a response")
            if self._writer is not None and not self._finished.is_set():
                await self._writer.close()
        except Exception as error:
            if not self.response.done():
                _log.exception("ASGI request failed")
                self.response.set_exception(error)
            else:
                # The head is sent already: the client must see a broken body, not a complete one.
                _log.exception("ASGI application failed after the response had begun")
                if self._writer is not None:
                    await self._writer.abort(error)
        finally:
            self._finished.set()
            await shutdown()


async def process_request(
    app: Application,
    req: Request | js.Request,
    env: Any,
    shutdown: Callable[[], Awaitable[None]],
    state: dict[str, Any],
) -> js.Response:
    """Call the application for one HTTP request; the response is there when its head is."""
    request = _js_request(req)
    exchange = _Exchange(request)
    background.start(exchange.run(app, request_to_scope(request, env, state=state), shutdown), "asgi-request")
    return await exchange.response


class _Conversation:
    """One WebSocket, as the application's `receive` and `send` see it."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._inbox.put_nowait({"type": "websocket.connect"})
        self._closed = False
        self.handshake: asyncio.Future[list[tuple[str, str]] | None] = asyncio.get_running_loop().create_future()
        socket.binaryType = "arraybuffer"
        socket.addEventListener("message", self._on_message)
        socket.addEventListener("close", self._on_close)

    def _on_message(self, event: Event) -> None:
        data: Any = getattr(event, "data")  # noqa: B009 - events carry their fields dynamically
        content = {"text": data} if isinstance(data, str) else {"bytes": bytes(data)}
        self._inbox.put_nowait({"type": "websocket.receive", **content})

    def _on_close(self, event: Event) -> None:
        self._closed = True
        fields = vars(event)
        code, reason = fields.get("code", 1005), fields.get("reason", "")
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})

    async def receive(self) -> Message:
        return await self._inbox.get()

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.send":
            data = message.get("bytes")
            self._socket.send(message["text"] if data is None else bytes(data))
        elif kind == "websocket.close":
            if not self.handshake.done():
                self.handshake.set_result(None)
            self._closed = True
            self._socket.close(message.get("code") or 1000, message.get("reason") or "")

    def _accept(self, message: Message) -> None:
        headers = _header_pairs(message)
        if message.get("subprotocol"):
            headers.append(("sec-websocket-protocol", message["subprotocol"]))
        if not self.handshake.done():
            self.handshake.set_result(headers)

    async def run(self, app: Application, scope: dict[str, Any]) -> None:
        sync_bridge.enable()
        code = 1000
        try:
            await app(scope, self.receive, self.send)
        except Exception as error:
            code = 1011
            if not self.handshake.done():
                self.handshake.set_exception(error)
            else:
                _log.exception("ASGI application failed in a WebSocket")
        finally:
            if not self.handshake.done():
                self.handshake.set_result(None)
            if not self._closed:
                self._socket.close(code, "")


async def process_websocket(app: Application, req: Request | js.Request, env: Any = None) -> js.Response:
    """Call the application for a WebSocket upgrade; answered when the application accepts (101) or refuses (403)."""
    client, server = WebSocketPair()
    conversation = _Conversation(server)
    server.accept()
    scope = request_to_scope(req, {} if env is None else env, ws=True)
    background.start(conversation.run(app, scope), "asgi-websocket")
    headers = await conversation.handshake
    if headers is None:
        return js.Response(None, status=403)
    return js.Response(None, status=101, webSocket=client, headers=headers or None)


async def websocket(app: Application, req: Request | js.Request, env: Any = None) -> js.Response:
    """Answer a WebSocket upgrade with an ASGI application."""
    return await process_websocket(app, req, env)


async def fetch(app: Application, req: Request | js.Request, env: Any, ctx: Any = None) -> js.Response:
    """Answer a request with an ASGI application: `return await asgi.fetch(app, request, self.env)`.

    A WebSocket upgrade goes to the application's websocket side.
    """
    request = _js_request(req)
    if (request.headers.get("upgrade") or "").lower() == "websocket":
        return await process_websocket(app, request, env)
    shutdown, state = await start_application(app)
    return await process_request(app, request, env, shutdown, state)
