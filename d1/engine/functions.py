"""SQL functions that production's SQLite has and the linked SQLite may be too old for; defined only when missing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final, cast

from d1.engine.jsonb import define_jsonb

__all__ = ["MISSING_FUNCTIONS", "define", "define_missing_functions"]

_MOST_ARGUMENTS: Final = 100

_Value = None | int | float | str | bytes


def _text(value: _Value) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)


def octet_length(value: _Value) -> int | None:
    """`octet_length(X)`: bytes of X as text, or of the BLOB."""
    if value is None:
        return None
    return len(value) if isinstance(value, bytes) else len(str(value).encode())


def concat(*values: _Value) -> str:
    """`concat(X, ...)`: NULL is the empty string."""
    return "".join(_text(value) for value in values)


def concat_ws(separator: _Value, *values: _Value) -> str | None:
    """`concat_ws(SEP, X, ...)`: NULL arguments are skipped; a NULL separator gives NULL."""
    if separator is None:
        return None
    return _text(separator).join(_text(value) for value in values if value is not None)


def unhex(text: _Value, ignored: _Value = "") -> bytes | None:
    """`unhex(X[, Y])`: NULL when X is not hexadecimal pairs, where characters of Y may stand between pairs."""
    if text is None or ignored is None:
        return None
    skip, source = set(_text(ignored)), _text(text)
    out = bytearray()
    place = 0
    while place < len(source):
        if source[place] in skip and source[place] not in "0123456789abcdefABCDEF":
            place += 1
            continue
        pair = source[place : place + 2]
        if len(pair) < 2 or any(digit not in "0123456789abcdefABCDEF" for digit in pair):
            return None
        out.append(int(pair, 16))
        place += 2
    return bytes(out)


def timediff(later: _Value, earlier: _Value) -> str | None:
    """`timediff(A, B)`: what must be added to B to give A, as `+YYYY-MM-DD HH:MM:SS.SSS`."""
    a, b = _moment(later), _moment(earlier)
    if a is None or b is None:
        return None
    sign, step = ("+", 1) if a >= b else ("-", -1)
    # whole months are counted from B towards A, then the rest from there
    months = abs((a.year - b.year) * 12 + a.month - b.month)
    while (rest := (a - _plus_months(b, step * months)) * step) < timedelta():
        months -= 1
    seconds = rest.seconds
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest.microseconds // 1000:03}"
    return f"{sign}{months // 12:04}-{months % 12:02}-{rest.days:02} {clock}"


def _moment(value: _Value) -> datetime | None:
    if isinstance(value, int | float):
        return datetime(2000, 1, 1, 12) + timedelta(days=value - 2451545)
    if not isinstance(value, str):
        return None
    if value == "now":
        return datetime.now(UTC).replace(tzinfo=None)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (moment - (moment.utcoffset() or timedelta())).replace(tzinfo=None)


def _plus_months(moment: datetime, months: int) -> datetime:
    """Add months as SQLite does: a day beyond the month's end runs into the next month."""
    month = moment.month - 1 + months
    first = moment.replace(year=moment.year + month // 12, month=month % 12 + 1, day=1)
    return first + timedelta(days=moment.day - 1)


def _refused(*_arguments: _Value) -> None:
    """Exist only to be refused by the authorizer."""


class _StringAgg:
    """`string_agg(X, SEP)`: `group_concat` under its standard name."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def step(self, value: _Value, separator: _Value) -> None:
        """Add one row."""
        if value is not None:
            self._parts += ([_text(separator)] if self._parts else []) + [_text(value)]

    def finalize(self) -> str | None:
        """Return the joined text, NULL without rows."""
        return "".join(self._parts) if self._parts else None


MISSING_FUNCTIONS: Final[dict[str, tuple[range, Callable[..., Any]]]] = {
    "octet_length": (range(1, 2), octet_length),
    "concat": (range(1, _MOST_ARGUMENTS + 1), concat),
    "concat_ws": (range(2, _MOST_ARGUMENTS + 1), concat_ws),
    "unhex": (range(1, 3), unhex),
    "timediff": (range(2, 3), timediff),
    "json_error_position": (range(1, 2), _refused),
    "json_pretty": (range(1, 3), _refused),
}
"""Name -> (how many arguments it takes, implementation)."""


def define(connection: sqlite3.Connection, name: str, arguments: range, function: Callable[..., Any]) -> None:
    """Define a function for each number of arguments, so that SQLite itself refuses the others."""
    for count in arguments:
        connection.create_function(name, count, function, deterministic=True)


@cache
def _present() -> frozenset[str]:
    """Return the names of the functions that the linked SQLite has."""
    with closing(sqlite3.connect(":memory:")) as connection:
        return frozenset(row[0] for row in connection.execute("SELECT name FROM pragma_function_list"))


def define_missing_functions(connection: sqlite3.Connection) -> None:
    """Define the functions that this SQLite does not have."""
    present = _present()
    for name, (arguments, function) in MISSING_FUNCTIONS.items():
        if name not in present:
            define(connection, name, arguments, function)
    if "jsonb" not in present:
        define_jsonb(connection)
    if "string_agg" not in present:
        connection.create_aggregate("string_agg", 2, cast(Any, _StringAgg))
