"""The rows of `session_store`, in the storage of the object that keeps them."""

from __future__ import annotations

from typing import Any

from durable_objects.realtime.core.protocol import dumps, loads

__all__ = ["SessionRows"]

_SCHEMA = """CREATE TABLE IF NOT EXISTS realtime_sessions (id TEXT PRIMARY KEY, kept TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS realtime_alive (id INTEGER PRIMARY KEY CHECK (id = 1), alive TEXT NOT NULL)"""
_EXISTS = "SELECT 1 FROM sqlite_master WHERE name = 'realtime_alive'"


class SessionRows:
    """Sessions by the id of their connection, as JSON text, and when the server was last seen alive."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self._is_made = False

    def read(self) -> list[Any]:
        """Return `[[[id, text]], {at, table} or None]`; nothing is made by asking."""
        sql = self._storage.sql
        if not self._storage.is_kept or not sql.exec(_EXISTS).toArray():
            return [[], None]
        rows = [list(row) for row in sql.exec("SELECT id, kept FROM realtime_sessions").raw()]
        alive = [loads(row[0]) for row in sql.exec("SELECT alive FROM realtime_alive").raw()]
        return [rows, alive[0] if alive else None]

    def write(self, gone: list[str], rows: list[list[str]], alive: dict[str, Any] | None) -> None:
        """Store and drop sessions in one transaction."""
        sql = self._storage.sql
        if not self._is_made:
            sql.exec(_SCHEMA)
            self._is_made = True
        for id, text in rows:
            sql.exec("INSERT OR REPLACE INTO realtime_sessions (id, kept) VALUES (?, ?)", id, text)
        for id in gone:
            sql.exec("DELETE FROM realtime_sessions WHERE id = ?", id)
        if alive is not None:
            sql.exec("INSERT OR REPLACE INTO realtime_alive (id, alive) VALUES (1, ?)", dumps(alive))
