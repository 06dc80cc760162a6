"""From a table write to the subscriber's socket: `db.query` by HTTP, the change event by WebSocket.

Starts `flarelet dev` on a throw-away project, writes one row at a time and measures, in the client, the time from just
before the request is sent until the `db_change` frame has arrived. Prints p50, p99 and the count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

import aiohttp

from workers.runtime.testing import DevProcess

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


async def query(http: aiohttp.ClientSession, url: str, sql: str, *params: object) -> None:
    body = {"method": "db.query", "args": [sql, list(params)], "projectId": "bench"}
    async with http.post(f"{url}/internal/hooks/rpc", json=body) as response:
        if response.status != 200:
            raise SystemExit(f"db.query failed: {response.status} {await response.text()}")
        await response.read()


async def measure(url: str, writes: int, warm_up: int) -> list[float]:
    """Milliseconds from request to event, one write at a time."""
    took: list[float] = []
    async with aiohttp.ClientSession() as http:
        await query(http, url, "CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT, qty INTEGER, price REAL)")
        async with http.ws_connect(f"{url}/api/realtime?projectId=bench") as socket:
            await socket.send_str(json.dumps({"type": "subscribe", "topic": "orders"}))
            while (await socket.receive_json(timeout=5))["type"] != "subscribed":
                pass
            for n in range(warm_up + writes):
                async with asyncio.TaskGroup() as tasks:
                    began = time.perf_counter()
                    tasks.create_task(
                        query(http, url, "INSERT INTO orders (item, qty, price) VALUES (?, ?, ?)", "tea", n, 2.5)
                    )
                    while (await socket.receive_json(timeout=5))["type"] != "db_change":
                        pass
                    elapsed = (time.perf_counter() - began) * 1000
                if n >= warm_up:
                    took.append(elapsed)
    return took


async def run(writes: int, warm_up: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        (project / "wrangler.toml").write_text(WRANGLER)
        (project / "entry.py").write_text(ENTRY)
        server = DevProcess(project / "wrangler.toml", persist_to=project / "state")
        await server.start()
        try:
            took = await measure(server.url, writes, warm_up)
        finally:
            await server.stop()
    cuts = statistics.quantiles(took, n=100)
    return {"count": len(took), "p50_ms": cuts[49], "p99_ms": cuts[98], "max_ms": max(took)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--writes", type=int, default=1_000)
    parser.add_argument("--warm-up", type=int, default=100)
    options = parser.parse_args()
    row = asyncio.run(run(options.writes, options.warm_up))
    latency = f"p50 {row['p50_ms']:.2f} ms  p99 {row['p99_ms']:.2f} ms  max {row['max_ms']:.2f} ms"
    print(f"write -> event: {latency}  ({row['count']} writes)")


if __name__ == "__main__":
    main()
