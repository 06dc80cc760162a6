"""D1 beside raw sqlite3, as ratios in one run, and how a busy database holds up another socket.

The reference is the standard library's sqlite3 on a file of its own with the same pragmas (WAL, synchronous=NORMAL, no
checkpoint inside COMMIT), a commit for every write. Rounds of reference and D1 alternate. Compared is the CPU time of
the process, all its threads, because other work on the machine disturbs the wall clock; the best and the median of
the rounds' ratios are printed. Pings are measured by the wall clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

from d1 import D1Database, Engine
from d1.changes import Commit
from d1.engine import LogBounds
from workers.runtime.testing import DevProcess

TABLE = "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, email TEXT, n INTEGER, price REAL)"
INSERT = "INSERT INTO t(name, email, n, price) VALUES(?, ?, ?, ?)"
UPDATE = "UPDATE t SET n = ?, price = ? WHERE id = ?"
SELECT = "SELECT * FROM t WHERE id = ?"
FILL = (
    "INSERT INTO t(id, name, email, n, price) WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c"
    " WHERE x<10000) SELECT x, 'name ' || x, 'mail' || x || '@example.org', x, x + 0.5 FROM c"
)
BULK = "UPDATE t SET n = n + 1 WHERE id <= 10000"
BULK_ROWS = 10_000


class Raw:
    """The reference."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None, cached_statements=512)
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "wal_autocheckpoint=0"):
            self.connection.execute(f"PRAGMA {pragma}").fetchall()
        self.connection.execute(TABLE)
        self.connection.execute(FILL)

    def reads(self, count: int) -> None:
        execute = self.connection.execute
        for number in range(count):
            execute(SELECT, (number % 10_000 + 1,)).fetchone()

    def inserts(self, count: int) -> None:
        execute = self.connection.execute
        for number in range(count):
            execute(INSERT, ("a name", "mail@example.org", number, 2.5))

    def updates(self, count: int) -> None:
        execute = self.connection.execute
        for number in range(count):
            execute(UPDATE, (number, 3.5, number % 10_000 + 1))

    def bulk(self, count: int) -> None:
        for _ in range(count):
            self.connection.execute(BULK)

    def tidy(self) -> None:
        self.connection.execute("DELETE FROM t WHERE id > 10000")
        self.connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()


class Ours:
    """D1 in one of its states."""

    def __init__(self, path: Path, state: str) -> None:
        self.told = 0
        listener = self._take if state in ("armed with one", "logged") else None
        self.engine = Engine.open(path, on_commit=listener)
        self.db = D1Database(self.engine)
        if state == "logged":
            self.engine.start_log(LogBounds())
        self.state = state

    def _take(self, commit: Commit) -> None:
        self.told += len(commit.changes)

    async def start(self) -> None:
        await self.db.prepare(TABLE).run()
        await self.db.prepare(FILL).run()
        if self.state == "other table":
            await self.db.prepare("CREATE TABLE other(x)").run()
            await self.engine.watch_async("other")
        elif self.state != "unwatched":
            await self.engine.watch_async("t")

    async def reads(self, count: int) -> None:
        prepare = self.db.prepare
        for number in range(count):
            await prepare(SELECT).bind(number % 10_000 + 1).first()

    async def inserts(self, count: int) -> None:
        prepare = self.db.prepare
        for number in range(count):
            await prepare(INSERT).bind("a name", "mail@example.org", number, 2.5).run()

    async def updates(self, count: int) -> None:
        prepare = self.db.prepare
        for number in range(count):
            await prepare(UPDATE).bind(number, 3.5, number % 10_000 + 1).run()

    async def bulk(self, count: int) -> None:
        for _ in range(count):
            await self.db.prepare(BULK).run()

    async def tidy(self) -> None:
        await self.db.prepare("DELETE FROM t WHERE id > 10000").run()


async def timed(work: Callable[[], Awaitable[None]]) -> float:
    began = time.process_time()
    await work()
    return time.process_time() - began


