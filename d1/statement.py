"""Prepared statements and what running them returns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol, cast

from d1 import errors
from d1.changes import SqlValue
from d1.engine import Engine, Outcome, Query
from d1.engine.estimates import estimate_rows
from d1.errors import D1ColumnNotFound, D1Error, D1ObjectError, Failure, ObjectFailure
from d1.sql import is_only_comment
from d1.values import bind_values, object_order, read_object, read_row
from workers.compat.proxies import JsDict, JsException

__all__ = ["D1Meta", "D1PreparedStatement", "D1Result", "Tracker", "as_error", "query_of", "result_of"]

SERVED_BY: Final = "miniflare.db"
_UNPARSABLE: Final = """Failed to parse body as JSON, got: ZodError: [
  {{
    "code": "invalid_type",
    "expected": "string",
    "received": "{received}",
    "path": [
      "sql"
    ],
    "message": "Expected string, received {received}"
  }}
]"""


_RECEIVED: Final[dict[type, str]] = {
    type(None): "null",
    bool: "boolean",
    int: "number",
    float: "number",
    list: "array",
}


class Tracker(Protocol):
    """A session, which wants to know when a call of its own has finished."""

    def advance(self) -> None:
        """Take note that the database has answered."""
        ...


class D1Meta(JsDict):
    """The figures of one result, a dict readable by attribute.

    `size_after`, `rows_read` and `rows_written` cost more than most statements, so they are found when they are first
    looked at. # DIFFERS: the size is that of this moment, and the rows are estimates from the query plan and the
    indexes (production counts inside its own SQLite).
    """

    __slots__ = ("_source",)

    def __init__(self, engine: Engine, outcome: Outcome) -> None:
        super().__init__(
            served_by=SERVED_BY,
            duration=outcome.duration_ms,
            changes=outcome.changes,
            last_row_id=outcome.last_row_id,
            changed_db=outcome.is_changed,
        )
        object.__setattr__(self, "_source", (engine, outcome))

    def _complete(self) -> None:
        source = cast("tuple[Engine, Outcome] | None", object.__getattribute__(self, "_source"))
        if source is None:
            return
        object.__setattr__(self, "_source", None)
        engine, outcome = source
        read, written = estimate_rows(engine.inspector, outcome)
        super().__setitem__("size_after", engine.inspector.size_bytes())
        super().__setitem__("rows_read", read)
        super().__setitem__("rows_written", written)

    def __missing__(self, key: str) -> Any:
        if object.__getattribute__(self, "_source") is None:
            raise KeyError(key)
        self._complete()
        return self[key]

    def __iter__(self) -> Iterator[str]:
        self._complete()
        return super().__iter__()

    def __len__(self) -> int:
        self._complete()
        return super().__len__()

    def __contains__(self, key: object) -> bool:
        self._complete()
        return super().__contains__(key)

    def __eq__(self, other: object) -> bool:
        self._complete()
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment] - as every dict

    def __repr__(self) -> str:
        self._complete()
        return super().__repr__()

    def __reduce__(self) -> tuple[Any, ...]:
        return (JsDict, (dict(self),))

    def __or__(self, other: Any) -> Any:
        self._complete()
        return JsDict(super().__or__(other))

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of `key`, or `default`."""
        self._complete()
        return super().get(key, default)

    def keys(self) -> Any:
        """Return the names in production's order."""
        self._complete()
        return super().keys()

    def values(self) -> Any:
        """Return the figures."""
        self._complete()
        return super().values()

    def items(self) -> Any:
        """Return names and figures."""
        self._complete()
        return super().items()

    def copy(self) -> JsDict:
        """Return a complete plain copy."""
        return JsDict(self.items())


class D1Result(JsDict):
    """What `run` and `all` return: `success`, `meta` and `results`, by key and by attribute."""

    __slots__ = ()


