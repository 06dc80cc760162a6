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
from typing import cast

from durable_objects.realtime.core.delivery import Backlog, Bounds, Lane
from workers.compat.clock import now_ms
from workers.compat.websocket import Port, WebSocket, take
from workers.runtime.edge import frames
from workers.runtime.edge.errors import ProtocolError
from workers.runtime.edge.frames import FrameReader, Opcode
from workers.runtime.edge.outbox import Framed, Outbox, Write
from workers.runtime.edge.undelivered import undelivered_bytes

__all__ = ["MAX_MESSAGE_BYTES", "Connection", "accept_key"]

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
"""Largest message a client may send; one byte more is answered with 1009."""

_NO_LOSS = (0, False)
_EVERYTHING = 2**40  # more than is kept to be said again
_HIGH_WATER_BYTES = 256 * 1024  # in the transport, before frames wait here
_OWN_BOUNDS = Bounds(bytes=8 * 1024 * 1024, frames=65_536)
"""What may wait for a client, besides what topics say, before it is given up."""
_CLOSE_TIMEOUT_S = 5.0  # for the other half of the close handshake
_REFUSED_LINGER_S = 1.0  # for a client that broke the protocol to read why
_ANSWER_GRACE_S = 1.0  # for a handler to answer a client's Close by itself
_KEEP_ALIVE = {"TCP_KEEPIDLE": 45, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 3}  # a dead peer is noticed after 90 s

_TEXT, _BINARY, _PING, _CLOSE = Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.CLOSE
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

_log = logging.getLogger(__name__)


