from __future__ import annotations

import asyncio
import threading

import pytest

from workers import env, wait_until
from workers.compat import ambient
from workers.compat.ambient import Ambient, Env
from workers.compat.sync_bridge import can_run_sync, enable, run_sync
from workers.compat.web import Request, Response


async def no_network(request: Request) -> Response:
    return Response()


async def answer() -> tuple[str, int]:
    await asyncio.sleep(0)
    return "x", threading.get_ident()


async def test_a_thread_waits_for_the_loop_that_let_it_in():
    def work() -> object:
        assert can_run_sync()
        return run_sync(answer()), threading.get_ident()

    enable()
    (value, loop_thread), worker_thread = await asyncio.to_thread(work)
    assert (value, loop_thread) == ("x", threading.get_ident())
    assert worker_thread != loop_thread


async def test_a_failure_reaches_the_thread():
    async def fail() -> None:
        raise ValueError("broken")

    enable()
    with pytest.raises(ValueError, match="broken"):
        await asyncio.to_thread(lambda: run_sync(fail()))


async def test_async_code_without_a_stack_is_told_to_await():
    assert not can_run_sync()
    with pytest.raises(RuntimeError, match="run_sync cannot wait here"):
        run_sync(answer())


def test_without_any_loop_one_is_made():
    assert run_sync(answer())[0] == "x"


async def test_the_thread_belongs_to_the_worker_and_its_wait_until_to_the_loop():
    noted: list[tuple[object, int]] = []
    worker = Ambient(Env({"A": 1}), lambda work: noted.append((work, threading.get_ident())), no_network)

    def work() -> object:
        wait_until("later")
        return env.A

    with ambient.enter(worker):
        enable()
        assert await asyncio.to_thread(work) == 1
        wait_until("now")
    await asyncio.sleep(0)
    assert sorted(noted) == [("later", threading.get_ident()), ("now", threading.get_ident())]
