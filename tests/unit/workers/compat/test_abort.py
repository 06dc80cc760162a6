from __future__ import annotations

import asyncio

import pytest

from workers.compat.abort import AbortController, AbortSignal, guarded
from workers.compat.proxies import JsException


async def forever() -> None:
    await asyncio.Event().wait()


async def quick() -> str:
    return "done"


async def test_work_without_or_with_a_quiet_signal_just_runs():
    assert await guarded(None, quick()) == "done"
    assert await guarded(AbortController.new().signal, quick()) == "done"


async def test_an_abort_ends_the_work_with_its_reason():
    controller = AbortController.new()
    asyncio.get_running_loop().call_soon(controller.abort)
    with pytest.raises(JsException, match="AbortError: The operation was aborted"):
        await guarded(controller.signal, forever())
    with pytest.raises(JsException, match="AbortError"):
        await guarded(controller.signal, quick())


async def test_a_timeout_names_itself():
    with pytest.raises(JsException, match=r"^TimeoutError: The operation was aborted due to timeout$") as caught:
        await guarded(AbortSignal.timeout(1), forever())
    assert (caught.value.code, caught.value.retryable) == (23, True)


async def test_cancelling_the_caller_is_no_abort():
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(guarded(AbortController.new().signal, forever()))
        await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()


def test_the_first_of_several_signals_counts():
    first, second = AbortController.new(), AbortController.new()
    either = AbortSignal.any([first.signal, second.signal])
    seen: list[str] = []
    either.addEventListener("abort", lambda event: seen.append(event.type))
    second.abort("why")
    first.abort("late")
    assert (either.reason, seen) == ("why", ["abort"])
    assert AbortSignal.abort("now").aborted