def accept_key(key: str) -> str:
    """Return the Sec-WebSocket-Accept value for a client's key (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()).decode("ascii")


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


def _nowhere(data: bytes, /) -> None:
    """Take what is written to a connection that is gone."""


class Connection(asyncio.Protocol):
    """One client socket. It is the `Sink` of the end that a Worker returned."""

    __slots__ = (
        "_backlog",
        "_ended",
        "_got_close",
        "_hanging_up",
        "_is_paused",
        "_loss",
        "_port",
        "_reader",
        "_sent_close",
        "_timer",
        "codec",
        "first",
        "hub",
        "is_flowing",
        "queued",
        "transport",
        "write",
    )

    def __init__(self, outbox: Outbox, ws: WebSocket, codec: int = 0) -> None:
        """Take over `ws`; frames it holds already are sent after `start`.

        Args:
            outbox: The sockets of the server.
            ws: The end that the Worker returned.
            codec: The window bits to compress with, when compression was negotiated; else 0.

        Raises:
            JsTypeError: The Worker accepted this end itself.
        """
        self.hub = outbox
        self.codec = codec
        self.transport: asyncio.Transport | None = None
        self._reader = FrameReader(MAX_MESSAGE_BYTES, deflates=codec > 0)
        self.first: bytes | None = None
        """The first frame queued in this turn; nearly always the only one."""
        self.queued: list[bytes] | None = None
        """All frames queued in this turn, `first` among them, when there are several."""
        self.write: Write = _nowhere
        """Write to the transport; only while `is_flowing`."""
        self.is_flowing = True
        """The client is there, reads, and no Close was sent."""
        self._is_paused = False
        self._backlog: Backlog | None = None
        self._sent_close = False
        self._got_close = False
        self._hanging_up = False
        self._loss: tuple[int, bool] = _NO_LOSS
        self._timer: asyncio.TimerHandle | None = None
        self._ended: asyncio.Future[None] | None = None
        self._port: Port = take(ws, self)

    def start(self, transport: asyncio.Transport, tail: bytes) -> None:
        """Begin on a transport whose handshake answer is written; `tail` came in behind the handshake request."""
        self.transport = transport
        self.hub.flow += 1
        self.write = transport.write
        transport.set_protocol(self)
        transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
        _notice_dead_peers(transport)
        self.hub.connections.add(self)
        if tail:
            self.data_received(tail)
        if not transport.is_reading():  # HTTP stopped reading when much came in behind the handshake
            transport.resume_reading()

    # -- Sink: what the Worker or the object sends

    def message(self, data: str | bytes) -> None:
        """Queue a message for the client."""
        hub = self.hub
        if hub.flocks:
            hub.take_apart(self)
        if data is not hub.last or self.codec != hub.last_codec or not self.is_flowing:
            self.post_apart(data, None)
        elif self.first is None:  # the hot path of a loop over sockets
            self.first = hub.last_frame
            hub.mark(self)
        elif self.queued is None:
            self.queued = [self.first, hub.last_frame]
        else:
            self.queued.append(hub.last_frame)

    def post(self, data: str | bytes, lane: object) -> None:
        """Queue a message; `lane`, a `Lane`, says what to do with it when the client does not read."""
        if self.hub.flocks:
            self.hub.take_apart(self)
        self.post_apart(data, lane)

    def post_apart(self, data: str | bytes, lane: object) -> None:
        """As `post`, for a connection that is in no flock or was taken apart from it."""
        if not self.is_flowing:
            self.keep(data, lane)
            return
        frame = self.hub.frame(data, self.codec)
        if self.first is None:
            self.first = frame
            self.hub.mark(self)
        elif self.queued is None:
            self.queued = [self.first, frame]
        else:
            self.queued.append(frame)

    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        """Close towards the client, behind the messages sent so far; without a Close frame when it was not clean."""
        if self._sent_close:
            return
        if not was_clean:
            self._send_now(b"")
            self._got_close = True
            self._stop_sending()
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
        self._loss = (self.undelivered()[0], True)
        self.transport = None
        self.hub.connections.discard(self)
        self._stop_timer()
        self.first = self.queued = self._backlog = None
        self.write = _nowhere
        self._stop_sending()
        if not self._got_close:
            self._got_close = True
            self._port.abort()
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def pause_writing(self) -> None:
        """The client reads more slowly than we write: keep frames here."""
        self.hub.take_apart(self)
        self._is_paused, self.is_flowing = True, False
        self.hub.flow += 1
        if self.first is not None:
            queued = self.queued or (self.first,)
            self.first = self.queued = None
            self.keep(Framed(b"".join(queued)), None)

    def resume_writing(self) -> None:
        """The client caught up: send what waited, and what the policies have to say about the rest."""
        self._is_paused, self.is_flowing = False, not self._sent_close
        self.hub.flow += 1
        backlog, self._backlog = self._backlog, None
        if backlog is not None and self.transport is not None:
            frame, codec = self.hub.frame, self.codec
            self.transport.write(b"".join([frame(data, codec) for data in backlog.take(now_ms())]))
        if self._hanging_up:
            self._hang_up()

    def undelivered(self) -> tuple[int, bool]:
        """Return how many bytes the client may not have received, at most, and whether it ended the connection.

        It may have ended before its program had read what its machine acknowledged.
        """
        transport = self.transport
        if transport is None:
            return self._loss
        self.hub.take_apart(self)
        count = undelivered_bytes(transport, _HIGH_WATER_BYTES)
        # What was compressed was more before; counting too much only says something twice to a client that is back.
        count = (count + sum(map(len, self.queued or (self.first or b"",)))) * (10 if self.codec else 1)
        backlog = self._backlog
        if backlog is not None:
            count += _EVERYTHING if backlog.has_dropped else backlog.bytes
        return count, False

    # -- writing

    def keep(self, data: str | bytes, lane: object) -> None:
        """Keep a message while the client is slow; it is lost when the client is gone or was told Close."""
        if not self._is_paused or self._sent_close:
            return
        backlog = self._backlog
        if backlog is None:
            backlog = self._backlog = Backlog(_OWN_BOUNDS)
        size = len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode("utf-8", "replace"))
        if not backlog.put(data, size, cast("Lane | None", lane)):
            self._give_up()

    def _send_now(self, frame: bytes) -> None:
        """Write a frame behind all that is queued, without waiting for the end of the turn."""
        self.hub.take_apart(self)
        if self.first is not None:
            frame = b"".join((*(self.queued or (self.first,)), frame))
            self.first = self.queued = None
        if frame:
            if self._is_paused:
                self.keep(Framed(frame), None)
            else:
                self.write(frame)

    def _stop_sending(self) -> None:
        self._sent_close, self.is_flowing = True, False
        self.hub.flow += 1

    def _pong(self, payload: str | bytes) -> None:
        if not self._sent_close:
            self._send_now(frames.encode(Opcode.PONG, payload if isinstance(payload, bytes) else payload.encode()))

    def _give_up(self) -> None:
        _log.warning("a slow client was dropped: %d bytes wait for it", self._backlog.bytes if self._backlog else 0)
        self._backlog = None
        transport = self.transport
        self._stop_sending()
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
        if self.transport is not None:
            self._ended = asyncio.get_running_loop().create_future()
            await self._ended

    def abort(self) -> None:
        """Cut the connection now."""
        if self.transport is not None:
            self.transport.abort()

    def _send_close(self, code: int, reason: str) -> None:
        self._send_now(frames.encode(_CLOSE, frames.close_payload(code, reason)))
        self._stop_sending()
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
            # DIFFERS(close-echo): on Cloudflare the client waits for a handler that never calls ws.close(); here its
            # own code is echoed after a moment, as RFC 6455 section 5.5.1 asks.
            self._start_timer(_ANSWER_GRACE_S, self._send_close, code, reason)

    def _refuse(self, error: ProtocolError) -> None:
        self._got_close = True
        if not self._sent_close:
            self._send_now(frames.encode(_CLOSE, frames.close_payload(error.code, error.reason)))
            self._stop_sending()
        # Closing with unread bytes resets the connection and the client would never see why: read on for a while.
        self._start_timer(_REFUSED_LINGER_S, self._hang_up)
        self._port.fail(
            f"WebSocket protocol error; protocolError.statusCode = {error.code}; "
            f"protocolError.description = {error.reason}"
        )

    def _hang_up(self) -> None:
        """Close the transport once everything is written, or after the timeout."""
        if self.transport is None:
            return
        if self._backlog is not None:
            self._hanging_up = True
        else:
            self.transport.close()
        self._start_timer(_CLOSE_TIMEOUT_S, self.abort)

    def _start_timer(self, delay_s: float, call: Callable[..., object], *arguments: object) -> None:
        self._stop_timer()
        if self.transport is not None:
            self._timer = asyncio.get_running_loop().call_later(delay_s, call, *arguments)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
