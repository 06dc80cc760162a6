"""The SQLite file of one object: opened on first use, in miniflare's form, guarded by an authorizer.

Users may not touch `_cf_*` tables, ATTACH, TEMP or most pragmas. Our own statements run with `internal` set; the
authorizer is asked when a statement is compiled, so cached statements cost nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from durable_objects.errors import StorageError
from durable_objects.storage.locate import error_offset
from durable_objects.usage import Usage

__all__ = ["ObjectFile", "OpenFiles", "storage_error"]

_MAX_VALUE_BYTES = 2_200_000
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: _MAX_VALUE_BYTES,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 100_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 100,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 5,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 25_000,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 127,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 50,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: 100,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 10,
}
_READ_PRAGMAS = frozenset({"data_version", "foreign_key_check", "optimize", "quick_check", "table_list"})
_FLAG_PRAGMAS = frozenset(
    {
        "case_sensitive_like",
        "defer_foreign_keys",
        "foreign_keys",
        "ignore_check_constraints",
        "legacy_alter_table",
        "recursive_triggers",
        "reverse_unordered_selects",
    }
)
_BOOLEAN_WORDS = frozenset({"0", "1", "on", "off", "yes", "no", "true", "false"})
_DESCRIBING_PRAGMAS = frozenset(
    {"foreign_key_list", "index_info", "index_list", "index_xinfo", "table_info", "table_xinfo"}
)
_FORBIDDEN_ACTIONS = frozenset(
    (
        sqlite3.SQLITE_ATTACH,
        sqlite3.SQLITE_DETACH,
        sqlite3.SQLITE_CREATE_TEMP_INDEX,
        sqlite3.SQLITE_CREATE_TEMP_TABLE,
        sqlite3.SQLITE_CREATE_TEMP_TRIGGER,
        sqlite3.SQLITE_CREATE_TEMP_VIEW,
        sqlite3.SQLITE_DROP_TEMP_INDEX,
        sqlite3.SQLITE_DROP_TEMP_TABLE,
        sqlite3.SQLITE_DROP_TEMP_TRIGGER,
        sqlite3.SQLITE_DROP_TEMP_VIEW,
    )
)
_MODULES = frozenset({"fts5", "fts5vocab"})
# DIFFERS(sqlite-build): Workers have an SQLite of their own; what else this one can do is not taken away.
_FORBIDDEN_FUNCTIONS = frozenset(
    {
        "ceiling",
        "fts3_tokenizer",
        "json_pretty",
        "log10",
        "power",
        "sqlite_compileoption_get",
        "sqlite_compileoption_used",
        "sqlite_source_id",
        "sqlite_version",
        "subtype",
    }
)


class OpenFiles:
    """Keeps the number of open databases below a limit by closing those of objects that are at rest.

    A process may have far more live objects than file descriptors; a closed file opens again on its next use.
    `connection` is the class of the connections, the port through which tests let a disk fail. With `now_ms`, SQL's
    `now` follows that clock instead of the machine's.
    """

    def __init__(
        self,
        limit: int = 250,
        connection: type[sqlite3.Connection] = sqlite3.Connection,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        self.connection = connection
        self.now_ms = now_ms
        self._limit = limit
        self._open: dict[ObjectFile, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, file: ObjectFile) -> None:
        """Note that a file was opened, the latest of all; close the oldest ones at rest beyond the limit."""
        self._open[file] = None
        excess = len(self._open) - self._limit
        if excess > 0:
            resting = [other for other in self._open if other is not file and other.at_rest()]
            for other in resting[:excess]:
                other.close()

    def closed(self, file: ObjectFile) -> None:
        """Note that a file was closed."""
        self._open.pop(file, None)


def _tolerant_text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


class ObjectFile:
    """One SQLite database; `connection` opens it. Every method may raise StorageError.

    `at_rest` tells whether nobody is using the file, so that `open_files` may close it for a while. What is read and
    written is counted in `usage`.
    """

    def __init__(
        self,
        path: Path,
        open_files: OpenFiles | None = None,
        at_rest: Callable[[], bool] = lambda: False,
        usage: Usage | None = None,
    ) -> None:
        self.path = path
        self.at_rest = at_rest
        self.usage = usage or Usage()
        self._open_files = open_files
        self.internal = False
        self.generation = 0
        """Grows when the database is deleted, so that cursors notice."""
        self.dead: Exception | None = None
        """Why the instance that owned this handle is gone; every later use raises it."""
        self._connection: sqlite3.Connection | None = None
        self._tables: set[str] = set()

    @property
    def connection(self) -> sqlite3.Connection:
        """The open connection."""
        return self._connection or self._open()

    @property
    def exists(self) -> bool:
        """True when there is something on the disk; asking does not create it."""
        return self._connection is not None or self.path.exists()

    def _open(self) -> sqlite3.Connection:
        if self.dead is not None:
            raise self.dead
        self.path.parent.mkdir(parents=True, exist_ok=True)
        factory = sqlite3.Connection if self._open_files is None else self._open_files.connection
        connection = sqlite3.connect(
            self.path, isolation_level=None, cached_statements=256, check_same_thread=False, factory=factory
        )
        try:
            connection.execute("PRAGMA page_size=4096")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
        except sqlite3.Error as error:  # a full disk, a file that is no database
            connection.close()
            raise storage_error(error) from None
        for limit, value in _LIMITS.items():
            connection.setlimit(limit, value)
        if self._open_files is not None and self._open_files.now_ms is not None:
            from d1.engine.dates import follow_clock

            follow_clock(connection, self._open_files.now_ms)
        connection.set_authorizer(self._authorize)
        self._connection = connection
        if self._open_files is not None:
            self._open_files.opened(self)
        return connection

    def run(self, sql: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        """Run one of our own statements, past the authorizer."""
        self.internal = True
        try:
            return (self._connection or self._open()).execute(sql, parameters)
        except sqlite3.Error as error:
            raise storage_error(error) from None
        finally:
            self.internal = False

    def fetch(self, cursor: sqlite3.Cursor) -> Any:
        """Return the next row, None at the end; text that is not UTF-8 gets replacement characters, as in JavaScript.

        JavaScript can store such text: half of a surrogate pair. The cursor does not move when decoding fails.
        """
        try:
            return cursor.fetchone()
        except sqlite3.OperationalError as error:
            if "decode" not in str(error):
                raise
        connection = self.connection
        connection.text_factory = _tolerant_text  # not always: it is twice as slow as SQLite's own way
        try:
            return cursor.fetchone()
        finally:
            connection.text_factory = str

    def ensure(self, table: str, ddl: str) -> None:
        """Create an internal table unless this connection has seen it; `ddl` says IF NOT EXISTS."""
        if table not in self._tables:
            self.run(ddl)
            self._tables.add(table)

    def has(self, table: str) -> bool:
        """Say whether an internal table exists; a missing file is not created."""
        if table in self._tables:
            return True
        if not self.exists:
            return False
        found = self.run("SELECT 1 FROM sqlite_master WHERE type='table' AND name=?", (table,)).fetchone() is not None
        if found:
            self._tables.add(table)
        return found

    def forget_tables(self) -> None:
        """A rollback may have undone a CREATE: look again."""
        self._tables.clear()

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        connection, self._connection = self._connection, None
        self._tables.clear()
        if connection is not None:
            connection.close()
            if self._open_files is not None:
                self._open_files.closed(self)

    def delete(self) -> None:
        """Remove the database; open cursors become useless."""
        self.generation += 1
        self.close()
        for suffix in ("", "-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                self.path.with_name(self.path.name + suffix).unlink()

    def _authorize(
        self, action: int, first: str | None, second: str | None, schema: str | None, via: str | None
    ) -> int:
        if self.internal:
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_OK if _is_allowed(action, first, second) else sqlite3.SQLITE_DENY


def _is_allowed(action: int, first: str | None, second: str | None) -> bool:
    if action in _FORBIDDEN_ACTIONS:
        return False
    if action == sqlite3.SQLITE_PRAGMA:
        return _is_allowed_pragma((first or "").lower(), second)
    if action == sqlite3.SQLITE_FUNCTION:
        return (second or "").lower() not in _FORBIDDEN_FUNCTIONS
    if action in (sqlite3.SQLITE_CREATE_VTABLE, sqlite3.SQLITE_DROP_VTABLE):
        return (second or "").lower() in _MODULES and not (first or "").lower().startswith("_cf_")
    if action in (sqlite3.SQLITE_READ, sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE, sqlite3.SQLITE_TRANSACTION):
        return not (first or "").lower().startswith("_cf_")
    names = (first, second) if action != sqlite3.SQLITE_ALTER_TABLE else (second,)
    return not any((name or "").lower().startswith("_cf_") for name in names)


def _is_allowed_pragma(name: str, argument: str | None) -> bool:
    if name in _READ_PRAGMAS:
        return True
    if name in _DESCRIBING_PRAGMAS:
        return argument is not None and not argument.lower().startswith("_cf_")
    if name in _FLAG_PRAGMAS:
        return argument is None or argument.strip("'\"").lower() in _BOOLEAN_WORDS
    return False


def storage_error(
    error: sqlite3.Error, sql: str | None = None, connection: sqlite3.Connection | None = None
) -> StorageError:
    """Translate a sqlite3 exception into the text Workers show: `<text>[ at offset N]: <CODE>[ (extended: <CODE>)]`.

    Python's sqlite3 hides the offset, so it is recomputed from `sql` and `connection` when they are given.
    """
    text = str(error)
    if "bindings supplied" in text:
        return StorageError("Wrong number of parameter bindings for SQL query.")
    if text == "query string is too large":
        return StorageError("statement too long: SQLITE_TOOBIG")
    extended = getattr(error, "sqlite_errorname", None) or "SQLITE_ERROR"
    primary = "_".join(extended.split("_")[:2])
    if "too big" in text:
        primary = extended = "SQLITE_TOOBIG"
    if sql is not None and connection is not None:
        offset = error_offset(connection, sql, text)
        if offset is not None:
            text = f"{text} at offset {offset}"
    suffix = f" (extended: {extended})" if extended != primary and primary == "SQLITE_CONSTRAINT" else ""
    return StorageError(f"{text}: {primary}{suffix}")
