"""Runs calls on one connection, synchronously: a call is one transaction, all or nothing.

A call has a deadline. The progress handler stops a statement at the deadline and the call is rolled back whole, so
nothing of it has happened and it can be run again from the start, elsewhere and with more time.
"""

from __future__ import annotations

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
from d1.changes import Commit, LoggedRow, RowChange, SqlValue
from d1.engine.calls import Outcome, Query
from d1.engine.connection import Connection
from d1.engine.failures import explain, is_busy, is_interrupted, is_undecodable
from d1.errors import Failure, ObjectFailure
from d1.sql import Kind, Statement, parse
from d1.values import well_formed

__all__ = ["Clock", "Interrupted", "Transactions"]

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
        self.connection = Connection(path, must_stop=self._must_stop)
        self.capture = Capture(self.connection)
        self.database = database
        self.commit: Commit | None = None
        """The captured changes of the last call; whoever takes them sets `None`."""
        self.writes = 0
        """Committed calls that wrote, since the file was opened."""
        self._clock = clock
        self._raw = self.connection.raw
        self._execute = self._raw.execute
        self._authorizer = self.connection.authorizer
        self._txn = 0
        self._data_version = 0
        self._is_plain_schema = False
        self._adopt_schema()

    def _must_stop(self) -> bool:
        return perf_counter() > self._deadline

    # running

    def run_one(self, query: Query, deadline: float) -> Outcome:
        """Run a call of one query; the fast path.

        Raises:
            Failure: The query is wrong, or violated a constraint.
            Interrupted: See the class.
        """
        statements = parse(query.sql)
        statement = statements[0]
        if (
            len(statements) == 1
            and statement.is_plain
            and (statement.kind is Kind.READ or (self._is_plain_schema and not self.capture.is_wanted))
            and not statement.parameter_names
        ):
            # SQLite makes a transaction of a single statement by itself, and faster
            return self._alone(statement, query, deadline)
        return self.run((query,), deadline)[0]

    def _alone(self, statement: Statement, query: Query, deadline: float) -> Outcome:
        raw, authorizer = self._raw, self._authorizer
        total, started = raw.total_changes, perf_counter()
        self._deadline = deadline
        authorizer.is_user = True
        try:
            cursor = self._execute(statement.text, query.parameters)
            rows = cursor.fetchall()
        except (sqlite3.Error, UnicodeEncodeError) as error:
            authorizer.is_user = False
            if _is_text_trouble(error):
                return self._run_tolerantly((query,), deadline)[0]
            raise self._explained(error, statement) from error
        finally:
            authorizer.is_user = False
            self._deadline = inf
        changes = raw.total_changes - total
        if changes:
            self.writes += 1
        duration_ms = (perf_counter() - started) * 1000
        return Outcome(query.sql, cursor.description, rows, changes, cursor.lastrowid or 0, changes != 0, duration_ms)

    def run(self, queries: Sequence[Query], deadline: float) -> list[Outcome]:
        """Run a call of several queries in one transaction; raises as `run_one` does."""
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
        total = self._raw.total_changes
        is_captured = self.capture.is_wanted
        try:
            self._begin()
            logged = self._begin_capture() if is_captured else []
            outcomes = [self._query(query) for query in queries]
            if is_captured:
                logged += self.capture.collect()
            self._end()
        except BaseException:
            self._deadline = inf
            self._abandon(is_captured)
            raise
        self._deadline = inf
        if self._raw.total_changes != total or any(not _only_reads(query) for query in queries):
            self.writes += 1
        if logged:
            self._txn += 1
            self.commit = Commit(self._txn, self.database, _row_changes(logged), self._clock.now_ms())
        return outcomes

    def _begin(self) -> None:
        try:
            self._execute(self.connection.begin_sql)
        except sqlite3.Error as error:
            raise self._explained(error, None) from error

    def _end(self) -> None:
        if not self._raw.in_transaction:
            raise ObjectFailure(_internal_error())
        try:
            self._execute(self.connection.commit_sql)
        except sqlite3.IntegrityError as error:
            reason = explain(error, Statement("", "", Kind.OTHER), self._authorizer, self.connection.message_for)
            raise ObjectFailure(_CONSTRAINTS_VIOLATED + reason) from error
        except sqlite3.Error as error:
            raise self._explained(error, None) from error

    def _abandon(self, is_captured: bool) -> None:
        self.connection.rollback()
        if is_captured:
            self.capture.rollback()
        self._adopt_schema()

    def _query(self, query: Query) -> Outcome:
        """Run one member of a call inside the open transaction; several statements give the result of the last."""
        raw, started = self._raw, perf_counter()
        total = raw.total_changes - self.capture.own_changes
        size = None if _only_rows(query) else self.connection.size_pages()
        statements = parse(query.sql)
        for statement in statements[:-1]:
            self._statement(statement, None)
        last = statements[-1]
        cursor, rows = self._statement(last, query.parameters)
        changes = raw.total_changes - self.capture.own_changes - total
        # as production tells it: schema work that fits into the present pages does not count
        is_changed = changes != 0 or (size is not None and size != self.connection.size_pages())
        duration_ms = (perf_counter() - started) * 1000
        return Outcome(query.sql, cursor.description, rows, changes, cursor.lastrowid or 0, is_changed, duration_ms)

    def _statement(self, statement: Statement, parameters: Sequence[SqlValue] | None) -> _Result:
        """Run one statement; `parameters` is `None` for all but the last of a text."""
        if statement.kind is Kind.EMPTY:
            raise Failure(errors.NOT_A_STATEMENT)
        if statement.kind is Kind.DDL and _RESERVED_RENAME.search(statement.text):
            raise Failure("not authorized: SQLITE_AUTH")
        values: Any = parameters or ()
        if statement.parameter_names and _NAMES_NEED_A_MAPPING:
            values = _by_name(statement.parameter_names, values)

        def execute() -> _Result:
            self._authorizer.is_user = True
            try:
                cursor = self._execute(statement.text, values)
                return cursor, cursor.fetchall()
            finally:
                self._authorizer.is_user = False

        try:
            result = self.capture.run(statement, execute) if self.capture.is_wanted else execute()
        except (sqlite3.Error, UnicodeEncodeError) as error:
            if _is_text_trouble(error):
                raise _TextTrouble from error
            if not self._raw.in_transaction and not _is_interrupted(error):
                # OR ROLLBACK or RAISE(ROLLBACK) ended the transaction under the call
                raise ObjectFailure(_internal_error()) from error
            if parameters is None and isinstance(error, sqlite3.ProgrammingError):
                raise Failure(errors.MULTIPLE_WITH_PARAMETERS) from error
            raise self._explained(error, statement) from error
        if statement.kind is Kind.DDL:
            self._adopt_schema()
        return result

    # capture

    def _begin_capture(self) -> list[LoggedRow]:
        """Start the log; report first what other processes wrote since the last call."""
        self.capture.begin()
        return self._foreign_changes()

    def _foreign_changes(self) -> list[LoggedRow]:
        version: int = self._execute(self.connection.data_version_sql).fetchone()[0]
        if version == self._data_version:
            return []
        self._data_version = version
        return self.capture.adopt_foreign_changes()

    def look_for_foreign_changes(self) -> None:
        """Notice writes of other processes without a call; `commit` then tells of them."""
        if not self.capture.is_wanted:
            return
        version: int = self._execute(self.connection.data_version_sql).fetchone()[0]
        if version != self._data_version:
            self._run((), inf)

    def watch(self, table: str) -> str | None:
        """Arm capture for a table; see `Capture.watch`."""
        was_wanted = self.capture.is_wanted
        try:
            self._begin()
            name = self.capture.watch(table)
            if not was_wanted:
                self._data_version = self._execute(self.connection.data_version_sql).fetchone()[0]
            self._end()
        except BaseException:
            self._abandon(is_captured=True)
            raise
        return name

    def unwatch(self, table: str) -> None:
        """Disarm capture for a table; see `Capture.unwatch`."""
        self.capture.unwatch(table)

    def close(self) -> None:
        """Close the connection; nothing may be running."""
        self.connection.close()

    # schema and failures

    def _adopt_schema(self) -> None:
        rows = self.connection.rows("SELECT sql FROM main.sqlite_schema WHERE sql IS NOT NULL")
        self._is_plain_schema = not any(_UNSAFE_SCHEMA.search(sql) for (sql,) in rows)

    def _explained(self, error: BaseException, statement: Statement | None) -> Exception:
        """Return what to raise for `error`."""
        assert isinstance(error, sqlite3.Error)
        if is_interrupted(error) or is_busy(error):
            return Interrupted(str(error))
        deadline, self._deadline = self._deadline, inf
        try:
            subject = statement or Statement("", "", Kind.OTHER)
            return Failure(explain(error, subject, self._authorizer, self._probe))
        finally:
            self._authorizer.forget()
            self._deadline = deadline

    def _probe(self, sql: str) -> str | None:
        return self.connection.message_for(sql)


