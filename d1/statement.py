"""Prepared statements and what running them returns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Final, Protocol, TypeVar, cast

from d1 import errors
from d1.changes import SqlValue
from d1.engine import Engine, Outcome, Query
from d1.engine.estimates import estimate_rows
from d1.errors import D1ColumnNotFound, D1Error, D1ObjectError, Failure, ObjectFailure
from d1.sql import is_only_comment
from d1.values import bind_values, read_object, read_objects, read_row
from workers.compat.proxies import JsArray, JsDict, JsException

__all__ = ["D1Meta", "D1PreparedStatement", "D1Result", "Tracker", "as_error", "query_of", "result_of"]

SERVED_BY: Final = "miniflare.db"
_NOT_GIVEN: Final[Any] = object()
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


_Late = TypeVar("_Late", bound="_LateDict")


class _LateDict(JsDict):
    """A `JsDict` whose entries are made when somebody first looks: most results are thrown away unread.

    Until then it holds the one entry `success`, so that no C code takes it for an empty dict.
    """

    __slots__ = ("_make",)

    _make: Callable[[], Mapping[str, Any]] | None

    def _complete(self) -> None:
        make = self._make
        if make is not None:
            _set_make(self, None)
            super().clear()
            super().update(make())

    def __missing__(self, key: str) -> Any:
        if self._make is None:
            raise KeyError(key)
        self._complete()
        return self[key]

    def __reduce__(self) -> tuple[Any, ...]:
        return (JsDict, (dict(self),))

    def copy(self) -> JsDict:
        """Return a plain shallow copy."""
        return JsDict(self.items())


def _completing(name: str) -> Callable[..., Any]:
    inherited: Callable[..., Any] = getattr(dict, name)

    @wraps(inherited)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        self._complete()
        return inherited(self, *args, **kwargs)

    return method


_set_make = _LateDict.__dict__["_make"].__set__
_set_item = dict[str, Any].__setitem__


def _late(kind: type[_Late], make: Callable[[], Mapping[str, Any]]) -> _Late:
    late = kind.__new__(kind)
    _set_make(late, make)
    _set_item(late, "success", True)
    return late


for _name in (
    *("__iter__", "__len__", "__contains__", "__eq__", "__ne__", "__repr__", "__or__", "__ror__", "__ior__"),
    *("__setitem__", "__delitem__", "__reversed__", "get", "keys", "values", "items", "pop", "popitem"),
    *("setdefault", "update", "clear"),
):
    setattr(_LateDict, _name, _completing(_name))


class D1Result(_LateDict):
    """What `run` and `all` return: `success`, `meta` and `results`, by key and by attribute."""

    __slots__ = ()


class D1Meta(_LateDict):
    """The figures of one result, in production's order.

    DIFFERS(d1-meta): `size_after` is the size when the figures are first looked at; `rows_read` and `rows_written` are
    estimates from the query plan and the indexes, while production counts inside its own SQLite.
    """

    __slots__ = ()


class D1PreparedStatement:
    """A statement text with its parameters. Immutable; nothing is parsed before it runs."""

    __slots__ = ("_engine", "_tracker", "params", "statement")

    def __init__(
        self, engine: Engine, sql: object, params: tuple[SqlValue, ...] = (), tracker: Tracker | None = None
    ) -> None:
        self._engine = engine
        self.statement = sql
        self.params = params
        self._tracker = tracker

    def bind(self, *values: object) -> D1PreparedStatement:
        """Return a new statement with these parameters instead of the present ones.

        Raises:
            D1TypeError: A value has no SQLite counterpart.
        """
        return D1PreparedStatement(self._engine, self.statement, bind_values(values), self._tracker)

    async def first(self, column: str | None = _NOT_GIVEN) -> Any:
        """Run and return the first row, or the value of its `column`; `None` when there are no rows.

        An explicit `None` is JavaScript's null, which is no column.

        Raises:
            D1Error: The query failed.
            D1ColumnNotFound: There is a row and it has no such column.
        """
        outcome = self._start()
        if type(outcome) is not Outcome:
            outcome = await self._awaited(outcome)
        if not outcome.rows:
            return None
        columns = [entry[0] for entry in outcome.description or ()]
        row = read_object(columns, outcome.rows[0])
        if column is _NOT_GIVEN:
            return row
        if column is None or column not in row:
            raise D1ColumnNotFound("null" if column is None else column)
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
        rows = JsArray([read_row(row) for row in outcome.rows])
        if columnNames or _option(options, "columnNames"):
            rows.insert(0, list(outcome.columns))
        return rows

    def _start(self) -> Outcome | asyncio.Future[Outcome]:
        sql = self.statement
        if type(sql) is not str:
            sql = query_of(self).sql
        engine = self._engine
        usage = engine.usage
        try:
            usage.count_call()
            facts = usage.before(sql, self.params)
            answer = engine.run_one(sql, self.params)
        except (Failure, MemoryError) as failure:
            raise as_error(failure, sql) from failure
        if type(answer) is Outcome:
            usage.answered += 1
            if facts.is_new:
                facts.is_new = False
                usage.after(sql, len(answer.description or ()), answer.duration_ms)
            if self._tracker is not None:
                self._tracker.advance()
        return answer

    async def _awaited(self, answer: Any) -> Outcome:
        sql = str(self.statement)
        try:
            outcome: Outcome = await answer
        except (Failure, MemoryError) as failure:
            raise as_error(failure, sql) from failure
        usage = self._engine.usage
        usage.answered += 1
        usage.after(sql, len(outcome.description or ()), outcome.duration_ms)
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


def as_error(failure: Failure | MemoryError, sql: str | None = None) -> JsException:
    """Return the exception that a user's program sees; `sql` is the text of a call of one statement.

    Only there a text that holds nothing is told apart from one that holds no statement: a batch drops it beforehand.
    """
    if isinstance(failure, MemoryError):  # what the driver makes of SQLITE_NOMEM, mostly a statement that is too big
        return D1Error(errors.OUT_OF_MEMORY)
    if isinstance(failure, ObjectFailure):
        return D1ObjectError(failure.reason)
    if sql is not None and failure.reason == errors.NOT_A_STATEMENT and is_only_comment(sql):
        return D1Error(errors.NO_STATEMENTS)
    return D1Error(failure.reason)


def result_of(engine: Engine, outcome: Outcome) -> D1Result:
    """Convert an outcome to the result object."""

    def make() -> dict[str, Any]:
        columns = outcome.columns
        results = JsArray(read_objects(columns, outcome.rows))
        return {"success": True, "meta": _late(D1Meta, lambda: _figures(engine, outcome)), "results": results}

    return _late(D1Result, make)


def _figures(engine: Engine, outcome: Outcome) -> dict[str, Any]:
    read, written = estimate_rows(engine.inspector, outcome)
    size = engine.inspector.size_bytes()
    engine.usage.see_size(size)
    return {
        "served_by": SERVED_BY,
        "duration": outcome.duration_ms,
        "changes": outcome.changes,
        "last_row_id": outcome.last_row_id,
        "changed_db": outcome.is_changed,
        "size_after": size,
        "rows_read": read,
        "rows_written": written,
    }


def _option(options: object, name: str) -> bool:
    if isinstance(options, dict):
        return bool(cast("dict[str, object]", options).get(name))
    return bool(getattr(options, name, False))
