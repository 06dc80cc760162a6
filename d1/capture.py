"""Which rows a transaction changed, without polling: TEMP triggers on watched tables log rows into TEMP tables.

The log is drained inside the transaction, just before COMMIT, so SQLite itself undoes it with a failed statement or a
rollback. Triggers and logs are TEMP: nothing is left in the file, and they fire before a user's triggers could
suppress them. A table that nobody watches has no triggers and costs nothing.

Rules that are not obvious:

* REPLACE deletes rows without firing DELETE triggers unless `recursive_triggers` is on. It is switched on while no
  user trigger could notice. Otherwise statements that can REPLACE run in *diff mode*: the watched tables are read
  before and after.
* DDL fails on tables with foreign triggers in the way, so the triggers are dropped around it and set again by name.
* `changes()`, `last_insert_rowid()` and `total_changes()` must look as if nothing was captured: drained rows are
  purged only just before a user's next write, which sets `changes()` anew.

States of a watched table: *wanted* (somebody watches) -> *armed* (it exists and has triggers). A wanted table that is
missing is armed when it appears.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from d1.changes import ChangeType, LoggedRow, Row, in_replay_order, same_row
from d1.sql import Kind, Statement, quote_name

__all__ = ["Capture", "CaptureConnection"]

Result = TypeVar("Result")

DIFF_LIMIT: Final = 20_000
"""Rows of one table above which diff mode announces RESYNC instead of reading it twice."""
_KEPT_LOG_ROWS: Final = 64
_OPERATIONS: Final[dict[int, ChangeType]] = {1: "INSERT", 2: "UPDATE", 3: "DELETE"}
_REPLACE: Final = re.compile(r"\breplace\b", re.I)
_BEFORE: Final = re.compile(r"\bbefore\b", re.I)
_CASCADES: Final = frozenset({"CASCADE", "SET NULL", "SET DEFAULT"})


class CaptureConnection(Protocol):
    """What capture needs of the engine's connection; every statement through it is the engine's own."""

    own_prefix: str
    """Begins the names of TEMP objects; contains a random part that user SQL cannot guess."""

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows; TEXT that is not UTF-8 is decoded with replacement characters."""
        ...

    def tagged(self, sql: str) -> str:
        """Return the text under which `tagged_rows` runs a statement."""
        ...

    def tagged_rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement that `tagged` returned; otherwise like `rows`."""
        ...

    def change(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement and return the number of rows it changed."""
        ...

    def lifted_limits(self) -> AbstractContextManager[None]:
        """Lift the limits of user SQL: a log table has twice the columns of its table."""
        ...

    def set_capturing(self, is_on: bool) -> None:
        """Leave room in the limits for what the triggers add."""
        ...

    def define(self, name: str, arguments: int, function: Callable[..., Any]) -> None:
        """Define an SQL function."""
        ...

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        ...

    @property
    def total_changes(self) -> int:
        """Rows changed since the connection was opened, the engine's own included."""
        ...


@dataclass(frozen=True, slots=True)
class _Armed:
    """A table with triggers; `key` are indexes into the columns for tables without a rowid."""

    name: str
    number: int
    columns: tuple[str, ...]
    rowid: str | None
    key: tuple[int, ...]
    log: str
    select_log: str
    new_from: int
    """Where the new row begins in a log row; the old one begins at 2."""
    is_wide: bool


