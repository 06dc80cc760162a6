"""The two gates of a Durable Object: who may run inside it, and when its answers may leave.

Input gate: open, or locked by the innermost *section* (a `blockConcurrencyWhile` callback or an async transaction).
While it is locked only code of that section runs: new events wait, and code of other events that was suspended stays
suspended although what it awaited is done. `gated` drives a coroutine under that rule.

Output gate: `held` from the first write of a turn until its commit; what leaves the object meanwhile is queued.
"""

from __future__ import annotations

import asyncio
import logging
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from typing import Any

from workers.compat import stacks
from workers.compat.websocket import WebSocket

__all__ = ["InputGate", "Outlet", "OutputGate", "Section", "as_coroutine", "current_section", "gated"]


_log = logging.getLogger(__name__)


class Section:
    """One critical section; sections nest."""

    __slots__ = ("parent",)

    def __init__(self, parent: Section | None) -> None:
        self.parent = parent


current_section: ContextVar[Section | None] = ContextVar("durable_object_section", default=None)


class InputGate:
    """Admission to one instance. Waiters are let in first come, first served."""

    __slots__ = ("_waiters", "locked")

    def __init__(self) -> None:
        self.locked: Section | None = None
        self._waiters: deque[tuple[Section | None, asyncio.Future[None]]] = deque()

    def admits(self, section: Section | None) -> bool:
        """Say whether code of `section` (None: no section) may run now."""
        return self.locked is None or self.locked is section

    def lock(self, section: Section | None) -> Section:
        """Open a section inside `section`, which must be admitted now."""
        self.locked = Section(section)
        return self.locked

    def unlock(self, section: Section) -> None:
        """End `section`; its parent, or everybody, may run again."""
        if self.locked is section:
            self.locked = section.parent
            self.wake()

    def wake(self) -> None:
        """Let the waiters that are admitted now go on, in order."""
        waiters, self._waiters = self._waiters, deque()
        for section, waiter in waiters:
            if not self.admits(section):
                self._waiters.append((section, waiter))
            elif not waiter.done():
                waiter.set_result(None)

    def queue(self, section: Section | None) -> asyncio.Future[None]:
        """Return a future that is done when it is worth asking again whether `section` is admitted."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((section, waiter))
        return waiter

    async def enter(self, section: Section | None) -> None:
        """Wait until code of `section` may run."""
        while not self.admits(section):
            await self.queue(section)


# DIFFERS(asyncio-tasks): tasks that a Worker starts itself (create_task, a TaskGroup) are not driven by `gated`.
@types.coroutine
def gated(coroutine: Coroutine[Any, Any, Any], gate: InputGate) -> Generator[Any, Any, Any]:
    """Run `coroutine`, resuming it after each suspension only when the input gate admits its section."""
    value: object = None
    error: BaseException | None = None
    while True:
        try:
            waited = coroutine.send(value) if error is None else coroutine.throw(error)
        except StopIteration as stop:
            return stop.value
        value = error = None
        try:
            value = yield waited
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as raised:  # whatever it is, it belongs to the coroutine
            error = raised
        while gate.locked is not None and not gate.admits(current_section.get()) and error is None:
            try:
                yield from gate.queue(current_section.get())
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as raised:  # a cancellation while waiting
                error = raised


class OutputGate:
    """What leaves an object while writes are pending waits here, in order."""

    __slots__ = ("_queued", "held")

    def __init__(self) -> None:
        self.held = False
        self._queued: list[tuple[Callable[[], None] | None, Any, Any]] = []
        """(release, lost, nothing), or (None, socket, message)."""

    def hold(self, release: Callable[[], None], lost: Callable[[], None] | None = None) -> None:
        """Call `release` when the pending writes are committed, at once when there are none; `lost` when they fail."""
        if self.held:
            self._queued.append((release, lost, None))
        else:
            release()

    def hold_message(self, receiver: WebSocket, data: str | bytes) -> None:
        """Hand a message to the end that receives it, when the pending writes are committed; there are some."""
        self._queued.append((None, receiver, data))

    def open(self) -> None:
        """The commit succeeded: release everything. The gate stays held meanwhile, so that nothing overtakes."""
        position = 0
        queued = self._queued
        while position < len(queued):
            release, receiver, data = queued[position]
            position += 1
            try:
                if release is None:
                    receiver.sink.message(data)
                else:
                    release()
            except Exception:  # a task root: one receiver's failure must not hold back the others for ever
                _log.exception("a receiver of an object's output failed")
        queued.clear()
        self.held = False

    def discard(self) -> None:
        """The writes are lost: nothing that depends on them may leave."""
        queued, self._queued = self._queued, []
        self.held = False
        for release, lost, _ in queued:
            if release is not None and lost is not None:
                lost()


class Outlet(OutputGate):
    """What outlives a turn of an instance and still belongs to it: its `accept()`ed sockets, timers, and stubs.

    `dispatch(event)` runs an event of a socket as a turn, `call(work, future)` a call of something the object handed
    out; `rest()` is told when a socket closed or the last timer rang.
    """

    __slots__ = ("_dispatch", "_rest", "accepted", "call", "exports", "timers")

    def __init__(
        self,
        dispatch: Callable[[Callable[[], object]], None],
        rest: Callable[[], None],
        call: Callable[[Callable[[], object], asyncio.Future[Any]], None],
    ) -> None:
        super().__init__()
        self._dispatch = dispatch
        self.call = call
        self.accepted: set[WebSocket] = set()
        self.exports = 0
        """Functions and targets of the object that others hold stubs of."""
        self.timers: set[asyncio.TimerHandle] = set()
        """Timers of JavaScript's that are set: they keep the object in memory and end with it."""
        self._rest = rest

    def dispatch(self, event: Callable[[], object], /) -> None:
        """Run `event` as a turn of the object."""
        self._dispatch(event)

    def attach(self, ws: WebSocket) -> None:
        """Note an open accepted socket: the object stays in memory for it."""
        self.accepted.add(ws)

    def detach(self, ws: WebSocket) -> None:
        """Note that an accepted socket is closed."""
        self.accepted.discard(ws)
        self._rest()

    def started(self, timer: asyncio.TimerHandle) -> None:
        """Note that a timer is set."""
        self.timers.add(timer)

    def stopped(self, timer: asyncio.TimerHandle) -> None:
        """Note that a timer rang or was cleared."""
        self.timers.discard(timer)
        if not self.timers:
            self._rest()

    def retire(self, refuse: Callable[[Callable[[], object], asyncio.Future[Any]], None]) -> None:
        """The instance is gone: stop its timers and let go of it; sockets that hibernate still refer to this outlet.

        `refuse(work, future)` answers what is still called.
        """
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()
        self._dispatch = self._rest = _nothing
        self.call = refuse


def _nothing(*_args: Any) -> None:
    """Stand in for an instance that is gone."""


def as_coroutine(result: object) -> Coroutine[Any, Any, Any]:
    """Return `result`, an awaitable, as a coroutine that `gated` can drive."""
    if stacks.is_armed():
        return stacks.call(lambda: result)
    if asyncio.iscoroutine(result):
        return result
    return _await(result)


async def _await(result: Any) -> Any:
    return await result