class D1PreparedStatement:
    """A statement text with its parameters. Immutable; nothing is parsed before it runs."""

    __slots__ = ("_engine", "_query", "_tracker", "params", "statement")

    def __init__(
        self, engine: Engine, sql: object, params: tuple[SqlValue, ...] = (), tracker: Tracker | None = None
    ) -> None:
        self._engine = engine
        self._tracker = tracker
        self.statement = sql
        self.params = params
        self._query = Query(sql, params) if type(sql) is str else None

    def bind(self, *values: object) -> D1PreparedStatement:
        """Return a new statement with these parameters instead of the present ones.

        Raises:
            D1TypeError: A value has no SQLite counterpart.
        """
        return D1PreparedStatement(self._engine, self.statement, bind_values(values), self._tracker)

    async def first(self, column: str | None = None) -> Any:
        """Run and return the first row, or the value of its `column`; `None` when there are no rows.

        Raises:
            D1Error: The query failed.
            D1ColumnNotFound: There is a row and it has no such column.
        """
        outcome = self._start()
        if type(outcome) is not Outcome:
            outcome = await self._awaited(outcome)
        rows = outcome.rows
        if not rows:
            return None
        columns = [entry[0] for entry in outcome.description or ()]
        row = read_object(columns, rows[0])
        if column is None:
            order = object_order(columns)
            return row if order is None else _reordered(row, columns, order)
        if column not in row:
            raise D1ColumnNotFound(column)
        return row[column]

    async def run(self) -> D1Result:
        """Run and return the result object.

        Raises:
            D1Error: The query failed.
        """
        outcome = self._start()
        if type(outcome) is not Outcome:
            outcome = await self._awaited(outcome)
        return result_of(self._engine, outcome)

    async def all(self) -> D1Result:
        """Run and return the result object; the same as `run`, as in local production."""
        outcome = self._start()
        if type(outcome) is not Outcome:
            outcome = await self._awaited(outcome)
        return result_of(self._engine, outcome)

    async def raw(self, options: object = None, *, columnNames: bool = False) -> list[list[Any]]:
        """Run and return the rows as lists; with `columnNames` the first list holds the column names."""
        outcome = self._start()
        if type(outcome) is not Outcome:
            outcome = await self._awaited(outcome)
        rows = [read_row(row) for row in outcome.rows]
        if columnNames or _option(options, "columnNames"):
            rows.insert(0, list(outcome.columns))
        return rows

    def _start(self) -> Outcome | asyncio.Future[Outcome]:
        query = self._query
        if query is None:
            query = query_of(self)
        try:
            answer = self._engine.run_one(query)
        except Failure as failure:
            raise as_error(failure, query.sql) from failure
        if self._tracker is not None and type(answer) is Outcome:
            self._tracker.advance()
        return answer

    async def _awaited(self, answer: Any) -> Outcome:
        try:
            outcome = await answer
        except Failure as failure:
            raise as_error(failure, str(self.statement)) from failure
        if self._tracker is not None:
            self._tracker.advance()
        return outcome

    def __repr__(self) -> str:
        return f"D1PreparedStatement({self.statement!r})"


def query_of(statement: D1PreparedStatement) -> Query:
    """Return what a statement runs.

    Raises:
        D1Error: `prepare` was given something that is not a text; production finds that out here too.
    """
    sql = statement.statement
    if isinstance(sql, str):
        return Query(str(sql), statement.params)
    raise D1Error(_UNPARSABLE.format(received=_RECEIVED.get(type(sql), "object")))


def as_error(failure: Failure, sql: str) -> JsException:
    """Return the exception that a user's program sees."""
    if isinstance(failure, ObjectFailure):
        return D1ObjectError(failure.reason)
    if failure.reason == errors.NOT_A_STATEMENT and is_only_comment(sql):
        return D1Error(errors.NO_STATEMENTS)
    return D1Error(failure.reason)


def result_of(engine: Engine, outcome: Outcome) -> D1Result:
    """Convert an outcome to the result object."""
    rows: list[JsDict] = []
    if outcome.rows:
        columns = outcome.columns
        rows = [read_object(columns, row) for row in outcome.rows]
        order = object_order(columns)
        if order is not None:
            rows = [_reordered(row, columns, order) for row in rows]
    return D1Result(success=True, meta=D1Meta(engine, outcome), results=rows)


def _reordered(row: JsDict, columns: Sequence[str], order: Sequence[int]) -> JsDict:
    return JsDict((columns[place], row[columns[place]]) for place in order)


def _option(options: object, name: str) -> bool:
    if isinstance(options, dict):
        return bool(cast("dict[str, object]", options).get(name))
    return bool(getattr(options, name, False))
