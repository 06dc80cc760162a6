"""Handlers that are running, and the end of those that never answer.

Only the time until a handler has returned its response counts: a body that streams, a WebSocket and `waitUntil` work
go on after it. One timer looks at all handlers, so that a request costs two entries in a dict and no timer of its own.
"""

from __future__ import annotations

import asyncio
from typing import Any

from workers.compat import web

__all__ = ["Deadlines", "Running"]

_LOOKS = 8  # at how many moments within the limit the timer looks


class Running:
    """One call of a handler."""

    __slots__ = ("expired", "request", "since", "task")

    def __init__(self, task: asyncio.Task[Any], request: web.Request, since: float) -> None:
        self.task, self.request, self.since = task, request, since
        self.expired = False
        """It was cancelled for taking too long."""


class Deadlines:
    """The calls of handlers that are running, and how long each may take."""

    def __init__(self, limit_s: float) -> None:
        """Prepare; 0 means that a handler may take as long as it likes."""
        self.limit_s = limit_s
        self._loop = asyncio.get_running_loop()
        self._running: dict[asyncio.Task[Any], Running] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, request: web.Request) -> Running | None:
        """Note that the current task calls a handler; None when it is inside of another handler's call already."""
        task = asyncio.current_task()
        if task is None or task in self._running:
            return None
        running = self._running[task] = Running(task, request, self._loop.time())
        if self._timer is None and self.limit_s:
            self._timer = self._loop.call_later(self.limit_s / _LOOKS, self._look)
        return running

    def end(self, running: Running | None) -> None:
        """Note that the handler has answered, or failed."""
        if running is not None:
            self._running.pop(running.task, None)

    def of(self, task: asyncio.Task[Any] | None) -> Running | None:
        """Return what a task is calling."""
        return self._running.get(task) if task is not None else None

    def forgive(self, seconds: float) -> None:
        """Leave a time out of account: somebody stood at a breakpoint."""
        for running in self._running.values():
            running.since += seconds

    def hung(self, running: Running | None, error: asyncio.CancelledError) -> RuntimeError | None:
        """Return what to tell of a handler that `error` ended, if that was for its time; the task goes on."""
        if running is None or not running.expired:
            return None
        running.task.uncancel()
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
        for running in list(self._running.values()):
            if now - running.since >= self.limit_s:
                if running.expired:
                    running.task.uncancel()  # it ignored the first cancellation: there is to be one only
                running.expired = True
                running.task.cancel()
