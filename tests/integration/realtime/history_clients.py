"""Clients for tests against a real server: one that behaves like the public SDKs, one that speaks flarelet-v1.

Both count what they are told of an endless run of numbered messages, and can be cut off at any moment as a vanished
network does it: the socket is reset, and nothing is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Callable
from typing import Any

import aiohttp

Seen = Callable[[dict[str, Any]], None]


class Wire:
    """One WebSocket at a time, kept open again and again."""

    def __init__(self, session: aiohttp.ClientSession, url: str, protocols: tuple[str, ...] = ()) -> None:
        self.session, self.url, self.protocols = session, url, protocols
        self.base: Callable[[], str] | None = None
        """Where the server is at the moment, for one that restarts elsewhere; `path` is on it."""
        self.path = ""
        self.socket: aiohttp.ClientWebSocketResponse | None = None
        self.frames: list[dict[str, Any]] = []
        self.others: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.reader: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Open a new socket; it may take until the server is there."""
        async with asyncio.timeout(40):
            while True:
                url = self.url if self.base is None else self.base().replace("http", "ws") + self.path
                try:
                    self.socket = await self.session.ws_connect(
                        url, protocols=self.protocols, max_msg_size=0, compress=0
                    )
                    break
                except (aiohttp.ClientError, OSError):
                    await asyncio.sleep(0.05)
        previous, self.reader = self.reader, asyncio.get_running_loop().create_task(self._read(self.socket))
        if previous is not None and previous is not asyncio.current_task():
            previous.cancel()
        self.opened()

    def opened(self) -> None:
        """What the client says first."""

    def told(self, frame: dict[str, Any]) -> None:
        """Take a frame."""
        self.frames.append(frame)

    async def _read(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async for message in ws:
                if message.type is aiohttp.WSMsgType.TEXT and ws is self.socket:
                    self.told(json.loads(message.data))
        if ws is self.socket:  # the server ended it
            self.socket = None
            await self.connect()

    def send(self, **frame: Any) -> None:
        """Send a frame if the socket is open; frames of public clients are sent and forgotten."""
        ws = self.socket
        if ws is None or ws.closed:
            return
        writer = ws._writer  # type: ignore[attr-defined]  # synchronous: no await between a decision and the bytes
        with contextlib.suppress(Exception):
            writer.transport.write(_masked(json.dumps(frame).encode()))

    async def cut(self, *, reset: bool = True) -> None:
        """Lose the connection: nothing is said, and what is on its way is lost.

        What this machine has received already is read first: a program that comes back has read what it was given.
        """
        for _ in range(6):
            await asyncio.sleep(0)
        ws, self.socket = self.socket, None
        if self.reader is not None:
            self.reader.cancel()
        if ws is None:
            return
        transport = ws._writer.transport  # type: ignore[attr-defined]
        if transport is not None:
            sock = transport.get_extra_info("socket")
            if reset and sock is not None:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()

    async def close(self) -> None:
        """Close properly."""
        ws, self.socket = self.socket, None
        if self.reader is not None:
            self.reader.cancel()
        if ws is not None:
            await ws.close()


def _masked(payload: bytes) -> bytes:
    size = len(payload)
    head = b"\x81" + (bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack("!H", size))
    return head + b"\0\0\0\0" + payload


class Stock(Wire):
    """As the public JavaScript SDKs: subscribes once, and never again after a reconnect."""

    def __init__(self, session: aiohttp.ClientSession, url: str, *topics: str) -> None:
        super().__init__(session, url)
        self.topics = topics
        self.is_subscribed = False
        self.is_confirmed = False
        self.numbers: list[int] = []

    def opened(self) -> None:
        if not self.is_subscribed:
            self.is_subscribed = True
            for topic in self.topics:
                self.send(type="subscribe", topic=topic)

    def told(self, frame: dict[str, Any]) -> None:
        super().told(frame)
        self.is_confirmed = self.is_confirmed or frame["type"] == "subscribed"
        number = numbered(frame)
        if number is not None:
            self.numbers.append(number)


class Negotiated(Wire):
    """Speaks flarelet-v1: subscribes again from its position, and judges every verdict."""

    def __init__(self, session: aiohttp.ClientSession, url: str, topic: str) -> None:
        super().__init__(session, url, ("flarelet-v1",))
        self.topic = topic
        self.position: tuple[str, int] | None = None
        self.numbers: list[int] = []
        self.told_numbers: list[tuple[str, int]] = []
        """Numbers and gaps in the order in which they came."""

    def opened(self) -> None:
        frame: dict[str, Any] = {"type": "subscribe", "topic": self.topic}
        if self.position is not None:
            frame["since"] = {"epoch": self.position[0], "offset": self.position[1]}
        self.send(**frame)

    def told(self, frame: dict[str, Any]) -> None:
        super().told(frame)
        kind = frame["type"]
        if kind == "gap":
            self.told_numbers.append(("gap", 0))
        elif kind == "subscribed" and self.position is None:
            self.position = frame["epoch"], frame["offset"]
        number = numbered(frame)
        if number is not None:
            assert frame["topic"] == self.topic
            self.numbers.append(number)
            self.told_numbers.append(("n", number))
            self.position = frame["epoch"], frame["offset"]


def numbered(frame: dict[str, Any]) -> int | None:
    """Return the number of a message of the run, None for any other frame."""
    data = frame.get("data")
    if frame["type"] == "event" and isinstance(data, dict) and "n" in data:
        return data["n"]
    if frame["type"] == "db_change":
        return data["id"] if isinstance(data, dict) else None
    return None