class Capture:
    """The change log of one connection. Not thread-safe: whoever runs the transaction calls it."""

    def __init__(self, connection: CaptureConnection) -> None:
        self._connection = connection
        self._wanted: dict[str, int] = {}
        self._armed: dict[str, _Armed] = {}
        self._numbers = 0
        self._count = 0
        """Log rows written since the connection was opened: the global order of changes."""
        self._done = 0
        self._hidden = 0
        self._unpurged = 0
        self._touched: set[int] = set()
        self._dirty: set[int] = set()
        self._starts: list[int] = []
        self._taken: list[LoggedRow] = []
        self._has_counter = False
        self._user_recursive = False
        self._schema: dict[str, tuple[str, ...]] = {}
        self._has_user_triggers = self._schema_replaces = self._needs_diff = False
        self._self_cascading: frozenset[str] = frozenset()
        self.is_armed = False
        """Whether any table has triggers."""
        self.is_wanted = False
        """Whether anybody watches anything: then transactions must go through `begin`, `run` and `collect`."""
        connection.define(f"{connection.own_prefix}next", 1, self._next)
        connection.define("total_changes", 0, self._total_changes)

    def _next(self, number: int) -> int:
        self._touched.add(number)
        self._count += 1
        return self._count

    def _total_changes(self) -> int:
        return self._connection.total_changes - self._count - self._hidden

    def hide(self, count: int) -> None:
        """Leave rows that the engine wrote for itself out of what the user sees in `total_changes()`."""
        self._hidden += count

    def restore_changes(self, count: int) -> None:
        """Let `changes()` say `count` again after statements of the engine's own; `total_changes()` is not touched."""
        counter = f"{self._connection.own_prefix}n"
        if not self._has_counter:  # WITHOUT ROWID: last_insert_rowid() stays as it is
            self._connection.change(f"CREATE TEMP TABLE IF NOT EXISTS {counter}(x INTEGER PRIMARY KEY) WITHOUT ROWID")
            self._has_counter = True
        self._hidden += self._connection.change(
            f"INSERT OR IGNORE INTO temp.{counter} WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c"
            " WHERE x<?) SELECT x FROM c",
            (count,),
        )
        self._hidden += self._connection.change(f"UPDATE temp.{counter} SET x=x WHERE x<=?", (count,))

    @property
    def own_changes(self) -> int:
        """How many of the connection's `total_changes` are log rows."""
        return self._count + self._hidden

    # watching

    def watch(self, table: str) -> str | None:
        """Count one more watcher and arm the table; return its name as stored, `None` when it does not exist (yet)."""
        key = table.lower()
        self._wanted[key] = self._wanted.get(key, 0) + 1
        self.is_wanted = True
        if key not in self._armed:
            self._arm(table)
            self._adopt_schema()
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
        armed = self._armed.pop(key, None)
        if armed is not None:
            self._disarm(armed)
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
        armed = self._describe(name, self._numbers)
        with self._connection.lifted_limits():
            for statement in _arming(armed, self._connection.own_prefix):
                self._connection.change(statement)
        self._armed[name.lower()] = armed

    def _describe(self, name: str, number: int) -> _Armed:
        info = [row for row in self._connection.rows(f"PRAGMA main.table_xinfo({quote_name(name)})") if row[6] != 1]
        columns = tuple(row[1] for row in info)
        taken = {column.lower() for column in columns}
        listed = self._connection.rows("SELECT wr FROM pragma_table_list WHERE schema='main' AND name=?", (name,))
        has_rowid = not (listed and listed[0][0])
        aliases = ("rowid", "_rowid_", "oid") if has_rowid else ()
        rowid = next((alias for alias in aliases if alias not in taken), None)
        primary = sorted((row[5], place) for place, row in enumerate(info) if row[5] > 0)
        key = () if rowid else tuple(place for _, place in primary) or tuple(range(len(columns)))
        log = f"{self._connection.own_prefix}{number}"
        select = self._connection.tagged(f"SELECT * FROM temp.{log} WHERE seq>?")
        new_from = 2 + len(columns) + (1 if rowid else 0)
        return _Armed(name, number, columns, rowid, key, log, select, new_from, is_wide=len(columns) > 45)

    def _disarm(self, armed: _Armed) -> None:
        for operation in "IUD":
            self._connection.change(f"DROP TRIGGER IF EXISTS temp.{armed.log}_{operation}")
        self._connection.change(f"DROP TABLE IF EXISTS temp.{armed.log}")

    def _disarm_all(self) -> None:
        for armed in self._armed.values():
            self._disarm(armed)
        self._armed.clear()

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
        self._touched.clear()

    def begin_plain(self, statement: Statement) -> bool:
        """Start the log of a transaction of one plain write; false when it needs more than that."""
        if self._schema_replaces or statement.can_replace or self._taken:
            return False
        if self._unpurged > _KEPT_LOG_ROWS:
            self._purge()
        self._starts = [self._count]
        self._touched.clear()
        return self.is_wanted

    def lets_pass(self, statement: Statement) -> bool:
        """Tell whether a plain statement needs nothing around it; otherwise it must go through `run`."""
        if statement.kind is Kind.WRITE:
            if self._schema_replaces or statement.can_replace:
                return False
            if self._unpurged > _KEPT_LOG_ROWS:
                self._purge()
        self._starts.append(self._count)
        return True

    def run(self, statement: Statement, execute: Callable[[], Result]) -> Result:
        """Run one user statement so that its changes are logged; `execute` runs it and returns its result."""
        self._starts.append(self._count)
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
        if self._unpurged > _KEPT_LOG_ROWS:
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

    def collect(self) -> list[LoggedRow]:
        """Return what the transaction changed so far; called just before COMMIT, which may still fail."""
        if not self._taken:
            return self._pull()
        rows, self._taken = self._taken + self._pull(), []
        return rows

    def rollback(self) -> None:
        """Adapt to a rollback that has happened: TEMP objects made or dropped in the transaction are back too."""
        self._taken = []
        self._done = self._count
        self._touched.clear()
        self._dirty.update(armed.number for armed in self._armed.values())
        self._unpurged = _KEPT_LOG_ROWS + 1
        prefix = self._connection.own_prefix
        existing = {
            row[0]
            for row in self._connection.rows("SELECT name FROM temp.sqlite_schema WHERE type='table'")
            if row[0].startswith(prefix)
        } - {f"{prefix}n"}
        if existing != {armed.log for armed in self._armed.values()}:
            for log in existing:
                for operation in "IUD":
                    self._connection.change(f"DROP TRIGGER IF EXISTS temp.{log}_{operation}")
                self._connection.change(f"DROP TABLE temp.{log}")
            self._armed.clear()
            self._arm_wanted()

    def adopt_foreign_changes(self) -> list[LoggedRow]:
        """Another connection wrote: announce RESYNC for every armed table and arm anew, for columns may have moved."""
        notices = [_notice("RESYNC", name) for name in self._schema]
        self._disarm_all()
        self._arm_wanted()
        return notices

    def _purge(self) -> None:
        for armed in self._armed.values():
            if armed.number in self._dirty:
                self._hidden += self._connection.change(f"DELETE FROM temp.{armed.log} WHERE seq<=?", (self._done,))
        self._dirty.clear()
        self._unpurged = 0

    def _around_ddl(self, execute: Callable[[], Result]) -> Result:
        self._taken += self._pull()
        before = self._schema
        self._disarm_all()
        try:
            return execute()
        finally:
            if self._connection.in_transaction:
                self._arm_wanted()
                changed = [name for name in {**before, **self._schema} if before.get(name) != self._schema.get(name)]
                self._taken += [_notice("SCHEMA", name) for name in changed]

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
        before = {armed.name: self._image(armed) for armed in self._armed.values()}
        try:
            return execute()
        finally:
            if self._connection.in_transaction:
                self._skip_log()
                for armed in list(self._armed.values()):
                    self._taken += _difference(armed, before[armed.name], self._image(armed))

    def _skip_log(self) -> None:
        self._done = self._count
        self._dirty |= self._touched
        self._touched.clear()
        self._unpurged = _KEPT_LOG_ROWS + 1

    def _image(self, armed: _Armed) -> dict[Row, Row] | None:
        table = f"main.{quote_name(armed.name)}"
        ((count,),) = self._connection.rows(f"SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT {DIFF_LIMIT + 1})")
        if count > DIFF_LIMIT:
            return None
        rowid = [armed.rowid] if armed.rowid else []
        columns = ",".join([*rowid, *(quote_name(column) for column in armed.columns)])
        with self._connection.lifted_limits():
            return dict(_split(armed, row) for row in self._connection.rows(f"SELECT {columns} FROM {table}"))

    def _pull(self) -> list[LoggedRow]:
        """Move the log into Python, in replay order."""
        if not self._touched:
            return []
        touched, self._touched = self._touched, set()
        pulled: list[LoggedRow] = []
        for armed in self._armed.values():
            if armed.number in touched:
                pulled += self._log_rows(armed)
        self._dirty |= touched
        self._unpurged += len(pulled)
        self._done = self._count
        if len(pulled) == 1:
            return pulled
        pulled.sort(key=_by_seq)
        return in_replay_order(pulled, self._starts, self._self_cascading)

    def _log_rows(self, armed: _Armed) -> list[LoggedRow]:
        if armed.is_wide:
            with self._connection.lifted_limits():
                logged = self._connection.tagged_rows(armed.select_log, (self._done,))
        else:
            logged = self._connection.tagged_rows(armed.select_log, (self._done,))
        name, columns, new_from = armed.name, armed.columns, armed.new_from
        rows: list[LoggedRow] = []
        for entry in logged:
            operation = entry[1]
            old_key = old = new_key = new = None
            if operation > 1:
                old_key, old = _split(armed, entry[2:new_from])
            if operation < 3:
                new_key, new = _split(armed, entry[new_from:])
            rows.append(LoggedRow(_OPERATIONS[operation], name, columns, old, new, old_key, new_key, entry[0]))
        return rows


