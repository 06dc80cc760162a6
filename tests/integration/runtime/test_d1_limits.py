"""Calls of an invocation are counted where invocations begin and end: in the running application."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp

from workers.runtime.app import App

SOURCE = """
import asyncio
from workers import DurableObject, Response, WorkerEntrypoint

async def query(env, count):
    asked = 0
    try:
        for asked in range(count):
            await env.DB.prepare("SELECT 1").first()
    except Exception as error:
        return f"{asked} {error.message}"
    return str(count)

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        count = int(request.url.rsplit("/", 1)[1])
        if "/object/" in request.url:
            stub = self.env.ROOM.getByName("a")
            return Response(await stub.query(count))
        if "/tasks/" in request.url:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(query(self.env, count)) for _ in range(2)]
            return Response(";".join(task.result() for task in tasks))
        return Response(await query(self.env, count))

    async def scheduled(self, controller, env, ctx):
        self.env.DB and print(await query(self.env, int(controller.cron)))

class Room(DurableObject):
    async def query(self, count):
        return await query(self.env, count)
"""
CONFIG = """
[flarelet]
plan = "free"
[[d1_databases]]
binding = "DB"
[[durable_objects.bindings]]
name = "ROOM"
class_name = "Room"
[[migrations]]
tag = "v1"
new_sqlite_classes = ["Room"]
"""
REFUSED = "50 D1_ERROR: Too many API requests by single worker invocation."


async def test_each_request_and_each_turn_of_an_object_counts_its_own_calls(
    run: Callable[..., AbstractAsyncContextManager[str]], client: aiohttp.ClientSession
) -> None:
    async with run(SOURCE, CONFIG) as url:

        async def get(path: str) -> str:
            async with client.get(f"{url}/{path}") as answer:
                return await answer.text()

        assert [await get("plain/50") for _ in range(3)] == ["50", "50", "50"]  # one connection, three invocations
        assert await get("plain/60") == REFUSED
        assert await get("object/50") == "50"
        assert await get("object/51") == REFUSED
        assert await get("tasks/25") == "25;25"
        assert sum(int(part.split()[0]) for part in (await get("tasks/40")).split(";")) <= 50


async def test_on_the_paid_plan_a_thousand_calls_are_allowed(
    run: Callable[..., AbstractAsyncContextManager[str]], client: aiohttp.ClientSession
) -> None:
    async with run(SOURCE, CONFIG.replace('plan = "free"', "")) as url, client.get(f"{url}/plain/1001") as answer:
        assert await answer.text() == REFUSED.replace("50", "1000", 1)


async def test_a_scheduled_event_counts_too_and_a_test_does_not(
    write: Callable[..., Path], tmp_path: Path, capsys
) -> None:
    async with App.open(write(SOURCE, CONFIG), persist_to=tmp_path / "state") as app:
        assert await app.scheduled("50") == ("ok", False)
        assert await app.scheduled("51") == ("ok", False)
    assert capsys.readouterr().out.splitlines() == ["50", REFUSED]
