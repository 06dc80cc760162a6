"""Filters on the columns of a row: read once, then asked about rows, or written as SQL.

A filter is a JSON object; all its members must hold. `{"status": "open"}` compares for equality, and
`{"total": {"gt": 10}}` with a comparison; `{"and": [...]}` and `{"or": [...]}` join filters, `{"not": {...}}` turns one
round. Comparisons: `eq`, `ne`, `lt`, `lte`, `gt`, `gte`, `in`, `nin`, `null` (true or false). A list instead of a
comparison means `in`, and null means `{"null": true}`. `{"columns": {"and": 1}}` names columns that are called like a
word of this language.

Values compare as SQLite stores them, without the affinity and the collation of a column: numbers before texts before
BLOBs (lists of bytes in JSON), texts by their bytes. NULL equals nothing and is in no order, and `ne`, `nin` and `not`
are plain opposites: what is NULL is not equal to 1. So a filter decides on every row, and SQL's third truth value does
not exist.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from durable_objects.realtime.core.codes import Code, RealtimeError

__all__ = ["Filter", "read_filter"]

_MAX_DEPTH: Final = 16
_MAX_PARTS: Final = 256
_OPERATORS: Final = ("eq", "ne", "lt", "lte", "gt", "gte", "in", "nin", "null")

Row = Mapping[str, Any]
_Test = Callable[[Row], bool]


class Filter:
    """A filter that was read; `matches` asks it about a row as JSON shows it."""

    __slots__ = ("_test", "columns", "parameters", "sql")

    def __init__(self, test: _Test, sql: str, parameters: tuple[Any, ...], columns: frozenset[str]) -> None:
        self._test = test
        self.sql = sql
        """An SQL expression that holds for the same rows, with `?` for the parameters."""
        self.parameters = parameters
        self.columns = columns
        """The columns it looks at, in lower case."""

    def matches(self, row: Row) -> bool:
        """Whether the filter holds for a row; a column that the row does not have is NULL."""
        return self._test(row)


def read_filter(value: object, field: str = "filter") -> Filter:
    """Read a filter.

    Raises:
        RealtimeError: BAD_FILTER, `value` is none; its `field` names the place.
    """
    reader = _Reader()
    test, sql = reader.conjunction(value, field, 0)
    return Filter(test, sql, tuple(reader.parameters), frozenset(reader.columns))


class _Reader:
    def __init__(self) -> None:
        self.parameters: list[Any] = []
        self.columns: set[str] = set()
        self._parts = 0

    def conjunction(self, value: object, place: str, depth: int) -> tuple[_Test, str]:
        if not isinstance(value, dict):
            raise _bad(place, "a filter must be an object")
        if depth > _MAX_DEPTH:
            raise _bad(place, f"filters are nested deeper than {_MAX_DEPTH}")
        parts = [
            self._member(name, member, f"{place}.{name}", depth)
            for name, member in cast("dict[str, Any]", value).items()
        ]
        return _all([test for test, _ in parts]), _joined([sql for _, sql in parts], "AND", "1")

    def _member(self, name: str, value: Any, place: str, depth: int) -> tuple[_Test, str]:
        if name in ("and", "or"):
            if not isinstance(value, list):
                raise _bad(place, f"{name!r} must be a list of filters")
            parts = [
                self.conjunction(part, f"{place}.{number}", depth + 1)
                for number, part in enumerate(cast("list[Any]", value))
            ]
            tests, sqls = [test for test, _ in parts], [sql for _, sql in parts]
            if name == "and":
                return _all(tests), _joined(sqls, "AND", "1")
            return _any(tests), _joined(sqls, "OR", "0")
        if name == "not":
            test, sql = self.conjunction(value, place, depth + 1)
            return (lambda row: not test(row)), f"NOT {sql}"
        if name == "columns" and isinstance(value, dict):
            parts = [
                self._column(column, how, f"{place}.{column}") for column, how in cast("dict[str, Any]", value).items()
            ]
            return _all([test for test, _ in parts]), _joined([sql for _, sql in parts], "AND", "1")
        return self._column(name, value, place)

    def _column(self, column: str, value: Any, place: str) -> tuple[_Test, str]:
        self.columns.add(column.lower())
        if "\x00" in column:
            raise _bad(place, "a column's name holds a NUL")
        comparisons: dict[str, Any]
        if isinstance(value, dict):
            comparisons = cast("dict[str, Any]", value)
            if not comparisons:
                raise _bad(place, f"a comparison is missing; known: {', '.join(_OPERATORS)}")
        elif value is None:
            comparisons = {"null": True}
        else:
            comparisons = {"in": value} if isinstance(value, list) else {"eq": value}
        parts = [self._compare(column, name, operand, f"{place}.{name}") for name, operand in comparisons.items()]
        return _all([test for test, _ in parts]), _joined([sql for _, sql in parts], "AND", "1")

    def _compare(self, column: str, name: str, operand: Any, place: str) -> tuple[_Test, str]:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise _bad(place, f"a filter makes more than {_MAX_PARTS} comparisons")
        # The plus takes the column's affinity away: values compare as they are stored.
        sql, get = f"+{_quoted(column)} COLLATE BINARY", _getter(column)
        if name == "null":
            if not isinstance(operand, bool):
                raise _bad(place, "'null' must be true or false")
            return (lambda row: (get(row) is None) is operand), f"({sql} IS {'' if operand else 'NOT '}NULL)"
        if name in ("in", "nin"):
            return self._among(get, sql, name, operand, place)
        if name not in _OPERATORS:
            raise _bad(place, f"{name!r} is no comparison; known: {', '.join(_OPERATORS)}")
        key = _operand_key(operand, place)
        self.parameters.append(_parameter(operand))
        test = _ORDER[name]
        if name in ("eq", "ne"):
            is_equal = name == "eq"
            written = f"({sql} IS ?)" if is_equal else f"({sql} IS NOT ?)"
            return (lambda row: (_key(get(row)) == key) is is_equal), written
        return (lambda row: test(_key(get(row)), key)), f"({sql} IS NOT NULL AND {sql} {_SIGNS[name]} ?)"

    def _among(self, get: _Test, sql: str, name: str, operand: Any, place: str) -> tuple[_Test, str]:
        if not isinstance(operand, list):
            raise _bad(place, f"{name!r} must be a list")
        values = cast("list[Any]", operand)
        self._parts += len(values)
        if self._parts > _MAX_PARTS:
            raise _bad(place, f"a filter makes more than {_MAX_PARTS} comparisons")
        keys = frozenset(_operand_key(value, f"{place}.{number}") for number, value in enumerate(values))
        is_in = name == "in"
        self.parameters += [_parameter(value) for value in values]
        written = _joined([f"({sql} IS ?)" for _ in values], "OR", "0")
        return (lambda row: (_key(get(row)) in keys) is is_in), written if is_in else f"NOT {written}"


_Key = tuple[int, Any]


def _key(value: Any) -> _Key | None:
    """Return what orders values as SQLite does: their storage class, then themselves. None for NULL."""
    if value is None:
        return None
    if isinstance(value, (int, float)):
        return 1, value
    if isinstance(value, str):
        return 2, value.encode("utf-8", "surrogatepass")
    return 3, bytes(value)


def _operand_key(value: Any, place: str) -> _Key:
    """Return the key of what a filter compares with; like any value of JSON, a BLOB is a list of bytes."""
    if isinstance(value, list):
        try:
            return 3, bytes(cast("list[int]", value))
        except (ValueError, TypeError) as error:
            raise _bad(place, "a list stands for a BLOB and holds integers from 0 to 255") from error
    if isinstance(value, float) and not math.isfinite(value):
        raise _bad(place, "a number must be finite")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise _bad(place, "an integer must fit into 64 bits")
    if isinstance(value, (str, int, float)):
        return cast(_Key, _key(value))
    raise _bad(place, "compare with a text, a number, true, false or a list of bytes; null has its own comparison")


def _parameter(value: Any) -> Any:
    if isinstance(value, list):
        return bytes(cast("list[int]", value))
    return int(value) if isinstance(value, bool) else value


def _less(a: _Key | None, b: _Key) -> bool:
    return a is not None and a < b


def _less_or_equal(a: _Key | None, b: _Key) -> bool:
    return a is not None and a <= b


def _greater(a: _Key | None, b: _Key) -> bool:
    return a is not None and a > b


def _greater_or_equal(a: _Key | None, b: _Key) -> bool:
    return a is not None and a >= b


_ORDER: Final[Mapping[str, Callable[[_Key | None, _Key], bool]]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": _less,
    "lte": _less_or_equal,
    "gt": _greater,
    "gte": _greater_or_equal,
}
_SIGNS: Final = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


def _getter(column: str) -> Callable[[Row], Any]:
    """Return a reader of a column, found as SQLite does: without regard to the case of ASCII letters."""
    folded = column.lower()

    def get(row: Row) -> Any:
        if column in row:
            return row[column]
        return next((value for name, value in row.items() if name.lower() == folded), None)

    return get


def _all(tests: list[_Test]) -> _Test:
    if len(tests) == 1:
        return tests[0]
    return lambda row: all([test(row) for test in tests])


def _any(tests: list[_Test]) -> _Test:
    return lambda row: any([test(row) for test in tests])


def _joined(parts: list[str], word: str, empty: str) -> str:
    return f"({f' {word} '.join(parts)})" if parts else empty


def _quoted(name: str) -> str:
    # Not in double quotes, in which SQLite takes the name of no column for a text.
    return "`" + name.replace("`", "``") + "`"


def _bad(place: str, why: str) -> RealtimeError:
    return RealtimeError(Code.BAD_FILTER, f"{place}: {why}", place)