def _by_seq(row: LoggedRow) -> int:
    return row.seq


def _notice(kind: ChangeType, table: str) -> LoggedRow:
    return LoggedRow(kind, table, (), None, None, None, None)


def _split(armed: _Armed, values: Row) -> tuple[Row, Row]:
    """Separate a logged row into its key and its column values."""
    if armed.rowid:
        return values[:1], values[1:]
    return tuple([values[place] for place in armed.key]), values


def _difference(armed: _Armed, before: dict[Row, Row] | None, after: dict[Row, Row] | None) -> list[LoggedRow]:
    if before is None or after is None:
        return [_notice("RESYNC", armed.name)]
    name, columns = armed.name, armed.columns
    rows = [LoggedRow("DELETE", name, columns, row, None, key, None) for key, row in before.items() if key not in after]
    for key, row in after.items():
        old = before.get(key)
        if old is None:
            rows.append(LoggedRow("INSERT", name, columns, None, row, None, key))
        elif not same_row(old, row):
            rows.append(LoggedRow("UPDATE", name, columns, old, row, key, key))
    return rows


def _arming(armed: _Armed, own_prefix: str) -> list[str]:
    """Return the statements that create the log and its three triggers.

    The log's columns have no type, so that values keep their storage class.
    """
    rowid = [armed.rowid] if armed.rowid else []
    old = [f"OLD.{name}" for name in rowid] + [f"OLD.{quote_name(name)}" for name in armed.columns]
    new = [f"NEW.{name}" for name in rowid] + [f"NEW.{quote_name(name)}" for name in armed.columns]
    old_columns = ",".join(f"o{place}" for place in range(len(old)))
    new_columns = ",".join(f"n{place}" for place in range(len(new)))
    log, call = armed.log, f"{own_prefix}next({armed.number})"
    bodies = {
        "INSERT": f"INSERT INTO {log}(seq,op,{new_columns}) VALUES({call},1,{','.join(new)})",
        "UPDATE": f"INSERT INTO {log} VALUES({call},2,{','.join(old)},{','.join(new)})",
        "DELETE": f"INSERT INTO {log}(seq,op,{old_columns}) VALUES({call},3,{','.join(old)})",
    }
    table = f"main.{quote_name(armed.name)}"
    return [
        f"CREATE TEMP TABLE {log}(seq INTEGER PRIMARY KEY, op, {old_columns}, {new_columns})",
        *(
            f"CREATE TEMP TRIGGER {log}_{operation[0]} AFTER {operation} ON {table} BEGIN {body}; END"
            for operation, body in bodies.items()
        ),
    ]
