"""One WebSocket that is kept open: connecting, pings, and coming back after a loss.

idle -> connecting -> connected <-> reconnecting, and disconnected after `close()` or too many attempts.
The count of attempts goes back to 0 at the first frame of the server, not when the socket opens: a server that accepts
and closes at once must not be asked once a second by every client.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, cast

import aiohttp

from flarelet_client.errors import RealtimeError, client_error
from flarelet_client.listeners import Listeners
from flarelet_client.tasks import Tasks
from flarelet_client.topics import backoff_s
from flarelet_client.types import Status

__all__ = ["Connection", "Hooks"]

_PING_EVERY_S = 30.0
_PONG_WITHIN_S = 10.0
_CONNECT_WITHIN_S = 20.0
_WRITE_WITHIN_S = 10.0
_MOST_UNWRITTEN = 10_000


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the connection asks and tells its user.

    `address` is asked at each attempt, so that a new token counts; `opened` is told the protocol the server chose.
    """

    address: Callable[[], tuple[str, Sequence[str]]]
    opened: Callable[[str], None]
    received: Callable[[dict[str, Any]], None]
    failed: Callable[[RealtimeError], None]
    gave_up: Callable[[], None]


class Connection:
    """Keeps one socket open until `close()`."""

    def __init__(
        self,
        hooks: Hooks,
        *,
        session: Callable[[], aiohttp.ClientSession],
        max_attempts: float,
        random: Random,
    ) -> None:
        self.tasks = Tasks()
        self.status_listeners: Listeners[Status] = Listeners()
        self._hooks, self._session, self._max_attempts, self._random = hooks, session, max_attempts, random
        self._status: Status = "idle"
        self._attempts = 0
        self._runner: asyncio.Task[None] | None = None
        self._first: asyncio.Future[None] | None = None
        self._out: deque[str] = deque()
        self._wake = asyncio.Event()
        self._heard_at = 0.0

    @property
    def status(self) -> Status:
        """Where the connection stands."""
        return self._status

    async def connect(self) -> None:
        """Open and stay open.

        Raises:
            RealtimeError: The first attempt failed; further ones go on.
        """
        self.start()
        if self._first is not None:
            await asyncio.shield(self._first)

    def start(self) -> None:
        """Begin to connect, unless that has been done; failures are told to the `failed` hook."""
        if self._runner is not None and not self._runner.done():
            return
        self._attempts = 0
        self._first = asyncio.get_running_loop().create_future()
        self._first.add_done_callback(lambda first: first.cancelled() or first.exception())  # told as an event too
        self._become("connecting")
        self._runner = self.tasks.start(self._run(), "realtime-connection")

    async def close(self) -> None:
        """Close, and stay closed until `connect()`."""
        runner, self._runner = self._runner, None
        await self.tasks.close()
        if runner is not None and runner is not asyncio.current_task():
            self._settle(client_error("DISCONNECTED", "disconnected before the connection was open"))
        self._become("disconnected")

    def send(self, text: str) -> bool:
        """Send a frame; False when there is no connection or it does not take what was sent before."""
        if self._status != "connected" or len(self._out) >= _MOST_UNWRITTEN:
            return False
        self._out.append(text)
        self._wake.set()
        return True

    async def _run(self) -> None:
        while True:
            error = await self._once()
            attempt, self._attempts = self._attempts, self._attempts + 1
            exhausted = attempt >= self._max_attempts
            self._become("disconnected" if exhausted else "reconnecting")
            if error is not None:
                self._settle(error)
                self._hooks.failed(error)
            if exhausted:
                self._hooks.gave_up()
                return
            await asyncio.sleep(backoff_s(attempt, self._random))

    async def _once(self) -> RealtimeError | None:
        """Live one connection to its end. Return an error when it could not be opened."""
        url, protocols = self._hooks.address()
        try:
            async with asyncio.timeout(_CONNECT_WITHIN_S):
                socket = await self._session().ws_connect(url, protocols=protocols, max_msg_size=0)
        except aiohttp.WSServerHandshakeError as error:
            return client_error("CONNECT_FAILED", f"the server refused: HTTP {error.status}", retry=True)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return client_error("CONNECT_FAILED", f"could not connect: {error or type(error).__name__}", retry=True)
        self._out.clear()
        self._heard_at = asyncio.get_running_loop().time()
        self._become("connected", lambda: self._hooks.opened(socket.protocol or ""))
        self._settle(None)
        try:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                await self._live(socket)
        finally:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await socket.close()
        return None

    async def _live(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Pump one socket until it ends."""
        loop = asyncio.get_running_loop()
        writer = loop.create_task(self._write(socket), name="realtime-writer")
        heart = loop.create_task(self._beat(), name="realtime-heart")
        reader = loop.create_task(self._read(socket), name="realtime-reader")
        parts = (reader, writer, heart)
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for part in parts:
                part.cancel()
            await asyncio.wait(parts)
        for part in parts:
            if not part.cancelled():
                part.result()

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        loop = asyncio.get_running_loop()
        async for message in socket:
            self._heard_at = loop.time()
            self._attempts = 0
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            try:
                frame: object = json.loads(message.data)
            except ValueError:
                self._hooks.failed(client_error("BAD_FRAME", "the server sent a frame that is not JSON"))
                continue
            if isinstance(frame, dict):
                self._hooks.received(cast("dict[str, Any]", frame))

    async def _write(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            self._wake.clear()
            while self._out:
                async with asyncio.timeout(_WRITE_WITHIN_S):
                    await socket.send_str(self._out.popleft())
            await self._wake.wait()

    async def _beat(self) -> None:
        """Ping, and return when the server stays silent after it."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_PING_EVERY_S)
            asked_at = loop.time()
            self.send('{"type":"ping"}')
            await asyncio.sleep(_PONG_WITHIN_S)
            if self._heard_at < asked_at:
                return

    def _become(self, status: Status, first: Callable[[], None] | None = None) -> None:
        """Change the status; `first` runs before listeners are told, so that subscriptions go out before publishes."""
        if status == self._status:
            return
        self._status = status
        if first is not None:
            first()
        self.status_listeners.tell(status)

    def _settle(self, error: RealtimeError | None) -> None:
        if self._first is None or self._first.done():
            return
        if error is None:
            self._first.set_result(None)
        else:
            self._first.set_exception(error)
