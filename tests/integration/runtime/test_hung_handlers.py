"""Handlers that never answer, and code that lets nothing else run: the server says so and goes on."""

from __future__ import annotations

import asyncio
import os
import re
import signal

from workers.runtime.testing import DevProcess

SOURCE = """
import asyncio, time
from js import ReadableStream
from workers import DurableObject, Response, WorkerEntrypoint

class Room(DurableObject):
    async def spin(self):
        while True:
            pass

    async def ask(self):
        return "alive"

async def slowly():
    for _ in range(6):
        yield b"."
        await asyncio.sleep(0.1)

def spin():
    n = 0
    while True:
        n += 1

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = request.url.rpartition("/")[2]
        if path == "never":
            await asyncio.Event().wait()
        if path == "deaf":
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    pass
        if path == "stream":
            return Response(ReadableStream.from_iterator(slowly()))
        if path == "spin":
            spin()
        if path == "stubborn":
            while True:
                try:
                    spin()
                except Exception:
                    pass
        if path == "sleep":
            time.sleep(3600)
        if path == "object":
            await self.env.ROOM.getByName("r").spin()
        if path == "ask":
            return Response(await self.env.ROOM.getByName("r").ask())
        return Response("fine")
"""
TWICE = "for _ in 'ab':\n                try:\n                    await"
OBJECTS = """
[[durable_objects.bindings]]
name = "ROOM"
class_name = "Room"
[[migrations]]
tag = "v1"
new_sqlite_classes = ["Room"]
"""


async def text(client, url: str) -> tuple[int, str]:
    async with client.get(url) as answer:
        return answer.status, await answer.text()


async def test_a_handler_that_never_answers_is_cancelled_at_its_limit_and_told_where_it_waited(run, client) -> None:
    async with run(SOURCE, "[flarelet.limits]\nhandler_s = 0.4\n" + OBJECTS) as url:
        status, answer = await text(client, f"{url}/never")
        assert status == 500
        assert answer.startswith(
            "Error: The Workers runtime canceled this request because it detected that your Worker's code had hung"
        )
        assert "after 0.4 s (flarelet.limits.handler_s)." in answer.splitlines()[0]
        assert "at src/entry.py:28 in fetch" in answer
        assert await text(client, f"{url}/stream") == (200, "......")  # 0.6 s, but its head came at once
        assert await text(client, url) == (200, "fine")


async def test_a_handler_that_ignores_its_cancellation_is_cancelled_again(run, client) -> None:
    source = SOURCE.replace("while True:\n                try:\n                    await", TWICE)
    async with run(source, "[flarelet.limits]\nhandler_s = 0.3\n" + OBJECTS) as url:
        assert await text(client, f"{url}/deaf") == (200, "fine")
        assert await text(client, url) == (200, "fine")


async def test_an_infinite_loop_is_reported_while_it_runs_and_interrupted(write, tmp_path, client) -> None:
    config = write(SOURCE, "[flarelet.limits]\nbusy_s = 2.5\n" + OBJECTS)
    async with DevProcess(config, tmp_path / "state") as process:
        for path, line in (("spin", "in spin"), ("sleep", "src/entry.py:46 in fetch")):
            async with asyncio.TaskGroup() as tasks:
                answer = tasks.create_task(text(client, f"{process.url}/{path}"))
                reported = await process.wait_for(f"GET {process.url}/{path} is at ")
                assert not answer.done()
            status, told = answer.result()
            assert status == 500
            assert "WARNING: nothing else has run for " in reported
            assert line in reported
            assert told.startswith("BusyError: this code let nothing else run for 2.5 s (flarelet.limits.busy_s)")
            assert await text(client, process.url) == (200, "fine")
        assert "called from src/entry.py:38 in fetch" in process.output
        assert await process.stop() == 0


async def test_a_loop_that_swallows_exceptions_is_interrupted_all_the_same(write, tmp_path, client) -> None:
    config = write(SOURCE, "[flarelet.limits]\nbusy_s = 1.6\n" + OBJECTS)
    async with DevProcess(config, tmp_path / "state") as process:
        status, told = await text(client, f"{process.url}/stubborn")
        assert (status, told.partition(":")[0]) == (500, "StubbornBusyError")
        assert await text(client, process.url) == (200, "fine")


async def test_an_infinite_loop_in_an_object_is_interrupted_and_the_object_lives(write, tmp_path, client) -> None:
    config = write(SOURCE, "[flarelet.limits]\nbusy_s = 1.6\n" + OBJECTS)
    async with DevProcess(config, tmp_path / "state") as process:
        status, told = await text(client, f"{process.url}/object")
        assert status == 500
        assert "this code let nothing else run" in told
        assert re.search(r"src/entry.py:[89] in spin", process.output)
        assert await text(client, f"{process.url}/ask") == (200, "alive")


async def test_ctrl_c_ends_a_server_that_an_infinite_loop_holds_up(write, tmp_path, client) -> None:
    config = write(SOURCE, "[flarelet.limits]\nbusy_s = 0\n" + OBJECTS)
    async with DevProcess(config, tmp_path / "state") as process, asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(ignoring(text(client, f"{process.url}/spin")))
        await process.wait_for("is at ")
        os.kill(process.pid, signal.SIGINT)
        assert await process.wait() == 130
        asked.cancel()


async def ignoring(asked) -> None:
    try:
        await asked
    except OSError:
        return
