from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from workers import env, wait_until
from workers.compat import ambient
from workers.compat.ambient import Ambient, Env
from workers.compat.sync_bridge import SyncCalls, can_run_sync, enable, run_sync
from workers.compat.web import Request, Response


async def no_network(request: Request) -> Response:
    return Response()


async def answer() -> tuple[str, int]:
    await asyncio.sleep(0)
    return "x", threading.get_ident()


async def test_a_thread_waits_for_the_loop_that_started_it():
    def work() -> object:
        assert can_run_sync()
        return run_sync(answer()), threading.get_ident()

    (value, loop_thread), worker_thread = await SyncCalls().run(work)
    assert (value, loop_thread) == ("x", threading.get_ident())
    assert worker_thread != loop_thread


async def test_threads_of_other_libraries_can_be_let_in():
    enable()
    value, loop_thread = await asyncio.to_thread(run_sync, answer())
    assert (value, loop_thread) == ("x", threading.get_ident())


async def test_calls_of_one_piece_of_code_share_their_context():
    variable: ContextVar[str] = ContextVar("variable")
    calls = SyncCalls()
    await calls.run(variable.set, "kept")
    assert await calls.run(variable.get) == "kept"
    with pytest.raises(LookupError):
        variable.get()


async def test_a_failure_reaches_the_thread():
    async def fail() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await SyncCalls().run(lambda: run_sync(fail()))


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
        assert await SyncCalls().run(work) == 1
    await asyncio.sleep(0)
    assert noted == [("later", threading.get_ident())]
