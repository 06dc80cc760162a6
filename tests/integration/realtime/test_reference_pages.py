"""The examples of the pages on realtime run as they stand there."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest

from workers.runtime.config.load import load
from workers.runtime.testing import serve

ROOT = Path(__file__).resolve().parents[3]
SERVER = (ROOT / "docs/reference/realtime-server.md").read_text()
CLIENT = (ROOT / "docs/reference/realtime.md").read_text()
KEYS = 'public_keys = ["pk_1"]\nsecret_keys = ["sk_1"]\n'
HEAD = 'name = "page"\nmain = "entry.py"\ncompatibility_date = "2026-07-01"\ncompatibility_flags = ["python_workers"]\n'
DATABASE = '[[d1_databases]]\nbinding = "DB"\ndatabase_name = "main"\ndatabase_id = "main"\n'
PLAIN = "from workers import WorkerEntrypoint, Response\nclass Default(WorkerEntrypoint):\n    pass\n"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def block(page: str, word: str) -> str:
    (found,) = [source for source in blocks(page, "python") if word in source]
    return found


@asynccontextmanager
async def worker(folder: Path, source: str, config: str = "") -> AsyncIterator[str]:
    (folder / "entry.py").write_text(source)
    section = f'[flarelet.realtime]\nproject = "demo"\ndatabase = "DB"\n{config}'
    (folder / "wrangler.toml").write_text(f"{HEAD}{DATABASE}{section}")
    async with serve(folder / "wrangler.toml", folder / "state") as url:
        yield url


class Viewer:
    """A socket that follows topics."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            return json.loads(await self.socket.receive_str())

    async def follow(self, topic: str) -> None:
        await self.socket.send_json({"type": "subscribe", "topic": topic})
        assert (await self.next())["type"] == "subscribed"


@asynccontextmanager
async def viewer(url: str, query: str = "", user: str = "viewer") -> AsyncIterator[Viewer]:
    address = f"{url}/api/realtime?userId={user}{query}"
    async with aiohttp.ClientSession() as session, session.ws_connect(address) as socket:
        yield Viewer(socket)


async def post(url: str, text: str = "") -> str:
    async with aiohttp.ClientSession() as session, session.post(url, data=text) as response:
        assert response.status == 200, await response.text()
        return await response.text()


async def test_a_worker_says_and_asks(tmp_path: Path):
    async with worker(tmp_path, block(SERVER, "order-paid")) as url, viewer(url) as client:
        await client.follow("orders/7")
        assert json.loads(await post(url)) == {"stored": {"text": "packed"}, "present": 0}
        assert [(await client.next())["event"] for _ in range(2)] == ["order-paid", "note"]


async def test_a_worker_streams_an_answer(tmp_path: Path):
    async with worker(tmp_path, block(SERVER, "You asked")) as url, viewer(url) as client:
        await client.follow("ai-chat/7")
        assert await post(url, "why") == "You asked: why "
        tokens = [(await client.next())["data"]["token"] for _ in range(3)]
        assert tokens == ["You ", "asked: ", "why "]
        assert (await client.next())["data"]["text"] == "You asked: why "


async def test_a_topic_class_streams(tmp_path: Path):
    source = block(SERVER, "class Bot") + "\n" + PLAIN
    config = '[[flarelet.realtime.topics]]\npattern = "ai-chat/*"\nclass_name = "Bot"\n'
    async with worker(tmp_path, source, config) as url, viewer(url) as client:
        await client.follow("ai-chat/7")
        ask = {"type": "publish", "topic": "ai-chat/7", "event": "ask", "data": {"question": "why not"}}
        await client.socket.send_json(ask)
        told = [await client.next() for _ in range(4)]
        assert [frame["event"] for frame in told] == ["ask", "ai:token", "ai:token", "ai:done"]
        assert told[1]["data"]["token"] == "WHY "


