"""SQL's `now`, read from a clock that is not the machine's: for tests and simulations.

SQLite asks the operating system for the time. Here its date functions are defined anew on a connection; they put the
clock's date where `now` was meant and let SQLite's own functions do the rest, so every format and modifier works.
`CURRENT_TIMESTAMP` and its two sisters are functions too. https://sqlite.org/lang_datefunc.html
"""

from __future__ import annotations

import atexit
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from d1.engine.functions import define_missing_functions

__all__ = ["follow_clock"]

# Name, and which of its arguments are time values; a missing one means now.
_FUNCTIONS: Final = {
    "date": (0,),
    "time": (0,),
    "datetime": (0,),
    "julianday": (0,),
    "unixepoch": (0,),
    "strftime": (1,),
    "timediff": (0, 1),
}
_KEYWORDS: Final = {"current_timestamp": "datetime", "current_date": "date", "current_time": "time"}


@cache
def _native() -> sqlite3.Connection:
    """Return a connection whose date functions are SQLite's own."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    atexit.register(connection.close)
    define_missing_functions(connection)
    return connection


def follow_clock(connection: sqlite3.Connection, now_ms: Callable[[], int]) -> None:
    """Make the date functions of a connection take `now` from `now_ms`, milliseconds since the Unix epoch."""
    native = _native()

    def now() -> str:
        return datetime.fromtimestamp(now_ms() / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]

    def call(name: str, arguments: list[Any]) -> Any:
        marks = ", ".join("?" * len(arguments))
        return native.execute(f"SELECT {name}({marks})", arguments).fetchone()[0]

    def following(name: str, places: tuple[int, ...]) -> Callable[..., Any]:
        def function(*given: Any) -> Any:
            arguments = list(given)
            if len(arguments) == places[0] and len(places) == 1:
                arguments.append("now")
            for place in places:
                if place < len(arguments) and str(arguments[place]).strip().lower() == "now":
                    arguments[place] = now()
            return call(name, arguments)

        return function

    for name, places in _FUNCTIONS.items():
        with suppress(sqlite3.OperationalError):  # timediff is younger than some SQLites
            call(name, ["%s", "now"] if name == "strftime" else ["now"] * len(places))
            # deterministic: SQLite wants it of functions in indexes and CHECKs, and asks its own in the same way
            connection.create_function(name, -1, following(name, places), deterministic=True)
    for keyword, name in _KEYWORDS.items():
        connection.create_function(keyword, 0, following(name, (0,)))
