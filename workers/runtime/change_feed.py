"""The only joint of D1 and realtime: a commit goes to its table topics, and watched tables are captured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from d1.changes import Commit, Replay, SqlValue
from d1.database import D1Database
from d1.engine import CaptureBounds, Engine, LogBounds
from d1.errors import Failure
from d1.sql import quote_name
from d1.statement import as_error
from workers.compat.ambient import counting

__all__ = ["ChangeFeed"]


class ChangeFeed:
    """Commits of one database on their way to realtime; the `TableWatch` that realtime asks to arm capture."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._database: D1Database | None = None
        self._listener: Callable[[Commit], None] | None = None

    def attach(self, engine: Engine, database: D1Database) -> None:
        """Name the database this feed is of; it exists after the feed because it is given `committed`."""
        self._engine, self._database = engine, database

    async def close(self) -> None:
        """Close the database."""
        if self._engine is not None:
            await self._engine.close()

    def listen(self, listener: Callable[[Commit], None]) -> None:
        """Send every commit with captured changes to `listener`, in commit order, on the loop's thread."""
        self._listener = listener

    def start_log(self, bounds: LogBounds, told: CaptureBounds) -> None:
        """Keep what watched tables are told in the database, for those who come back; before anybody watches."""
        if self._engine is not None:
            self._engine.start_log(bounds, told)

    def committed(self, commit: Commit) -> None:
        """Take a commit from the engine."""
        if self._listener is not None:
            self._listener(commit)

    async def watch(self, table: str) -> str | None:
        """Capture a table's changes from now on; return its real name.

        None says that there is no such table; it is captured as soon as there is one.
        """
        engine = self._engine
        if engine is None:
            return None
        await engine.watch_async(table)
        return engine.table_name(table)

    def unwatch(self, table: str) -> None:
        """Stop capturing for one watcher; the table is captured as long as anybody watches it."""
        if self._engine is not None:
            self._engine.unwatch(table)

    def position(self) -> tuple[str, int]:
        """Return the epoch and the latest offset of the database's stream of changes."""
        return self._engine.position() if self._engine is not None else ("", 0)

    async def changes_since(self, table: str, epoch: str, offset: int) -> Replay:
        """Return what happened to a table after a position; see `Engine.changes_since`."""
        if self._engine is None:
            raise LookupError("no database is configured for realtime")
        return await self._engine.changes_since(epoch, offset, table)

    async def snapshot(
        self, table: str, where: str, params: Sequence[object], limit: int
    ) -> tuple[str, int, list[dict[str, object]]] | None:
        """Return up to `limit` rows of a table for which `where` holds, and their exact position in the changes."""
        engine = self._engine
        if engine is None:
            raise LookupError("no database is configured for realtime")
        name = engine.table_name(table)
        if name is None:
            return None
        sql = f"SELECT * FROM {quote_name(name)} WHERE {where} LIMIT {limit}"
        try:
            answer = engine.rows_at(sql, cast("tuple[SqlValue, ...]", tuple(params)))
            outcome, epoch, offset = answer if isinstance(answer, tuple) else await answer
        except Failure as failure:
            raise as_error(failure, sql) from failure
        columns = outcome.columns
        return epoch, offset, [dict(zip(columns, row, strict=True)) for row in outcome.rows]

    async def query(self, sql: str, params: Sequence[object]) -> dict[str, object]:
        """Run one statement for the server SDK and return the JSON form it expects."""
        if self._database is None:
            raise LookupError("no database is configured for realtime")
        statement = self._database.prepare(sql)
        with counting():  # not a call of the invocation that opened the connection
            result = await (statement.bind(*params) if params else statement).all()
        meta = result.meta
        return {
            "results": list(result.results),
            "success": True,
            "meta": {"target": "d1", "duration": meta["duration"], "rowCount": len(result.results)},
        }
