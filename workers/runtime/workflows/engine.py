"""One Workflow of a Worker: it runs instances, each in a task of its own, and goes on with them after a restart."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from durable_objects.clock import Clock
from workers.compat import ambient, stacks
from workers.compat.proxies import JsDict
from workers.runtime.isolate import ExecutionContext, Isolate
from workers.runtime.tracebacks import log_failure
from workers.runtime.workflows.step import WorkflowStep, dump_error, pack, unpack
from workers.runtime.workflows.store import InstanceRow, StepRow, WorkflowStore

__all__ = ["WorkflowEngine"]

_log = logging.getLogger(__name__)
_LOOK_S = 3600.0  # the machine's clock may be set while a timer runs


class WorkflowEngine:
    """The instances of one Workflow."""

    def __init__(
        self,
        name: str,
        cls: type[Any],
        isolate: Isolate,
        path: Path,
        *,
        clock: Clock,
        random: Random,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self.name = name
        self.cls = cls
        self.isolate = isolate
        self.clock = clock
        self.store = WorkflowStore(path)
        self._random = random
        self._tasks = tasks
        self._runs: dict[str, _Run] = {}

    def start(self) -> None:
        """Go on with what was running when the process ended."""
        for instance in self.store.unfinished():
            self._go(instance)

    async def close(self) -> None:
        """Stop every instance where it stands; the next start goes on with them."""
        for run in list(self._runs.values()):
            await run.stop()
        self.store.close()

    def new_id(self) -> str:
        """Return an id nobody has."""
        return str(UUID(int=self._random.getrandbits(128), version=4))

    def create(self, instance: str, params: object) -> bool:
        """Start an instance; False when its id is taken."""
        created = self.store.create(instance, pack(params), self.clock.now_ms())
        if created:
            self._go(instance)
        return created

    def _go(self, instance: str) -> None:
        row = self.store.find(instance)
        if row is not None and instance not in self._runs:
            self._runs[instance] = _Run(self, row, self._tasks, lambda: self._runs.pop(instance, None))

    def status(self, row: InstanceRow) -> str:
        """Return the state of an instance, `waiting` too."""
        run = self._runs.get(row.id)
        return "waiting" if row.status == "running" and run is not None and run.is_waiting else row.status

    def pause(self, instance: str) -> None:
        """Let the instance stop before its next step."""
        self.store.set_status(instance, "paused")
        if instance in self._runs:
            self._runs[instance].resumed.clear()

    def resume(self, instance: str) -> None:
        """Let a paused instance go on."""
        self.store.set_status(instance, "running")
        if instance in self._runs:
            self._runs[instance].resumed.set()
        else:
            self._go(instance)

    async def terminate(self, instance: str) -> None:
        """Stop an instance for good, a step in the middle of its work too."""
        self.store.set_status(instance, "terminated")
        if instance in self._runs:
            await self._runs[instance].stop()

    async def restart(self, instance: str) -> None:
        """Run an instance again from its first step."""
        if instance in self._runs:
            await self._runs[instance].stop()
        self.store.reset(instance)
        self._go(instance)

    def send(self, instance: str, kind: str, payload: object) -> None:
        """Give an event to an instance."""
        at = datetime.fromtimestamp(self.clock.now_ms() / 1000, UTC)
        self.store.add_event(instance, kind, pack({"payload": payload, "type": kind, "timestamp": at}))
        if instance in self._runs:
            self._runs[instance].wake()


class _Run:
    """An instance that is running: its task, and the `Journal` of its steps."""

    def __init__(
        self, engine: WorkflowEngine, row: InstanceRow, tasks: asyncio.TaskGroup, ended: Callable[[], object]
    ) -> None:
        self._engine, self._row = engine, row
        self._store = engine.store
        self._waiting = 0
        self._is_stopped = False
        self._listeners: set[asyncio.Event] = set()
        self.resumed = asyncio.Event()
        self.resumed.set()
        if row.status == "queued":
            self._store.set_status(row.id, "running")
        self._task = tasks.create_task(self._main(), name=f"workflow-{engine.name}-{row.id}")
        self._task.add_done_callback(lambda task: ended())

    @property
    def is_waiting(self) -> bool:
        """Whether it sleeps or waits for an event or its next attempt."""
        return self._waiting > 0

    async def stop(self) -> None:
        """Cancel the run and wait for its end; a run that ends itself is not waited for."""
        self._is_stopped = True
        self._task.cancel()
        if self._task is not asyncio.current_task():
            await asyncio.wait([self._task])

    async def _main(self) -> None:
        row, isolate = self._row, self._engine.isolate
        try:
            with ambient.enter(isolate.ambient):
                result = await self._call()
            output = pack(result)
        except Exception as error:  # a task root
            log_failure(_log, isolate.report(error), error, isolate.name, f"workflow {self._engine.name} {row.id}: ")
            self._end("errored", error=dump_error(error))
        else:
            self._end("complete", output=output)

    def _end(self, status: str, *, output: bytes | None = None, error: str | None = None) -> None:
        if self._is_stopped:  # its code swallowed the cancellation: what it says now does not count
            return
        try:
            self._store.set_status(self._row.id, status, output=output, error=error)
        except Exception:  # a task root: a full disk ends this run, not the server; the next start tries again
            _log.exception("workflow %s %s: its end cannot be saved", self._engine.name, self._row.id)

    async def _call(self) -> Any:
        row, isolate = self._row, self._engine.isolate
        context = ExecutionContext(isolate.wait_until)
        context.exports = isolate.context.exports
        at = datetime.fromtimestamp(row.created_ms / 1000, UTC)
        event = JsDict(
            payload=unpack(row.params), timestamp=at, instanceId=row.id, workflowName=self._engine.name
        )  # fmt: skip
        run = self._engine.cls(context, isolate.env).run
        if stacks.is_armed():
            return await stacks.call(run, event, WorkflowStep(self))
        result = run(event, WorkflowStep(self))
        return await result if inspect.isawaitable(result) else result

    # -- the journal

    def now_ms(self) -> int:
        """The date."""
        return self._engine.clock.now_ms()

    def read(self, key: str) -> StepRow:
        """Return what is known of a step."""
        return self._store.step(self._row.id, key)

    def write(self, key: str, step: StepRow) -> None:
        """Put a step on disk."""
        self._store.save_step(self._row.id, key, step)

    async def gate(self) -> None:
        """Wait while the instance is paused."""
        await self.resumed.wait()

    async def wait_until(self, wake_ms: int) -> None:
        """Wait for a date."""
        self._waiting += 1
        try:
            while True:
                left_ms = wake_ms - self.now_ms()
                if left_ms <= 0:
                    return
                await asyncio.sleep(min(left_ms / 1000, _LOOK_S))
        finally:
            self._waiting -= 1

    async def event(self, kind: str, key: str, wake_ms: int) -> bytes | None:
        """Wait for an event until a date; None when none came."""
        came = asyncio.Event()
        self._listeners.add(came)
        self._waiting += 1
        try:
            while True:
                await self.gate()
                came.clear()
                found = self._store.take_event(self._row.id, kind, key)
                left_ms = wake_ms - self.now_ms()
                if found is not None or left_ms <= 0:
                    return found
                try:
                    async with asyncio.timeout(min(left_ms / 1000, _LOOK_S)):
                        await came.wait()
                except TimeoutError:
                    continue
        finally:
            self._waiting -= 1
            self._listeners.discard(came)

    def wake(self) -> None:
        """Let the steps that wait for events look again."""
        for listener in self._listeners:
            listener.set()
