"""Durable Objects: counters through HTTP beside miniflare, SQL in an object beside sqlite3, and 10,000 idle sockets.

Prints requests a second on one object and on 100 objects with the ratio to miniflare measured in turns, the ratio of
`sql.exec` to the bare standard library on the same kind of file, and the memory of a hibernated socket.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sqlite3
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from support import miniflare
from support.load import Load, measure

from durable_objects import Host, ObjectClass
from workers import DurableObject
from workers.compat.websocket import Port, WebSocketPair, take
from workers.runtime.testing import DevProcess

WRANGLER = """
name = "bench"
main = "entry.py"
compatibility_date = "2026-07-01"

[[durable_objects.bindings]]
name = "COUNTER"
class_name = "Counter"

[[migrations]]
tag = "v1"
new_sqlite_classes = ["Counter"]
"""
ENTRY = """
from urllib.parse import urlsplit

from workers import DurableObject, Response, WorkerEntrypoint


class Counter(DurableObject):
    async def increment(self):
        value = (await self.ctx.storage.get("value") or 0) + 1
        await self.ctx.storage.put("value", value)
        return value


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        name = urlsplit(request.url).path
        return Response(str(await self.env.COUNTER.getByName(name).increment()))
"""
PATHS = {"the same object": ["/one"], "100 objects": [f"/{number}" for number in range(100)]}
ROWS = 1000


# -- HTTP


async def counters(seconds: float, rounds: int) -> None:
    """Measure both servers in turns, so that what else the machine does meets both."""
    installed = miniflare.install()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "wrangler.toml").write_text(WRANGLER)
        (folder / "entry.py").write_text(ENTRY)
        async with AsyncExitStack() as stack:
            dev = DevProcess(folder / "wrangler.toml", persist_to=folder / "state")
            urls = {"flarelet": await dev.start()}
            stack.push_async_callback(dev.stop)
            if installed is not None:
                script = Path(__file__).parent / "support/counter.mjs"
                urls["miniflare"] = await stack.enter_async_context(
                    miniflare.serve(script, installed, folder / "theirs")
                )
            for what, paths in PATHS.items():
                seen: dict[str, list[Load]] = {server: [] for server in urls}
                for _ in range(rounds):
                    for server, url in urls.items():
                        seen[server].append(await measure(url, paths, seconds=seconds))
                _tell(what, seen)
    if installed is None:
        print("miniflare was not measured: it needs Node and npm")


def _tell(what: str, seen: dict[str, list[Load]]) -> None:
    for server, loads in seen.items():
        middle = sorted(loads, key=lambda load: load.per_s)[len(loads) // 2]
        best = max(load.per_s for load in loads)
        times = f"p50 {middle.p50_ms:.1f} ms  p99 {middle.p99_ms:.1f} ms"
        print(f"counter, {what}: {server} {middle.per_s:,.0f}/s (best {best:,.0f})  {times}")
    if "miniflare" in seen:
        ratios = [ours.per_s / theirs.per_s for ours, theirs in zip(*seen.values(), strict=True)]
        print(f"counter, {what}: {statistics.median(ratios):.1f}x miniflare (best {max(ratios):.1f}x)")


# -- SQL


class Tables(DurableObject):
    """Runs the statements of `bare`; both count the time of the processor, which a busy machine does not stretch."""

    def prepare(self) -> None:
        self.ctx.storage.sql.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, n INTEGER)")

    def insert(self, count: int) -> float:
        execute = self.ctx.storage.sql.exec
        began = time.process_time()
        for number in range(count):
            execute("INSERT INTO t (name, n) VALUES (?, ?)", "a name of ordinary length", number)
        return time.process_time() - began

    def select(self, count: int) -> float:
        execute = self.ctx.storage.sql.exec
        began = time.process_time()
        for number in range(count):
            execute("SELECT id, name, n FROM t WHERE id = ?", 1 + number % ROWS).one()
        return time.process_time() - began


def bare(path: Path) -> sqlite3.Connection:
    """Open a database with the pragmas of an object's."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("page_size=4096", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, n INTEGER)")
    return connection


