"""The pump: one client socket after the WebSocket handshake, joined to an in-memory `WebSocket` end.

After the handshake the transport is handed from the HTTP protocol to a `Connection`, so that an idle socket costs a few
hundred bytes. Frames from the network go to the peer end by a synchronous call. Frames for the network are encoded once
per payload object, gathered for the rest of the loop turn and leave in one write; when many sockets got the same
sequence, the joined buffer is built once and shared.

States: open -> closing (one side sent Close) -> closed. A client that reads too slowly has a bounded backlog; when that
overflows it is told 1013 and dropped, so no client can make the server's memory grow.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import socket
from collections.abc import Callable

from workers.compat.websocket import Port, WebSocket, take
from workers.runtime.edge import frames
from workers.runtime.edge.frames import FrameReader, Opcode, ProtocolError

__all__ = ["MAX_MESSAGE_BYTES", "Connection", "Outbox", "accept_key"]

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
"""Largest message a client may send; one byte more is answered with 1009."""

_HIGH_WATER_BYTES = 256 * 1024  # in the transport, before frames wait here
_BACKLOG_BYTES = 8 * 1024 * 1024  # waiting here, before the client is given up
_CLOSE_TIMEOUT_S = 5.0  # for the other half of the close handshake
_REFUSED_LINGER_S = 1.0  # for a client that broke the protocol to read why
_ANSWER_GRACE_S = 1.0  # for a handler to answer a client's Close by itself
_ENCODED_KEPT = 256
_KEEP_ALIVE = {"TCP_KEEPIDLE": 45, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 3}  # a dead peer is noticed after 90 s

_TEXT, _BINARY, _PING, _CLOSE = Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.CLOSE
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

_log = logging.getLogger(__name__)


def accept_key(key: str) -> str:
    """Return the Sec-WebSocket-Accept value for a client's key (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()).decode("ascii")


def _utf8(text: str) -> bytes:
    """Encode as JavaScript does: half of a surrogate pair becomes U+FFFD, since clients refuse broken UTF-8."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def _notice_dead_peers(transport: asyncio.Transport) -> None:
    """Have the kernel ask a silent client whether it is there: a phone that lost its network says no goodbye."""
    connection = transport.get_extra_info("socket")
    if connection is None:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        option = getattr(socket, name, None)  # not every system has all of them
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


class Outbox:
    """What all sockets of one server have to send in this loop turn."""

    __slots__ = ("_dirty", "_encoded", "_loop", "connections", "last", "last_frame")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._dirty: list[Connection] = []
        self._encoded: dict[int, tuple[str | bytes, bytes]] = {}
        self.connections: set[Connection] = set()
        self.last: str | bytes | None = None
        """The message encoded last, and its frame: what a broadcast asks for again and again."""
        self.last_frame = b""

    def frame(self, data: str | bytes) -> bytes:
        """Return the frame of a message, encoded once per object within a turn."""
        # The entry keeps the object alive, so its id cannot be taken by another one.
        known = self._encoded.get(id(data))
        if known is not None:
            self.last, self.last_frame = known
            return known[1]
        frame = frames.encode(_TEXT, _utf8(data)) if isinstance(data, str) else frames.encode(_BINARY, data)
        if len(self._encoded) >= _ENCODED_KEPT:
            self._encoded.clear()
        self._encoded[id(data)] = self.last, self.last_frame = data, frame
        return frame

    def mark(self, connection: Connection) -> None:
        """Have the connection's queue written at the end of this turn."""
        if not self._dirty:
            self._loop.call_soon(self._flush)
        self._dirty.append(connection)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        self._encoded.clear()
        self.last = None
        last: list[bytes] | None = None
        joined = b""
        # This loop is kept tight: while one send follows the other quickly, a receiver on another core does not go
        # to sleep in between, and waking it costs more than the send itself.
        for connection in dirty:
            data, queued = connection.first, connection.queued
            if data is None:
                continue
            connection.first = None
            if queued is not None:
                connection.queued = None
                # Comparing lists compares identities first: the same broadcast costs a pointer per frame.
                if queued != last:
                    last = queued
                    joined = b"".join(queued)
                data = joined
            if connection.is_paused:
                connection.keep(data)
            else:
                write = connection.write  # calling a slot's value directly is the slow way in CPython 3.11
                write(data)


