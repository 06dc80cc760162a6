"""Production's limits as one table: what holds, on which plan, who enforces it and where the figure comes from.

What statements may do at all is data too, beside the code that asks it: `d1.engine.authorizer`.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

from d1.errors import DATABASE_FULL, OUT_OF_MEMORY, TIMED_OUT, TOO_MANY_CALLS

__all__ = ["FORBIDDEN", "LIMITS", "NEAR", "PLANS", "Forbidden", "Limit", "Plan", "apply_limits", "limit"]

NEAR: Final = 0.8
"""From this share of a limit on a statement is near it, which is logged."""

_DOCS: Final = "https://developers.cloudflare.com/d1/platform/limits/"
_MEASURED: Final = "measured on workerd 1.20260730.1"
_BOTH: Final = f"{_MEASURED}; {_DOCS}"


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of D1."""

    name: str
    value: int
    unit: str
    plan: str
    """`all`, or the plan for which the value holds."""
    source: str
    error: str
    """What the program sees beyond it, `N` and `NAME` standing for what differs; empty: nothing, or not enforced."""
    category: int | None = None
    """SQLite's own limit that enforces it."""
    documented: int | None = None
    """What Cloudflare's documentation says where the recorded build allows more: warnings go by it."""
    is_watched: bool = False
    """Whether a statement that comes near is logged, and the highest figure kept."""


_TOO_BIG: Final = "string or blob too big: SQLITE_TOOBIG"

