from __future__ import annotations

import asyncio
from pathlib import Path

from workers.runtime.testing import DevProcess

CONFIG = '[[workflows]]\nname = "flow"\nbinding = "WF"\nclass_name = "Flow"\n'
SOURCE = """
from pathlib import Path
from workers import Response, WorkerEntrypoint, WorkflowEntrypoint

LOG = Path(__file__).parent / "log.txt"


def note(line):
    with LOG.open("a") as file:
        file.write(line + " ")


class Flow(WorkflowEntrypoint):
    async def run(self, event, step):
        @step.do("first")
        async def first():
            note("first")
            return event.payload["n"] + 1

        @step.do("second", depends=[first])
        async def second(n):
            note("second")
            return n * 2

        n = await second()
        await step.sleep("nap", "2 seconds")
        note("awake")
        came = await step.wait_for_event("go on", "go")
        return n + came["payload"]


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = request.url.rpartition("/")[2]
        if path == "create":
            await self.env.WF.create({"id": "one", "params": {"n": 1}})
        instance = await self.env.WF.get("one")
        if path == "send":
            await instance.send_event({"type": "go", "payload": 100})
        return Response.json(await instance.status())
"""


async def until(log: Path, text: str) -> None:
    async with asyncio.timeout(20):
        while not log.exists() or text not in log.read_text():  # noqa: ASYNC110, ASYNC240 (another process writes it)
            await asyncio.sleep(0.02)


async def test_an_instance_outlives_kills_and_runs_no_finished_step_again(write, tmp_path, client) -> None:
    config = write(SOURCE, CONFIG)
    log = config.parent / "src" / "log.txt"
    process = DevProcess(config, tmp_path / "state")
    url = await process.start()
    async with client.get(f"{url}/create") as answer:
        assert (await answer.json())["status"] in ("queued", "running", "waiting")
    await until(log, "second")
    await process.kill()

    await process.start()
    await until(log, "awake")
    await process.kill()

    url = await process.start()
    async with client.get(f"{url}/send") as answer:
        assert answer.status == 200
    async with asyncio.timeout(20):
        while True:
            async with client.get(f"{url}/status") as answer:
                found = await answer.json()
            if found["status"] == "complete":
                break
    assert found["output"] == 104
    assert await process.stop() == 0
    # What is outside steps runs again at every start.
    assert log.read_text().split().count("first") == log.read_text().split().count("second") == 1
