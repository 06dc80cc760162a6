"""A database file as tools see it: opened beside a running server or without one, one transaction at a time.

What statements may do and which limits hold is as in a Worker. Only the waiting differs: a tool may block, and a long
file has no deadline.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from d1.engine.connection import Connection
from d1.engine.failures import explain, is_busy
from d1.errors import BINDING_COUNT, OUT_OF_MEMORY, Failure
from d1.rows import Work, estimate_rows
from d1.sql import Kind, Statement, parse, quote_name

__all__ = ["DatabaseFile", "DatabaseLocked", "Ran", "UnusableFile"]

_WORD: Final = re.compile(r"[A-Za-z]+")
_RESERVED_RENAME: Final = re.compile(r"\brename\s+to\s+[\"'`\[]?_cf_", re.I)
_SCHEMA_VERBS: Final = frozenset({"ALTER", "CREATE", "DROP"})
_SHOWN_VIOLATIONS: Final = 5
_UNLIMITED_BYTES: Final = 1_000_000_000


class DatabaseLocked(Exception):
    """Another process held the write lock for longer than was waited."""

    def __init__(self, path: Path, waited_s: float) -> None:
        super().__init__(
            f"the database is locked: another process has been writing to it for more than {waited_s:g} s; "
            f"try again, or stop that process ({path})"
        )
        self.path, self.waited_s = path, waited_s


class UnusableFile(Exception):
    """The file is not a database, is damaged or may not be written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} cannot be used as a database: {reason}")
        self.path, self.reason = path, reason


@dataclass(frozen=True, slots=True)
class Ran:
    """What one statement did. Rows are as SQLite gives them."""

    columns: Sequence[str]
    rows: list[tuple[Any, ...]]
    changes: int
    last_row_id: int
    duration_ms: float
    is_schema_changed: bool


