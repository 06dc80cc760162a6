"""One SQLite file as a database: the face of this package."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Final

from d1.changes import Commit
from d1.engine.calls import Outcome, Query
from d1.engine.inspector import Inspector
from d1.engine.line import Line
from d1.engine.transactions import Clock, Interrupted, Transactions
from d1.errors import EngineClosed
from d1.sql import parse

__all__ = ["Engine"]

_SMALL_FILE_BYTES: Final = 4 * 1024 * 1024
"""Below this size no statement of schema work or bulk deletion takes long."""
_CHECKPOINT_WAL_BYTES: Final = 4 * 1024 * 1024
_WRITES_BETWEEN_WAL_LOOKS: Final = 64
_FOREIGN_LOOK_S: Final = 0.5


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
    ) -> None:
        self.path = path
        self.name = name
        self._transactions = Transactions(path, name, clock or _SystemClock())
        self._line = Line(self._transactions, on_commit, executor)
        self._inspector = Inspector(path)
        self._is_closed = False
        self._writes_at_look = 0
        self._is_checkpointing = False
        self._foreign_look: asyncio.TimerHandle | None = None

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        name: str = "DB",
        on_commit: Callable[[Commit], None] | None = None,
        executor: Executor | None = None,
        clock: Clock | None = None,
    ) -> Engine:
        """Open or create the database at `path`, with its folders.

        Args:
            path: The SQLite file.
            name: Goes into every `Commit`.
            on_commit: Called on the loop right after COMMIT returned, in commit order, before the caller of the
                statement gets its result. Only changes of watched tables are told.
            executor: Runs the long statements; a thread of the engine's own by default.
            clock: Source of dates.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        return cls(path, name=name, on_commit=on_commit, executor=executor, clock=clock)

    # calls

    def run_one(self, query: Query) -> Outcome | asyncio.Future[Outcome]:
        """Run a call of one query: at once when it is quick and its turn, else the answer is a future.

        Raises:
            Failure: The query failed; a future raises the same.
            EngineClosed: The engine was closed.
        """
        if self._is_closed:
            raise EngineClosed(self.path)
        transactions = self._transactions
        answer = self._line.submit(
            query.sql,
            lambda deadline: transactions.run_one(query, deadline),
            is_long=self._is_long((query,)),
        )
        if transactions.writes - self._writes_at_look > _WRITES_BETWEEN_WAL_LOOKS:
            self._look_at_wal()
        return answer

    def run(self, queries: Sequence[Query]) -> list[Outcome] | asyncio.Future[list[Outcome]]:
        """Run a call of several queries, all or nothing; answers as `run_one` does."""
        if self._is_closed:
            raise EngineClosed(self.path)
        transactions = self._transactions
        key = ";".join(query.sql for query in queries) if len(queries) < 8 else f"{len(queries)} {queries[0].sql}"
        answer = self._line.submit(
            key, lambda deadline: transactions.run(queries, deadline), is_long=self._is_long(queries)
        )
        if transactions.writes - self._writes_at_look > _WRITES_BETWEEN_WAL_LOOKS:
            self._look_at_wal()
        return answer

    def _is_long(self, queries: Sequence[Query]) -> bool:
        """Tell whether a call must not be tried on the loop: one step of it may be long, and no step is interrupted."""
        for query in queries:
            if any(statement.is_bulk for statement in parse(query.sql)):
                return self._file_bytes() > _SMALL_FILE_BYTES
        return False

    def _file_bytes(self) -> int:
        return _size(self.path) + _size(self.path.with_name(self.path.name + "-wal"))

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

    def _submit_watch(self, table: str) -> str | asyncio.Future[str | None] | None:
        self._look_for_foreign_changes_later()

        def arm(_deadline: float) -> str | None:
            return self._transactions.watch(table)

        return self._line.submit(f"watch {table}", arm, is_long=False)

    def unwatch(self, table: str) -> None:
        """Count one watcher less; the last one disarms the table. Waits its turn like `watch`."""
        if self._is_closed:
            return

        def disarm(_deadline: float) -> None:
            self._transactions.unwatch(table)

        self._line.submit(f"unwatch {table}", disarm, is_long=False)

    def _look_for_foreign_changes_later(self) -> None:
        if self._foreign_look is None:
            loop = asyncio.get_running_loop()
            self._foreign_look = loop.call_later(_FOREIGN_LOOK_S, self._look_for_foreign_changes)

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
        """Move a grown WAL into the file, off the loop: SQLite's own checkpoints run inside somebody's COMMIT."""
        self._writes_at_look = self._transactions.writes
        if self._is_checkpointing or _size(self.path.with_name(self.path.name + "-wal")) < _CHECKPOINT_WAL_BYTES:
            return
        self._is_checkpointing = True
        self._line.executor.submit(self._checkpoint)

    def _checkpoint(self) -> None:
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=1)
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error:
            pass  # somebody else is at it; the next look tries again
        finally:
            connection.close()
            self._is_checkpointing = False

    async def close(self) -> None:
        """Finish what was accepted and close the file; idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._foreign_look is not None:
            self._foreign_look.cancel()
        await self._line.wait_until_idle()
        self._line.close()
        self._inspector.close()
        self._transactions.close()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
