"""One SQLite file as a database: the face of this package."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Final, TypeVar

from d1.capture import CaptureBounds
from d1.changes import Commit, Gap, Replay, SqlValue
from d1.engine.calls import Outcome, Query
from d1.engine.change_log import LogBounds, replay
from d1.engine.connection import WAL_KEPT_BYTES
from d1.engine.dates import follow_clock
from d1.engine.inspector import Inspector
from d1.engine.line import INLINE_BUDGET_S, Line
from d1.engine.transactions import Clock, Interrupted, Transactions
from d1.errors import EngineClosed
from d1.limits import PLANS, Plan
from d1.sql import parse
from d1.usage import Usage

__all__ = ["Engine"]

_log = logging.getLogger(__name__)

Result = TypeVar("Result")

BULK_BYTES: Final = 2 * 1024 * 1024
"""From this size of the database on, bulk statements leave the loop: deleting 4 MB takes 5 ms, dropping it 12 ms."""
_WRITES_BETWEEN_WAL_LOOKS: Final = 64
_WRITES_BETWEEN_CHECKPOINTS: Final = 512
# DIFFERS(foreign-writes): nothing else writes to a database in production.
FOREIGN_LOOK_S: Final = 0.5
"""How often other processes' writes are looked for while tables are watched and nobody calls."""


class _SystemClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


