"""Runs calls on one connection, synchronously: a call is one transaction, all or nothing.

A call has a deadline. The progress handler stops a statement at the deadline and the call is rolled back whole, so
nothing of it has happened and it can be run again from the start, elsewhere and with more time.
"""

from __future__ import annotations

import logging
import re
import secrets
import sqlite3
import sys
from collections.abc import Sequence
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Protocol

from d1 import errors
from d1.capture import Capture
from d1.changes import Commit, LoggedRow, Row, RowChange, SqlValue
from d1.engine.calls import Outcome, Query
from d1.engine.connection import Connection
from d1.engine.failures import explain, is_busy, is_interrupted, is_undecodable
from d1.errors import Failure, ObjectFailure
from d1.sql import Kind, Statement, parse
from d1.values import well_formed

__all__ = ["Clock", "Interrupted", "Transactions"]

_log = logging.getLogger(__name__)

_MIN_LOOKS: Final = 3
_RESERVED_RENAME: Final = re.compile(r"\brename\s+to\s+[\"'`\[]?_cf_", re.I)
_UNSAFE_SCHEMA: Final = re.compile(r"\b(?:fail|rollback|deferrable|deferred)\b", re.I)
_CONSTRAINTS_VIOLATED: Final = (
    "Durable Object was reset and rolled back to its last known good state because the application left the database "
    "in a state where constraints were violated: "
)


