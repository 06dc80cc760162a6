"""A statement that changes a million watched rows: one resync for a subscriber, and little memory of the server."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from workers.runtime.testing import DevProcess

ROWS = 1_000_000
MOST_GROWTH_BYTES = 200 * 1024 * 1024

WRANGLER = """
name = "many"
main = "entry.py"
compatibility_date = "2026-07-01"

[[d1_databases]]
binding = "DB"
database_name = "many"
database_id = "many"

[flarelet.realtime]
database = "DB"
project = "many"
"""

ENTRY = """
from workers import Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response("ok")
"""


async def query(http: aiohttp.ClientSession, url: str, sql: str) -> None:
    body = {"method": "db.query", "args": [sql, []], "projectId": "many"}
    async with http.post(f"{url}/internal/hooks/rpc", json=body) as response:
        assert response.status == 200, await response.text()


async def frames_until(socket: aiohttp.ClientWebSocketResponse, kind: str, *, timeout_s: float = 60) -> list[Any]:
    frames: list[Any] = []
    while not frames or frames[-1]["type"] != kind:
        frames.append(await socket.receive_json(timeout=timeout_s))
    return frames


def resident(pid: int, field: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(field))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the memory of another process is read from /proc")
async def test_a_million_changed_rows_are_one_resync_and_little_memory(tmp_path: Path) -> None:
    (tmp_path / "wrangler.toml").write_text(WRANGLER)
    (tmp_path / "entry.py").write_text(ENTRY)
    server = DevProcess(tmp_path / "wrangler.toml", persist_to=tmp_path / "state")
    await server.start()
    try:
        async with aiohttp.ClientSession() as http:
            await query(http, server.url, "CREATE TABLE big (id INTEGER PRIMARY KEY, name TEXT, n INTEGER)")
            numbers = f"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<{ROWS})"
            await query(http, server.url, f"{numbers} INSERT INTO big SELECT x, 'name ' || x, 0 FROM c")
            async with http.ws_connect(f"{server.url}/api/realtime?projectId=many") as socket:
                await socket.send_str(json.dumps({"type": "subscribe", "topic": "big"}))
                await frames_until(socket, "subscribed")
                await query(http, server.url, "UPDATE big SET n=1 WHERE id=1")
                await frames_until(socket, "db_change")
                before = resident(server.pid, "VmRSS")
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(query(http, server.url, "UPDATE big SET n=n+1"))
                    told = await frames_until(socket, "resync")
                grown = resident(server.pid, "VmHWM") - before
                await query(http, server.url, "UPDATE big SET n=1 WHERE id=2")
                told += await frames_until(socket, "db_change")
    finally:
        await server.stop()
    assert [frame["type"] for frame in told] == ["resync", "db_change"]
    assert grown < MOST_GROWTH_BYTES, f"{grown / 1e6:.0f} MB"
