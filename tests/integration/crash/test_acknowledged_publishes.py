"""`kill -9` during persisted publishes: what was acknowledged is there after the restart, and nothing twice."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import aiohttp
import pytest

from workers.runtime.testing import DevProcess

PUBLISHES = 1_000
IN_FLIGHT = 32
ROOM = "ledger/main"

WRANGLER = """
name = "crash"
main = "src/entry.py"
compatibility_date = "2026-07-01"

[flarelet.realtime]
project = "demo"
"""

ENTRY = """
from workers import Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response("ok")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/entry.py").write_text(ENTRY)
    config = tmp_path / "wrangler.toml"
    config.write_text(WRANGLER)
    return config


def publish(n: int) -> str:
    frame = {"type": "publish", "topic": ROOM, "event": "entry", "data": {"n": n}, "persist": True, "id": f"entry-{n}"}
    return json.dumps(frame)


async def publish_until(url: str, numbers: list[int], stop_after: int) -> set[int]:
    """Publish `numbers` with a window in flight; return those acknowledged until `stop_after` acks or the end."""
    acked: set[int] = set()
    waiting = iter(numbers)
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{url}/api/realtime?projectId=demo") as socket:
        for n in islice(waiting, IN_FLIGHT):
            await socket.send_str(publish(n))
        while len(acked) < min(stop_after, len(numbers)):
            frame = await socket.receive_json(timeout=20)
            if frame["type"] != "ack":
                continue
            acked.add(int(frame["id"].removeprefix("entry-")))
            n = next(waiting, None)
            if n is not None:
                await socket.send_str(publish(n))
    return acked


async def read_history(url: str) -> list[int]:
    numbers: list[int] = []
    before: int | None = None
    async with aiohttp.ClientSession() as http:
        while True:
            query = {"room": ROOM, "limit": "100"} | ({"before": str(before)} if before else {})
            async with http.get(f"{url}/api/v1/public/realtime/history", params=query) as response:
                page = (await response.json())["messages"]
            if not page:
                return numbers
            numbers += [message["data"]["n"] for message in page]
            before = page[-1]["created_at"]


@pytest.mark.parametrize("kill_after", [1, 137, 500, 900])
async def test_every_acknowledged_publish_survives_kill_9_once(project: Path, tmp_path: Path, kill_after: int):
    server = DevProcess(project, persist_to=tmp_path / "state")
    await server.start()
    numbers = list(range(PUBLISHES))
    acked = await publish_until(server.url, numbers, kill_after)
    await server.kill()

    await server.start()
    stored = await read_history(server.url)
    assert len(stored) == len(set(stored)), "a publish is in the history twice"
    assert acked <= set(stored), f"{len(acked - set(stored))} acknowledged publishes are lost"

    # A client that never saw its ack sends again under the same id: stored once all the same.
    again = await publish_until(server.url, numbers, PUBLISHES)
    assert again == set(numbers)
    assert sorted(await read_history(server.url)) == numbers
    await server.stop()
