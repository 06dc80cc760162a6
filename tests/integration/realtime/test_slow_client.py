"""A client stops reading: the others do not notice, the server's memory is bounded, and it is told what it missed."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from workers.runtime.edge.websocket import Connection
from workers.runtime.testing import serve

CONFIG = """
name = "slow"
main = "entry.py"
compatibility_date = "2026-07-01"

[[d1_databases]]
binding = "DB"
database_name = "db"
database_id = "db"

[flarelet.realtime]
project = "p1"
database = "DB"
max_queue_bytes = 200000
max_queue_frames = 16

[[flarelet.realtime.topics]]
pattern = "strict/*"
delivery = "close"

[[flarelet.realtime.topics]]
pattern = "cursors/*"
delivery = "conflate"
"""
ENTRY = """
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response("ok")
"""
BIG = "x" * 60_000


class Client(asyncio.Protocol):
    """Counts the frames it gets; the text of those that are kept is looked at."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.frames: list[dict[str, Any]] = []
        self.count = 0
        self.keeps = True
        self.wanted: tuple[Callable[[], bool], asyncio.Future[None]] | None = None
        self.close_code: int | None = None
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(
            b"GET /api/realtime?projectId=p1 HTTP/1.1\r\nHost: localhost\r\n"
            b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.is_open:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            assert self.buffer.startswith(b"HTTP/1.1 101 ")
            del self.buffer[: end + 4]
            self.is_open = True
        while len(self.buffer) >= 2:
            size, start = self.buffer[1], 2
            if size >= 126:
                start = 4 if size == 126 else 10
                size = int.from_bytes(self.buffer[2:start], "big")
            if len(self.buffer) < start + size:
                break
            if self.buffer[0] & 0x0F == 8:
                self.close_code = int.from_bytes(self.buffer[start : start + 2], "big")
            else:
                self.count += 1
                if self.keeps:
                    self.frames.append(json.loads(self.buffer[start : start + size]))
            del self.buffer[: start + size]
        self._check()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._check()

    def _check(self) -> None:
        if self.wanted is not None and not self.wanted[1].done() and self.wanted[0]():
            self.wanted[1].set_result(None)

    def send(self, **frame: Any) -> None:
        payload = json.dumps(frame).encode()
        size = len(payload)
        head = bytes((0x81, 0x80 | size)) if size < 126 else bytes((0x81, 0xFE)) + size.to_bytes(2, "big")
        self.transport.write(head + b"\0\0\0\0" + payload)

    def publish(self, topic: str, event: str, data: Any, **more: Any) -> None:
        self.send(type="publish", topic=topic, event=event, data=data, **more)

    async def until(self, condition: Callable[[], bool]) -> None:
        if not condition():
            self.wanted = condition, asyncio.get_running_loop().create_future()
            async with asyncio.timeout(30):
                await self.wanted[1]

    def seen(self, **fields: Any) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if all(frame.get(name) == value for name, value in fields.items())]

    async def subscribe(self, *topics: str) -> None:
        await self.until(lambda: self.is_open)
        for topic in topics:
            self.send(type="subscribe", topic=topic)
        await self.until(lambda: len(self.seen(type="subscribed")) == len(topics))


Connect = Callable[..., Any]


@pytest.fixture
async def connect(tmp_path: Path) -> AsyncIterator[Connect]:
    (tmp_path / "entry.py").write_text(ENTRY)
    (tmp_path / "wrangler.toml").write_text(CONFIG)
    opened: list[Client] = []
    async with serve(tmp_path / "wrangler.toml", tmp_path / "state") as url:
        host, _, port = url.removeprefix("http://").partition(":")

        async def open_client(*topics: str, reads_little: bool = False) -> Client:
            own = socket.socket()
            if reads_little:
                own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            own.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(own, (host, int(port)))
            _, client = await loop.create_connection(Client, sock=own)
            opened.append(client)
            await client.subscribe(*topics)
            return client

        yield open_client
        for client in opened:
            client.transport.abort()


async def stall(client: Client, publisher: Client, topic: str) -> Connection:
    """Stop a client from reading and fill all that is between it and the server's own queue."""
    client.transport.pause_reading()
    before = set(paused())
    for n in range(400):
        publisher.publish(topic, "fill", BIG, id=f"{topic}{n}")
        await publisher.until(lambda n=n: len(publisher.seen(type="ack", id=f"{topic}{n}")) == 1)
        found = [connection for connection in paused() if connection not in before]
        if found:
            return found[0]
    raise AssertionError("the socket takes everything")


def paused() -> list[Connection]:
    return [found for found in gc.get_objects() if isinstance(found, Connection) and found._is_paused]