_Result = tuple[sqlite3.Cursor, list[tuple[Any, ...]]]

_NAMES_NEED_A_MAPPING: Final = sys.version_info >= (3, 12)
"""Later drivers warn when named parameters are given by position."""


def _internal_error() -> str:
    return f"internal error; reference = {secrets.token_hex(12)}"


class _TextTrouble(Exception):
    """A text is not valid Unicode; the call was rolled back and must be run tolerantly."""


def _is_text_trouble(error: BaseException) -> bool:
    return isinstance(error, UnicodeEncodeError) or (isinstance(error, sqlite3.Error) and is_undecodable(error))


def _is_interrupted(error: BaseException) -> bool:
    return isinstance(error, sqlite3.Error) and is_interrupted(error)


def _only_reads(query: Query) -> bool:
    return all(statement.kind is Kind.READ for statement in parse(query.sql))


def _only_rows(query: Query) -> bool:
    return all(statement.kind in (Kind.READ, Kind.WRITE) for statement in parse(query.sql))


def _well_formed_parameters(parameters: Sequence[SqlValue]) -> tuple[SqlValue, ...]:
    return tuple(well_formed(value) if isinstance(value, str) else value for value in parameters)


def _by_name(names: Sequence[str], values: Sequence[SqlValue]) -> dict[str, SqlValue]:
    if len(names) != len(values):
        raise Failure(errors.BINDING_COUNT)
    return {name[1:]: value for name, value in zip(names, values, strict=True)}


def _row_changes(logged: Sequence[LoggedRow]) -> tuple[RowChange, ...]:
    return tuple(
        RowChange(
            seq,
            row.type,
            row.table,
            None if row.new is None else dict(zip(row.columns, row.new, strict=True)),
            None if row.old is None else dict(zip(row.columns, row.old, strict=True)),
        )
        for seq, row in enumerate(logged)
    )
