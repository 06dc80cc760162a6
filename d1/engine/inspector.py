"""A second, read-only look into the file, usable at any time: WAL readers neither block the writer nor wait for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from d1.sql import quote_name

__all__ = ["Inspector"]

_COUNTED_ROWS: Final = 5000


class Inspector:
    """Answers questions about the committed state while the engine's connection may be busy on another thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a small SELECT or PRAGMA."""
        if self._connection is None:
            self._connection = sqlite3.connect(self._path, isolation_level=None, timeout=0)
            self._connection.execute("PRAGMA query_only=ON")
        return self._connection.execute(sql, parameters).fetchall()

    def refresh(self) -> None:
        """Notice schema changes: PRAGMA and EXPLAIN, unlike SELECT, answer from what the connection remembers."""
        self.rows("SELECT 1 FROM main.sqlite_schema LIMIT 1")

    def tables(self) -> list[str]:
        """Return the names of the user's tables, virtual tables and their shadows excluded."""
        found = self.rows(
            "SELECT name FROM main.sqlite_schema WHERE type='table' AND rootpage>0"
            " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE '\\_cf\\_%' ESCAPE '\\' ORDER BY rowid"
        )
        return [row[0] for row in found]

    def table_name(self, table: str) -> str | None:
        """Return a table's name as stored; SQLite's names ignore case."""
        return next((name for name in self.tables() if name.lower() == table.lower()), None)

    def row_count(self, table: str) -> int:
        """Return about how many rows a table has: exact for small tables, never a long scan."""
        quoted = quote_name(table)
        ((count,),) = self.rows(f"SELECT count(*) FROM (SELECT 1 FROM {quoted} LIMIT {_COUNTED_ROWS})")
        if count < _COUNTED_ROWS:
            return count
        try:
            ((highest,),) = self.rows(f"SELECT max(rowid) FROM {quoted}")
        except sqlite3.OperationalError:  # WITHOUT ROWID
            return count
        return max(count, highest or 0)

    def size_bytes(self) -> int:
        """Return the size of the database without its free pages."""
        ((pages, free),) = self.rows("SELECT page_count, freelist_count FROM pragma_page_count, pragma_freelist_count")
        return (pages - free) * 4096

    def close(self) -> None:
        """Close the file if it was opened."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
