from __future__ import annotations

import asyncio
import logging
from contextvars import ContextVar
from typing import Any

from durable_objects.realtime.tasks import Tasks


async def test_closing_cancels_what_still_runs():
    tasks, ended = Tasks(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    tasks.spawn(work(), "work")
    await asyncio.sleep(0)
    await tasks.close()
    assert ended.is_set()
    await tasks.close()


async def test_a_task_does_not_inherit_who_started_it():
    tasks, seen = Tasks(), asyncio.Queue[str]()
    starter: ContextVar[str] = ContextVar("starter", default="nobody")
    starter.set("an object's turn")

    async def work() -> None:
        seen.put_nowait(starter.get())

    tasks.spawn(work(), "work")
    assert await seen.get() == "nobody"


async def test_a_task_that_fails_is_logged_by_name(caplog: Any):
    tasks, failed = Tasks(), asyncio.Event()

    async def work() -> None:
        failed.set()
        raise RuntimeError("broken")

    with caplog.at_level(logging.ERROR):
        tasks.spawn(work(), "the-work")
        await failed.wait()
        await asyncio.sleep(0)
    assert "the-work" in caplog.text
    assert "broken" in caplog.text
