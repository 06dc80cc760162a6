"""The way to the network: a Worker's outbound `fetch` and `fetch` with an Upgrade, over one aiohttp client session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from workers.compat import web
from workers.compat.streams import ReadableStream, chunk_bytes
from workers.compat.websocket import Port, WebSocket, WebSocketPair, take

__all__ = ["OutboundClient"]

_CONNECT_S = 15.0
_READ_IDLE_S = 100.0
_MAX_REDIRECTS = 20
_OURS = frozenset({"connection", "host", "keep-alive", "transfer-encoding", "content-length", "upgrade"})
_HANDSHAKE = frozenset(
    {"sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions", "sec-websocket-protocol"}
)


class OutboundClient:
    """Sends requests; its connections are made when the first one is sent and closed with the client."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pump in self._pumps:
            pump.cancel()
        await self._tasks.__aexit__(None, None, None)  # without the error of the block, which it would wrap
        if self._session is not None:
            await self._session.close()

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                auto_decompress=True,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_READ_IDLE_S),
                max_line_size=65536,
                max_field_size=65536,
            )
        return self._session

    async def fetch(self, request: web.Request) -> web.Response:
        """Send a request and return the answer once its head is in; the body is a stream.

        Raises:
            OSError: The network failed, or there were too many redirects.
        """
        pairs = [(name, value) for name, value in request.headers.pairs() if name not in _OURS]
        if (request.headers.get("upgrade") or "").lower() == "websocket":
            return await self._connect(request, pairs)
        body = request.take_body()
        try:
            answer = await self._client().request(
                request.method,
                URL(request.url, encoded=True),
                headers=pairs,
                data=_sent(body) if isinstance(body, ReadableStream) else body,
                allow_redirects=request.redirect == "follow",
                max_redirects=_MAX_REDIRECTS,
                skip_auto_headers=("User-Agent", "Content-Type"),
            )
        except aiohttp.TooManyRedirects as error:
            raise OSError(f"Too many redirects. {request.url}") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OSError(f"Network connection lost: {error or type(error).__name__}") from error
        pairs = [(name.lower(), value) for name, value in answer.headers.items()]
        if "content-encoding" in answer.headers:  # the client has decoded the body
            pairs = [pair for pair in pairs if pair[0] not in ("content-encoding", "content-length")]
        stream = None
        if answer.status not in (101, 204, 205, 304) and request.method != "HEAD":
            stream = ReadableStream.from_iterator(_received(answer))
        return web.Response.fetched(
            answer.status, answer.reason or "", pairs, stream, url=str(answer.url), redirected=bool(answer.history)
        )

    async def _connect(self, request: web.Request, pairs: list[tuple[str, str]]) -> web.Response:
        """Open a WebSocket and return a response that carries our end of it."""
        offered = [name.strip() for name in (request.headers.get("sec-websocket-protocol") or "").split(",")]
        try:
            socket = await self._client().ws_connect(
                URL(request.url, encoded=True),
                headers=[pair for pair in pairs if pair[0] not in _HANDSHAKE],
                protocols=[name for name in offered if name],
                max_msg_size=32 * 1024 * 1024,
            )
        except aiohttp.WSServerHandshakeError as error:
            headers = [(name.lower(), value) for name, value in (error.headers or {}).items()]
            return web.Response.fetched(error.status, error.message, headers, None, url=request.url)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OSError(f"Network connection lost: {error or type(error).__name__}") from error
        ours, theirs = WebSocketPair()
        pump = self._tasks.create_task(_pump(socket, theirs), name="outbound-websocket")
        self._pumps.add(pump)
        pump.add_done_callback(self._pumps.discard)
        headers = [("sec-websocket-protocol", socket.protocol)] if socket.protocol else []
        return web.Response.fetched(101, "Switching Protocols", headers, None, url=request.url, webSocket=ours)


async def _sent(body: ReadableStream) -> AsyncIterator[bytes]:
    async for chunk in body:
        yield chunk_bytes(chunk)


async def _received(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, TimeoutError) as error:
        raise OSError(f"Network connection lost: {error or type(error).__name__}") from error
    finally:
        answer.close()


class _Outgoing:
    """Sink of the Worker's end: what it sends waits here for the network."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[str | bytes | tuple[int, str]] = asyncio.Queue()

    def message(self, data: str | bytes) -> None:
        self.queue.put_nowait(data)

    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        self.queue.put_nowait((code, reason))


async def _pump(socket: aiohttp.ClientWebSocketResponse, end: WebSocket) -> None:
    """Carry frames both ways until either side closes."""
    outgoing = _Outgoing()
    port = take(end, outgoing)
    try:
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(_write(socket, outgoing))
            await _read(socket, port)
            writer.cancel()
    finally:
        port.abort()
        await socket.close()


async def _read(socket: aiohttp.ClientWebSocketResponse, port: Port) -> None:
    while True:
        message = await socket.receive()
        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            port.send(message.data)
            continue
        code, reason = socket.close_code, message.extra if message.type is aiohttp.WSMsgType.CLOSE else None
        if code is not None and code != aiohttp.WSCloseCode.ABNORMAL_CLOSURE:
            port.close(code, reason or "")
        return


async def _write(socket: aiohttp.ClientWebSocketResponse, outgoing: _Outgoing) -> None:
    while True:
        item = await outgoing.queue.get()
        if isinstance(item, tuple):
            code, reason = item
            await socket.close(code=1000 if code == 1005 else code, message=reason.encode())
            return
        try:
            await (socket.send_str(item) if isinstance(item, str) else socket.send_bytes(item))
        except ConnectionError:
            return
