"""Which rows a transaction changed, without polling: TEMP triggers on watched tables log rows into TEMP tables.

The log is drained inside the transaction, just before COMMIT, so SQLite itself undoes it with a failed statement or a
rollback. Triggers and logs are TEMP: nothing is left in the file, and they fire before a user's triggers could
suppress them. A table that nobody watches has no triggers and costs nothing.

Rules that are not obvious:

* REPLACE deletes rows without firing DELETE triggers unless `recursive_triggers` is on. It is switched on while no
  user trigger could notice. Otherwise statements that can REPLACE run in *diff mode*: the watched tables are read
  before and after.
* DDL fails on tables with foreign triggers in the way, so the triggers are dropped around it and set again by name.
* A transaction that changes too much is not told row by row: a constraint on the log ends its statement, the whole
  call is rolled back and run again *suspended*, without triggers, while SQLite's authorizer says which tables it
  writes. Each of them is told as RESYNC.
* `changes()`, `last_insert_rowid()` and `total_changes()` must look as if nothing was captured: drained rows are
  purged only just before a user's next write, which sets `changes()` anew.

States of a watched table: *wanted* (somebody watches) -> *armed* (it exists and has triggers). A wanted table that is
missing is armed when it appears.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, TypeVar

from d1.capture.armed import Armed, create_log
from d1.capture.connection import CaptureConnection
from d1.capture.images import difference, image, notice
from d1.capture.suspension import Suspended
from d1.changes import LoggedRow, RowChange, in_replay_order, numbered
from d1.sql import Kind, Statement, quote_name

__all__ = ["Capture", "CaptureBounds", "TooManyChanges"]

Result = TypeVar("Result")

_KIND: Final = itemgetter(1, 2)
_KEPT_LOG_ROWS: Final = 256
_PAGE_BYTES: Final = 4096
_NARROW: Final = 45
"""Tables with more columns have logs beyond the limits of user SQL."""
_FULL: Final = "database or disk is full"
_REPLACE: Final = re.compile(r"\breplace\b", re.I)
_BEFORE: Final = re.compile(r"\bbefore\b", re.I)
_CASCADES: Final = frozenset({"CASCADE", "SET NULL", "SET DEFAULT"})


class TooManyChanges(Exception):
    """The transaction changes more than is told row by row; it must be run again, suspended."""


@dataclass(frozen=True, slots=True)
class CaptureBounds:
    """How much of one transaction is told row by row; beyond it, its tables are told as RESYNC."""

    rows: int = 100_000
    bytes: int = 64 * 1024 * 1024


class Capture:
    """The change log of one connection. Not thread-safe: whoever runs the transaction calls it."""

    def __init__(self, connection: CaptureConnection) -> None:
        self._connection = connection
        self.bounds = CaptureBounds()
        """Take effect when the log is made next."""
        self._wanted: dict[str, int] = {}
        self._armed: dict[str, Armed] = {}
        self._by_number: dict[int, Armed] = {}
        self._numbers = 0
        self._width = 0
        """Of the log; 0 while there is none."""
        self._limit = 0
        self._is_rearmed = False
        """Whether triggers were made or dropped in the open transaction."""
        self._done = 0
        """Number of the last log row that was read."""
        self._counted = 0
        """Number of the last log row that is in `_hidden`."""
        self._counted_at = -1
        """`total_changes` at that moment."""
        self._begun = 0
        """`_done` when the transaction began."""
        self.visible = 0
        """The user's `total_changes` after the last statement that succeeded."""
        self._hidden = 0
        self._starts: list[int] = []
        self._taken: list[LoggedRow] = []
        self._suspended: Suspended | None = None
        self._has_counter = False
        self._user_recursive = False
        self._schema: dict[str, tuple[str, ...]] = {}
        self._has_user_triggers = self._schema_replaces = self._needs_diff = False
        self._self_cascading: frozenset[str] = frozenset()
        self.is_armed = False
        """Whether any table has triggers."""
        self.is_wanted = False
        """Whether anybody watches anything: then transactions must go through `begin`, `run` and `collect`."""
        self._log = f"{connection.own_prefix}log"
        self._select = connection.tagged(f"SELECT * FROM temp.{self._log} WHERE seq>?")
        self._select_last = connection.tagged(f"SELECT max(seq) FROM temp.{self._log}")
        connection.define("total_changes", 0, self._total_changes)

    def _total_changes(self) -> int:
        return self._connection.total_changes - self.own_changes

    def hide(self, count: int) -> None:
        """Leave rows that the engine wrote for itself out of what the user sees in `total_changes()`."""
        self._hidden += count
        self._counted_at += count

    def restore_changes(self, count: int) -> None:
        """Let `changes()` say `count` again after statements of the engine's own; `total_changes()` is not touched."""
        counter = f"{self._connection.own_prefix}n"
        if not self._has_counter:  # WITHOUT ROWID: last_insert_rowid() stays as it is
            self._connection.change(f"CREATE TEMP TABLE IF NOT EXISTS {counter}(x INTEGER PRIMARY KEY) WITHOUT ROWID")
            self._has_counter = True
        written = self._connection.change(
            f"INSERT OR IGNORE INTO temp.{counter} WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c"
            " WHERE x<?) SELECT x FROM c",
            (count,),
        )
        self.hide(written + self._connection.change(f"UPDATE temp.{counter} SET x=x WHERE x<=?", (count,)))

    @property
    def own_changes(self) -> int:
        """How many of the connection's `total_changes` are the engine's own."""
        self._last()
        return self._hidden

    def _last(self) -> int:
        """Return the number of the last log row, and count those that are new."""
        total = self._connection.total_changes
        if total != self._counted_at:
            if self._width:
                ((last,),) = self._connection.tagged_rows(self._select_last)
                self._count(last or self._counted, total)
            else:
                self._counted_at = total
        return self._counted

    def _count(self, last: int, total: int) -> None:
        self._hidden += last - self._counted
        self._counted, self._counted_at = last, total

    # watching

    def watch(self, table: str) -> str | None:
        """Count one more watcher and arm the table; return its name as stored, `None` when it does not exist (yet)."""
        key = table.lower()
        if key not in self._armed:
            self._arm(table)
            self._adopt_schema()
        self._wanted[key] = self._wanted.get(key, 0) + 1
        self.is_wanted = True
        armed = self._armed.get(key)
        return armed.name if armed else None

    def unwatch(self, table: str) -> None:
        """Count one watcher less; the last one disarms the table."""
        key = table.lower()
        count = self._wanted.get(key, 0) - 1
        if count > 0:
            self._wanted[key] = count
            return
        self._wanted.pop(key, None)
        self.is_wanted = bool(self._wanted)
        armed = self._armed.get(key)
        if armed is not None:
            self._disarm(armed)
            if not self._armed:
                self._drop_log()
            self._adopt_schema()

    def is_watched(self, table: str) -> bool:
        """Tell whether anybody watches a table, which may be missing."""
        return table.lower() in self._wanted

    def watched(self) -> list[str]:
        """Return the names of the armed tables."""
        return [armed.name for armed in self._armed.values()]

    def _arm(self, table: str) -> None:
        found = self._connection.rows(
            "SELECT name FROM main.sqlite_schema WHERE type='table' AND name=? COLLATE NOCASE AND rootpage>0", (table,)
        )
        if not found or found[0][0].lower().startswith(("sqlite_", "_cf_")):
            return
        name: str = found[0][0]
        self._numbers += 1
        self._is_rearmed = True
        armed = self._describe(name, self._numbers)
        with self._connection.lifted_limits():
            if armed.width > self._width:
                self._make_log(armed.width)
            for statement in armed.triggers():
                self._connection.change(statement)
        self._armed[name.lower()] = self._by_number[armed.number] = armed

    def _make_log(self, width: int) -> None:
        """Make the log anew; nothing unread is in it, for tables are armed between statements."""
        if self._width:
            self._drop_log()
        else:
            self._connection.change(f"PRAGMA temp.max_page_count={self.bounds.bytes // _PAGE_BYTES}")
        self._limit = self.bounds.rows + _KEPT_LOG_ROWS
        self._connection.change(create_log(self._connection.own_prefix, width, self._limit))
        self._width = width

    def _drop_log(self) -> None:
        self._connection.change(f"DROP TABLE IF EXISTS temp.{self._log}")
        self._width = self._done = self._counted = 0

    def _describe(self, name: str, number: int) -> Armed:
        info = [row for row in self._connection.rows(f"PRAGMA main.table_xinfo({quote_name(name)})") if row[6] != 1]
        columns = tuple(row[1] for row in info)
        taken = {column.lower() for column in columns}
        listed = self._connection.rows("SELECT wr FROM pragma_table_list WHERE schema='main' AND name=?", (name,))
        has_rowid = not (listed and listed[0][0])
        aliases = ("rowid", "_rowid_", "oid") if has_rowid else ()
        rowid = next((alias for alias in aliases if alias not in taken), None)
        primary = sorted((row[5], place) for place, row in enumerate(info) if row[5] > 0)
        key = () if rowid else tuple(place for _, place in primary) or tuple(range(len(columns)))
        return Armed(name, number, columns, rowid, key, self._connection.own_prefix)

    def _disarm(self, armed: Armed) -> None:
        self._is_rearmed = True
        for operation in (1, 2, 3):
            self._connection.change(f"DROP TRIGGER IF EXISTS temp.{armed.trigger(operation)}")
        self._armed.pop(armed.name.lower(), None)
        self._by_number.pop(armed.number, None)

    def _disarm_all(self) -> None:
        for armed in list(self._armed.values()):
            self._disarm(armed)

    def _arm_wanted(self) -> None:
        for table in self._wanted:
            if table not in self._armed:
                self._arm(table)
        self._adopt_schema()

    def _adopt_schema(self) -> None:
        """Look again at what the user's schema can do, and choose between `recursive_triggers` and diff mode."""
        rows = self._connection.rows("SELECT type, tbl_name, sql FROM main.sqlite_schema WHERE sql IS NOT NULL")
        self._has_user_triggers = any(kind == "trigger" for kind, _, _ in rows)
        self._schema_replaces = any(_REPLACE.search(sql) for _, _, sql in rows)
        with_before = {table for kind, table, sql in rows if kind == "trigger" and _BEFORE.search(sql)}
        self._self_cascading = frozenset(
            armed.name for armed in self._armed.values() if armed.name not in with_before and self._cascades(armed.name)
        )
        self._schema = {armed.name: armed.columns for armed in self._armed.values()}
        if self.is_armed != bool(self._armed):
            self.is_armed = bool(self._armed)
            self._connection.set_capturing(self.is_armed)
        self._set_recursive(self._user_recursive or (self.is_armed and not self._has_user_triggers))
        self._needs_diff = self._has_user_triggers and not self._user_recursive

    def _cascades(self, table: str) -> bool:
        keys = self._connection.rows(f"PRAGMA main.foreign_key_list({quote_name(table)})")
        return any(key[2].lower() == table.lower() and key[5] in _CASCADES for key in keys)

    def _set_recursive(self, is_on: bool) -> None:
        self._connection.change(f"PRAGMA recursive_triggers={'ON' if is_on else 'OFF'}")

    # one transaction

    def begin(self) -> None:
        """Start a transaction's log; BEGIN has been run."""
        self._starts = []
        self._taken = []
        self.committed()

    def begin_plain(self, statement: Statement) -> bool:
        """Start the log of a transaction of one plain write; false when it needs more than that."""
        if self._schema_replaces or statement.can_replace or self._taken:
            return False
        if self._done > _KEPT_LOG_ROWS:
            self._purge()
        self._starts = [self._done]
        return self.is_wanted

    def lets_pass(self, statement: Statement) -> bool:
        """Tell whether a plain statement needs nothing around it; otherwise it must go through `run`."""
        if self._suspended is None:
            last = self._last()
            self.visible = self._connection.total_changes - self._hidden
            if statement.kind is Kind.WRITE:
                if self._schema_replaces or statement.can_replace:
                    return False
                if last == self._done > _KEPT_LOG_ROWS:
                    self._purge()
                    last = 0
            self._starts.append(last)
        return True

    def run(self, statement: Statement, execute: Callable[[], Result]) -> Result:
        """Run one user statement so that its changes are logged; `execute` runs it and returns its result."""
        if self._suspended is not None:
            return execute()
        self._starts.append(self._last())
        self.visible = self._connection.total_changes - self._hidden
        match statement.kind:
            case Kind.READ:
                return execute()
            case Kind.DDL:
                return self._around_ddl(execute)
            case Kind.PRAGMA:
                return self._around_pragma(execute)
            case _:
                return self._write(statement, execute)

    def _write(self, statement: Statement, execute: Callable[[], Result]) -> Result:
        if self._last() == self._done > _KEPT_LOG_ROWS:
            self._purge()
        if self._armed and (self._schema_replaces or statement.can_replace):
            if self._needs_diff:
                return self._diffed(execute)
            if not self._user_recursive and statement.can_update:
                # with recursive_triggers on and a DELETE trigger SQLite checks uniqueness again after an UPDATE has
                # replaced rows, and sometimes refuses a valid UPDATE OR REPLACE
                self._set_recursive(False)
                try:
                    return self._diffed(execute)
                finally:
                    self._set_recursive(True)
        return execute()

    def collect(self, after: int) -> list[RowChange]:
        """Return what the transaction changed, numbered from `after` on; called just before COMMIT, which may fail.

        Raises:
            TooManyChanges: The transaction must be rolled back and run again, suspended.
        """
        if self._taken or self._suspended is not None:
            rows = self._taken + (self._pull() if self._suspended is None else self._end_suspension())
            self._taken = []
            return numbered(rows, after)
        entries = self._entries()
        if len(entries) == 1:
            return self._by_number[entries[0][1]].changes(entries, after)
        if not entries:
            return []
        groups = [(*kind, list(group)) for kind, group in groupby(entries, _KIND)]
        if not self._is_simple(groups):
            return numbered(self._ordered(entries), after)
        changes: list[RowChange] = []
        for table, _, group in groups:
            changes += self._by_number[table].changes(group, after + len(changes))
        return changes

    def committed(self) -> None:
        """Take note that COMMIT has returned: what is there now is what a rollback returns to."""
        self._begun = self._done
        self.visible = self._connection.total_changes - self._hidden
        self._is_rearmed = False

    def overflows(self, error: Exception) -> bool:
        """Tell whether a user's statement failed because it changed more than is told row by row."""
        text = str(error)
        return (
            self.is_armed
            and self._suspended is None
            and (f"{self._connection.own_prefix}full" in text or text == _FULL)
        )

    def suspend(self) -> None:
        """Capture no rows in this transaction, in which nothing has happened, but the names of the written tables."""
        self._suspended = Suspended(self._schema, self._connection.written_tables())
        self._suspended.start()
        self._disarm_all()
        self._set_recursive(self._user_recursive)

    def _end_suspension(self) -> list[LoggedRow]:
        assert self._suspended is not None
        suspended, self._suspended = self._suspended, None
        written = suspended.end()
        self._arm_wanted()
        schema = [notice("SCHEMA", name) for name in self._differing(suspended.schema)]
        return schema + [notice("RESYNC", name) for name in self._schema if name.lower() in written]

    def rollback(self) -> None:
        """Adapt to a rollback that has happened: TEMP objects made or dropped in the transaction are back too."""
        if self._suspended is not None:
            self._suspended.end()
            self._suspended = None
        self._taken = []
        total = self._connection.total_changes
        self._hidden, self._counted_at = total - self.visible, total
        self._done = self._counted = self._begun
        if self._is_rearmed:
            self._clear()
            self._arm_wanted()

    def _clear(self) -> None:
        """Drop every trigger there is."""
        own = self._connection.rows("SELECT type, name FROM temp.sqlite_schema")
        for kind, name in own:
            if kind == "trigger" and name.startswith(self._connection.own_prefix):
                self._connection.change(f"DROP TRIGGER temp.{name}")
        self._drop_log()
        self._armed.clear()
        self._by_number.clear()

    def adopt_foreign_changes(self) -> None:
        """Another connection wrote: tell RESYNC of every armed table and arm anew, for columns may have moved."""
        self._taken += [notice("RESYNC", name) for name in self._schema]
        self._disarm_all()
        self._arm_wanted()

    def _purge(self) -> None:
        """Empty the log, of which everything is read, so that its numbers begin anew."""
        self.hide(self._connection.change(f"DELETE FROM temp.{self._log}"))
        self._done = self._counted = 0

    def _differing(self, before: dict[str, tuple[str, ...]]) -> list[str]:
        return [name for name in {**before, **self._schema} if before.get(name) != self._schema.get(name)]

    def _around_ddl(self, execute: Callable[[], Result]) -> Result:
        self._taken += self._pull()
        before = self._schema
        self._disarm_all()
        try:
            return execute()
        finally:
            if self._connection.in_transaction:
                self._arm_wanted()
                self._taken += [notice("SCHEMA", name) for name in self._differing(before)]

    def _around_pragma(self, execute: Callable[[], Result]) -> Result:
        """Let the user see and set his own `recursive_triggers`, not the one capture needs."""
        self._set_recursive(self._user_recursive)
        try:
            return execute()
        finally:
            self._user_recursive = bool(self._connection.rows("PRAGMA recursive_triggers")[0][0])
            self._adopt_schema()

    def _diffed(self, execute: Callable[[], Result]) -> Result:
        self._taken += self._pull()
        before = {armed.name: image(self._connection, armed) for armed in self._armed.values()}
        try:
            return execute()
        finally:
            if self._connection.in_transaction:
                self._done = self._last()
                for armed in list(self._armed.values()):
                    self._taken += difference(armed, before[armed.name], image(self._connection, armed))

    def _pull(self) -> list[LoggedRow]:
        """Read what is new in the log, in replay order."""
        return self._ordered(self._entries())

    def _entries(self) -> list[tuple[Any, ...]]:
        connection, total = self._connection, self._connection.total_changes
        if not self._width or (total == self._counted_at and self._counted == self._done):
            return []
        if self._width > _NARROW:
            with connection.lifted_limits():
                entries = connection.tagged_rows(self._select, (self._done,))
        else:
            entries = connection.tagged_rows(self._select, (self._done,))
        if entries:
            last = self._done = entries[-1][0]
            self._count(last, total)
            if last >= self._limit:
                raise TooManyChanges
        else:
            self._counted_at = total
        return entries

    def _is_simple(self, groups: Sequence[tuple[int, int, list[tuple[Any, ...]]]]) -> bool:
        """Tell whether no row was changed twice and no key has changed: then the order of the log is right."""
        seen: dict[int, set[Any]] = {}
        for table, operation, entries in groups:
            armed = self._by_number[table]
            if operation == 2 and armed.moves(entries):
                return False
            keys = seen.setdefault(table, set())
            expected = len(keys) + len(entries)
            keys.update(armed.keys(entries))
            if len(keys) != expected:
                return False
        return True

    def _ordered(self, entries: Sequence[tuple[Any, ...]]) -> list[LoggedRow]:
        rows = [self._by_number[entry[1]].logged(entry) for entry in entries]
        return rows if len(rows) < 2 else in_replay_order(rows, self._starts, self._self_cascading)
