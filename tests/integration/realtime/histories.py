"""Random histories of clients that lose their connections while others publish, and the count of what they were told.

In one history, numbered messages are said on a topic; a client shaped like the public SDKs and one that speaks
flarelet-v1 follow it. Both are cut off again and again: the socket is reset or closed under them, they come back at
once or after a while, before or after the server has noticed. Every so often the server itself ends, by a signal or by
a kill, and another one continues with its files.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Protocol

import aiohttp
from history_clients import Negotiated, Stock, Wire

from workers.runtime.testing.process import DevProcess
from workers.runtime.testing.serve import serve_app

# Clients share a loop with the server here, and may read late what had arrived long ago: hence the long overlap.
CONFIG = """name = "demo"
main = "entry.py"
d1_databases = [{ binding = "DB", database_name = "db", database_id = "db" }]
[flarelet.realtime]
database = "DB"
session_moment_s = 0.05
session_overlap_s = 5.0
"""
WORKER = """
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        number, table = request.url.rsplit("/", 2)[1:]
        await self.env.DB.prepare(f"CREATE TABLE IF NOT EXISTS {table} (id INTEGER PRIMARY KEY)").run()
        if number != "0":
            await self.env.DB.prepare(f"INSERT OR IGNORE INTO {table} VALUES (?)").bind(int(number)).run()
        return Response("ok")
"""


class Server(Protocol):
    """A server that can end and continue."""

    url: str

    async def start(self) -> None:
        """Start it on its files."""
        ...

    async def end(self) -> None:
        """End it."""
        ...


class InProcess:
    """A server in this process, which ends as by a signal."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> None:
        _, self.url = await self._stack.enter_async_context(
            serve_app(self.folder / "wrangler.toml", self.folder / "state")
        )

    async def end(self) -> None:
        await self._stack.aclose()


class Killed:
    """A server in a process of its own, which ends by SIGKILL."""

    def __init__(self, folder: Path) -> None:
        self._process = DevProcess(folder / "wrangler.toml", folder / "state")
        self.url = ""

    async def start(self) -> None:
        self.url = await self._process.start()

    async def end(self) -> None:
        await self._process.kill()


@dataclass
class Outcome:
    """What came of histories. Every count but the first four should be 0."""

    histories: int = 0
    messages: int = 0
    cuts: int = 0
    announced_gaps: int = 0
    unannounced_gaps: int = 0
    duplicates: int = 0
    reordered: int = 0
    lost_by_stock: int = 0
    repeated_to_stock: int = 0
    notes: list[str] = field(default_factory=list)

    def judge(self, name: str, stock: Stock, negotiated: Negotiated, last: int) -> None:
        """Count what two clients were told of the numbers from 1 to `last`."""
        self.histories += 1
        self.messages += last
        missing = set(range(1, last + 1)) - set(stock.numbers)
        self.lost_by_stock += len(missing)
        self.repeated_to_stock += len(stock.numbers) - len(set(stock.numbers))
        if missing:
            resyncs = [frame for frame in stock.frames if frame["type"] == "resync"]
            self.notes.append(f"{name}: stock lost {sorted(missing)}, heard {stock.numbers}, resyncs {resyncs}")
        told = negotiated.told_numbers
        before = 0
        for kind, number in told:
            if kind == "gap":
                self.announced_gaps += 1
                before = -1
            elif number <= before and before > 0:
                self.duplicates += number in negotiated.numbers[: negotiated.numbers.index(number) + 1][:-1]
                self.reordered += 1
            else:
                self.unannounced_gaps += before >= 0 and number != before + 1
                before = number
        self.unannounced_gaps += last > before >= 0
        self.duplicates += len(negotiated.numbers) - len(set(negotiated.numbers))
        if negotiated.numbers != list(range(1, last + 1)):
            self.notes.append(f"{name}: negotiated heard {told}")


class Publisher:
    """Says each number until it is acknowledged."""

    def __init__(self, session: aiohttp.ClientSession, url: Callable[[], str]) -> None:
        self._url = url
        self._session = session
        self._wire = Wire(session, "", ("flarelet-v1",))
        self._wire.base, self._wire.path = url, "/api/realtime"

    async def say(self, topic: str, number: int, *, persist: bool) -> None:
        """Publish a number. The same id may be sent again: it is said once."""
        if "/" not in topic:
            await self._insert(topic, number)
            return
        name = f"{topic}#{number}"
        while True:
            if self._wire.reader is None:
                await self._wire.connect()
            await _until(lambda: self._wire.socket is not None, 40)
            self._wire.send(type="publish", topic=topic, event="m", data={"n": number}, persist=persist, id=name)
            for _ in range(100):
                if any(frame["type"] == "ack" and frame["id"] == name for frame in self._wire.frames):
                    self._wire.frames.clear()
                    return
                if self._wire.socket is None or self._wire.socket.closed:
                    break
                await asyncio.sleep(0.005)

    async def _insert(self, table: str, number: int) -> None:
        while True:
            try:
                async with self._session.post(f"{self._url()}/{number}/{table}") as answer:
                    if answer.status == 200:
                        return
            except (aiohttp.ClientError, OSError):
                await asyncio.sleep(0.05)

    async def close(self) -> None:
        """Close the connection."""
        await self._wire.close()