def waiting(connection: Connection) -> tuple[int, int]:
    return (0, 0) if connection._backlog is None else (connection._backlog.bytes, connection._backlog.frames)


async def heard(publisher: Client, *clients: Client, topic: str = "room/all", event: str = "last") -> None:
    """Publish and wait until everybody has it: what came before has been handled then."""
    publisher.publish(topic, event, None)
    for client in clients:
        await client.until(lambda client=client: bool(client.seen(event=event)))


async def test_it_is_told_how_much_it_missed_when_it_reads_again(connect: Connect) -> None:
    publisher, witness = await connect("room/none"), await connect("room/all")
    slow = await connect("room/own", "room/all", reads_little=True)
    connection = await stall(slow, publisher, "room/own")
    for n in range(100):
        publisher.publish("room/all", "tick", n)
    await heard(publisher, witness)
    assert [frame["data"] for frame in witness.seen(event="tick")] == list(range(100))
    size, frames = waiting(connection)
    assert size <= 200_000
    assert frames <= 16
    slow.transport.resume_reading()
    await slow.until(lambda: bool(slow.seen(event="last")))
    (notice,) = slow.seen(type="dropped", channel="room/all")
    ticks = [frame["data"] for frame in slow.seen(event="tick")]
    assert notice["dropped"] + len(ticks) == 100
    assert ticks == list(range(100 - len(ticks), 100))
    assert "topic" not in notice
    publisher.publish("room/all", "tick", "live")
    await slow.until(lambda: slow.frames[-1].get("data") == "live")


async def test_stored_messages_end_in_a_resync(connect: Connect) -> None:
    publisher = await connect("room/none")
    slow = await connect("room/own", "room/log", reads_little=True)
    await stall(slow, publisher, "room/own")
    for n in range(60):
        publisher.publish("room/log", "said", n, persist=True, id=f"log{n}")
    await publisher.until(lambda: bool(publisher.seen(type="ack", id="log59")))
    slow.transport.resume_reading()
    await slow.until(lambda: bool(slow.seen(type="resync", channel="room/log")))
    (notice,) = slow.seen(type="resync", channel="room/log")
    assert notice["dropped"] + len(slow.seen(event="said")) == 60


async def test_cursors_are_conflated_and_tokens_are_merged(connect: Connect) -> None:
    publisher, witness = await connect("room/none"), await connect("ai/one", "cursors/1")
    slow = await connect("room/own", "cursors/1", "ai/one", reads_little=True)
    await stall(slow, publisher, "room/own")
    publisher.publish("cursors/1", "move", {"x": 0})  # one of these may still have fitted before it paused
    for n in range(40):
        publisher.publish("cursors/1", "move", {"x": n})
        publisher.publish("ai/one", "ai:token", {"token": f"{n} "})
    await heard(publisher, witness, topic="ai/one", event="ai:done")
    slow.transport.resume_reading()
    await slow.until(lambda: bool(slow.seen(event="ai:done")))
    moves, tokens = slow.seen(event="move"), slow.seen(event="ai:token")
    assert moves[-1]["data"] == {"x": 39}
    assert len(moves) <= 2
    assert "".join(frame["data"]["token"] for frame in tokens) == "".join(f"{n} " for n in range(40))
    assert len(tokens) <= 2


async def test_a_strict_topic_closes_with_1013(connect: Connect) -> None:
    publisher, witness = await connect("room/none"), await connect("strict/1")
    slow = await connect("room/own", "strict/1", reads_little=True)
    await stall(slow, publisher, "room/own")
    for n in range(40):
        publisher.publish("strict/1", "tick", n)
    await heard(publisher, witness, topic="strict/1")
    slow.transport.resume_reading()
    await slow.until(lambda: slow.close_code is not None)
    assert slow.close_code == 1013


async def test_999_others_go_on_while_one_does_not_read(connect: Connect) -> None:
    publisher, slow = await connect("room/none"), await connect("room/own", "room/all", reads_little=True)
    others = [await connect("room/all") for _ in range(999)]

    async def rounds(first: int) -> float:
        took: list[float] = []
        for n in range(first, first + 20):
            began = time.perf_counter()
            publisher.publish("room/all", "tick", n)
            for client in others:
                await client.until(lambda client=client, n=n: client.count >= n + 2)
            took.append(time.perf_counter() - began)
        return sorted(took)[10]

    before = await rounds(0)
    connection = await stall(slow, publisher, "room/own")
    after = await rounds(20)
    assert [frame["data"] for frame in others[0].seen(event="tick")] == list(range(40))
    assert len({client.count for client in others}) == 1
    assert waiting(connection)[0] <= 200_000
    assert after < before * 3, (before, after)  # on a busy machine; the benchmark is stricter