LIMITS: Final = (
    Limit(
        "bound_parameters",
        100,
        "parameters a query",
        "all",
        _BOTH,
        "too many SQL variables at offset N: SQLITE_ERROR, or variable number must be between ?1 and ?100 at offset N: "
        "SQLITE_ERROR",
        sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER,
        is_watched=True,
    ),
    Limit(
        "columns",
        100,
        "columns a table, index or result",
        "all",
        _BOTH,
        "too many columns on NAME: SQLITE_ERROR",
        sqlite3.SQLITE_LIMIT_COLUMN,
        is_watched=True,
    ),
    Limit(
        "statement_bytes",
        100_000,
        "bytes a statement",
        "all",
        _BOTH,
        "statement too long: SQLITE_TOOBIG",
        sqlite3.SQLITE_LIMIT_SQL_LENGTH,
        is_watched=True,
    ),
    Limit(
        "value_bytes",
        2_200_000,
        "bytes a string, BLOB or row",
        "all",
        _BOTH,
        _TOO_BIG,
        sqlite3.SQLITE_LIMIT_LENGTH,
        documented=2_000_000,
        is_watched=True,
    ),
    Limit(
        "pattern_bytes",
        50,
        "bytes a LIKE or GLOB pattern",
        "all",
        _BOTH,
        "LIKE or GLOB pattern too complex: SQLITE_ERROR",
        sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH,
        is_watched=True,
    ),
    Limit(
        "function_arguments",
        127,
        "arguments a function call",
        "all",
        _BOTH,
        "too many arguments on function NAME at offset N: SQLITE_ERROR",
        sqlite3.SQLITE_LIMIT_FUNCTION_ARG,
        documented=32,
        is_watched=True,
    ),
    Limit(
        "compound_terms",
        5,
        "SELECTs joined by UNION, INTERSECT or EXCEPT",
        "all",
        _MEASURED,
        "too many terms in compound SELECT: SQLITE_ERROR",
        sqlite3.SQLITE_LIMIT_COMPOUND_SELECT,
        is_watched=True,
    ),
    Limit(
        "expression_depth",
        100,
        "levels of an expression",
        "all",
        _MEASURED,
        "Expression tree is too large (maximum depth 100): SQLITE_ERROR",
        sqlite3.SQLITE_LIMIT_EXPR_DEPTH,
    ),
    Limit(
        "program_operations",
        25_000,
        "instructions of a compiled statement",
        "all",
        _MEASURED,
        OUT_OF_MEMORY,
        sqlite3.SQLITE_LIMIT_VDBE_OP,
    ),
    Limit(
        "attached_databases",
        0,
        "attached databases",
        "all",
        _MEASURED,
        "not authorized: SQLITE_AUTH",
        sqlite3.SQLITE_LIMIT_ATTACHED,
    ),
    Limit(
        "trigger_depth",
        10,
        "levels of triggers",
        "all",
        _MEASURED,
        "too many levels of trigger recursion: SQLITE_ERROR",
        sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH,
    ),
    Limit(
        "worker_threads",
        0,
        "helper threads of a statement",
        "all",
        _MEASURED,
        "",
        sqlite3.SQLITE_LIMIT_WORKER_THREADS,
    ),
    Limit(
        "query_seconds",
        30,
        "seconds a query or batch",
        "all",
        _DOCS,
        TIMED_OUT,
        is_watched=True,
    ),
    Limit("queries", 1000, "calls an invocation", "paid", _DOCS, TOO_MANY_CALLS, is_watched=True),
    Limit("queries", 50, "calls an invocation", "free", _DOCS, TOO_MANY_CALLS, is_watched=True),
    # DIFFERS(full-database): production refuses reads of a full database too.
    Limit("database_bytes", 10 * 1000**3, "bytes a database", "paid", _DOCS, DATABASE_FULL, is_watched=True),
    Limit("database_bytes", 500 * 1000**2, "bytes a database", "free", _DOCS, DATABASE_FULL, is_watched=True),
    # DIFFERS(unenforced-limits): known, not enforced.
    Limit("result_bytes", 50 * 1000**2, "bytes the results of a query", "all", _DOCS, ""),
    Limit("import_bytes", 5 * 1000**3, "bytes a file that is executed", "all", _DOCS, ""),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What depends on what is paid for."""

    name: str
    queries: int
    """Calls of one database an invocation may make; a batch is one."""
    database_bytes: int


def limit(name: str, plan: str = "all") -> int:
    """Return the value of the limit called `name`."""
    return next(entry.value for entry in LIMITS if entry.name == name and entry.plan == plan)


PLANS: Final = {plan: Plan(plan, limit("queries", plan), limit("database_bytes", plan)) for plan in ("paid", "free")}


@dataclass(frozen=True, slots=True)
class Forbidden:
    """One kind of statement that is refused, with an example and what the program sees."""

    what: str
    example: str
    error: str


_DENIED: Final = "not authorized: SQLITE_AUTH"

FORBIDDEN: Final = (
    Forbidden("transactions and savepoints: use `batch`", "BEGIN", "To execute a transaction, please use the"),
    Forbidden("transactions and savepoints: use `batch`", "SAVEPOINT s", "To execute a transaction, please use the"),
    Forbidden("other database files", "ATTACH 'other.db' AS other", _DENIED),
    Forbidden("other database files", "DETACH other", _DENIED),
    Forbidden("`VACUUM`, also into a file", "VACUUM", "cannot VACUUM from within a transaction: SQLITE_ERROR"),
    Forbidden("temporary tables, views and triggers", "CREATE TEMP TABLE t(a)", _DENIED),
    Forbidden("virtual tables other than fts5 and fts5vocab", "CREATE VIRTUAL TABLE f USING fts3(a)", _DENIED),
    Forbidden("names that begin with `_cf_`, in any case", "CREATE TABLE _cf_mine(a)", _DENIED),
    Forbidden(
        "names that begin with `sqlite_`", "CREATE TABLE sqlite_mine(a)", "object name reserved for internal use"
    ),
    Forbidden("writes to the schema table", "DELETE FROM sqlite_master", "table sqlite_master may not be modified"),
    Forbidden("loading of extensions", "SELECT load_extension('x')", "not authorized: SQLITE_ERROR"),
    Forbidden(
        "functions outside the allow list",
        "SELECT sqlite_version()",
        "not authorized to use function: sqlite_version at offset 7: SQLITE_ERROR",
    ),
    Forbidden("PRAGMAs outside the allow list, and other arguments", "PRAGMA journal_mode=DELETE", _DENIED),
)


def apply_limits(connection: sqlite3.Connection) -> None:
    """Let SQLite enforce every limit that it has a category for."""
    for entry in LIMITS:
        if entry.category is not None:
            connection.setlimit(entry.category, entry.value)
