"""Rows read and written, estimated: stock SQLite does not tell what production's patched one counts.

Reads come from the query plan and the sizes of the tables, writes from the indexes that a change must keep up.
Production counts index entries too: an INSERT into a table with two indexes writes three rows.
"""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from typing import Any, Final

from d1.engine.calls import Outcome
from d1.engine.inspector import Inspector
from d1.sql import Kind, Statement, parameter_count, parse, quote_name, tables

__all__ = ["estimate_rows"]

_STEP: Final = re.compile(r"(SCAN|SEARCH) (?:TABLE )?(\S+)(?: USING (.*))?")
_LIMIT: Final = re.compile(r"\blimit\s+(\d+)(?:\s+offset\s+(\d+))?\s*;?\s*\Z", re.I)
_COLUMNS: Final = re.compile(r"\binto\s+\S+?\s*\(([^)]*)\)|\bdefault\s+(values)", re.I)
_SET: Final = re.compile(r"\bset\b(.*?)(?:\bwhere\b|\breturning\b|\bfrom\b|\Z)", re.I | re.S)
_ASSIGNED: Final = re.compile(r"(\w+)\s*=")


@dataclass(frozen=True, slots=True)
class _Table:
    """What a write to a table costs."""

    indexes: tuple[frozenset[str], ...]
    """Columns of every full index; partial ones may not match and are left out."""
    id_column: str
    """The column that is the rowid: giving it a value costs a look whether the row exists."""
    counts_ids: bool
    """AUTOINCREMENT: the highest id is kept in a row of its own."""


def estimate_rows(inspector: Inspector, outcome: Outcome) -> tuple[int, int]:
    """Return (rows read, rows written) of a query; a rough figure when its tables have changed or gone since."""
    statement = parse(outcome.sql).statements[-1]
    try:
        inspector.refresh()
        match statement.kind:
            case Kind.READ if statement.verb != "EXPLAIN":
                return _read(inspector, statement, outcome, before=0), 0
            case Kind.WRITE:
                return _write(inspector, statement, outcome)
            case Kind.DDL if statement.verb == "CREATE" and outcome.is_changed:
                return 1, 2
            case _:
                return 0, outcome.changes
    except sqlite3.Error:
        return len(outcome.rows), outcome.changes


def _write(inspector: Inspector, statement: Statement, outcome: Outcome) -> tuple[int, int]:
    named = tables(statement.text)
    target = next(iter(named.written), "") if named is not None else ""
    table = _describe(inspector, target)
    changes = outcome.changes
    match statement.verb:
        case "UPDATE":
            match = _SET.search(statement.text)
            assigned = {name.lower() for name in _ASSIGNED.findall(match.group(1))} if match else set[str]()
            written = changes * (1 + sum(bool(index & assigned) for index in table.indexes))
            return _read(inspector, statement, outcome, before=0), written
        case "DELETE":
            return _read(inspector, statement, outcome, before=changes), changes
        case _:
            written = changes * (1 + len(table.indexes)) + (1 if table.counts_ids and changes else 0)
            source = 2 * changes if named is not None and named.read else 0
            looks = max(changes, 1) if table.id_column and _gives(statement.text, table.id_column) else 0
            return source + looks + len(outcome.rows) + (1 if table.counts_ids else 0), written


def _gives(sql: str, column: str) -> bool:
    """Tell whether an INSERT gives `column` a value: it is listed, or nothing is listed."""
    listed = _COLUMNS.search(sql)
    return listed is None or column in re.findall(r"\w+", (listed.group(1) or "").lower())


def _describe(inspector: Inspector, name: str) -> _Table:
    indexes: list[frozenset[str]] = []
    for _, index, _, origin, is_partial in inspector.rows(f"PRAGMA index_list({quote_name(name)})"):
        columns = inspector.rows(f"PRAGMA index_info({quote_name(index)})")
        is_table_itself = origin == "pk" and not _has_rowid(inspector, name)
        if not is_partial and not is_table_itself:
            indexes.append(frozenset(str(column[2]).lower() for column in columns))
    info = inspector.rows(f"PRAGMA table_info({quote_name(name)})")
    keys = [row for row in info if row[5]]
    id_column = str(keys[0][1]).lower() if len(keys) == 1 and str(keys[0][2]).upper() == "INTEGER" else ""
    found = inspector.rows("SELECT sql FROM main.sqlite_schema WHERE name=? COLLATE NOCASE", (name,))
    return _Table(tuple(indexes), id_column, bool(found) and "AUTOINCREMENT" in str(found[0][0]).upper())


def _has_rowid(inspector: Inspector, name: str) -> bool:
    return not inspector.rows("SELECT wr FROM pragma_table_list WHERE schema='main' AND name=?", (name,))[0][0]


def _read(inspector: Inspector, statement: Statement, outcome: Outcome, *, before: int) -> int:
    """Add up the steps of the query plan; `before` are rows that were there and are gone."""
    nothing = (None,) * parameter_count(statement.text)
    plan = inspector.rows(f"EXPLAIN QUERY PLAN {statement.text}", nothing)
    found = max(len(outcome.rows), outcome.changes)
    total, loops = 0, 1
    for *_, detail in plan:
        step = _STEP.match(detail)
        if step is None:
            # sorting and grouping read every row a second time
            total += loops if "TEMP B-TREE" in detail else 0
            continue
        rows = _step_rows(inspector, step, found, before)
        total += loops * rows
        loops *= rows
    limit = _LIMIT.search(statement.text)
    if limit is not None and not any("TEMP B-TREE" in str(step[-1]) for step in plan):
        total = min(total, int(limit.group(1)) + int(limit.group(2) or 0))
    return total


def _step_rows(inspector: Inspector, step: re.Match[str], found: int, before: int) -> int:
    how: Any = step.group(3) or ""
    if step.group(1) == "SEARCH":
        if "PRIMARY KEY (rowid=?)" in how or not how:
            return 1
        return found + 1
    table = inspector.table_name(step.group(2))
    if table is None:
        return found + 1 if step.group(2) != "CONSTANT" else 0
    return max(inspector.row_count(table) + before, 1)
