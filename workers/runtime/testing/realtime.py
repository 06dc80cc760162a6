"""A realtime client for tests: one WebSocket, frames in order, and a wait for each answer.

It speaks the public protocol as a stock client does and adds nothing of its own: a test sees what a client sees.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Protocol

from workers.runtime.config.models import RealtimeSection
from workers.runtime.testing.sockets import ClientSocket

__all__ = ["RealtimeTestClient", "connect"]

_WAIT_S: Final = 5.0
_EVENTS: Final = frozenset({"event", "db_change", "chat_message"})


class Opener(Protocol):
    """What opens WebSockets: the Worker of a test."""

    async def websocket(self, resource: Any, *, protocols: Iterable[str] = ()) -> ClientSocket:
        """Open one."""
        ...


class RealtimeTestClient:
    """A connected client. Answers are awaited by the call that asks; events wait until `event` takes them."""

    __test__ = False

    def __init__(self, socket: ClientSocket, reopen: Callable[[], Awaitable[ClientSocket]]) -> None:
        self.socket = socket
        """The WebSocket itself, for whatever the methods here do not do."""
        self._reopen = reopen
        self._events: deque[dict[str, Any]] = deque()
        self._others: deque[dict[str, Any]] = deque()
        self._numbers = itertools.count(1)

    async def subscribe(self, topic: str, **fields: Any) -> dict[str, Any]:
        """Subscribe and return the `subscribed` frame; further fields of the frame (`filter`) by keyword."""
        self.send({"type": "subscribe", "topic": topic, **fields})
        return await self._answer(lambda frame: frame.get("type") == "subscribed" and frame.get("topic") == topic)

    def unsubscribe(self, topic: str) -> None:
        """Unsubscribe; nothing answers that."""
        self.send({"type": "unsubscribe", "topic": topic})

    async def publish(self, topic: str, event: str, data: Any = None, *, persist: bool = False) -> dict[str, Any]:
        """Publish and return the `ack` frame."""
        number = f"test-{next(self._numbers)}"
        frame = {"type": "publish", "topic": topic, "event": event, "data": data, "persist": persist, "id": number}
        self.send(frame)
        return await self._answer(lambda frame: frame.get("type") == "ack" and frame.get("id") == number)

    def track(self, topic: str, state: dict[str, Any]) -> None:
        """Tell the topic's subscribers this client's presence state."""
        self.send({"type": "track", "topic": topic, "state": state})

    def untrack(self, topic: str) -> None:
        """Leave the topic's presence."""
        self.send({"type": "untrack", "topic": topic})

    async def ping(self) -> None:
        """Send a ping and wait for its pong: all that was sent before has been taken in by the server."""
        self.send({"type": "ping"})
        await self._answer(lambda frame: frame.get("type") == "pong")

    def send(self, frame: dict[str, Any]) -> None:
        """Send any frame."""
        self.socket.send(frame)

    async def event(self, timeout: float = _WAIT_S, **wanted: Any) -> dict[str, Any]:
        """Return the next event, `db_change` or chat message; with `wanted`, the next that has these fields.

        Events that do not match stay for later calls.

        Raises:
            TimeoutError: None came within `timeout` seconds.
        """

        def matches(frame: dict[str, Any]) -> bool:
            return all(frame.get(name) == value for name, value in wanted.items())

        return await self._take(self._events, matches, timeout, "event")

    def events(self) -> list[dict[str, Any]]:
        """Return the events that have come and were not taken yet, and forget them."""
        for data in self.socket.received():
            self._sort(data)
        events = list(self._events)
        self._events.clear()
        return events

    async def reconnect(self) -> None:
        """Cut the connection without closing it, and connect again as the same client."""
        self.socket.abort()
        self.socket = await self._reopen()

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    # -- frames in

    def _sort(self, data: str | bytes) -> None:
        frame: dict[str, Any] = json.loads(data)
        (self._events if frame.get("type") in _EVENTS else self._others).append(frame)

    async def _answer(self, matches: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        return await self._take(self._others, matches, _WAIT_S, "answer")

    async def _take(
        self, frames: deque[dict[str, Any]], matches: Callable[[dict[str, Any]], bool], timeout: float, what: str
    ) -> dict[str, Any]:
        looked_at = 0
        try:
            async with asyncio.timeout(timeout):
                while True:
                    for frame in itertools.islice(frames, looked_at, None):
                        if matches(frame):
                            frames.remove(frame)
                            return frame
                    looked_at = len(frames)
                    self._sort(await self.socket.receive(timeout))
        except TimeoutError:
            seen = [frame.get("event") or frame.get("type") for frame in (*self._events, *self._others)]
            raise TimeoutError(f"no such {what} came within {timeout:g} s; waiting are {seen}") from None


async def connect(worker: Opener, section: RealtimeSection | None) -> RealtimeTestClient:
    """Return a client that is connected to a Worker's realtime endpoint.

    Args:
        worker: Opens WebSockets.
        section: Its realtime settings, for the project and a public key; without them, the server's defaults.
    """
    project = "" if section is None else section.project or ""
    keys = [] if section is None else [*section.public_keys, *section.secret_keys]
    protocols = [f"aerostack-key.{keys[0]}", "aerostack-v1"] if keys else []

    async def reopen() -> ClientSocket:
        path = f"/api/realtime?projectId={project}" if project else "/api/realtime"
        return await worker.websocket(path, protocols=protocols)

    return RealtimeTestClient(await reopen(), reopen)
