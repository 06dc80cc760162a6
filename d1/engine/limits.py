"""Production's limits as one table: what is enforced here, on which plan it holds, and where the figure comes from."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

__all__ = ["LIMITS", "Limit", "apply_limits", "limit"]

_DOCS: Final = "https://developers.cloudflare.com/d1/platform/limits/"
_MEASURED: Final = "measured on workerd 1.20260730.1"


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of D1."""

    name: str
    value: int
    unit: str
    plan: str
    """`all`, or the plan for which the value holds."""
    source: str
    category: int | None = None
    """SQLite's own limit that enforces it with SQLite's error text; `None`: enforced in Python, or only known."""


LIMITS: Final = (
    Limit("bound_parameters", 100, "parameters a query", "all", _DOCS, sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER),
    Limit("columns", 100, "columns a table", "all", _DOCS, sqlite3.SQLITE_LIMIT_COLUMN),
    Limit("statement_bytes", 100_000, "bytes", "all", _DOCS, sqlite3.SQLITE_LIMIT_SQL_LENGTH),
    Limit("value_bytes", 2_200_000, "bytes a string, BLOB or row", "all", _MEASURED, sqlite3.SQLITE_LIMIT_LENGTH),
    Limit("like_pattern_bytes", 50, "bytes", "all", _DOCS, sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH),
    # the documentation says 32; the recorded build accepts 127
    Limit("function_arguments", 127, "arguments", "all", _MEASURED, sqlite3.SQLITE_LIMIT_FUNCTION_ARG),
    Limit("expression_depth", 100, "levels", "all", _MEASURED, sqlite3.SQLITE_LIMIT_EXPR_DEPTH),
    Limit("compound_select", 5, "terms", "all", _MEASURED, sqlite3.SQLITE_LIMIT_COMPOUND_SELECT),
    Limit("vdbe_operations", 25_000, "instructions a program", "all", _MEASURED, sqlite3.SQLITE_LIMIT_VDBE_OP),
    Limit("attached_databases", 0, "databases", "all", _MEASURED, sqlite3.SQLITE_LIMIT_ATTACHED),
    Limit("trigger_depth", 10, "levels", "all", _MEASURED, sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH),
    Limit("worker_threads", 0, "threads", "all", _MEASURED, sqlite3.SQLITE_LIMIT_WORKER_THREADS),
    Limit("query_seconds", 30, "seconds a query", "all", _DOCS),
    Limit("queries_per_invocation", 1000, "queries", "paid", _DOCS),
    Limit("queries_per_invocation_free", 50, "queries", "free", _DOCS),
    Limit("database_bytes", 10 * 1000**3, "bytes", "paid", _DOCS),
    Limit("database_bytes_free", 500 * 1000**2, "bytes", "free", _DOCS),
)

_BY_NAME: Final = {entry.name: entry for entry in LIMITS}


def limit(name: str) -> int:
    """Return the value of the limit called `name`."""
    return _BY_NAME[name].value


def apply_limits(connection: sqlite3.Connection) -> None:
    """Let SQLite enforce every limit that it has a category for."""
    for entry in LIMITS:
        if entry.category is not None:
            connection.setlimit(entry.category, entry.value)
