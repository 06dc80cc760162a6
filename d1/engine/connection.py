"""One open SQLite file: pragmas, limits, permissions, extra functions, and the engine's own statements on it.

SQLite asks the authorizer only while it prepares a statement, and the driver caches prepared statements by text. User
SQL with the same text as one of the engine's own would therefore slip past the authorizer: every own statement
carries a random tag.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from d1.engine.authorizer import Authorizer
from d1.engine.failures import is_undecodable
from d1.engine.functions import define_missing_functions
from d1.limits import apply_limits, limit

__all__ = ["WAL_KEPT_BYTES", "Connection"]

WAL_KEPT_BYTES: Final = 16 * 1024 * 1024
"""What a checkpoint leaves of the WAL file: writing over old blocks is cheaper than growing the file again."""
_CACHED_STATEMENTS: Final = 512
_PROGRESS_STEPS: Final = 500
"""Instructions between two looks at the clock: some 10 us, and no measurable cost."""


def _replace_invalid(value: bytes) -> str:
    return value.decode("utf-8", "replace")


class Connection:
    """A connection that one thread at a time uses; `raw` runs user statements, the methods run the engine's own."""

    def __init__(self, path: Path | str, *, must_stop: Callable[[], bool]) -> None:
        self.raw = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, cached_statements=_CACHED_STATEMENTS, timeout=0
        )
        self._cursor = self.raw.cursor()
        # two secrets: the names can be seen in PRAGMA table_list, the tag must not follow from them
        self.own_prefix = f"_cap_{secrets.token_hex(4)}_"
        self._tag = f"/*{secrets.token_hex(8)}*/"
        self.begin_sql = f"BEGIN IMMEDIATE{self._tag}"
        self.commit_sql = f"COMMIT{self._tag}"
        self.data_version_sql = f"PRAGMA data_version{self._tag}"
        self.authorizer = Authorizer(self.own_prefix)
        self._set_up(must_stop)

    def _set_up(self, must_stop: Callable[[], bool]) -> None:
        raw = self.raw
        raw.execute("PRAGMA busy_timeout=2000")  # switching to WAL needs the file for a moment
        for pragma in (
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "foreign_keys=ON",
            "temp_store=MEMORY",
            "wal_autocheckpoint=0",  # a checkpoint inside COMMIT would hold the loop; see `d1.engine.checkpoint`
            f"journal_size_limit={WAL_KEPT_BYTES}",
            "trusted_schema=ON",
            "busy_timeout=0",
        ):
            raw.execute(f"PRAGMA {pragma}").fetchall()
        define_missing_functions(raw)
        apply_limits(raw)
        raw.set_authorizer(self.authorizer)
        raw.set_progress_handler(must_stop, _PROGRESS_STEPS)

    # the engine's own statements

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows; TEXT that is not UTF-8 is decoded with replacement characters."""
        return self.tagged_rows(sql + self._tag, parameters)

    def tagged(self, sql: str) -> str:
        """Return the text under which `tagged_rows` runs a statement; made once, it saves making it each time."""
        return sql + self._tag

    def tagged_rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement that `tagged` returned; otherwise like `rows`."""
        cursor = self._cursor
        try:
            cursor.execute(sql, parameters)
            return cursor.fetchall()
        except sqlite3.OperationalError as error:
            if not is_undecodable(error):
                raise
        with self.tolerant_text():
            return self.raw.execute(sql, parameters).fetchall()

    def change(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement and return the number of rows it changed (0 for DDL)."""
        cursor = self.raw.execute(sql + self._tag, parameters)
        return max(cursor.rowcount, 0)

    def insert_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement that `tagged` returned for every row."""
        if len(rows) == 1:
            self._cursor.execute(sql, rows[0])
        else:
            self._cursor.executemany(sql, rows)

    def message_for(self, sql: str) -> str | None:
        """Prepare a text without running it and return SQLite's message, `None` when it is correct."""
        try:
            self.raw.execute(f"EXPLAIN {sql}{self._tag}")
        except sqlite3.Error as error:
            return str(error)
        return None

    def rollback(self) -> None:
        """End the transaction if there still is one: some failures end it by themselves."""
        if self.raw.in_transaction:
            self.raw.execute(f"ROLLBACK{self._tag}")

    def size_pages(self) -> int:
        """Return the size of the database in pages, without the free ones."""
        ((pages, free),) = self.rows("SELECT page_count, freelist_count FROM pragma_page_count, pragma_freelist_count")
        return pages - free

    def set_busy_timeout(self, timeout_ms: int) -> None:
        """Set how long BEGIN waits for another process's write lock; 0 on the loop, where it would block."""
        self.raw.execute(f"PRAGMA busy_timeout={timeout_ms}{self._tag}").fetchall()

    @contextmanager
    def tolerant_text(self) -> Generator[None]:
        """Decode TEXT that is not UTF-8 with replacement characters; four times slower than SQLite's own way."""
        self.raw.text_factory = _replace_invalid
        try:
            yield
        finally:
            self.raw.text_factory = str

    @contextmanager
    def lifted_limits(self) -> Generator[None]:
        """Lift the limits of user SQL: a log has twice the columns of its table, and JSON is longer than a row."""
        columns = self.raw.setlimit(sqlite3.SQLITE_LIMIT_COLUMN, 2000)
        length = self.raw.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1_000_000_000)
        try:
            yield
        finally:
            self.raw.setlimit(sqlite3.SQLITE_LIMIT_COLUMN, columns)
            self.raw.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, length)

    @contextmanager
    def written_tables(self) -> Generator[set[str]]:
        """Gather the names of the tables that user statements may write, each at its first run inside."""
        self.raw.set_authorizer(self.authorizer)  # expires prepared statements: each is asked about again
        self.authorizer.written = written = set[str]()
        try:
            yield written
        finally:
            self.authorizer.written = None

    def set_capturing(self, is_on: bool) -> None:
        """Leave room in the limits for what capture triggers add: one level of depth, and rows of old and new values.

        DIFFERS(watched-value-size): while a table is watched, a value computed by SQL itself may be up to twice the
        production size.
        """
        factor = 2 if is_on else 1
        self.raw.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, limit("value_bytes") * factor + (1024 if is_on else 0))
        self.raw.setlimit(sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH, limit("trigger_depth") + (1 if is_on else 0))

    def define(self, name: str, arguments: int, function: Callable[..., Any]) -> None:
        """Define an SQL function."""
        self.raw.create_function(name, arguments, function)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self.raw.in_transaction

    @property
    def total_changes(self) -> int:
        """Rows changed since the connection was opened, the engine's own included."""
        return self.raw.total_changes

    def close(self) -> None:
        """Close the file; the last connection to it removes the WAL."""
        self.raw.set_authorizer(None)
        self.raw.close()