async def compare(name: str, states: list[str], count: int, rounds: int, folder: Path) -> None:
    """Alternate the reference with D1 in every state; print one row a state."""
    raw = Raw(folder / f"{name}-raw.sqlite")
    ours = [Ours(folder / f"{name}-{state}.sqlite", state) for state in states]
    ratios: dict[str, list[float]] = {state: [] for state in states}
    rates: dict[str, list[float]] = {state: [] for state in states}
    references: list[float] = []
    for each in ours:
        await each.start()
        await getattr(each, name)(max(count // 10, 1))
    for _ in range(rounds):
        for each in ours:
            began = time.process_time()
            getattr(raw, name)(count)
            reference = time.process_time() - began
            took = await timed(lambda each=each: getattr(each, name)(count))
            references.append(reference / count)
            ratios[each.state].append(reference / took)
            rates[each.state].append(count / took)
            raw.tidy()
            await each.tidy()
    unit, scale = ("rows/s", BULK_ROWS) if name == "bulk" else ("calls/s", 1)
    print(f"{name}: raw {min(references) * 1e6 / scale:.2f} us")
    for each in ours:
        found = ratios[each.state]
        rate = max(rates[each.state]) * scale
        print(
            f"  {each.state:<22} best {max(found):.2f}  median {statistics.median(found):.2f}   {rate:>11,.0f} {unit}"
        )
        await each.engine.close()
    raw.connection.close()


WRANGLER = """
name = "bench"
main = "entry.py"
compatibility_date = "2026-07-01"

[[d1_databases]]
binding = "DB"
database_name = "bench"
database_id = "bench"

[flarelet.realtime]
database = "DB"
project = "bench"
"""
ENTRY = """
from workers import Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response("ok")
"""
NUMBERS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<{}) "


async def query(http: aiohttp.ClientSession, url: str, sql: str) -> None:
    body = {"method": "db.query", "args": [sql, []], "projectId": "bench"}
    async with http.post(f"{url}/internal/hooks/rpc", json=body) as response:
        if response.status != 200:
            raise SystemExit(f"db.query failed: {response.status} {await response.text()}")
        await response.read()


async def pings(socket: aiohttp.ClientWebSocketResponse, busy: asyncio.Task[None], least: int) -> list[float]:
    """Milliseconds of one ping after the other, at least so many and until the other work ends."""
    took: list[float] = []
    while len(took) < least or not busy.done():
        began = time.perf_counter()
        await socket.send_str('{"type":"ping"}')
        while json.loads((await socket.receive(timeout=30)).data)["type"] != "pong":
            pass
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.001)
    return took


async def responsiveness(folder: Path) -> None:
    """Ping one socket while the database is busy with something long."""
    (folder / "wrangler.toml").write_text(WRANGLER)
    (folder / "entry.py").write_text(ENTRY)
    server = DevProcess(folder / "wrangler.toml", persist_to=folder / "state")
    await server.start()
    try:
        async with aiohttp.ClientSession() as http, http.ws_connect(f"{server.url}/api/realtime") as socket:
            await query(http, server.url, "CREATE TABLE big(id INTEGER PRIMARY KEY, n INTEGER)")
            await query(http, server.url, NUMBERS.format(1_000_000) + "INSERT INTO big SELECT x, 0 FROM c")
            watcher = await http.ws_connect(f"{server.url}/api/realtime")
            await watcher.send_str(json.dumps({"type": "subscribe", "topic": "big"}))
            while (await watcher.receive_json(timeout=10))["type"] != "subscribed":
                pass
            for name, sql in (
                ("nothing", "SELECT 1"),
                ("a SELECT of 2 s", NUMBERS.format(8_000_000) + "SELECT max(x) FROM c"),
                ("an UPDATE of 15,000 rows told one by one", "UPDATE big SET n=n+1 WHERE id<=15000"),
                ("an UPDATE of 1,000,000 watched rows", "UPDATE big SET n=n+1"),
            ):
                began = time.perf_counter()
                async with asyncio.TaskGroup() as group:
                    busy = group.create_task(query(http, server.url, sql))
                    took = await pings(socket, busy, 1000)
                cuts = statistics.quantiles(took, n=100)
                print(
                    f"  {name:<42} p50 {cuts[49]:.2f} ms  p99 {cuts[98]:.2f} ms  max {max(took):.1f} ms"
                    f"  ({len(took)} pings in {time.perf_counter() - began:.1f} s)"
                )
            await watcher.close()
    finally:
        await server.stop()


async def run(rounds: int, folder: Path, *, has_pings: bool) -> None:
    states = ["unwatched", "other table", "armed, nobody", "armed with one", "logged"]
    await compare("reads", ["unwatched", "armed with one"], 4000, rounds, folder)
    await compare("inserts", states, 2000, rounds, folder)
    await compare("updates", states, 2000, rounds, folder)
    await compare("bulk", ["unwatched", "armed, nobody", "armed with one", "logged"], 4, rounds, folder)
    if has_pings:
        print("pings while the database runs")
        await responsiveness(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--no-pings", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(options.rounds, Path(folder), has_pings=not options.no_pings))


if __name__ == "__main__":
    main()