class DatabaseFile:
    """One open file. Used by one thread, which it may block."""

    def __init__(self, path: Path, *, lock_wait_s: float = 5.0, accepts_long_statements: bool = False) -> None:
        """Open or create the file, with its folders.

        Args:
            path: The SQLite file.
            lock_wait_s: How long to wait while another process writes.
            accepts_long_statements: Lift D1's limit of 100 kB a statement, for the literals of large values.

        Raises:
            DatabaseLocked: Another process has locked the whole file.
            UnusableFile: It is not a database, or may not be opened.
        """
        self.path = path
        self._lock_wait_s = lock_wait_s
        self._must_stop = False
        self.beat: Callable[[], None] | None = None
        """Called often while SQLite is at work, to say how far it is."""
        self.is_running = False
        """Whether SQLite is at work. It swallows what a signal handler raises then; call `stop` instead."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = Connection(path, must_stop=self._look_up)
            self._connection.set_busy_timeout(int(lock_wait_s * 1000))
        except OSError as error:
            raise UnusableFile(path, str(error)) from error
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        self._raw = self._connection.raw
        self._raw.text_factory = _decode
        if accepts_long_statements:
            self._raw.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _UNLIMITED_BYTES)

    def _look_up(self) -> bool:
        if self.beat is not None:
            self.beat()
        return self._must_stop

    def _unusable(self, error: sqlite3.Error) -> Exception:
        if is_busy(error):
            return DatabaseLocked(self.path, self._lock_wait_s)
        return UnusableFile(self.path, str(error))

    def stop(self) -> None:
        """Make the running statement raise KeyboardInterrupt soon; for a signal handler."""
        self._must_stop = True

    @contextmanager
    def _at_work(self) -> Generator[None]:
        self.is_running = True
        try:
            yield
        except sqlite3.Error:
            if not self._must_stop:
                raise
        finally:
            self.is_running = False
        if self._must_stop:
            raise KeyboardInterrupt

    @contextmanager
    def transaction(self, *, writes: bool = True, foreign_keys: bool = True, checked: bool = True) -> Generator[None]:
        """Run the block in one transaction, undone whole when the block raises.

        Args:
            writes: Whether the block may write; else it does not wait for others that do.
            foreign_keys: Let foreign keys act. Without, they do nothing meanwhile and are checked at the end: dumps
                hold rows of tables whose parents come later.
            checked: Whether that check is made; without, the caller makes it after its last transaction.

        Raises:
            DatabaseLocked: Another process is writing.
            Failure: Foreign keys are violated when it ends.
        """
        connection = self._connection
        try:
            with self._at_work():
                # a transaction cannot change it
                self._raw.execute(f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}")
                self._raw.execute(connection.begin_sql if writes else "BEGIN")
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        try:
            yield
            if not connection.in_transaction:
                raise Failure("the transaction was rolled back by the statement (OR ROLLBACK or RAISE(ROLLBACK))")
            if not foreign_keys and checked and (violations := self.violations()):
                raise Failure(f"FOREIGN KEY constraint failed when the transaction ends{violations}")
            self._commit()
        finally:
            connection.rollback()

    def _commit(self) -> None:
        self.is_running = True  # a commit is not stopped half way: nobody would know whether it had happened
        try:
            self._raw.execute(self._connection.commit_sql)
        except sqlite3.IntegrityError as error:
            raise Failure(f"{error} when the transaction ends{self._violations()}") from error
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        finally:
            self.is_running = self._must_stop = False

    def violations(self) -> str:
        """Name rows that violate foreign keys; empty when none does."""
        with self._at_work():
            return self._violations()

    def _violations(self) -> str:
        rows: list[tuple[Any, ...]] = []
        for (table,) in self._raw.execute("SELECT name FROM sqlite_schema WHERE type='table'").fetchall():
            try:
                rows += self._raw.execute(f"PRAGMA foreign_key_check({quote_name(table)})").fetchall()
            except sqlite3.OperationalError:  # the parent's columns are not unique: no row could have been written
                continue
        named = [
            f"{table}{'' if rowid is None else f' rowid {rowid}'} refers to no row of {parent}"
            for table, rowid, parent, _ in rows[:_SHOWN_VIOLATIONS]
        ]
        more = f" and {len(rows) - _SHOWN_VIOLATIONS} more" if len(rows) > _SHOWN_VIOLATIONS else ""
        return f": {'; '.join(named)}{more}" if named else ""

    def run(self, sql: str, parameters: Sequence[object] = ()) -> Ran:
        """Run one statement with a Worker's permissions.

        Raises:
            Failure: It is wrong or violates a constraint.
            KeyboardInterrupt: `stop` was called.
        """
        raw, authorizer = self._raw, self._connection.authorizer
        word = _WORD.match(sql)
        verb = word.group().upper() if word is not None else ""
        if verb == "ALTER" and _RESERVED_RENAME.search(sql):
            raise Failure("not authorized: SQLITE_AUTH")  # SQLite does not ask about the new name
        total, started = raw.total_changes, perf_counter()
        self.is_running = authorizer.is_user = True
        authorizer.is_altering = verb == "ALTER"
        try:
            cursor = raw.execute(sql, parameters)
            rows = cursor.fetchall()
        except (sqlite3.Error, UnicodeEncodeError) as error:
            authorizer.is_user = False
            raise self._explained(error, sql) from error
        except MemoryError as error:  # what the driver makes of SQLITE_NOMEM, mostly a statement that is too big
            raise Failure(OUT_OF_MEMORY) from error
        finally:
            self.is_running = authorizer.is_user = authorizer.is_altering = False
        if self._must_stop:
            raise KeyboardInterrupt
        return Ran(
            [column[0] for column in cursor.description or ()],
            rows,
            raw.total_changes - total,
            cursor.lastrowid or 0,
            (perf_counter() - started) * 1000,
            verb in _SCHEMA_VERBS,
        )

    def _explained(self, error: sqlite3.Error | UnicodeEncodeError, sql: str) -> BaseException:
        if self._must_stop:
            return KeyboardInterrupt()
        if isinstance(error, UnicodeEncodeError):
            return Failure(f"the text is not valid Unicode: {error}")
        if is_busy(error):
            return DatabaseLocked(self.path, self._lock_wait_s)
        authorizer = self._connection.authorizer
        statements = parse(sql).statements
        statement = statements[0] if len(statements) == 1 else Statement(sql, "", Kind.OTHER)
        try:
            reason = explain(error, statement, authorizer, self._connection.message_for)
        finally:
            authorizer.forget()
        if reason == BINDING_COUNT:
            reason = f"{reason} Parameters cannot be given here."
        return Failure(reason)

    def own_rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run a statement of the tool's own, without a Worker's permissions.

        Raises:
            DatabaseLocked: Another process is writing.
            UnusableFile: The file is damaged.
        """
        try:
            with self._at_work():
                return self._connection.rows(sql, parameters)
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def rows_of(self, sql: str, ran: Ran) -> tuple[int, int]:
        """Return the estimated (rows read, rows written) of a statement that has run."""
        try:
            return estimate_rows(self._connection.rows, Work(sql, len(ran.rows), ran.changes, ran.is_schema_changed))
        except sqlite3.Error:  # its tables have gone since
            return max(len(ran.rows), ran.changes, 1), ran.changes

    def size_bytes(self) -> int:
        """Return the size of the database without its free pages."""
        with self._at_work():
            return self._connection.size_pages() * 4096

    def close(self) -> None:
        """Close the file, after what is in its log has been moved into it as far as readers allow."""
        try:
            self._raw.execute("PRAGMA busy_timeout=0").fetchall()
            self._raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error:
            pass  # the server that has the file open does it
        self._connection.close()

    def __enter__(self) -> DatabaseFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _decode(value: bytes) -> str:
    return value.decode("utf-8", "replace")
