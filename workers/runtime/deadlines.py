"""Handlers that are running, and the end of those that never answer.

Only the time until a handler has returned its response counts: a body that streams, a WebSocket and `waitUntil` work
go on after it. One timer looks at all handlers, and their time begins when it first sees them: a request costs two
entries in a dict, no timer and no look at the clock.

DIFFERS(hung-handler): Cloudflare sees at once that nothing is pending which could wake a handler.
"""

from __future__ import annotations

import asyncio
from typing import Any

from workers.compat import web

__all__ = ["Deadlines"]

_LOOKS = 8  # at how many moments within the limit the timer looks

Task = asyncio.Task[Any]


class Deadlines:
    """The calls of handlers that are running, and how long each may take."""

    def __init__(self, limit_s: float) -> None:
        """Prepare; 0 means that a handler may take as long as it likes."""
        self.limit_s = limit_s
        self._loop = asyncio.get_running_loop()
        self._running: dict[Task, web.Request] = {}
        self._since: dict[Task, float] = {}
        self._expired: set[Task] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, request: web.Request) -> Task | None:
        """Note that the current task calls a handler; None when it is inside of another handler's call already."""
        task = asyncio.current_task()
        if task is None or task in self._running:
            return None
        self._running[task] = request
        if self._timer is None and self.limit_s:
            self._timer = self._loop.call_later(self.limit_s / _LOOKS, self._look)
        return task

    def end(self, task: Task | None) -> None:
        """Note that the handler has answered, or failed."""
        if task is not None:
            self._running.pop(task, None)
            if self._since:
                self._since.pop(task, None)
                self._expired.discard(task)

    def of(self, task: Task | None) -> web.Request | None:
        """Return the request that a task answers."""
        return self._running.get(task) if task is not None else None

    def forgive(self, seconds: float) -> None:
        """Leave a time out of account: somebody stood at a breakpoint."""
        for task in self._since:
            self._since[task] += seconds

    def hung(self, task: Task | None, error: asyncio.CancelledError) -> RuntimeError | None:
        """Return what to tell of a handler that `error` ended, if that was for its time; the task goes on."""
        if task is None or task not in self._expired:
            return None
        task.uncancel()
        return RuntimeError(
            "The Workers runtime canceled this request because it detected that your Worker's code had hung and would "
            f"never generate a response: there was none after {self.limit_s:g} s (flarelet.limits.handler_s)."
        ).with_traceback(error.__traceback__)

    def close(self) -> None:
        """Stop looking."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        now = self._loop.time()
        self._timer = self._loop.call_later(self.limit_s / _LOOKS, self._look) if self._running else None
        for task in list(self._running):
            if now - self._since.setdefault(task, now) >= self.limit_s:
                if task in self._expired:
                    task.uncancel()  # it ignored the first cancellation: there is to be one only
                self._expired.add(task)
                task.cancel()