def bare_insert(connection: sqlite3.Connection, count: int) -> float:
    connection.execute("BEGIN")
    began = time.process_time()
    for number in range(count):
        connection.execute("INSERT INTO t (name, n) VALUES (?, ?)", ("a name of ordinary length", number))
    took = time.process_time() - began
    connection.execute("COMMIT")
    return took


def bare_select(connection: sqlite3.Connection, count: int) -> float:
    began = time.process_time()
    for number in range(count):
        connection.execute("SELECT id, name, n FROM t WHERE id = ?", (1 + number % ROWS,)).fetchone()
    return time.process_time() - began


async def statements(count: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        host = Host(Path(name))
        stub = host.namespace(ObjectClass("bench-Tables", Tables, None)).getByName("one")
        await stub.prepare()
        connection = bare(Path(name) / "bare.sqlite")
        for what, theirs in (("insert", bare_insert), ("select", bare_select)):
            ratios: list[float] = []
            rates: list[float] = []
            for _ in range(rounds):
                ours_s = await (stub.insert(count) if what == "insert" else stub.select(count))
                ratios.append(theirs(connection, count) / ours_s)
                rates.append(count / ours_s)
            middle = f"{statistics.median(ratios):.2f} of sqlite3 (best {max(ratios):.2f})"
            print(f"sql.exec {what}: {middle}, {max(rates):,.0f}/s")
        connection.close()
        await host.close()


# -- idle sockets


class Room(DurableObject):
    """Holds sockets and tells in which order it woke."""

    def __init__(self, ctx: Any, env: Any) -> None:
        super().__init__(ctx, env)
        env.append("constructor")

    def join(self, count: int) -> list[Any]:
        made: list[Any] = []
        for number in range(count):
            client, server = WebSocketPair()
            self.ctx.acceptWebSocket(server, [f"user-{number}"])
            server.serializeAttachment({"n": number})
            made.append(client)
        self.env.extend(made)
        return []

    def webSocketMessage(self, ws: Any, message: Any) -> None:
        self.env.append((ws.deserializeAttachment()["n"], len(self.ctx.getWebSockets())))


class _Nothing:
    def message(self, data: str | bytes) -> None: ...
    def closed(self, code: int, reason: str, was_clean: bool) -> None: ...


def resident_bytes() -> int:
    """Return the memory of this process that is in RAM."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def idle_sockets(count: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        host = Host(Path(name))
        log: list[Any] = []
        namespace = host.namespace(ObjectClass("bench-Room", Room, log))
        stub = namespace.getByName("one")
        gc.collect()
        before = resident_bytes()
        await stub.join(count)
        sink = _Nothing()
        ports: list[Port] = [take(client, sink) for client in log if client != "constructor"]
        log.clear()
        await host.evict(namespace, stub.id)
        gc.collect()
        per_socket = (resident_bytes() - before) / count
        (asleep,) = host.objects()
        assert (asleep.is_awake, asleep.sockets) == (False, count)
        began = time.perf_counter()
        ports[7].send("wake")
        await asyncio.sleep(0)
        while len(log) < 2:  # noqa: ASYNC110 - its only purpose is to let the object run
            await asyncio.sleep(0)
        woke_ms = (time.perf_counter() - began) * 1000
        assert log == ["constructor", (7, count)], log
        memory = f"{per_socket / 1024:.2f} KiB each in the object"
        print(f"{count:,} hibernated sockets: {memory}; first event after {woke_ms:.1f} ms")
        await host.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sockets", type=int, default=10_000)
    options = parser.parse_args()
    asyncio.run(idle_sockets(options.sockets))
    asyncio.run(statements(5_000, 7 * options.rounds))
    asyncio.run(counters(options.seconds, options.rounds))


if __name__ == "__main__":
    main()