async def test_a_worker_takes_access_back(tmp_path: Path):
    async with worker(tmp_path, block(SERVER, "banned")) as url, viewer(url, user="mallory") as mallory:
        await mallory.follow("team/a")
        async with viewer(url, user="bob") as bob:
            await bob.follow("team/a")
            assert await post(url) == "done"
            assert (await bob.next())["name"] == "REVOKED"
        assert (await mallory.next())["message"] == "banned"
        await mallory.socket.receive()
        assert mallory.socket.close_code == 4403


async def test_another_process_uses_the_python_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "clients/python/src"), *sys.path])
    names: dict[str, Any] = {}
    exec(compile(block(SERVER, "RealtimeServer"), "realtime-server.md", "exec"), names)
    async with worker(tmp_path, PLAIN, KEYS) as url:
        rows, text, messages, present = await names["main"](url, "sk_1")
    assert (rows, text, present) == ([{"answer": 42}], "Hello world", [])
    assert messages[0]["data"] == {"total": 12}


async def test_a_topic_class_decides_by_claims(tmp_path: Path):
    source = block(CLIENT, "class Team") + "\n" + PLAIN
    jwt_config = f'[flarelet.realtime.jwt]\nsecrets = ["{"s" * 32}"]\n'
    topics = '[[flarelet.realtime.topics]]\npattern = "team/*"\nclass_name = "Team"\n'
    token = jwt.encode({"sub": "ann", "exp": 4_000_000_000, "teams": ["a"]}, "s" * 32, "HS256")
    async with worker(tmp_path, source, jwt_config + topics) as url, viewer(url, f"&token={token}") as client:
        await client.follow("team/a")
        await client.socket.send_json({"type": "subscribe", "topic": "team/b"})
        assert (await client.next())["name"] == "REFUSED"


@pytest.mark.parametrize("source", blocks(CLIENT, "toml"))
async def test_a_configuration_of_the_page_is_one(source: str, tmp_path: Path):
    (tmp_path / "entry.py").write_text(PLAIN)
    (tmp_path / ".dev.vars").write_text(f"JWT_SECRET={'s' * 32}\n")
    (tmp_path / "wrangler.toml").write_text(f"{HEAD}{DATABASE}{source}")
    assert load(tmp_path / "wrangler.toml").settings.flarelet is not None
    async with serve(tmp_path / "wrangler.toml", tmp_path / "state") as url:
        assert url


async def test_curl_follows_a_topic(tmp_path: Path):
    command = blocks(CLIENT, "sh")[0].strip()
    async with worker(tmp_path, block(SERVER, "order-paid")) as url:
        line = command.replace("http://127.0.0.1:8787", url).replace("chat/general,orders", "orders/7")
        process = await asyncio.create_subprocess_shell(
            f"exec {line}", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            assert process.stdout is not None
            told: list[dict[str, Any]] = []
            async with asyncio.timeout(20):
                while len(told) < 3:
                    text = (await process.stdout.readline()).decode()
                    if text.startswith("data: "):
                        told.append(json.loads(text[6:]))
                        if told[-1]["type"] == "subscribed":
                            await post(url)
        finally:
            process.kill()
            await process.wait()
    assert [frame.get("event", frame["type"]) for frame in told] == ["subscribed", "order-paid", "note"]


async def test_figures_are_those_of_the_whole_server(tmp_path: Path):
    async with worker(tmp_path, block(SERVER, "order-paid"), KEYS) as url, viewer(url, "&apiKey=pk_1") as client:
        await client.follow("orders/7")
        await post(url)
        headers = {"Authorization": "Bearer sk_1"}
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{url}/internal/metrics") as response:
                assert response.status == 401
            async with session.get(f"{url}/internal/metrics", headers=headers) as response:
                text = await response.text()
    assert 'flarelet_connections{role="public"} 1' in text
    (commits,) = re.findall(r'flarelet_object_commits_total\{class="page-TopicObject"\} (\d+)', text)
    assert int(commits) >= 1
    assert 'flarelet_d1_commits_total{database="DB"}' in text