class Clock(Protocol):
    """Source of dates."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        ...


class Interrupted(Exception):
    """The call did not finish in its time, or another process held the write lock; nothing of it has happened."""


class Transactions:
    """One connection and the transactions on it. Used by one thread at a time."""

    def __init__(self, path: Path, database: str, clock: Clock) -> None:
        self._deadline = inf
        self._looks = 0
        self.connection = Connection(path, must_stop=self._must_stop)
        self.capture = Capture(self.connection)
        self.database = database
        self.commit: Commit | None = None
        """The captured changes of the last call; whoever takes them sets `None`."""
        self.writes = 0
        """Committed calls that wrote, since the file was opened."""
        self.is_free = False
        """Whether a plain write may be its own transaction: nothing is captured, and it fails as a whole or not."""
        self._clock = clock
        self._raw = self.connection.raw
        self._cursor = self._raw.cursor()
        self._own_cursor = self._raw.cursor()
        self._authorizer = self.connection.authorizer
        self._txn = self.offset = 0
        self._data_version = 0
        self._is_plain_schema = self._is_schema_touched = False
        self._adopt_schema()

    def _must_stop(self) -> bool:
        """Answer SQLite's progress handler.

        A call that has done little is never stopped, however late it is: then the machine was busy, not the call.
        """
        self._looks += 1
        return self._looks > _MIN_LOOKS and perf_counter() > self._deadline

    # running

    def alone(self, statement: Statement, parameters: tuple[SqlValue, ...], budget_s: float) -> Outcome:
        """Run a call of one plain statement as SQLite's own transaction: a read, or a write when `is_free`.

        Raises:
            Failure: The statement is wrong, or violated a constraint.
            Interrupted: See the class.
        """
        raw, authorizer, cursor = self._raw, self._authorizer, self._cursor
        total, started = raw.total_changes, perf_counter()
        self._deadline = started + budget_s
        self._looks = 0
        authorizer.is_user = True
        try:
            cursor.execute(statement.text, parameters)
            rows = cursor.fetchall()
        except (sqlite3.Error, UnicodeEncodeError) as error:
            authorizer.is_user = False
            if isinstance(error, UnicodeEncodeError) or is_undecodable(error):
                return self._run_tolerantly((Query(statement.text, parameters),), self._deadline)[0]
            raise self._explained(error, statement) from error
        finally:
            authorizer.is_user = False
            self._deadline = inf
        changes = raw.total_changes - total
        if changes:
            self.writes += 1
        duration_ms = (perf_counter() - started) * 1000
        return Outcome(statement.text, cursor.description, rows, changes, cursor.lastrowid or 0, duration_ms)

    def captured(self, statement: Statement, parameters: tuple[SqlValue, ...], budget_s: float) -> Outcome:
        """Run a call of one plain write whose changes are captured: `run` without what only other calls need.

        Whenever anything is unusual the call is rolled back and goes through `run`, which then explains it.
        """
        capture, own, cursor, authorizer = self.capture, self._own_cursor, self._cursor, self._authorizer
        total, started = self._raw.total_changes - capture.own_changes, perf_counter()
        self._deadline = started + budget_s
        self._looks = 0
        try:
            own.execute(self.connection.begin_sql)
            if not capture.begin_plain(statement) or self._read_data_version() != self._data_version:
                raise _UnusualCall
            authorizer.is_user = True
            cursor.execute(statement.text, parameters)
            authorizer.is_user = False
            logged = capture.collect()
            own.execute(self.connection.commit_sql)
        except BaseException as error:
            authorizer.is_user = False
            deadline, self._deadline = self._deadline, inf
            self._abandon(is_captured=True)
            if isinstance(error, sqlite3.Error | UnicodeEncodeError | _UnusualCall):
                return self.run((Query(statement.text, parameters),), deadline)[0]
            raise
        self._deadline = inf
        changes = self._raw.total_changes - capture.own_changes - total
        self._committed(logged, is_write=changes != 0)
        duration_ms = (perf_counter() - started) * 1000
        return Outcome(statement.text, cursor.description, [], changes, cursor.lastrowid or 0, duration_ms)

    def run(self, queries: Sequence[Query], deadline: float) -> list[Outcome]:
        """Run a call in one transaction; raises as `alone` does."""
        try:
            return self._run(queries, deadline)
        except _TextTrouble:
            return self._run_tolerantly(queries, deadline)

    def _run_tolerantly(self, queries: Sequence[Query], deadline: float) -> list[Outcome]:
        """Run a rolled-back call again, with every text that is not valid Unicode replaced as JSON would."""
        repaired = [Query(well_formed(query.sql), _well_formed_parameters(query.parameters)) for query in queries]
        with self.connection.tolerant_text():
            return self._run(repaired, deadline)

    def _run(self, queries: Sequence[Query], deadline: float) -> list[Outcome]:
        self._deadline = deadline
        self._looks = 0
        capture, own, total = self.capture, self._own_cursor, self._raw.total_changes
        is_captured, version = capture.is_wanted, self._data_version
        logged: list[LoggedRow] = []
        try:
            own.execute(self.connection.begin_sql)
            if is_captured:
                capture.begin()
                version = self._read_data_version()
                if version != self._data_version:
                    logged = capture.adopt_foreign_changes()
            outcomes = [self._query(query) for query in queries]
            if is_captured:
                # complete and still uncommitted: a log that must survive a crash would be written here
                logged += capture.collect()
            own.execute(self.connection.commit_sql)
        except BaseException as error:
            self._deadline = inf
            self._abandon(is_captured)
            if isinstance(error, sqlite3.Error):
                # not a user's statement: BEGIN met a lock, COMMIT a violated constraint, or capture the deadline
                raise self._explained(error, None) from error
            raise
        self._deadline = inf
        self._data_version = version
        self._is_schema_touched = False
        has_changes = self._raw.total_changes != total
        self._committed(logged, is_write=has_changes or not all([parse(query.sql).only_reads for query in queries]))
        return outcomes

    def _committed(self, logged: Sequence[LoggedRow], *, is_write: bool) -> None:
        """Take note that COMMIT has returned; only now may the changes be told."""
        if is_write:
            self.writes += 1
        if logged:
            self._txn += 1
            self.commit = Commit(self._txn, self.database, _row_changes(logged, self.offset), self._clock.now_ms())
            self.offset += len(logged)

    def _abandon(self, is_captured: bool) -> None:
        self.connection.rollback()
        if is_captured:
            self.capture.rollback()
        if self._is_schema_touched:
            self._adopt_schema()
            self._is_schema_touched = False

    def _query(self, query: Query) -> Outcome:
        """Run one member of a call inside the open transaction; several statements give the result of the last."""
        raw, capture, started = self._raw, self.capture, perf_counter()
        total = raw.total_changes - capture.own_changes
        script = parse(query.sql)
        size = self.connection.size_pages() if script.touches_schema else 0
        if script.plain is not None and (not capture.is_wanted or capture.lets_pass(script.plain)):
            rows = self._execute_user(script.plain, query.parameters, is_last=True)
        else:
            for statement in script.statements[:-1]:
                self._statement(statement, (), is_last=False)
            rows = self._statement(script.statements[-1], query.parameters, is_last=True)
        cursor = self._cursor
        description, last_row_id = cursor.description, cursor.lastrowid or 0
        changes = raw.total_changes - capture.own_changes - total
        duration_ms = (perf_counter() - started) * 1000
        outcome = Outcome(query.sql, description, rows, changes, last_row_id, duration_ms)
        if script.touches_schema:
            outcome.is_size_changed = size != self.connection.size_pages()
        return outcome

    def _statement(self, statement: Statement, parameters: Sequence[SqlValue], *, is_last: bool) -> list[Row]:
        """Run one statement of a text, with what its kind needs around it."""
        if statement.kind is Kind.EMPTY:
            raise Failure(errors.NOT_A_STATEMENT)
        if statement.kind is Kind.DDL and _RESERVED_RENAME.search(statement.text):
            raise Failure("not authorized: SQLITE_AUTH")
        self._authorizer.is_altering = statement.verb == "ALTER"
        try:
            if not self.capture.is_wanted:
                rows = self._execute_user(statement, parameters, is_last=is_last)
            else:
                rows = self.capture.run(statement, lambda: self._execute_user(statement, parameters, is_last=is_last))
        finally:
            self._authorizer.is_altering = False
        if statement.kind is Kind.DDL:
            self._is_schema_touched = True
            self._adopt_schema()
        elif statement.kind is Kind.PRAGMA and self.capture.is_armed:
            prefix = self.connection.own_prefix
            rows = [row for row in rows if not any(str(value).startswith(prefix) for value in row)]
        return rows

    def _execute_user(self, statement: Statement, parameters: Sequence[SqlValue], *, is_last: bool) -> list[Row]:
        """Give a statement to SQLite; only the last one of a text may have parameters."""
        values: Any = parameters
        if statement.parameter_names and _NAMES_NEED_A_MAPPING:
            values = _by_name(statement.parameter_names, parameters)
        authorizer, cursor = self._authorizer, self._cursor
        authorizer.is_user = True
        try:
            cursor.execute(statement.text, values)
            return cursor.fetchall()
        except (sqlite3.Error, UnicodeEncodeError) as error:
            authorizer.is_user = False
            if isinstance(error, UnicodeEncodeError) or is_undecodable(error):
                raise _TextTrouble from error
            if not self._raw.in_transaction and not is_interrupted(error):
                # OR ROLLBACK or RAISE(ROLLBACK) ended the transaction under the call
                raise ObjectFailure(_internal_error()) from error
            if not is_last and isinstance(error, sqlite3.ProgrammingError):
                raise Failure(errors.MULTIPLE_WITH_PARAMETERS) from error
            raise self._explained(error, statement) from error
        finally:
            authorizer.is_user = False

    # capture

    def _read_data_version(self) -> int:
        """Return a number that changes when another connection has written."""
        self._own_cursor.execute(self.connection.data_version_sql)
        return self._own_cursor.fetchone()[0]

    def look_for_foreign_changes(self) -> None:
        """Notice writes of other processes without a call; `commit` then tells of them."""
        if self.capture.is_wanted and self._read_data_version() != self._data_version:
            self._run((), inf)

    def watch(self, table: str) -> str | None:
        """Arm capture for a table; see `Capture.watch`."""
        is_first = not self.capture.is_wanted
        self._deadline = inf
        try:
            self._own_cursor.execute(self.connection.begin_sql)
            name = self.capture.watch(table)
            version = self._read_data_version()
            self._own_cursor.execute(self.connection.commit_sql)
        except BaseException as error:
            self._abandon(is_captured=True)
            if isinstance(error, sqlite3.Error):
                raise self._explained(error, None) from error
            raise
        if is_first:
            self._data_version = version
        self._refresh()
        return name

    def unwatch(self, table: str) -> None:
        """Disarm capture for a table; see `Capture.unwatch`."""
        self.capture.unwatch(table)
        self._refresh()

    def restart_wal(self) -> None:
        """Copy the rest of the WAL into the file and begin it anew; does nothing while another process reads."""
        self._deadline = inf
        try:
            self.connection.rows("PRAGMA wal_checkpoint(RESTART)")
        except sqlite3.Error as error:
            _log.info("the WAL of %s goes on growing for now: %s", self.database, error)

    def close(self) -> None:
        """Close the connection; nothing may be running."""
        self.connection.close()

    # schema and failures

    def _adopt_schema(self) -> None:
        rows = self.connection.rows("SELECT sql FROM main.sqlite_schema WHERE sql IS NOT NULL")
        self._is_plain_schema = not any(_UNSAFE_SCHEMA.search(sql) for (sql,) in rows)
        self._refresh()

    def _refresh(self) -> None:
        self.is_free = self._is_plain_schema and not self.capture.is_wanted

    def _explained(self, error: sqlite3.Error, statement: Statement | None) -> Exception:
        """Return what to raise for `error`."""
        if is_interrupted(error) or is_busy(error):
            return Interrupted(str(error))
        deadline, self._deadline = self._deadline, inf
        try:
            subject = statement or Statement("", "", Kind.OTHER)
            reason = explain(error, subject, self._authorizer, self.connection.message_for)
        finally:
            self._authorizer.forget()
            self._deadline = deadline
        if statement is None and isinstance(error, sqlite3.IntegrityError):
            return ObjectFailure(_CONSTRAINTS_VIOLATED + reason)
        return Failure(reason)


_NAMES_NEED_A_MAPPING: Final = sys.version_info >= (3, 12)
"""Later drivers warn when named parameters are given by position."""


def _internal_error() -> str:
    return f"internal error; reference = {secrets.token_hex(12)}"


class _UnusualCall(Exception):
    """A call cannot take the short way."""


class _TextTrouble(Exception):
    """A text is not valid Unicode; the call was rolled back and must be run tolerantly."""


def _well_formed_parameters(parameters: Sequence[SqlValue]) -> tuple[SqlValue, ...]:
    return tuple(well_formed(value) if isinstance(value, str) else value for value in parameters)


def _by_name(names: Sequence[str], values: Sequence[SqlValue]) -> dict[str, SqlValue]:
    if len(names) != len(values):
        raise Failure(errors.BINDING_COUNT)
    return {name[1:]: value for name, value in zip(names, values, strict=True)}


def _row_changes(logged: Sequence[LoggedRow], after: int) -> tuple[RowChange, ...]:
    changes: list[RowChange] = []
    for seq, row in enumerate(logged, after + 1):
        data = None if row.new is None else dict(zip(row.columns, row.new, strict=True))
        old = None if row.old is None else dict(zip(row.columns, row.old, strict=True))
        changes.append(RowChange(seq, row.type, row.table, data, old))
    return tuple(changes)
