"""Compatibility dates reach sockets and objects of a configured Worker."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from workers.runtime.testing import serve

ENTRY = """
import time

from js import WebSocketPair

from workers import DurableObject, Response, WorkerEntrypoint


class Keeper(DurableObject):
    async def look(self):
        await self.ctx.storage.setAlarm(int(time.time() * 1000) + 3_600_000)
        await self.ctx.storage.deleteAll()
        return [WebSocketPair.new()[0].binaryType, await self.ctx.storage.getAlarm() is not None]

    async def alarm(self):
        pass


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response.json([WebSocketPair.new()[0].binaryType, *await self.env.KEEPER.getByName("a").look()])
"""
CONFIG = """
name = "dated"
main = "entry.py"
compatibility_date = "{date}"

[[durable_objects.bindings]]
name = "KEEPER"
class_name = "Keeper"

[[migrations]]
tag = "v1"
new_sqlite_classes = ["Keeper"]
"""


@pytest.mark.parametrize(
    ("date", "told"),
    [("2026-05-01", ["blob", "blob", False]), ("2026-01-01", ["arraybuffer", "arraybuffer", True])],
)
async def test_a_date_decides_on_sockets_and_alarms(date: str, told: list[object], tmp_path: Path):
    (tmp_path / "entry.py").write_text(ENTRY)
    (tmp_path / "wrangler.toml").write_text(CONFIG.format(date=date))
    async with (
        serve(tmp_path / "wrangler.toml", persist_to=tmp_path / "state") as url,
        aiohttp.ClientSession() as client,
        client.get(url) as response,
    ):
        assert await response.json() == told
