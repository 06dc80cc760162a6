"""The line in front of one database: calls run one after another, the quick ones on the loop, the long ones off it.

Nothing tells beforehand how long a statement takes. So a call runs inline with a small budget; when the budget is
used up the call is rolled back whole (its transaction is ours, so nothing has happened) and starts again on a worker
thread with production's time limit. A text that was too slow goes there directly the next time. A thread hop costs
about ten times a small statement, which is why everything does not go through the thread.

While the worker runs, the connection belongs to it: later calls wait, in order, and only those of this database.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, Generic, TypeVar

from d1 import errors
from d1.changes import Commit
from d1.engine.transactions import Interrupted, Transactions
from d1.errors import Failure
from d1.limits import limit

__all__ = ["INLINE_BUDGET_S", "InlineExecutor", "Line"]

_log = logging.getLogger(__name__)

Result = TypeVar("Result")

INLINE_BUDGET_S: Final = 0.004
"""How long one call may hold the loop."""
_SLICE_S: Final = 0.002
"""How long waiting calls may hold the loop together before others get a turn."""
MAX_WAITING: Final = 10_000
"""Calls waiting for one database beyond which new ones are refused, as production does."""
QUERY_SECONDS: Final = limit("query_seconds")
_MAX_SLOW_TEXTS: Final = 512
_BUSY_TIMEOUT_MS: Final = 5000


class InlineExecutor(Executor):
    """Runs everything at once, in the caller's thread: for a simulator, where no thread may stand in between."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run `fn` now."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@dataclass(slots=True, eq=False)
class _Job(Generic[Result]):
    key: str
    """The SQL text, for remembering what was slow."""
    call: Callable[[float], Result]
    answer: asyncio.Future[Result]
    is_long: bool


class Line:
    """FIFO of one database. Its methods belong to the loop's thread."""

    def __init__(
        self, transactions: Transactions, on_commit: Callable[[Commit], None] | None, executor: Executor | None
    ) -> None:
        self._transactions = transactions
        self._on_commit = on_commit
        self._executor = executor
        self._own_executor: ThreadPoolExecutor | None = None
        self._waiting: deque[_Job[Any]] = deque()
        self.slow: dict[str, None] = {}
        """Texts that do not fit into the budget."""
        self._idle: asyncio.Future[None] | None = None
        self.is_busy = False
        """Whether a call is running elsewhere or waiting: then everything new must wait too."""
        self._is_shut = False
        self.is_blocked = False
        """Whether nothing may run without `submit`: the line is busy, or shut."""

    def submit(self, key: str, call: Callable[[float], Result], *, is_long: bool) -> Result | asyncio.Future[Result]:
        """Run `call(deadline)` now when it is its turn and quick, else return a future of its result.

        Raises:
            Failure: The call failed at once, or too many calls are waiting.
        """
        if not self.is_busy:
            if not is_long and key not in self.slow:
                try:
                    result = call(perf_counter() + INLINE_BUDGET_S)
                except Interrupted:
                    self.remember_slow(key)
                else:
                    if self._transactions.commit is not None:
                        self.deliver()
                    return result
            is_long = True
        elif len(self._waiting) >= MAX_WAITING:
            raise Failure(errors.OVERLOADED)
        job = _Job(key, call, asyncio.get_running_loop().create_future(), is_long)
        if self.is_busy:
            self._waiting.append(job)
        else:
            self._start(job)
        return job.answer

    def remember_slow(self, key: str) -> None:
        """Send calls of this text to the worker directly from now on."""
        if len(self.slow) >= _MAX_SLOW_TEXTS:
            del self.slow[next(iter(self.slow))]
        self.slow[key] = None

    def deliver(self) -> None:
        """Hand the captured changes of the last call over, before its caller gets the result."""
        commit, self._transactions.commit = self._transactions.commit, None
        if commit is None or self._on_commit is None:
            return
        try:
            self._on_commit(commit)
        except Exception:  # a listener's fault must not look like a failed write: the data is committed
            _log.exception("a listener failed on commit %d of %s", commit.txn, commit.database)

    async def shut(self) -> None:
        """Let nothing in that does not go through `submit`, and return when nothing runs or waits."""
        self._is_shut = self.is_blocked = True
        while self.is_busy:
            if self._idle is None:
                self._idle = asyncio.get_running_loop().create_future()
            await self._idle

    def close(self) -> None:
        """Let the worker thread end."""
        if self._own_executor is not None:
            self._own_executor.shutdown(wait=False)

    @property
    def executor(self) -> Executor:
        """Where long work runs; a thread of the line's own unless one was given."""
        if self._executor is not None:
            return self._executor
        if self._own_executor is None:
            self._own_executor = ThreadPoolExecutor(1, thread_name_prefix="d1")
        return self._own_executor

    # on the loop

    def _start(self, job: _Job[Any]) -> None:
        self.is_busy = self.is_blocked = True
        self.executor.submit(self._run_long, job)

    def _finish(self, job: _Job[Any], result: Any, error: BaseException | None, duration_s: float) -> None:
        """Take a worker's result and let the next call in."""
        self.deliver()
        if error is None and duration_s < INLINE_BUDGET_S / 4:
            self.slow.pop(job.key, None)
        elif duration_s > INLINE_BUDGET_S:
            self.remember_slow(job.key)
        _settle(job.answer, result, error)
        self._pump()

    def _pump(self) -> None:
        """Run waiting calls until one has to go to the worker, the time slice is over or none is left."""
        until = perf_counter() + _SLICE_S
        while self._waiting:
            if perf_counter() > until:
                asyncio.get_running_loop().call_soon(self._pump)
                return
            job = self._waiting.popleft()
            if job.answer.cancelled():
                continue  # its caller has gone, and nothing of it has begun
            if job.is_long or job.key in self.slow:
                self._start(job)
                return
            try:
                result = job.call(perf_counter() + INLINE_BUDGET_S)
            except Interrupted:
                self.remember_slow(job.key)
                self._start(job)
                return
            except Exception as error:  # whatever it is, it belongs to the caller, and the others must go on
                _settle(job.answer, None, error)
            else:
                self.deliver()
                _settle(job.answer, result, None)
        self.is_busy, self.is_blocked = False, self._is_shut
        if self._idle is not None:
            self._idle.set_result(None)
            self._idle = None

    # on the worker

    def _run_long(self, job: _Job[Any]) -> None:
        loop = job.answer.get_loop()
        connection = self._transactions.connection
        result, error = None, None
        started = perf_counter()
        try:
            connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
            try:
                result = job.call(started + QUERY_SECONDS)
            finally:
                connection.set_busy_timeout(0)
        except Interrupted as interrupted:
            is_late = "interrupted" in str(interrupted)
            error = Failure(errors.TIMED_OUT if is_late else f"{interrupted}: SQLITE_BUSY")
        except BaseException as failure:
            error = failure
        loop.call_soon_threadsafe(self._finish, job, result, error, perf_counter() - started)


def _settle(answer: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if answer.cancelled():
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)
