"""A request on the wire becomes a Worker's Request; a Worker's Response goes back on the wire.

Framing follows the body: `content-length` when its size is known, chunked for a stream (until close for HTTP/1.0),
neither for 204, 304 and HEAD. Bodies are never collected: a stream is read as the other side can take it.
"""

from __future__ import annotations

import asyncio
import http
from collections.abc import AsyncIterator
from email.utils import formatdate

from aiohttp.streams import StreamReader

from workers.compat import web
from workers.compat.streams import ReadableStream, chunk_bytes
from workers.runtime.edge.protocol import CLOSE, KEEP, Exchange, HttpProtocol, Outcome

__all__ = ["send", "send_text", "to_request", "upgrade_head"]

_BODY_IDLE_S = 60.0
_WRITE_STALL_S = 120.0
_INLINE_BODY_BYTES = 64 * 1024
_HANDSHAKE = frozenset({"sec-websocket-accept", "sec-websocket-extensions", "content-type"})
_OURS = frozenset({"connection", "content-length", "date", "keep-alive", "transfer-encoding", "upgrade"})


def to_request(exchange: Exchange, host: str) -> web.Request:
    """Return the request as a Worker sees it; a body that has not arrived yet is a stream."""
    message = exchange.message
    target = message.path
    if target.startswith("/"):
        url = f"http://{host}{target}"
    elif target.startswith(("http://", "https://")):
        url = target  # absolute form: the target's host counts (RFC 9112 section 3.2.2)
    else:
        url = f"http://{host}/"  # "*" of OPTIONS
    method = message.method
    pairs = list(message.headers.items())
    if "cf-connecting-ip" in message.headers:
        pairs = [pair for pair in pairs if pair[0].lower() != "cf-connecting-ip"]
    peer = exchange.protocol.peername
    if peer:
        pairs.append(("cf-connecting-ip", str(peer[0])))
    body = None if method in ("GET", "HEAD") else _body(exchange)
    return web.Request.incoming(url, method, pairs, body)


def _body(exchange: Exchange) -> bytes | ReadableStream:
    payload = exchange.payload
    length = exchange.message.headers.get("Content-Length")
    if payload.is_eof() and payload.total_bytes <= _INLINE_BODY_BYTES:
        return b"" if payload.at_eof() else payload.read_nowait(-1)
    if exchange.message.headers.get("Expect", "").lower() == "100-continue":
        transport = exchange.protocol.transport
        if transport is not None:
            transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    known = int(length) if length is not None and length.isdigit() else None
    return ReadableStream.from_iterator(_chunks(payload), length=known)


async def _chunks(payload: StreamReader) -> AsyncIterator[bytes]:
    while not payload.at_eof():
        async with asyncio.timeout(_BODY_IDLE_S):
            chunk = await payload.readany()
        if chunk:
            yield chunk


class _Date:
    """The Date line, made once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._line = ""

    def line(self, now_s: float) -> str:
        if int(now_s) != self._second:
            self._second = int(now_s)
            self._line = f"date: {formatdate(usegmt=True)}\r\n"
        return self._line


_date = _Date()


def _head(response: web.Response, framing: str) -> bytes:
    reason = response.reason
    if not reason.isprintable():
        reason = "".join(character if character.isprintable() else " " for character in reason)
    fields = "".join([f"{name}: {value}\r\n" for name, value in response.header_pairs() if name not in _OURS])
    date = _date.line(asyncio.get_running_loop().time())
    return f"HTTP/1.1 {response.status} {reason}\r\n{fields}{date}{framing}\r\n".encode("utf-8", "surrogateescape")


def upgrade_head(response: web.Response, accept: str, extension: str = "") -> bytes:
    """Return the 101 answer, with the Worker's own headers: among them the subprotocol it chose, exactly as it is."""
    extended = f"sec-websocket-extensions: {extension}\r\n" if extension else ""
    fields = "".join(
        f"{name}: {value}\r\n" for name, value in response.header_pairs() if name not in _OURS | _HANDSHAKE
    )
    return (
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        f"sec-websocket-accept: {accept}\r\n{extended}{fields}\r\n"
    ).encode("utf-8", "surrogateescape")


async def send(exchange: Exchange, response: web.Response) -> Outcome:
    """Write a response that is not a WebSocket; say whether the connection goes on.

    Raises:
        JsTypeError: Somebody has read the response's body already; nothing is written.
    """
    protocol, message = exchange.protocol, exchange.message
    status, body = response.status, response.take_body()
    transport = protocol.transport
    if transport is None:
        await _drop(body)
        return CLOSE
    keep = not message.should_close
    connection = "" if keep else "connection: close\r\n"
    if keep and message.version < (1, 1):
        connection = "connection: keep-alive\r\n"
    if message.method == "HEAD" or status in (204, 304):
        transport.write(_head(response, connection))
        await _drop(body)
        return KEEP if keep else CLOSE
    if body is None or isinstance(body, bytes):
        data = body or b""
        transport.write(_head(response, f"content-length: {len(data)}\r\n{connection}") + data)
        if len(data) > _INLINE_BODY_BYTES:
            await _drain(protocol)
        return KEEP if keep else CLOSE
    return await _send_stream(exchange, response, body, connection, keep=keep)


async def _send_stream(
    exchange: Exchange, response: web.Response, body: ReadableStream, connection: str, *, keep: bool
) -> Outcome:
    protocol = exchange.protocol
    transport = protocol.transport
    assert transport is not None
    length = body.length
    chunked = length is None and exchange.message.version >= (1, 1)
    if chunked:
        framing = f"transfer-encoding: chunked\r\n{connection}"
    elif length is not None:
        framing = f"content-length: {length}\r\n{connection}"
    else:
        framing, keep = "connection: close\r\n", False  # HTTP/1.0: the end of the connection is the end of the body
    exchange.head_sent = True
    transport.write(_head(response, framing))
    sent = 0
    protocol.streaming = asyncio.current_task()
    try:
        async for chunk in body:
            data = chunk_bytes(chunk)
            if not data:
                continue
            sent += len(data)
            if length is not None and sent > length:
                break
            transport.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
            await _drain(protocol)
    finally:
        protocol.streaming = None
    if chunked:
        transport.write(b"0\r\n\r\n")
    elif length is not None and sent != length:
        return CLOSE
    return KEEP if keep else CLOSE


async def _drain(protocol: HttpProtocol) -> None:
    if protocol.writing_paused:
        async with asyncio.timeout(_WRITE_STALL_S):  # a client that reads nothing is given up
            await protocol.drain()


async def _drop(body: bytes | ReadableStream | None) -> None:
    if isinstance(body, ReadableStream):
        await body.abandon()


def send_text(exchange: Exchange, status: int, text: str, *, keep_alive: bool = False) -> Outcome:
    """Answer with a line of plain text from the runtime itself."""
    transport = exchange.protocol.transport
    if transport is not None:
        body = text.encode("utf-8", "replace") + b"\n"
        connection = "" if keep_alive else "connection: close\r\n"
        head = f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\ncontent-type: text/plain;charset=UTF-8\r\n"
        head += f"content-length: {len(body)}\r\n"
        written = body if exchange.message.method != "HEAD" else b""
        transport.write(f"{head}{connection}\r\n".encode() + written)
    return KEEP if keep_alive else CLOSE