class Crowd:
    """Histories that happen at the same time on one server."""

    def __init__(self, server: Server, session: aiohttp.ClientSession, outcome: Outcome) -> None:
        self.server, self.session, self.outcome = server, session, outcome
        self.ready = 0

    async def history(self, name: str, random: Random, *, topic: str, persist: bool) -> None:
        """Let two clients live through one history."""
        query = f"{name}".replace("/", "-")
        stock = Stock(self.session, "", topic)
        negotiated = Negotiated(self.session, "", topic)
        for client, user in ((stock, f"s{query}"), (negotiated, f"n{query}")):
            client.path = f"/api/realtime?userId={user}&projectId=demo"
            client.base = lambda: self.server.url
        publisher = Publisher(self.session, lambda: self.server.url)
        if "/" not in topic:
            await publisher.say(topic, 0, persist=True)
        await stock.connect()
        await negotiated.connect()
        await _until(lambda: stock.is_confirmed and negotiated.position is not None, 30)
        self.ready += 1
        total = random.randint(5, 15)
        lives = [asyncio.get_running_loop().create_task(self._cut(each, random)) for each in (stock, negotiated)]
        for number in range(1, total + 1):
            await publisher.say(topic, number, persist=persist)
            if random.random() < 0.6:
                await asyncio.sleep(random.random() * 0.03)
        for life in lives:
            await life
        await _until(lambda: set(stock.numbers) >= set(range(1, total + 1)) and total in negotiated.numbers)
        self.outcome.judge(name, stock, negotiated, total)
        for each in (stock, negotiated, publisher):
            await each.close()

    async def _cut(self, client: Wire, random: Random) -> None:
        for _ in range(random.randint(1, 3)):
            await asyncio.sleep(random.random() * 0.15)
            self.outcome.cuts += 1
            await client.cut(reset=random.random() < 0.5)
            if random.random() < 0.6:
                await asyncio.sleep(random.random() * 0.1)
            await client.connect()
            await asyncio.sleep(random.random() * 0.2)


async def _until(condition: Callable[[], bool], within_s: float = 6.0) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    while not condition() and loop.time() < end:  # noqa: ASYNC110 - conditions are of several parts of the tests
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def _session() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session


def _write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "wrangler.toml").write_text(CONFIG)
    (folder / "entry.py").write_text(WORKER)


async def live_through(
    folder: Path,
    seed: int,
    histories: int,
    *,
    at_once: int = 20,
    server: Callable[[Path], Any] = InProcess,
    restarts: float = 0.3,
) -> Outcome:
    """Live through random histories, some of them with the end of the server in their midst."""
    _write(folder)
    random, outcome, running = Random(seed), Outcome(), server(folder)
    await running.start()
    try:
        async with _session() as session:
            crowd = Crowd(running, session, outcome)
            for start in range(0, histories, at_once):
                is_restarted = random.random() < restarts
                tasks: list[asyncio.Task[None]] = []
                for number in range(start, min(start + at_once, histories)):
                    kind = random.choice(("stored", "stored", "table") if is_restarted else ("stored", "said", "table"))
                    topic = f"t{number}" if kind == "table" else f"room/{number}"
                    work = crowd.history(
                        f"{kind}/{number}", Random(seed + number), topic=topic, persist=kind == "stored"
                    )
                    tasks.append(asyncio.get_running_loop().create_task(work))
                if is_restarted:
                    # A public client that loses its connection before it is subscribed never asks again.
                    wanted = min(start + at_once, histories)
                    await _until(lambda wanted=wanted: crowd.ready >= wanted, 30)
                    # Subscriptions are stored a moment after they are confirmed.
                    await asyncio.sleep(0.15 + random.random() * 0.6)
                    await running.end()
                    await running.start()
                await asyncio.wait(tasks)
                for task in tasks:
                    task.result()
    finally:
        await running.end()
    return outcome
