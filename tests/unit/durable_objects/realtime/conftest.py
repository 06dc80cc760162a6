from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from d1.changes import Commit, Gap, Replay, RowChange
from durable_objects.host import Host, ObjectClass
from durable_objects.realtime.binding import Realtime
from durable_objects.realtime.core.settings import RealtimeSettings
from durable_objects.realtime.topic_object import TopicObject
from workers.compat.proxies import JsException
from workers.compat.websocket import take
from workers.request import Request
from workers.response import Response

BASE = "http://localhost:8787"
NOW = 1_700_000_000_000


@dataclass
class StoppedClock:
    at_ms: int = NOW

    def now_ms(self) -> int:
        return self.at_ms


@dataclass
class Tables:
    """A change feed whose tables are a set of names."""

    names: set[str] = field(default_factory=lambda: {"orders"})
    watched: list[str] = field(default_factory=list)
    epoch: str = "d1"
    log: list[Commit] = field(default_factory=list)
    dropped: int = 0

    async def watch(self, table: str) -> str | None:
        await asyncio.sleep(0)
        self.watched.append(table)
        return table.lower() if table.lower() in self.names else None

    def unwatch(self, table: str) -> None:
        self.watched.remove(table)

    def position(self) -> tuple[str, int]:
        return self.epoch, max([change.seq for commit in self.log for change in commit.changes], default=0)

    async def changes_since(self, table: str, epoch: str, offset: int) -> Replay:
        await asyncio.sleep(0)
        now = self.position()[1]
        if epoch != self.epoch:
            return Replay(self.epoch, now, (), Gap(0, now, "epoch"))
        commits = [
            Commit(commit.txn, commit.database, kept, commit.at_ms)
            for commit in self.log
            if (kept := tuple(each for each in commit.changes if each.table == table and each.seq > offset))
        ]
        gap = Gap(offset, self.dropped, "dropped") if offset < self.dropped else None
        return Replay(self.epoch, now, tuple(commits), gap)

    async def query(self, sql: str, params: Sequence[object]) -> dict[str, object]:
        if "SELECT" not in sql:
            raise JsException('D1_ERROR: near "nonsense": syntax error')
        return {"results": [{"n": params}], "success": True, "meta": {"target": "d1"}}


class Client:
    """A client's end of the socket: frames arrive in a queue."""

    def __init__(self, response: Response) -> None:
        self.response = response
        self.raw: asyncio.Queue[Any] = asyncio.Queue()
        self.close_code: int | None = None
        self.closed_event = asyncio.Event()
        self._port = take(response.web_socket, self)

    def message(self, data: str | bytes) -> None:
        self.raw.put_nowait(data)

    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        self.close_code = code
        self.closed_event.set()

    def send(self, frame: object) -> None:
        self._port.send(frame if isinstance(frame, (str, bytes)) else json.dumps(frame))

    async def text(self) -> Any:
        async with asyncio.timeout(5):
            return await self.raw.get()

    async def next(self) -> dict[str, Any]:
        return json.loads(await self.text())

    async def quiet(self) -> list[dict[str, Any]]:
        """Ask for a pong and return what came before it: proof that nothing else is on its way to this client."""
        self.send({"type": "ping"})
        frames: list[dict[str, Any]] = []
        while (frame := await self.next())["type"] != "pong":
            frames.append(frame)
        return frames

    async def ask(self, frame: object) -> dict[str, Any]:
        self.send(frame)
        return await self.next()

    async def subscribe(self, topic: str) -> dict[str, Any]:
        return await self.ask({"type": "subscribe", "topic": topic})

    def close(self) -> None:
        self._port.close(1000)

    def abort(self) -> None:
        self._port.abort()


class World:
    """A host with realtime on it."""

    def __init__(self, root: Path, classes: dict[str, type], tables: Tables | None, **settings: Any) -> None:
        self.clock = StoppedClock()
        self.tables = tables
        self.env = SimpleNamespace()
        self.host = Host(root, random=Random(1))
        self.namespaces = {
            name: self.host.namespace(ObjectClass(f"w-{name}", cls, self.env))
            for name, cls in ({"TopicObject": TopicObject} | classes).items()
        }
        given: dict[str, Any] = {"presence_grace_s": 0.0, "session_moment_s": 0.0} | settings
        given = {"project": "demo", "database": "DB" if tables is not None else None} | given
        self.realtime = Realtime(RealtimeSettings(**given), self.namespaces, tables, clock=self.clock, random=Random(2))
        self.env.REALTIME = self.realtime

    async def request(self, path: str, **options: Any) -> Response:
        answer = await self.realtime.answer(Request(BASE + path, **options))
        assert answer is not None
        return answer

    async def connect(self, query: str = "", *, path: str = "/api/realtime", protocols: str | None = None) -> Client:
        headers = {"Upgrade": "websocket"} | ({"Sec-WebSocket-Protocol": protocols} if protocols else {})
        response = await self.request(path + query, headers=headers)
        assert response.status == 101, await response.text()
        return Client(response)

    async def evict(self, topic: str, class_name: str = "TopicObject") -> None:
        namespace = self.namespaces[class_name]
        await self.host.evict(namespace, namespace.idFromName(topic), close_sockets=False)

    def commit(self, *changes: RowChange, txn: int = 1) -> None:
        commit = Commit(txn, "DB", changes, self.clock.now_ms())
        if self.tables is not None:
            self.tables.log.append(commit)
        self.realtime.table_changes(commit)

    async def close(self) -> None:
        await self.realtime.close()
        await self.host.close()


Start = Callable[..., Awaitable[World]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start a world: `await start({"ChatRoom": ChatRoom}, topics=...)`."""
    worlds: list[World] = []

    async def begin(classes: dict[str, type] | None = None, tables: Tables | None = None, **settings: Any) -> World:
        world = World(tmp_path, classes or {}, tables, **settings)
        worlds.append(world)
        await world.host.start()
        return world

    yield begin
    for world in worlds:
        await world.close()


@pytest.fixture
async def world(start: Start) -> World:
    return await start(tables=Tables())


@pytest.fixture
def tables() -> Tables:
    return Tables()