def _nowhere(data: bytes) -> None:
    """Take what is written to a connection that is gone."""


class Connection(asyncio.Protocol):
    """One client socket. It is the `Sink` of the end that a Worker returned."""

    __slots__ = (
        "_backlog",
        "_backlog_bytes",
        "_ended",
        "_got_close",
        "_hanging_up",
        "_outbox",
        "_port",
        "_reader",
        "_sent_close",
        "_timer",
        "_transport",
        "first",
        "is_paused",
        "queued",
        "write",
    )

    def __init__(self, outbox: Outbox, ws: WebSocket) -> None:
        """Take over `ws`; frames it holds already are sent after `start`.

        Raises:
            JsTypeError: The Worker accepted this end itself.
        """
        self._outbox = outbox
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader(MAX_MESSAGE_BYTES)
        self.first: bytes | None = None
        """The first frame queued in this turn; nearly always the only one."""
        self.queued: list[bytes] | None = None
        """All frames queued in this turn, `first` among them, when there are several."""
        self.write: Callable[[bytes], None] = _nowhere
        """Write to the transport; only while `is_paused` is false."""
        self.is_paused = False
        self._backlog: list[bytes] | None = None
        self._backlog_bytes = 0
        self._sent_close = False
        self._got_close = False
        self._hanging_up = False
        self._timer: asyncio.TimerHandle | None = None
        self._ended: asyncio.Future[None] | None = None
        self._port: Port = take(ws, self)

    def start(self, transport: asyncio.Transport, tail: bytes) -> None:
        """Begin on a transport whose handshake answer is written; `tail` came in behind the handshake request."""
        self._transport = transport
        self.write = transport.write
        transport.set_protocol(self)
        transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
        _notice_dead_peers(transport)
        self._outbox.connections.add(self)
        if tail:
            self.data_received(tail)
        if not transport.is_reading():  # HTTP stopped reading when much came in behind the handshake
            transport.resume_reading()

    # -- Sink: what the Worker or the object sends

    def message(self, data: str | bytes) -> None:
        """Queue a message for the client."""
        if self._sent_close:
            return
        outbox = self._outbox
        frame = outbox.last_frame if data is outbox.last else outbox.frame(data)
        if self.first is None:
            self.first = frame
            outbox.mark(self)
        elif self.queued is None:
            self.queued = [self.first, frame]
        else:
            self.queued.append(frame)

    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        """Close towards the client, behind the messages sent so far; without a Close frame when it was not clean."""
        if self._sent_close:
            return
        if not was_clean:
            self._sent_close = self._got_close = True
            self._send_now(b"")
            self._hang_up()
            return
        self._send_close(code, reason)

    # -- asyncio.Protocol: what the client sends

    def data_received(self, data: bytes) -> None:
        """Deliver the messages in `data` to the peer end."""
        if self._got_close:
            return  # what follows a Close, or a protocol error, is read and dropped so that our Close can arrive
        try:
            for opcode, payload in self._reader.feed(data):
                if opcode is _TEXT or opcode is _BINARY:
                    self._port.send(payload)
                elif opcode is _PING:
                    self._pong(payload)
                elif opcode is _CLOSE:
                    self._client_closed(payload)
                    return
        except ProtocolError as error:
            self._refuse(error)

    def eof_received(self) -> bool:
        """The client will send no more: close our side too."""
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell the peer end when the client vanished without a Close."""
        self._transport = None
        self._outbox.connections.discard(self)
        self._stop_timer()
        self.first = self.queued = self._backlog = None
        self.write = _nowhere
        self._sent_close = True
        if not self._got_close:
            self._got_close = True
            self._port.abort()
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def pause_writing(self) -> None:
        """The client reads more slowly than we write: keep frames here."""
        self.is_paused = True
        self._backlog, self._backlog_bytes = [], 0

    def resume_writing(self) -> None:
        """The client caught up: send what waited."""
        self.is_paused = False
        backlog, self._backlog = self._backlog, None
        if backlog and self._transport is not None:
            self._transport.write(b"".join(backlog))
        if self._hanging_up:
            self._hang_up()

    # -- writing

    def keep(self, data: bytes) -> None:
        """Keep frames while the client is slow."""
        backlog = self._backlog
        if backlog is None:
            return
        if backlog and self._backlog_bytes + len(data) > _BACKLOG_BYTES:
            self._give_up()
            return
        backlog.append(data)
        self._backlog_bytes += len(data)

    def _send_now(self, frame: bytes) -> None:
        """Write a frame behind all that is queued, without waiting for the end of the turn."""
        if self.first is not None:
            frame = b"".join((*(self.queued or (self.first,)), frame))
            self.first = self.queued = None
        if frame:
            (self.keep if self.is_paused else self.write)(frame)

    def _pong(self, payload: str | bytes) -> None:
        if not self._sent_close:
            self._send_now(frames.encode(Opcode.PONG, payload if isinstance(payload, bytes) else payload.encode()))

    def _give_up(self) -> None:
        _log.warning("a slow client was dropped: %d bytes wait for it", self._backlog_bytes)
        self._backlog = None
        transport = self._transport
        self._sent_close = True
        if transport is not None:
            # Behind what the transport holds; it arrives if the client reads on before the timeout.
            transport.write(frames.encode(_CLOSE, frames.close_payload(1013, "client reads too slowly")))
        if not self._got_close:
            self._got_close = True
            self._port.abort()
        self._hang_up()

    # -- closing

    def shut_down(self, code: int) -> None:
        """Close because the server stops."""
        if not self._sent_close:
            self._send_close(code, "")

    async def ended(self) -> None:
        """Wait until the transport is gone. One waiter at a time."""
        if self._transport is not None:
            self._ended = asyncio.get_running_loop().create_future()
            await self._ended

    def abort(self) -> None:
        """Cut the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def _send_close(self, code: int, reason: str) -> None:
        self._sent_close = True
        self._send_now(frames.encode(_CLOSE, frames.close_payload(code, reason)))
        if self._got_close:
            self._hang_up()
        else:
            self._start_timer(_CLOSE_TIMEOUT_S, self._hang_up)

    def _client_closed(self, payload: str | bytes) -> None:
        code, reason = frames.parse_close(payload if isinstance(payload, bytes) else payload.encode())
        self._got_close = True
        self._port.close(code, reason)
        if self._sent_close:
            self._hang_up()
        else:
            # DIFFERS: a handler that never calls ws.close() leaves the client waiting on Cloudflare; here the client's
            # own code is echoed after a moment, as RFC 6455 section 5.5.1 asks.
            self._start_timer(_ANSWER_GRACE_S, self._send_close, code, reason)

    def _refuse(self, error: ProtocolError) -> None:
        self._got_close = True
        self._port.fail(
            f"WebSocket protocol error; protocolError.statusCode = {error.code}; "
            f"protocolError.description = {error.reason}"
        )
        if not self._sent_close:
            self._sent_close = True
            self._send_now(frames.encode(_CLOSE, frames.close_payload(error.code, error.reason)))
        # Closing with unread bytes resets the connection and the client would never see why: read on for a while.
        self._start_timer(_REFUSED_LINGER_S, self._hang_up)

    def _hang_up(self) -> None:
        """Close the transport once everything is written, or after the timeout."""
        if self._transport is None:
            return
        if self._backlog:
            self._hanging_up = True
        else:
            self._transport.close()
        self._start_timer(_CLOSE_TIMEOUT_S, self.abort)

    def _start_timer(self, delay_s: float, call: Callable[..., object], *arguments: object) -> None:
        self._stop_timer()
        if self._transport is not None:
            self._timer = asyncio.get_running_loop().call_later(delay_s, call, *arguments)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
