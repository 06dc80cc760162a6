"""Diff mode: a table's rows before and after a statement whose deletions fire no trigger."""

from __future__ import annotations

from typing import Final

from d1.capture.armed import Armed
from d1.capture.connection import CaptureConnection
from d1.changes import ChangeType, LoggedRow, Row, same_row
from d1.sql import quote_name

__all__ = ["DIFF_LIMIT", "difference", "image", "notice"]

DIFF_LIMIT: Final = 20_000
"""Rows of one table above which diff mode announces RESYNC instead of reading it twice."""


def image(connection: CaptureConnection, armed: Armed) -> dict[Row, Row] | None:
    """Return a table's rows by their key; `None` when they are too many."""
    table = f"main.{quote_name(armed.name)}"
    ((count,),) = connection.rows(f"SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT {DIFF_LIMIT + 1})")
    if count > DIFF_LIMIT:
        return None
    rowid = [armed.rowid] if armed.rowid else []
    columns = ",".join([*rowid, *(quote_name(column) for column in armed.columns)])
    with connection.lifted_limits():
        return dict(armed.split(row) for row in connection.rows(f"SELECT {columns} FROM {table}"))


def difference(armed: Armed, before: dict[Row, Row] | None, after: dict[Row, Row] | None) -> list[LoggedRow]:
    """Return what turned one image of a table into the other."""
    if before is None or after is None:
        return [notice("RESYNC", armed.name)]
    name, columns = armed.name, armed.columns
    rows = [LoggedRow("DELETE", name, columns, row, None, key, None) for key, row in before.items() if key not in after]
    for key, row in after.items():
        old = before.get(key)
        if old is None:
            rows.append(LoggedRow("INSERT", name, columns, None, row, None, key))
        elif not same_row(old, row):
            rows.append(LoggedRow("UPDATE", name, columns, old, row, key, key))
    return rows


def notice(kind: ChangeType, table: str) -> LoggedRow:
    """Return what is said of a table as a whole."""
    return LoggedRow(kind, table, (), None, None, None, None)
