"""Time that stands still until somebody moves it: the one clock of a test, and of a simulated world.

Durations in flarelet come from the event loop and dates from a `Clock`. `VirtualTime` takes over both for one loop:
`loop.time()` reads it, and where the loop would sleep until its next timer it jumps there instead. Code under it is
unchanged: `asyncio.sleep`, `asyncio.timeout`, `call_later` and every alarm, grace time and heartbeat built on them.

When nothing is ready, no timer is left and no socket or thread could ever wake the loop, waiting is pointless: that is
a deadlock, reported with what every task waits for. The internals of asyncio that this needs (`_ready`, `_scheduled`,
`_selector`) have been the same since Python 3.4; other loops are refused.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from heapq import heappop
from types import TracebackType
from typing import Any, Final, Self

__all__ = ["Deadlock", "VirtualTime"]

_PATIENCE_S: Final = 1.0
"""How long the outside world (a socket, a thread) may be silent before the time of timers moves on."""
_LOOK_S: Final = 0.02
_PASSES_FOR_SOCKETS: Final = 3


class Deadlock(RuntimeError):
    """Nothing can ever happen again: no task is ready, no timer is set, no socket or thread is open."""


class VirtualTime:
    """The time of one event loop; also a `Clock`. Use it as `with VirtualTime(loop) as time:` or `start` and `stop`.

    Time moves in two ways. `advance` moves it by hand and runs everything that falls due, in order. And when the whole
    program waits, it jumps to the next timer by itself, so that a sleep or a timeout never takes real time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None, *, start: datetime | None = None) -> None:
        """Describe the time of `loop` (the running one by default).

        Args:
            loop: An asyncio loop on a selector.
            start: The date it starts at, an aware datetime; now by default.

        Raises:
            TypeError: The loop is not one of asyncio's selector loops, or `start` has no time zone.
        """
        self._loop: Any = loop or asyncio.get_running_loop()
        if not all(hasattr(self._loop, name) for name in ("_ready", "_scheduled", "_selector")):
            raise TypeError(f"virtual time needs asyncio's own selector loop, not {type(self._loop).__qualname__}")
        if start is not None and start.tzinfo is None:
            raise TypeError("start must be an aware datetime, such as datetime(2026, 1, 1, tzinfo=UTC)")
        self._started_ms = int((start or datetime.now(UTC)).timestamp() * 1000)
        self._origin = 0.0
        self._now = 0.0
        self._silent_s = 0.0
        self._select: Callable[[float | None], list[Any]] | None = None
        self.jumps = True
        """Whether time moves by itself when everything waits."""
        self.before_pass: list[Callable[[], None]] = []
        """Called before each pass of the loop, while what is ready waits to run."""
        self.followers: list[Callable[[int], None]] = []
        """Called with the date, in milliseconds, whenever time has moved."""

    # -- taking over

    def start(self) -> None:
        """Take over the loop's time."""
        if self._select is not None:
            return
        self._origin = self._now = self._loop.time()
        self._select = self._loop._selector.select
        self._loop.time = self._time
        self._loop._selector.select = self._wait

    def stop(self) -> None:
        """Give the loop its own time back; timers that are set keep their distance from now."""
        if self._select is None:
            return
        del self._loop._selector.select
        del self._loop.time
        self._select = None
        shift = self._loop.time() - self._now
        for timer in self._loop._scheduled:
            timer._when += shift  # the same shift for all keeps the heap in order

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- reading

    def _time(self) -> float:
        return self._now

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        return self._started_ms + int((self._now - self._origin) * 1000 + 1e-6)

    def now(self) -> datetime:
        """The date, in UTC."""
        return datetime.fromtimestamp(self.now_ms() / 1000, UTC)

    @property
    def elapsed_s(self) -> float:
        """Virtual seconds since the start, to the nanosecond: the loop's own figures have odd last digits."""
        return round(self._now - self._origin, 9)

    def next_timer_s(self) -> float | None:
        """Seconds until the next timer falls due, `None` when none is set."""
        when = self._next_timer()
        return None if when is None else round(max(0.0, when - self._now), 9)

    # -- moving

    def _move(self, when: float) -> None:
        if when > self._now:
            self._now = when
            for moved in self.followers:
                moved(self.now_ms())

    async def advance(self, seconds: float | timedelta) -> None:
        """Move time on; run what falls due on the way, each thing at its own time, and return when all is quiet.

        Raises:
            ValueError: Time does not go back.
        """
        duration = seconds.total_seconds() if isinstance(seconds, timedelta) else float(seconds)
        if not duration >= 0:
            raise ValueError(f"time does not go back: advance({seconds!r})")
        target = self._now + duration
        await self.settle()
        while (when := self._next_timer()) is not None and when <= target:
            self._move(when)
            await self.settle()
        self._move(target)
        await self.settle()

    async def advance_to(self, date: datetime) -> None:
        """Move time on to a date, as `advance` does.

        Raises:
            ValueError: The date is past.
            TypeError: The date has no time zone.
        """
        if date.tzinfo is None:
            raise TypeError("advance_to wants an aware datetime, such as datetime(2026, 1, 1, tzinfo=UTC)")
        await self.advance(date.timestamp() - self.now_ms() / 1000)

    async def settle(self) -> None:
        """Let everything run that can run now; time stands still. Returns when only timers and sockets are left."""
        loop = self._loop
        quiet = 0
        wanted = _PASSES_FOR_SOCKETS if self._listens() else 1
        while quiet < wanted:
            await asyncio.sleep(0)
            # A handle of ours is running; whatever else is ready, or is due now, is still to be run.
            quiet = 0 if loop._ready or self._is_due() else quiet + 1

    # -- the loop's waiting

    def _next_timer(self) -> float | None:
        loop = self._loop
        scheduled = loop._scheduled
        while scheduled and scheduled[0]._cancelled:  # dropped as asyncio does before it waits
            loop._timer_cancelled_count -= 1
            heappop(scheduled)._scheduled = False
        return scheduled[0]._when if scheduled else None

    def _is_due(self) -> bool:
        when = self._next_timer()
        return when is not None and when <= self._now

    def _listens(self) -> bool:
        """Say whether something outside could wake the loop: a socket, a pipe, a thread of an executor."""
        selector: selectors.BaseSelector = self._loop._selector
        own = 0 if getattr(self._loop, "_ssock", None) is None else 1
        if len(selector.get_map()) > own:
            return True
        executor = getattr(self._loop, "_default_executor", None)
        return executor is not None and _is_busy(executor)

    def _wait(self, timeout: float | None) -> list[Any]:
        """Stand in for the selector's `select`: return events, or move time to the next timer."""
        select = self._select
        assert select is not None
        for call in self.before_pass:
            call()
        if timeout is not None and timeout <= 0:
            return select(0)
        events = select(0)
        if events or (self._listens() and not self._is_silent()):
            return events or self._look(select, timeout)
        self._silent_s = 0.0
        when = self._next_timer()
        if when is None:
            if not self._listens():
                raise Deadlock(_describe(self._loop))
            return select(None)
        if not self.jumps:
            return select(timeout)
        self._move(when)
        return []

    def _is_silent(self) -> bool:
        return self._silent_s >= _PATIENCE_S and self._next_timer() is not None

    def _look(self, select: Callable[[float | None], list[Any]], timeout: float | None) -> list[Any]:
        # The loop comes back at once when nothing happened: each look counts towards our patience.
        events = select(_LOOK_S)
        self._silent_s = 0.0 if events else self._silent_s + _LOOK_S
        return events


def _is_busy(executor: Any) -> bool:
    """Say whether a thread pool has work: an idle thread gives back a semaphore it was counted with."""
    threads = len(getattr(executor, "_threads", ()))
    idle = getattr(getattr(executor, "_idle_semaphore", None), "_value", 0)
    return threads > idle or not executor._work_queue.empty()


def _describe(loop: asyncio.AbstractEventLoop) -> str:
    lines: list[str] = []
    for task in sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name()):
        frames = task.get_stack(limit=1)
        where = f"{frames[-1].f_code.co_filename}:{frames[-1].f_lineno}" if frames else "not started"
        lines.append(f"  {task.get_name()}: {where}")
    waiting = "\n".join(lines) or "  no task at all"
    return f"nothing can ever happen again: no task is ready, no timer is set. Waiting are:\n{waiting}"
