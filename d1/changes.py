"""What a committed transaction did, row by row. Pure values; also the order in which logged rows can be replayed."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = [
    "ChangeType",
    "Commit",
    "Gap",
    "GapReason",
    "LoggedRow",
    "Replay",
    "RowChange",
    "SqlValue",
    "in_replay_order",
    "numbered",
    "same_row",
]

SqlValue = None | int | float | str | bytes
"""A value as SQLite stores it."""

ChangeType = Literal["INSERT", "UPDATE", "DELETE", "RESYNC", "SCHEMA"]

Row = tuple[SqlValue, ...]


class RowChange(NamedTuple):
    """One changed row, or a notice about a whole table.

    `RESYNC`: rows of `table` changed in a way that is not told row by row (another process wrote, or too many rows);
    `SCHEMA`: the table was created, altered or dropped. Both carry neither `data` nor `old`.
    """

    seq: int
    """Offset in the database's stream of changes: grows by one with every change, also from commit to commit, and over
    restarts as long as the epoch is the same."""
    type: ChangeType
    table: str
    data: dict[str, SqlValue] | None
    """Column -> value after the change; `None` for DELETE."""
    old: dict[str, SqlValue] | None
    """Column -> value before the change; `None` for INSERT."""


class Commit(NamedTuple):
    """The captured changes of one committed transaction, in the order in which they can be replayed."""

    txn: int
    """Counts the commits that carried changes, from 1; over restarts too when they are logged."""
    database: str
    changes: tuple[RowChange, ...]
    at_ms: int
    """Wall clock just before COMMIT."""


GapReason = Literal["epoch", "ahead", "dropped", "unwatched"]
"""Why changes cannot be told again. `epoch`: the position is of another history, for example of a file that was
replaced; `ahead`: of this history, but later than its end; `dropped`: they were logged and are too old or too many;
`unwatched`: nobody watched the table at that time."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Changes with offsets above `after`, up to and including `until`, may be missing; later ones are complete."""

    after: int
    until: int
    reason: GapReason


@dataclass(frozen=True, slots=True)
class Replay:
    """What happened to one table after a position."""

    epoch: str
    offset: int
    """The replay is complete up to here: of what is told live, only offsets above it are new."""
    commits: tuple[Commit, ...]
    """The changes of that table after the gap, with their transactions, in order."""
    gap: Gap | None
    """What could not be told again; `None`: nothing is missing and nothing is there twice."""


@dataclass(slots=True)
class LoggedRow:
    """One entry of the capture log: a change with the row's key, before it is put in order and named by columns."""

    type: ChangeType
    table: str
    columns: tuple[str, ...]
    old: Row | None
    new: Row | None
    old_key: Row | None
    new_key: Row | None
    seq: int = 0
    statement: int = 0
    """Which statement of the transaction caused it: only rows of one statement are ever reordered."""


def same_row(a: Row | None, b: Row | None) -> bool:
    """Tell whether two rows are equal including storage classes: 1 and 1.0 differ."""
    if a is None or b is None or len(a) != len(b):
        return a is b
    return all(type(x) is type(y) and x == y for x, y in zip(a, b, strict=True))


def in_replay_order(
    rows: Sequence[LoggedRow], statement_starts: Sequence[int], self_cascading: Collection[str]
) -> list[LoggedRow]:
    """Order logged rows so that applying them one by one on the image before gives the image after.

    SQLite logs a nested change before the outer one that caused it. Two cases cannot be replayed as logged: a
    foreign key of a table to itself that cascades an update (the outer change must come first), and a user's BEFORE
    trigger that changed the same row (the outer change's old row is stale).

    Args:
        rows: Sorted by `seq`.
        statement_starts: The capture counter at the start of each statement, ascending.
        self_cascading: Tables with such a foreign key and without BEFORE triggers.
    """
    ordered: list[LoggedRow] = []
    current: dict[tuple[str, Row], Row | None] = {}
    for row in rows:
        row.statement = bisect_left(statement_starts, row.seq)
        if row.old_key is not None and _put_before_nested(row, ordered, current, self_cascading):
            continue
        if row.new_key is not None:
            current[(row.table, row.new_key)] = row.new
        ordered.append(row)
    return ordered


def _put_before_nested(
    row: LoggedRow,
    ordered: list[LoggedRow],
    current: dict[tuple[str, Row], Row | None],
    self_cascading: Collection[str],
) -> bool:
    """Insert an outer change before the nested one it caused; else refresh its old row. True when it was inserted."""
    assert row.old_key is not None
    key = (row.table, row.old_key)
    moves = row.new_key is not None and row.old_key != row.new_key
    if moves or (row.new_key is not None and key in current and row.table in self_cascading):
        place = _nested_place(row, ordered)
        if place is not None:
            ordered.insert(place, row)
            if moves:
                current[key] = None
            return True
    latest = current.get(key)
    if latest is not None and not same_row(latest, row.old):
        row.old = latest
    current[key] = None
    return False


def _nested_place(row: LoggedRow, ordered: list[LoggedRow]) -> int | None:
    place: int | None = None
    for index in range(len(ordered) - 1, -1, -1):
        earlier = ordered[index]
        if earlier.statement != row.statement:
            break
        if earlier.table != row.table or earlier.old_key != row.new_key:
            continue
        if earlier.new_key != row.new_key:
            break  # the key was freed in between: what came before it is another row
        if same_row(earlier.old, row.new):
            place = index
    return place


def numbered(rows: Sequence[LoggedRow], after: int) -> list[RowChange]:
    """Return what subscribers are told of rows in replay order; their offsets follow `after`."""
    changes: list[RowChange] = []
    for seq, row in enumerate(rows, after + 1):
        data = None if row.new is None else dict(zip(row.columns, row.new, strict=True))
        old = None if row.old is None else dict(zip(row.columns, row.old, strict=True))
        changes.append(RowChange(seq, row.type, row.table, data, old))
    return changes
