"""The durable log of captured changes: rows of an internal table, written in the transaction that made the changes.

A subscriber who was away names his last position and is told what came after it, or exactly what is lost. Bounded by
rows, bytes and age: the oldest entries go first, and for every table it is kept up to where they are gone.

States of a table in the log: *watched* (somebody follows it) -> *left* (nobody does, but somebody may come back: its
changes go on being logged for the grace time) -> forgotten. Over a restart the first two stay captured.
"""

from __future__ import annotations

import json
import secrets
from binascii import a2b_base64, b2a_base64
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, Protocol, cast

from d1.changes import ChangeType, Commit, Gap, GapReason, Replay, RowChange, SqlValue

__all__ = ["ChangeLog", "LogBounds", "LogConnection", "replay"]

# DIFFERS(change-log): production has no such tables.
_CHANGES: Final = "_cf_changes"
_TABLES: Final = "_cf_change_tables"
_STATE: Final = "_cf_change_state"
# WITHOUT ROWID: writing to them leaves the user's last_insert_rowid() as it was
_SCHEMA: Final = (
    f"CREATE TABLE IF NOT EXISTS {_STATE}(key TEXT PRIMARY KEY, value) WITHOUT ROWID",
    f"CREATE TABLE IF NOT EXISTS {_TABLES}(name TEXT PRIMARY KEY COLLATE NOCASE, lost INTEGER NOT NULL,"
    " why TEXT NOT NULL, left_ms INTEGER) WITHOUT ROWID",
    f"CREATE TABLE IF NOT EXISTS {_CHANGES}(seq INTEGER PRIMARY KEY, txn INTEGER NOT NULL, at INTEGER NOT NULL,"
    ' "table" TEXT NOT NULL, type TEXT NOT NULL, data TEXT, old TEXT) WITHOUT ROWID',
)
_ENTRY_BYTES: Final = 40
_MARK_ROWS: Final = 256
_LARGE_BYTES: Final = 500_000
_SLACK: Final = 1.1
"""How far a bound is overstepped before the log is cut: cutting costs more than writing."""
_PAGE_ROWS: Final = 250
_BYTES_KEY: Final = "$bytes"