class Engine:
    """One database: the only writer of its file, a FIFO line of calls, and the captured changes of its commits.

    Every method belongs to the loop's thread.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str = "DB",
        on_commit: Callable[[Commit], None] | None = None,
        executor: Executor | None = None,
        clock: Clock | None = None,
        plan: Plan = PLANS["paid"],
    ) -> None:
        self.path = path
        self.name = name
        self.usage = Usage(name, plan)
        """How near the calls come to D1's limits."""
        self._transactions = Transactions(path, name, clock or _SystemClock(), plan.database_bytes)
        if clock is not None:
            follow_clock(self._transactions.connection.raw, clock.now_ms)
        self._line = Line(self._transactions, on_commit, executor)
        self._inspector = Inspector(path)
        self._is_closed = False
        self._wal = path.with_name(path.name + "-wal")
        self._next_wal_look = _WRITES_BETWEEN_WAL_LOOKS
        self._next_checkpoint = _WRITES_BETWEEN_CHECKPOINTS
        self._checkpointing: Future[None] | None = None
        self._foreign_look: asyncio.TimerHandle | None = None
        self._grace_s = 0.0
        self._watchers = Counter[str]()
        self._leaving: dict[str, asyncio.TimerHandle] = {}
        """Tables that nobody watches any more and that are logged until the timer rings."""

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        name: str = "DB",
        on_commit: Callable[[Commit], None] | None = None,
        executor: Executor | None = None,
        clock: Clock | None = None,
        plan: Plan = PLANS["paid"],
    ) -> Engine:
        """Open or create the database at `path`, with its folders.

        Args:
            path: The SQLite file.
            name: Goes into every `Commit`.
            on_commit: Called on the loop right after COMMIT returned, in commit order, before the caller of the
                statement gets its result. Only changes of watched tables are told.
            executor: Runs the long statements; a thread of the engine's own by default.
            clock: Source of dates, SQL's `now` among them; the machine's by default.
            plan: Limits that depend on what is paid for.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        return cls(path, name=name, on_commit=on_commit, executor=executor, clock=clock, plan=plan)

    # calls

    def run_one(self, sql: str, parameters: tuple[SqlValue, ...]) -> Outcome | asyncio.Future[Outcome]:
        """Run a call of one query: at once when it is quick and its turn, else the answer is a future.

        Raises:
            Failure: The query failed; a future raises the same.
            EngineClosed: The engine was closed.
        """
        transactions, line = self._transactions, self._line
        script = parse(sql)
        plain = script.plain
        if plain is None or line.is_blocked or sql in line.slow or (script.is_bulk and self._is_big()):
            return self._run_one_in_line(sql, parameters)
        try:
            if script.is_plain_read or transactions.is_free:
                outcome = transactions.alone(plain, parameters, INLINE_BUDGET_S)
            else:
                outcome = transactions.captured(plain, parameters, INLINE_BUDGET_S)
                if transactions.commit is not None:
                    line.deliver()
        except Interrupted:
            line.remember_slow(sql)
            return self._run_one_in_line(sql, parameters)
        if transactions.writes > self._next_wal_look:
            self._look_at_wal()
        return outcome

    def _run_one_in_line(self, sql: str, parameters: tuple[SqlValue, ...]) -> Outcome | asyncio.Future[Outcome]:
        transactions, script = self._transactions, parse(sql)
        plain = script.plain
        queries = (Query(sql, parameters),)

        def call(deadline: float) -> Outcome:
            if plain is not None and (script.is_plain_read or transactions.is_free):
                return transactions.alone(plain, parameters, deadline - perf_counter())
            return transactions.run(queries, deadline)[0]

        return self._in_line(sql, call, queries)

    def run(self, queries: Sequence[Query]) -> list[Outcome] | asyncio.Future[list[Outcome]]:
        """Run a call of several queries, all or nothing; answers as `run_one` does."""
        run = self._transactions.run
        key = f"{len(queries)} {queries[0].sql}"
        return self._in_line(key, lambda deadline: run(queries, deadline), queries)

    def _in_line(
        self, key: str, call: Callable[[float], Result], queries: Sequence[Query]
    ) -> Result | asyncio.Future[Result]:
        if self._is_closed:
            raise EngineClosed(self.path)
        # one step of a bulk statement may be long, and no step is interrupted
        is_long = any(parse(query.sql).is_bulk for query in queries) and self._is_big()
        answer = self._line.submit(key, call, is_long=is_long)
        if self._transactions.writes > self._next_wal_look:
            self._look_at_wal()
        return answer

    def _is_big(self) -> bool:
        return self._inspector.size_bytes() > BULK_BYTES

    @property
    def writes(self) -> int:
        """Committed calls that wrote since the file was opened."""
        return self._transactions.writes

    # watching

    def watch(self, table: str) -> bool:
        """Arm capture of a table and count one more watcher.

        Takes effect before it returns when the engine is idle, else after the calls that are running and waiting.
        Returns false when there is no such table; it is armed when it appears.
        """
        if self._is_closed:
            raise EngineClosed(self.path)
        self._submit_watch(table)
        return self._inspector.table_name(table) is not None

    async def watch_async(self, table: str) -> bool:
        """Arm capture of a table and return when it is in effect; else like `watch`."""
        if self._is_closed:
            raise EngineClosed(self.path)
        answer = self._submit_watch(table)
        name = await answer if isinstance(answer, asyncio.Future) else answer
        return name is not None

    def start_log(self, bounds: LogBounds, told: CaptureBounds | None = None) -> None:
        """Log the changes of watched tables in the file, so that they can be told again; call it before any `watch`.

        What was watched when the file was last open is captured at once, for the grace time. `told` says how much of
        one transaction is told row by row.
        """
        if told is not None:
            self._transactions.capture.bounds = told
        self._grace_s = bounds.grace_s
        loop = asyncio.get_running_loop()

        def start(_deadline: float) -> None:
            try:
                tables = self._transactions.start_log(bounds)
            except sqlite3.Error as error:  # whoever watches a table begins a new history
                _log.warning("the changes of %s before now cannot be told again: %s", self.name, error)
            else:
                loop.call_soon_threadsafe(self._resume, tables)

        self._line.submit("start log", start, is_long=False)

    def _resume(self, tables: Sequence[str]) -> None:
        for table in tables:
            if self._watchers[table.lower()]:
                self._disarm(table)  # somebody was quicker, and is counted too
            else:
                self._stay_a_while(table)
        if tables:
            self._look_for_foreign_changes_later()

    def _submit_watch(self, table: str) -> str | asyncio.Future[str | None] | None:
        self._look_for_foreign_changes_later()

        key = table.lower()
        self._watchers[key] += 1
        leaving = self._leaving.pop(key, None)
        if leaving is not None:
            leaving.cancel()

        def arm(_deadline: float) -> str | None:
            name = self._transactions.watch(table)
            if leaving is not None:  # it was armed all the time, by the watcher that is counted until the grace is over
                self._transactions.capture.unwatch(table)
            return name

        return self._line.submit(f"watch {table}", arm, is_long=False)

    def unwatch(self, table: str) -> None:
        """Count one watcher less; the last one disarms the table. Waits its turn like `watch`."""
        key = table.lower()
        if self._is_closed or not self._watchers[key]:
            return
        self._watchers[key] -= 1
        if self._transactions.stream.is_logged and not self._watchers[key]:
            self._stay_a_while(table)
            self._line.submit(f"leave {table}", lambda _deadline: self._transactions.leave(table), is_long=False)
        else:
            self._disarm(table)

    def watches(self, table: str) -> bool:
        """Tell whether a table is captured, or will be once it exists."""
        key = table.lower()
        return self._watchers[key] > 0 or key in self._leaving

    def _stay_a_while(self, table: str) -> None:
        """Go on logging a table that nobody follows: a subscriber who was cut off comes back and misses nothing."""

        def disarm() -> None:
            del self._leaving[table.lower()]
            if not self._is_closed:
                self._disarm(table)

        self._leaving[table.lower()] = asyncio.get_running_loop().call_later(self._grace_s, disarm)

    def _disarm(self, table: str) -> None:
        self._line.submit(f"unwatch {table}", lambda _deadline: self._transactions.unwatch(table), is_long=False)

    def _look_for_foreign_changes_later(self) -> None:
        if self._foreign_look is None:
            loop = asyncio.get_running_loop()
            self._foreign_look = loop.call_later(FOREIGN_LOOK_S, self._look_for_foreign_changes)

    def _look_for_foreign_changes(self) -> None:
        """Notice other processes' writes while nobody calls; while somebody does, each call notices them first."""
        self._foreign_look = None
        if self._is_closed or not self._transactions.capture.is_wanted:
            return
        if not self._line.is_busy:
            try:
                self._transactions.look_for_foreign_changes()
            except Interrupted:
                pass  # the other process is still writing
            else:
                self._line.deliver()
        self._look_for_foreign_changes_later()

    # positions

    def position(self) -> tuple[str, int]:
        """Return where the stream of captured changes is now: its epoch and the offset of its latest change."""
        return self._transactions.stream.epoch, self._transactions.stream.offset

    async def changes_since(self, epoch: str, offset: int, table: str) -> Replay:
        """Return what happened to a table after a position, as far as the log reaches.

        Watch the table first. Commits may be told while this runs: of them, those with offsets above the replay's are
        not in it.
        """
        if self._is_closed:
            raise EngineClosed(self.path)
        now, latest = self.position()
        if (epoch, offset) == (now, latest) and self.watches(table):
            return Replay(now, latest, (), None)
        if not self._transactions.stream.has_history:
            gap = Gap(offset, latest, "unwatched") if epoch == now else Gap(0, latest, "epoch")
            return Replay(now, latest, (), gap)
        for answer in replay(self._inspector.rows, self.name, epoch, offset, table):
            if answer is not None:
                return answer
            await asyncio.sleep(0)
        raise AssertionError("a replay ends with its answer")

    def rows_at(
        self, sql: str, parameters: tuple[SqlValue, ...]
    ) -> tuple[Outcome, str, int] | asyncio.Future[tuple[Outcome, str, int]]:
        """Run one plain read; return what it found and the position of the stream of changes at that very moment.

        Raises:
            Failure: The query failed; a future raises the same.
            EngineClosed: The engine was closed.
        """
        transactions, plain = self._transactions, parse(sql).plain
        if plain is None:
            raise ValueError("only a plain read has one position")

        def call(deadline: float) -> tuple[Outcome, str, int]:
            outcome = transactions.alone(plain, parameters, deadline - perf_counter())
            return outcome, transactions.stream.epoch, transactions.stream.offset

        return self._in_line(sql, call, (Query(sql, parameters),))

    # looking inside

    def tables(self) -> list[str]:
        """Return the names of the user's tables, in order of creation."""
        return self._inspector.tables()

    def table_name(self, table: str) -> str | None:
        """Return a table's name as stored, `None` when there is none: SQLite's names ignore case."""
        return self._inspector.table_name(table)

    @property
    def inspector(self) -> Inspector:
        """A read-only look into the file for figures that no statement depends on."""
        return self._inspector

    # the file

    def _look_at_wal(self) -> None:
        """Move a grown WAL into the file, off the loop: SQLite's own checkpoints run inside somebody's COMMIT.

        Most of it is copied beside the running calls; for the rest, and to start the WAL anew, the line waits a moment.
        """
        writes = self._transactions.writes
        self._next_wal_look = writes + _WRITES_BETWEEN_WAL_LOOKS
        is_due = writes >= self._next_checkpoint or _size(self._wal) > WAL_KEPT_BYTES
        if self._checkpointing is not None or not is_due:
            return
        self._next_checkpoint = writes + _WRITES_BETWEEN_CHECKPOINTS
        self._checkpointing = self._line.executor.submit(self._checkpoint, asyncio.get_running_loop())

    def _checkpoint(self, loop: asyncio.AbstractEventLoop) -> None:
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=1)
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            _log.info("no checkpoint of %s now: %s", self.path.name, error)  # the next look tries again
        finally:
            connection.close()
        with suppress(RuntimeError):  # the loop has ended: so has the engine
            loop.call_soon_threadsafe(self._restart_wal)

    def _restart_wal(self) -> None:
        self._checkpointing = None
        if not self._is_closed:
            transactions = self._transactions
            self._line.submit("checkpoint", lambda _deadline: transactions.restart_wal(), is_long=True)

    async def close(self) -> None:
        """Finish what was accepted and close the file; idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._foreign_look is not None:
            self._foreign_look.cancel()
        for timer in self._leaving.values():
            timer.cancel()
        await self._line.shut()
        if self._checkpointing is not None:  # its connection must be closed before the last one, see `Footprint`
            await asyncio.wrap_future(self._checkpointing)
        self._line.close()
        self._inspector.close()
        self._transactions.close()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
