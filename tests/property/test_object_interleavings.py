"""Concurrent callers of one object against a model of its gates: which steps interleave, and what is never lost.

The model is a simulation of events on a time line. A step that awaits storage keeps everybody else out; a sleep lets
the next caller in; a section (`blockConcurrencyWhile`, `transaction`) keeps everybody out while it sleeps, and those
who became ready meanwhile go on in that order. The object must write the very log that the model writes.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import shutil
import tempfile
from collections import deque
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from hypothesis import given, note, settings
from hypothesis import strategies as st

from durable_objects import Host, ObjectClass
from workers import DurableObject
from workers.runtime.virtual_time import VirtualTime

CALLERS = 4
# add: read, modify, write with awaits on storage. torn: the same with a sleep in the middle, which may lose an update.
SIMPLE = st.sampled_from(["add", "torn", "sleep"])
SECTION = st.tuples(st.sampled_from(["block", "transaction"]), st.lists(SIMPLE, max_size=3))
SCRIPTS = st.lists(st.lists(SIMPLE | SECTION, max_size=4), min_size=2, max_size=CALLERS)
SAFE_SCRIPTS = st.lists(st.lists(st.just("add") | SECTION, min_size=1, max_size=5), min_size=2, max_size=8)


class Cell(DurableObject):
    """Runs scripts and logs what happens, in the order in which it does."""

    def __init__(self, ctx: Any, env: Any) -> None:
        super().__init__(ctx, env)
        self.log: list[str] = []

    async def run(self, label: str, script: list[Any]) -> None:
        for step in script:
            if step[0] == "block":
                await self.ctx.blockConcurrencyWhile(self._closure(label, step[1]))
            elif step[0] == "transaction":
                await self.ctx.storage.transaction(self._closure(label, step[1]))
            else:
                await self._step(label, step)

    def _closure(self, label: str, steps: list[Any]) -> Any:
        async def closure(*_transaction: object) -> None:
            await self._section(label, steps)

        return closure

    async def _section(self, label: str, steps: list[Any]) -> None:
        self.log.append(f"{label} [")
        for step in steps:
            await self._step(label, step)
        self.log.append(f"{label} ]")

    async def _step(self, label: str, step: list[Any]) -> None:
        kind, delay_s = step
        if kind == "sleep":
            await asyncio.sleep(delay_s)
            self.log.append(f"{label} slept")
            return
        old = await self.ctx.storage.get("n") or 0
        self.log.append(f"{label} read {old}")
        if kind == "torn":
            await asyncio.sleep(delay_s)
        await self.ctx.storage.put("n", old + 1)
        self.log.append(f"{label} wrote {old + 1}")

    async def history(self) -> Any:
        return [self.log, await self.ctx.storage.get("n") or 0]


class Model:
    """The same callers on a time line."""

    def __init__(self, scripts: list[list[Any]]) -> None:
        self.log: list[str] = []
        self.value = 0
        self._callers = [self._run(str(number), script) for number, script in enumerate(scripts)]
        self._inside: int | None = None
        self._ready = deque(range(len(scripts)))
        self._waiting: list[int] = []
        self._timers: list[tuple[float, int]] = []
        self._now_s = 0.0

    def play(self) -> None:
        while True:
            while self._ready:
                number = self._ready.popleft()
                if self._inside in (None, number):
                    self._go_on(number)
                else:
                    self._waiting.append(number)
            if not self._timers:
                return
            self._now_s, number = heapq.heappop(self._timers)
            self._ready.append(number)

    def _go_on(self, number: int) -> None:
        for told in self._callers[number]:
            if told == "lock":
                self._inside = number
            elif told == "unlock":
                self._inside = None
                self._ready.extend(self._waiting)
                self._waiting.clear()
            else:
                heapq.heappush(self._timers, (self._now_s + float(told), number))
                return

    def _run(self, label: str, script: list[Any]) -> Generator[str | float, None, None]:
        for step in script:
            if step[0] in ("block", "transaction"):
                yield "lock"
                self.log.append(f"{label} [")
                for inner in step[1]:
                    yield from self._step(label, inner)
                self.log.append(f"{label} ]")
                yield "unlock"
            else:
                yield from self._step(label, step)

    def _step(self, label: str, step: list[Any]) -> Generator[str | float, None, None]:
        kind, delay_s = step
        if kind == "sleep":
            yield delay_s
            self.log.append(f"{label} slept")
            return
        old = self.value
        self.log.append(f"{label} read {old}")
        if kind == "torn":
            yield delay_s
        self.value = old + 1
        self.log.append(f"{label} wrote {old + 1}")


def _delays() -> Iterator[float]:
    """Delays of which no two sums are equal, so that the order of timers is certain."""
    number = 0
    while True:
        number += 1
        yield 0.01 + math.modf(number * 0.6180339887)[0] / 50 + math.sqrt(number) / 1e5


def _timed(scripts: list[Any]) -> list[Any]:
    delays = _delays()

    def timed(step: Any) -> list[Any]:
        return [step, next(delays)] if isinstance(step, str) else [step[0], [timed(inner) for inner in step[1]]]

    return [[timed(step) for step in script] for script in scripts]


async def _play(root: Path, scripts: list[Any]) -> Any:
    with VirtualTime() as time:
        host = Host(root, clock=time)
        try:
            stub = host.namespace(ObjectClass("w-Cell", Cell, None)).getByName("one")
            calls = [stub.run(str(number), script) for number, script in enumerate(scripts)]
            for call in calls:
                await call
            return await stub.history()
        finally:
            await host.close()


def _played(scripts: list[Any]) -> Any:
    root = Path(tempfile.mkdtemp())
    try:
        return asyncio.run(_play(root, scripts))
    finally:
        shutil.rmtree(root)


@settings(max_examples=150, deadline=None, print_blob=True)
@given(SCRIPTS)
def test_the_events_of_an_object_interleave_as_the_model_says(scripts: list[Any]):
    timed = _timed(scripts)
    model = Model(timed)
    model.play()
    note(f"model: {model.log}")
    log, value = _played(timed)
    assert log == model.log
    assert value == model.value


@settings(max_examples=100, deadline=None, print_blob=True)
@given(SAFE_SCRIPTS)
def test_an_update_with_awaits_on_storage_is_never_lost(scripts: list[Any]):
    timed = _timed(scripts)
    log, value = _played(timed)
    note(f"log: {log}")
    wrote = [line for line in log if " wrote " in line]
    assert value == len(wrote)  # also those inside sections, which sleep between reading and writing
    assert [int(line.rpartition(" ")[2]) for line in wrote] == list(range(1, value + 1))
    assert _sections_are_whole(log)


def _sections_are_whole(log: list[str]) -> bool:
    inside: str | None = None
    for line in log:
        label, _, what = line.partition(" ")
        if inside not in (None, label):
            return False
        if what == "[":
            inside = label
        elif what == "]":
            inside = None
    return True
