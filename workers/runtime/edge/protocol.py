"""HTTP/1.1 connections: aiohttp's parser and connection loop, without its request and response objects.

An `Exchange` is one request on the wire. Handing a transport over to a WebSocket, and noticing that a client left in
the middle of a streamed answer, need the connection itself; both live here.
"""

from __future__ import annotations

import asyncio
import http
import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

__all__ = ["CLOSE", "KEEP", "Exchange", "HttpProtocol", "HttpServer", "Outcome"]

_FRESH_S = 0.15  # how long a connection without a request is not cut by a server that stops
_LOOK_S = 0.005
_FIRST_REQUEST_S = 20.0  # a connection that has not sent one whole request head by then is cut
_KEEP_ALIVE_S = 75.0
_MAX_LINE_BYTES = 16 * 1024
_MAX_HEADERS = 128
_READ_BUFFER_BYTES = 128 * 1024

_log = logging.getLogger(__name__)


class Outcome:
    """What aiohttp's connection loop gets as "the response": everything is written already."""

    __slots__ = ("keep_alive",)

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive

    async def prepare(self, request: object) -> None:
        """Do nothing: the head is written."""

    async def write_eof(self) -> None:
        """Do nothing: the body is written."""


KEEP, CLOSE = Outcome(keep_alive=True), Outcome(keep_alive=False)


class Exchange:
    """One request as it came in: parsed head, body stream and the connection to answer on."""

    __slots__ = ("_task", "head_sent", "message", "payload", "protocol")

    def __init__(self, message: RawRequestMessage, payload: StreamReader, protocol: HttpProtocol) -> None:
        self.message = message
        self.payload = payload
        self.protocol = protocol
        self.head_sent = False
        """A streamed answer has begun: it is too late for an error page."""
        self._task: object = None  # aiohttp's loop clears this attribute

    def _finish(self) -> None:
        """aiohttp: the answer is being written."""

    def _cancel(self, error: BaseException) -> None:
        """aiohttp: the connection is gone; whoever reads the body must know."""
        self.payload.set_exception(error)


class HttpProtocol(RequestHandler):
    """One client connection."""

    __slots__ = ("_first_request_timer", "streaming")

    def __init__(self, server: HttpServer, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            cast(Any, server),
            loop=loop,
            keepalive_timeout=_KEEP_ALIVE_S,
            access_log=cast(Any, None),
            max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_LINE_BYTES,
            max_headers=_MAX_HEADERS,
            read_bufsize=_READ_BUFFER_BYTES,
            auto_decompress=False,
        )
        self.streaming: asyncio.Task[Any] | None = None
        """The task that streams an answer: cancelled when the client leaves."""
        self._first_request_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start serving the connection, and the clock for its first request."""
        super().connection_made(transport)
        self._first_request_timer = self._loop.call_later(_FIRST_REQUEST_S, self._cut_if_silent)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop what was being streamed to the client that left."""
        if self._first_request_timer is not None:
            self._first_request_timer.cancel()
        super().connection_lost(exc)
        if self.streaming is not None:
            self.streaming.cancel()

    def _cut_if_silent(self) -> None:
        self._first_request_timer = None
        if self._request_count == 0:
            if self.transport is not None and not self.transport.is_closing():
                self.handle_error(None, 408, message="Request Timeout: no whole request head arrived in time.")
            self.force_close()

    @property
    def is_fresh(self) -> bool:
        """Whether it was opened a moment ago and has not brought a request yet."""
        opened = self._first_request_timer
        is_new = opened is not None and opened.when() - self._loop.time() > _FIRST_REQUEST_S - _FRESH_S
        return is_new and self._request_count == 0 and self._current_request is None

    def abort(self) -> None:
        """Cut the connection, so that a client cannot take a truncated body for a whole one."""
        if self.transport is not None:
            self.transport.abort()

    async def drain(self) -> None:
        """Wait until the client has read enough of what was written."""
        await self._drain_helper()

    def handle_error(
        self,
        request: Any,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> Any:
        """Answer what is not HTTP (4xx), or what this server could not turn into a request (500)."""
        if status >= 500:
            _log.error("a request could not be handled", exc_info=exc)
        if self.transport is not None:
            phrase = http.HTTPStatus(status).phrase
            body = f"{message or phrase}\n".encode("utf-8", "replace")
            head = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: text/plain;charset=UTF-8\r\n"
            self.transport.write(f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body)
        return CLOSE

    def detach(self) -> tuple[asyncio.Transport, bytes]:
        """Give up the transport, for another protocol to go on with, and what came in behind the request."""
        transport, tail = self.transport, self._message_tail
        if transport is None:
            raise ConnectionResetError("the client left")
        self.transport, self._message_tail = None, b""
        self.connection_lost(None)  # ends the connection loop; without a transport it closes nothing
        return transport, tail


class HttpServer:
    """Creates a protocol for each connection and keeps count of them: the part of `web.Server` that is needed."""

    handler_cancellation = False

    def __init__(self, handler: Callable[[Exchange], Awaitable[Outcome]], loop: asyncio.AbstractEventLoop) -> None:
        self.request_handler = handler
        self.requests_count = 0
        self.connections: set[HttpProtocol] = set()
        self._loop = loop

    def __call__(self) -> HttpProtocol:
        """Return the protocol of a new connection."""
        return HttpProtocol(self, self._loop)

    def request_factory(
        self, message: RawRequestMessage, payload: StreamReader, protocol: HttpProtocol, writer: object, task: object
    ) -> Exchange:
        """Wrap one parsed request."""
        return Exchange(message, payload, protocol)

    def connection_made(self, protocol: HttpProtocol, transport: asyncio.Transport) -> None:
        """Note a new connection."""
        self.connections.add(protocol)

    def connection_lost(self, protocol: HttpProtocol, exc: BaseException | None = None) -> None:
        """Forget a connection."""
        self.connections.discard(protocol)

    async def shutdown(self, timeout_s: float) -> None:
        """Let running requests finish for a while, then close every connection.

        A client that has just connected sends its request in a moment; closed before, it would have lost it.
        """
        for _ in range(int(min(timeout_s, _FRESH_S) / _LOOK_S)):
            if not any(protocol.is_fresh for protocol in self.connections):
                break
            await asyncio.sleep(_LOOK_S)
        connections = list(self.connections)
        for protocol in connections:
            protocol.close()  # idle ones end at once, the others after the request they are at
        async with asyncio.TaskGroup() as tasks:
            for protocol in connections:
                tasks.create_task(protocol.shutdown(timeout_s))
