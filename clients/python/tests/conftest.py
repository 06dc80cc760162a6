"""Makes the client importable without installing it, and runs the real server in this process."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from flarelet_client import FlareletClient
from workers.runtime.testing import DevProcess

_CONFIG = """
name = "clients"
main = "entry.py"
compatibility_date = "2026-07-01"
compatibility_flags = ["python_workers"]

[[d1_databases]]
binding = "DB"
database_name = "main"
database_id = "main"

[flarelet.realtime]
project = "demo"
database = "DB"

[[flarelet.realtime.topics]]
pattern = "strict/*"
class_name = "Strict"
"""
_WORKER = """
from workers import Response, WorkerEntrypoint
from durable_objects import TopicObject


class Strict(TopicObject):
    def authorize(self, connection, action):
        return action == "history"


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        result = await self.env.DB.prepare(await request.text()).all()
        return Response.json(result.results)
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[DevProcess]:
    """A server process with the table `orders`; it can be killed and started again on its port and state."""
    (tmp_path / "wrangler.toml").write_text(_CONFIG)
    (tmp_path / "entry.py").write_text(_WORKER)
    process = DevProcess(tmp_path / "wrangler.toml", tmp_path / "state")
    await process.start()
    yield process
    await process.kill()


@pytest.fixture
async def client(server: DevProcess) -> AsyncIterator[FlareletClient]:
    """A client of that server."""
    async with FlareletClient("demo", f"{server.url}/v1", user_id="ann") as client:
        client.realtime.on_error(lambda error: None)
        yield client
