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
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from shutil import disk_usage
from time import perf_counter
from typing import Any, Final, Protocol, TypeVar

from d1 import errors
from d1.capture import Capture, TooManyChanges
from d1.changes import Commit, Row, SqlValue
from d1.engine.calls import Outcome, Query
from d1.engine.change_log import LogBounds
from d1.engine.connection import Connection
from d1.engine.failures import explain, is_busy, is_full, is_interrupted, is_undecodable
from d1.engine.footprint import Since
from d1.engine.stream import Stream
from d1.errors import Failure, ObjectFailure
from d1.limits import PLANS
from d1.sql import Kind, Statement, parse
from d1.values import well_formed

__all__ = ["Clock", "Interrupted", "Transactions"]

_log = logging.getLogger(__name__)

Result = TypeVar("Result")

_MIN_LOOKS: Final = 3
_RESUME_TIMEOUT_MS: Final = 2000
_ROOM_BYTES: Final = 1 << 25
_RESERVED_RENAME: Final = re.compile(r"\brename\s+to\s+[\"'`\[]?_cf_", re.I)
_UNSAFE_SCHEMA: Final = re.compile(r"\b(?:fail|rollback|deferrable|deferred|virtual)\b", re.I)
"""Where a plain write may fail in part or late, or (fts5) writes more rows when it commits."""
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

    def __init__(self, path: Path, database: str, clock: Clock, most_bytes: int = PLANS["paid"].database_bytes) -> None:
        self._deadline = inf
        self._looks = 0
        self.stream = Stream(path, database)
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
        self._path = path
        self.connection.rows(f"PRAGMA max_page_count={most_bytes // 4096}")
        self._raw = self.connection.raw
        self._cursor = self._raw.cursor()
        self._own_cursor = self._raw.cursor()
        self._authorizer = self.connection.authorizer
        self._shown_changes: int | None = None
        """What `changes()` should say to the user where the engine's own statements have overwritten it."""
        self._is_plain_schema = self._is_schema_touched = False
        self._adopt_schema()
        self.stream.open(self.connection, self.capture.hide)

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
        if self._shown_changes is not None:
            self._show_changes(statement)
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
        stream = self.stream
        total, started = capture.visible, perf_counter()
        self._deadline = started + budget_s
        self._looks = 0
        try:
            own.execute(self.connection.begin_sql)
            if not capture.begin_plain(statement) or stream.is_foreign:
                raise _UnusualCall
            if self._shown_changes is not None:
                self._show_changes(statement)
            authorizer.is_user = True
            cursor.execute(statement.text, parameters)
            authorizer.is_user = False
            changes = capture.collect(stream.offset)
            if stream.is_logged and cursor.rowcount != 1:  # an entry of the log sets changes() to 1
                self._remember_changes()
            commit = stream.prepare(changes, self._clock.now_ms())
            written = self._raw.total_changes
            own.execute(self.connection.commit_sql)
            written -= self._raw.total_changes  # fts5 writes when it commits; production has counted by then
        except BaseException as error:
            authorizer.is_user = False
            deadline, self._deadline = self._deadline, inf
            self._abandon(is_captured=True)
            if isinstance(error, sqlite3.Error | UnicodeEncodeError | _UnusualCall | TooManyChanges):
                return self.run((Query(statement.text, parameters),), deadline)[0]
            raise
        self._deadline = inf
        capture.committed()
        count = capture.visible - total + written
        self._committed(commit, is_write=count != 0)
        duration_ms = (perf_counter() - started) * 1000
        return Outcome(statement.text, cursor.description, [], count, cursor.lastrowid or 0, duration_ms)

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
        try:
            return self._attempt(queries, deadline)
        except TooManyChanges:
            return self._attempt(queries, deadline, is_suspended=True)

    def _attempt(self, queries: Sequence[Query], deadline: float, *, is_suspended: bool = False) -> list[Outcome]:
        self._deadline = deadline
        self._looks = 0
        capture, own, stream, total = self.capture, self._own_cursor, self.stream, self._raw.total_changes
        is_captured, found = capture.is_wanted, None
        commit = None
        try:
            own.execute(self.connection.begin_sql)
            if is_captured:
                capture.begin()
                if stream.is_foreign:
                    found = stream.look()
                    capture.adopt_foreign_changes()
                if is_suspended:
                    capture.suspend()
            outcomes = [self._query(query) for query in queries]
            if is_captured:
                changes = capture.collect(stream.offset)
                if changes and stream.is_logged:
                    self._remember_changes()
                commit = stream.prepare(changes, self._clock.now_ms())
            own.execute(self.connection.commit_sql)
        except BaseException as error:
            self._deadline = inf
            self._abandon(is_captured)
            if isinstance(error, sqlite3.Error):
                # not a user's statement: BEGIN met a lock, COMMIT a violated constraint, or capture the deadline
                raise self._explained(error, None) from error
            raise
        self._deadline = inf
        if is_captured:
            capture.committed()
        if found is not None:
            stream.see(found)
        self._is_schema_touched = False
        has_changes = self._raw.total_changes != total
        self._committed(commit, is_write=has_changes or not all([parse(query.sql).only_reads for query in queries]))
        return outcomes

    def _committed(self, commit: Commit | None, *, is_write: bool) -> None:
        """Take note that COMMIT has returned; only now may the changes be told."""
        if is_write:
            self.writes += 1
        self.stream.committed(commit, is_write=is_write)
        if commit is not None:
            self.commit = commit

    def _abandon(self, is_captured: bool) -> None:
        self.connection.rollback()
        if is_captured:
            self.capture.rollback()
            self.stream.rolled_back()
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
        if self._shown_changes is not None:
            self._show_changes(statement)
        authorizer.is_user = True
        try:
            cursor.execute(statement.text, values)
            return cursor.fetchall()
        except (sqlite3.Error, UnicodeEncodeError) as error:
            authorizer.is_user = False
            if self.capture.overflows(error):
                raise TooManyChanges from error
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

    def _remember_changes(self) -> None:
        """Keep what `changes()` says to the user; the engine's own statements are about to overwrite it."""
        if self._shown_changes is None:
            ((self._shown_changes,),) = self.connection.rows("SELECT changes()")

    def _show_changes(self, statement: Statement) -> None:
        """Restore `changes()` where a statement may read it; the next write of the user's sets it anew."""
        assert self._shown_changes is not None
        if "changes" in statement.text.lower():
            self.capture.restore_changes(self._shown_changes)
        elif statement.kind is not Kind.WRITE:
            return
        self._shown_changes = None

    def look_for_foreign_changes(self) -> None:
        """Notice writes of other processes without a call; `commit` then tells of them."""
        if self.capture.is_wanted and self.stream.is_foreign:
            self._run((), inf)

    def watch(self, table: str) -> str | None:
        """Arm capture for a table; see `Capture.watch`. Its changes are logged when the database has a log."""
        is_first = not self.capture.is_wanted

        def watch() -> str | None:
            self.stream.follow(table)
            return self.capture.watch(table)

        return self._arranged(watch, is_first=is_first)

    def unwatch(self, table: str) -> None:
        """Disarm capture for a table; see `Capture.unwatch`."""

        def unwatch() -> None:
            self.capture.unwatch(table)
            if not self.capture.is_watched(table):
                self.stream.forget(table)

        self._arranged(unwatch)

    def leave(self, table: str) -> None:
        """Take note that nobody follows a table any more, which stays armed for those who come back."""
        self._arranged(lambda: self.stream.leave(table, self._clock.now_ms()))

    def start_log(self, bounds: LogBounds) -> list[str]:
        """Log the changes of watched tables; nothing may be watched yet.

        Arms again what an earlier run logged until its end. Returns those tables, of which each counts one watcher.
        """
        self.connection.set_busy_timeout(_RESUME_TIMEOUT_MS)
        commit = None
        try:
            self._own_cursor.execute(self.connection.begin_sql)
            self.capture.begin()
            self.stream.see(self.stream.look())
            tables, since = self.stream.start_log(bounds, self._clock.now_ms())
            for table in tables:
                self.capture.watch(table)
            if since is Since.WRITTEN:
                self.capture.adopt_foreign_changes()
                commit = self.stream.prepare(self.capture.collect(self.stream.offset), self._clock.now_ms())
            self._own_cursor.execute(self.connection.commit_sql)
        except BaseException:
            self._abandon(is_captured=True)
            self.stream.disown()
            raise
        finally:
            self.connection.set_busy_timeout(0)
        self.capture.committed()
        self.stream.committed(commit, is_write=True)
        self.stream.keep_notes(is_captured=self.capture.is_wanted)
        self._refresh()
        return tables

    def _arranged(self, arrange: Callable[[], Result], *, is_first: bool = False) -> Result:
        """Change in a transaction of its own what is captured and logged; nothing was when it `is_first`."""
        self._deadline = inf
        stream = self.stream
        if stream.is_logged:
            self._remember_changes()
        try:
            self._own_cursor.execute(self.connection.begin_sql)
            self.capture.begin()
            if is_first:
                stream.see(stream.look())
            is_foreign = stream.is_foreign
            result = arrange()
            self._own_cursor.execute(self.connection.commit_sql)
        except BaseException as error:
            self._abandon(is_captured=True)
            if isinstance(error, sqlite3.Error):
                raise self._explained(error, None) from error
            raise
        self.capture.committed()
        # what another connection has written before goes on being unseen
        stream.committed(None, is_write=stream.is_logged and not is_foreign)
        stream.keep_notes(is_captured=self.capture.is_wanted)
        self._refresh()
        return result

    def restart_wal(self) -> None:
        """Copy the rest of the WAL into the file and begin it anew; does nothing while another process reads."""
        self._deadline = inf
        try:
            self.connection.rows("PRAGMA wal_checkpoint(RESTART)")
        except sqlite3.Error as error:
            _log.info("the WAL of %s goes on growing for now: %s", self.database, error)

    def close(self) -> None:
        """Close the connection, the last one of this process to the file; nothing may be running."""
        self.connection.close()
        self.stream.close()

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
        if is_full(error) and disk_usage(self._path.parent).free > _ROOM_BYTES:
            return Failure(errors.DATABASE_FULL)  # the limit of the plan, not of the disk
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
