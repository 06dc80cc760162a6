from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from durable_objects.gates import InputGate, OutputGate, current_section, gated


async def test_a_suspended_coroutine_goes_on_only_when_the_gate_opens():
    gate, log, released = InputGate(), [], asyncio.Event()

    async def work() -> str:
        log.append("start")
        await released.wait()
        log.append("end")
        return "result"

    async def drive() -> str:
        return await gated(work(), gate)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(drive())
        await asyncio.sleep(0)
        section = gate.lock(None)
        released.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        log.append("still locked")
        gate.unlock(section)
    assert log == ["start", "still locked", "end"]
    assert task.result() == "result"


async def test_code_of_the_locking_section_is_admitted():
    gate = InputGate()
    section = gate.lock(None)
    assert gate.admits(section)
    assert not gate.admits(None)
    inner = gate.lock(section)
    assert not gate.admits(section)
    gate.unlock(inner)
    assert gate.admits(section)
    assert current_section.get() is None


async def test_a_waiter_of_an_outer_section_is_not_woken_by_the_end_of_an_inner_one():
    gate = InputGate()
    outer = gate.lock(None)
    inner = gate.lock(outer)
    stranger, parent = gate.queue(None), gate.queue(outer)
    gate.unlock(inner)
    assert parent.done()
    assert not stranger.done()
    gate.unlock(outer)
    assert stranger.done()


async def test_cancelling_a_gated_coroutine_while_it_waits_at_the_gate_reaches_it():
    gate, seen = InputGate(), []

    async def work() -> None:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def drive() -> None:
        await gated(work(), gate)

    task = asyncio.get_running_loop().create_task(drive())
    await asyncio.sleep(0)
    gate.lock(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert seen == ["cancelled"]


@given(st.lists(st.sampled_from(["hold", "open", "close", "discard"]), max_size=40))
def test_output_leaves_in_order_and_never_after_its_writes_are_lost(moves: list[str]):
    gate, out, model, waiting = OutputGate(), [], [], []
    for number, move in enumerate(moves):
        if move == "close":
            gate.held = True
        elif move == "hold":
            gate.hold(lambda number=number: out.append(number))
            (waiting if gate.held else model).append(number)
        elif move == "open" and gate.held:
            gate.open()
            model += waiting
            waiting.clear()
        elif move == "discard":
            gate.discard()
            waiting.clear()
    assert out == model


def test_what_is_held_while_the_gate_drains_leaves_in_the_same_drain():
    gate, out = OutputGate(), []
    gate.held = True
    gate.hold(lambda: (out.append(1), gate.hold(lambda: out.append(3))))
    gate.hold(lambda: out.append(2))
    gate.open()
    assert out == [1, 2, 3]


def test_lost_output_is_told_so():
    gate, lost = OutputGate(), []
    gate.held = True
    gate.hold(lambda: None, lambda: lost.append("lost"))
    gate.discard()
    assert lost == ["lost"]
