from __future__ import annotations

import asyncio
import gc
from contextvars import ContextVar
from typing import Any

import pytest

from durable_objects.gates import InputGate, gated
from workers.compat import ambient, stacks
from workers.compat.ambient import Ambient, Env
from workers.compat.sync_bridge import can_run_sync, run_sync
from workers.compat.web import Request, Response

variable: ContextVar[str] = ContextVar("variable", default="outer")


@pytest.fixture(autouse=True)
async def armed() -> None:
    stacks.arm()


async def later(value: object) -> object:
    await asyncio.sleep(0)
    return value


async def test_synchronous_code_below_a_handler_waits_while_the_loop_goes_on():
    reached, go = asyncio.Event(), asyncio.Event()

    async def answer() -> str:
        reached.set()
        await go.wait()
        return "answer"

    async def handler() -> Any:
        await asyncio.sleep(0)
        return run_sync(answer()), can_run_sync()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(stacks.call(handler))
        await reached.wait()
        go.set()
    assert task.result() == ("answer", True)


async def test_a_synchronous_handler_and_futures_work_too():
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, 7)
    assert await stacks.call(lambda: run_sync(future)) == 7


async def test_an_awaitable_that_answers_to_every_name_is_awaited():
    class Promise:
        def __getattr__(self, name: str) -> Promise:
            return self

        def __await__(self) -> Any:
            return later("kept").__await__()

    assert await stacks.call(lambda: run_sync(Promise())) == "kept"


async def test_run_sync_nests():
    async def outer() -> object:
        return run_sync(later(run_sync(later("inner"))))

    assert await stacks.call(lambda: run_sync(outer())) == "inner"


async def test_failures_reach_the_synchronous_code():
    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("broken")

    def work() -> str:
        try:
            run_sync(fail())
        except ValueError as error:
            return str(error)
        return "no error"

    assert await stacks.call(work) == "broken"
    with pytest.raises(ValueError, match="broken"):
        await stacks.call(lambda: run_sync(fail()))


async def test_cancellation_and_time_limits_reach_it():
    cleaned: list[str] = []

    def work() -> None:
        try:
            run_sync(asyncio.Event().wait())
        finally:
            run_sync(later(None))
            cleaned.append("yes")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await stacks.call(work)
    assert cleaned == ["yes"]


async def test_context_variables_are_those_of_the_handler():
    variable.set("handler")

    async def look() -> str:
        await asyncio.sleep(0)
        seen = variable.get()
        variable.set("changed below")
        return seen

    assert await stacks.call(lambda: run_sync(look())) == "handler"
    assert variable.get() == "changed below"


async def test_handlers_that_wait_at_once_do_not_mix():
    async def handler(number: int) -> list[object]:
        variable.set(str(number))
        return [run_sync(later((number, step, variable.get()))) for step in range(20)]

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(stacks.call(handler, number)) for number in range(20)]
    for number, task in enumerate(running):
        assert task.result() == [(number, step, str(number)) for step in range(20)]


async def test_a_locked_input_gate_keeps_it_suspended():
    gate, go, steps = InputGate(), asyncio.Event(), list[str]()

    def work() -> None:
        run_sync(go.wait())
        steps.append("resumed")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(gated(stacks.call(work), gate))
        await asyncio.sleep(0)
        section = gate.lock(None)
        go.set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert steps == []
        gate.unlock(section)
    assert steps == ["resumed"]


async def no_network(request: Request) -> Response:
    return Response()


async def test_tasks_that_a_worker_starts_wait_too_and_others_are_left_alone():
    def work(number: int) -> object:
        return run_sync(later(number))

    async def task(number: int) -> object:
        await asyncio.sleep(0)
        return work(number)

    async def handler() -> list[object]:
        async with asyncio.TaskGroup() as tasks:
            started = [tasks.create_task(task(number)) for number in range(5)]
        return [each.result() for each in started]

    async def plain() -> bool:
        return can_run_sync()

    worker = Ambient(Env({}), lambda work: None, no_network)
    async with asyncio.TaskGroup() as tasks:
        outside = tasks.create_task(plain())
        with ambient.enter(worker):
            inside = tasks.create_task(handler())
    assert (outside.result(), inside.result()) == (False, list(range(5)))


async def test_a_task_of_a_worker_is_cancelled_where_it_waits():
    cleaned: list[str] = []
    waiting = asyncio.Event()

    async def task() -> None:
        waiting.set()
        try:
            run_sync(asyncio.Event().wait())
        finally:
            cleaned.append("yes")

    with ambient.enter(Ambient(Env({}), lambda work: None, no_network)):
        async with asyncio.TaskGroup() as tasks:
            started = tasks.create_task(task())
            await waiting.wait()
            started.cancel()
    assert (started.cancelled(), cleaned) == (True, ["yes"])


async def test_a_task_that_is_cancelled_before_it_begins_leaves_nothing_behind():
    with ambient.enter(Ambient(Env({}), lambda work: None, no_network)):
        async with asyncio.TaskGroup() as tasks:
            started = tasks.create_task(later("never"))
            started.cancel()
    gc.collect()  # a coroutine that was never awaited would be a warning
    assert started.cancelled()