class LogConnection(Protocol):
    """What the log needs of the engine's connection; every statement through it is the engine's own."""

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        ...

    def tagged(self, sql: str) -> str:
        """Return the text under which `insert_many` runs a statement."""
        ...

    def insert_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a tagged statement for every row."""
        ...

    def lifted_limits(self) -> AbstractContextManager[None]:
        """Lift the limits of user SQL: a row as JSON is longer than the row."""
        ...


@dataclass(frozen=True, slots=True)
class LogBounds:
    """How much is kept, and for how long."""

    rows: int = 10_000
    bytes: int = 16 * 1024 * 1024
    age_s: float = 3_600
    grace_s: float = 120
    """How long a table that nobody follows any more goes on being captured."""


@dataclass(slots=True)
class _Mark:
    """Some consecutive entries."""

    last: int
    rows: int
    bytes: int
    at_ms: int


class ChangeLog:
    """The log of one database. Not thread-safe: whoever runs the transaction calls it."""

    def __init__(self, connection: LogConnection, bounds: LogBounds) -> None:
        self._connection = connection
        self.bounds = bounds
        self.epoch = ""
        self.offset = self.txn = 0
        """Position of the latest entry."""
        self._marks: deque[_Mark] = deque()
        self._rows = self._bytes = 0
        self._mark_rows = max(1, min(_MARK_ROWS, bounds.rows // 20))
        self._insert = connection.tagged(f"INSERT INTO {_CHANGES} VALUES(?,?,?,?,?,?,?)")

    # outside a transaction, or in one that has written nothing to the log

    def load(self) -> bool:
        """Take over what the file holds; false when it has no log."""
        rows = self._connection.rows
        found = rows("SELECT count(*) FROM main.sqlite_schema WHERE name IN (?,?,?)", (_CHANGES, _TABLES, _STATE))
        if found[0][0] != 3:
            return False
        state = dict(cast("list[tuple[str, Any]]", rows(f"SELECT key, value FROM {_STATE}")))
        self.epoch = str(state.get("epoch", ""))
        self.offset, self.txn = int(state.get("offset", 0)), int(state.get("txn", 0))
        self._marks.clear()
        self._rows = self._bytes = 0
        sizes = "coalesce(length(data),0)+coalesce(length(old),0)"
        for seq, txn, at_ms, size in rows(f"SELECT seq, txn, at, {sizes} FROM {_CHANGES} ORDER BY seq"):
            self._mark(seq, 1, size + _ENTRY_BYTES, at_ms)
            self.offset, self.txn = seq, txn
        return bool(self.epoch)

    # inside a transaction

    def create(self, offset: int) -> None:
        """Begin a new history at `offset`: whatever position somebody has is of another one."""
        for statement in _SCHEMA:
            self._connection.rows(statement)
        self.epoch, self.offset = secrets.token_hex(8), max(self.offset, offset)
        for key, value in (("epoch", self.epoch), ("offset", self.offset), ("txn", self.txn)):
            self._connection.rows(f"INSERT OR REPLACE INTO {_STATE} VALUES(?,?)", (key, value))
        self._connection.rows(f"DELETE FROM {_CHANGES}")
        self._connection.rows(f"UPDATE {_TABLES} SET lost=?, why='epoch'", (self.offset,))
        self._marks.clear()
        self._rows = self._bytes = 0

    def write(self, commit: Commit) -> None:
        """Write the changes of the open transaction; they count from COMMIT on, after which call `committed`."""
        changes, at_ms = commit.changes, commit.at_ms
        bounds = self.bounds
        if self._rows > bounds.rows * _SLACK or self._bytes > bounds.bytes * _SLACK or self._is_old(at_ms):
            self._cut(at_ms)
        if len(changes) > bounds.rows:
            self._skip(changes[: -bounds.rows])
            changes = changes[-bounds.rows :]
        txn = commit.txn
        entries = [(row.seq, txn, at_ms, row.table, row.type, _text(row.data), _text(row.old)) for row in changes]
        sizes = [_ENTRY_BYTES + len(entry[5] or "") + len(entry[6] or "") for entry in entries]
        if max(sizes) < _LARGE_BYTES:
            self._connection.insert_many(self._insert, entries)
        else:
            with self._connection.lifted_limits():
                self._connection.insert_many(self._insert, entries)
        for place in range(0, len(entries), self._mark_rows):
            part = sizes[place : place + self._mark_rows]
            self._mark(entries[place + len(part) - 1][0], len(part), sum(part), at_ms)

    def committed(self, commit: Commit) -> None:
        """Take note that COMMIT has returned."""
        self.offset, self.txn = commit.changes[-1].seq, commit.txn

    def follow(self, table: str) -> None:
        """Take note that somebody follows a table, whose changes are captured from now on if they were not before."""
        self._connection.rows(
            f"INSERT INTO {_TABLES} VALUES(?,?,'unwatched',NULL) ON CONFLICT(name) DO UPDATE SET left_ms=NULL",
            (table, self.offset),
        )

    def leave(self, table: str, now_ms: int) -> None:
        """Take note that nobody follows a table any more."""
        self._connection.rows(f"UPDATE {_TABLES} SET left_ms=? WHERE name=?", (now_ms, table))

    def forget(self, table: str) -> None:
        """Take note that a table is not captured any more."""
        self._connection.rows(f"DELETE FROM {_TABLES} WHERE name=?", (table,))

    def tables(self, now_ms: int) -> list[str]:
        """Return the tables that are watched, or were until a moment ago; forget the others."""
        since = now_ms - int(self.bounds.grace_s * 1000)
        self._connection.rows(f"DELETE FROM {_TABLES} WHERE left_ms<?", (since,))
        return [name for (name,) in self._connection.rows(f"SELECT name FROM {_TABLES} ORDER BY name")]

    def _is_old(self, now_ms: int) -> bool:
        return bool(self._marks) and now_ms - self._marks[0].at_ms > self.bounds.age_s * 1000 * _SLACK

    def _cut(self, now_ms: int) -> None:
        """Remove the oldest entries until the bounds hold."""
        bounds, last = self.bounds, 0
        oldest = now_ms - bounds.age_s * 1000
        while self._marks and (self._rows > bounds.rows or self._bytes > bounds.bytes or self._marks[0].at_ms < oldest):
            mark = self._marks.popleft()
            self._rows -= mark.rows
            self._bytes -= mark.bytes
            last = mark.last
        entries = f'SELECT max(seq) FROM {_CHANGES} WHERE seq<=? AND "table"=name COLLATE NOCASE'
        self._connection.rows(
            f"UPDATE {_TABLES} SET lost=coalesce(max(lost,({entries})),lost), why='dropped' WHERE ({entries})>lost",
            (last, last),
        )
        self._connection.rows(f"DELETE FROM {_CHANGES} WHERE seq<=?", (last,))
        for key, value in (("offset", self.offset), ("txn", self.txn)):  # all entries may be gone
            self._connection.rows(f"UPDATE {_STATE} SET value=? WHERE key=?", (value, key))

    def _skip(self, changes: Sequence[RowChange]) -> None:
        """Do not even write what would be cut at once."""
        lost = {change.table: change.seq for change in changes}
        for table, seq in lost.items():
            self._connection.rows(f"UPDATE {_TABLES} SET lost=?, why='dropped' WHERE name=?", (seq, table))

    def _mark(self, last: int, rows: int, size: int, at_ms: int) -> None:
        self._rows += rows
        self._bytes += size
        if self._marks:
            mark = self._marks[-1]
            if mark.rows + rows <= self._mark_rows and mark.at_ms == at_ms:
                mark.last, mark.rows, mark.bytes = last, mark.rows + rows, mark.bytes + size
                return
        self._marks.append(_Mark(last, rows, size, at_ms))


def replay(
    rows: Callable[[str, Sequence[Any]], list[tuple[Any, ...]]], database: str, epoch: str, offset: int, table: str
) -> Iterator[Replay | None]:
    """Read what happened to a table after a position: some `None`, between which others may run, then the answer.

    Args:
        rows: Runs a SELECT on a connection that sees what is committed.
        database: Goes into every `Commit`.
        epoch: Of the position.
        offset: Of the position.
        table: Its name, in any case.
    """
    now, latest = _position(rows)
    gap: Gap | None = None
    if epoch != now:
        gap = Gap(0, latest, "epoch")
    elif offset > latest:
        gap = Gap(offset, offset, "ahead")
    after = latest if gap else offset
    found: list[tuple[Any, ...]] = []
    select = (
        f'SELECT seq, txn, at, "table", type, data, old FROM {_CHANGES} WHERE seq>? AND seq<=?'
        f' AND "table"=? COLLATE NOCASE ORDER BY seq LIMIT {_PAGE_ROWS}'
    )
    while True:
        page = rows(select, (after, latest, table)) if after < latest else []
        lost = rows(f"SELECT lost, why FROM {_TABLES} WHERE name=?", (table,))
        until, why = lost[0] if lost else (latest, "unwatched")
        if until > after:  # entries that were to come are gone, or were never there
            gap, found, after = Gap(offset, until, cast(GapReason, why)), [], until
            continue
        found += page
        if len(page) < _PAGE_ROWS:
            yield Replay(now, latest, _commits(database, found), gap)
            return
        after = page[-1][0]
        yield None


def _position(rows: Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]) -> tuple[str, int]:
    ((epoch, noted, logged),) = rows(
        f"SELECT (SELECT value FROM {_STATE} WHERE key='epoch'), (SELECT value FROM {_STATE} WHERE key='offset'),"
        f" (SELECT max(seq) FROM {_CHANGES})",
        (),
    )
    return epoch, max(noted or 0, logged or 0)


def _commits(database: str, entries: Iterable[tuple[Any, ...]]) -> tuple[Commit, ...]:
    commits: list[Commit] = []
    for txn, group in groupby(entries, key=itemgetter(1)):
        rows = list(group)
        changes = tuple(RowChange(row[0], cast(ChangeType, row[4]), row[3], _row(row[5]), _row(row[6])) for row in rows)
        commits.append(Commit(txn, database, changes, rows[0][2]))
    return tuple(commits)


def _tagged_bytes(value: Any) -> dict[str, str]:
    assert isinstance(value, bytes)
    return {_BYTES_KEY: b2a_base64(value, newline=False).decode()}


_encode = json.JSONEncoder(
    separators=(",", ":"), ensure_ascii=False, check_circular=False, default=_tagged_bytes
).encode


def _text(row: dict[str, SqlValue] | None) -> str | None:
    return None if row is None else _encode(row)


def _row(text: str | None) -> dict[str, SqlValue] | None:
    if text is None:
        return None
    row: dict[str, Any] = json.loads(text)
    if _BYTES_KEY in text:
        for name, value in row.items():
            if isinstance(value, dict):
                row[name] = a2b_base64(cast("dict[str, str]", value)[_BYTES_KEY])
    return row
