"""A captured table: the triggers that log its changed rows, and how it finds them in the log again.

All captured tables log into one TEMP table with as many columns as the widest of them needs. A log row begins with its
number in the global order of changes, the table and the operation; the old row and the new one follow, without gaps.
The columns have no type, so that values keep their storage class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from d1.changes import ChangeType, LoggedRow, Row, RowChange
from d1.sql import quote_name

__all__ = ["OPERATIONS", "Armed", "create_log"]

OPERATIONS: Final[tuple[ChangeType, ...]] = ("INSERT", "INSERT", "UPDATE", "DELETE")
"""By the number that a log row carries, from 1."""
_HEAD: Final = 3


@dataclass(frozen=True, slots=True)
class Armed:
    """A table with triggers; `key` are indexes into the columns for tables without a rowid."""

    name: str
    number: int
    columns: tuple[str, ...]
    rowid: str | None
    key: tuple[int, ...]
    prefix: str

    @property
    def width(self) -> int:
        """How many values of a log row make up one row of the table."""
        return len(self.columns) + (self.rowid is not None)

    @property
    def key_places(self) -> tuple[int, ...]:
        """Where the key of the first row in a log row is."""
        return (_HEAD,) if self.rowid else tuple([_HEAD + place for place in self.key])

    def triggers(self) -> list[str]:
        """Return the statements that create the triggers."""
        rowid = [self.rowid] if self.rowid else []
        old = [f"OLD.{name}" for name in rowid] + [f"OLD.{quote_name(name)}" for name in self.columns]
        new = [f"NEW.{name}" for name in rowid] + [f"NEW.{quote_name(name)}" for name in self.columns]
        statements: list[str] = []
        for number, values in ((1, new), (2, old + new), (3, old)):
            columns = ",".join(["t", "op", *(f"c{place}" for place in range(len(values)))])
            body = f"INSERT INTO {self.prefix}log({columns}) VALUES({self.number},{number},{','.join(values)})"
            head = f"CREATE TEMP TRIGGER {self.trigger(number)} AFTER {OPERATIONS[number]}"
            statements.append(f"{head} ON main.{quote_name(self.name)} BEGIN {body}; END")
        return statements

    def trigger(self, operation: int) -> str:
        """Return the name of a trigger."""
        return f"{self.prefix}{self.number}_{OPERATIONS[operation][0]}"

    def split(self, values: Row) -> tuple[Row, Row]:
        """Separate a logged row into its key and its column values."""
        if self.rowid:
            return values[:1], values[1:]
        return tuple([values[place] for place in self.key]), values

    def logged(self, entry: tuple[Any, ...]) -> LoggedRow:
        """Return what a log row says."""
        operation, middle = entry[2], _HEAD + self.width
        first = self.split(entry[_HEAD:middle])
        old_key = old = new_key = new = None
        if operation == 1:
            new_key, new = first
        else:
            old_key, old = first
            if operation == 2:
                new_key, new = self.split(entry[middle : middle + self.width])
        return LoggedRow(OPERATIONS[operation], self.name, self.columns, old, new, old_key, new_key, entry[0])

    def keys(self, entries: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return the key of the first row of each entry."""
        if self.rowid:
            return [entry[_HEAD] for entry in entries]
        places = self.key_places
        return [tuple([entry[place] for place in places]) for entry in entries]

    def moves(self, entries: Sequence[tuple[Any, ...]]) -> bool:
        """Tell whether one of some UPDATEs changed a key."""
        shifted = [place + self.width for place in self.key_places]
        return any(
            [entry[place] for entry in entries] != [entry[new] for entry in entries]
            for place, new in zip(self.key_places, shifted, strict=True)
        )

    def changes(self, entries: Sequence[tuple[Any, ...]], after: int) -> list[RowChange]:
        """Return what consecutive entries of one operation say; their offsets follow `after`."""
        name, columns = self.name, self.columns
        operation: int = entries[0][2]
        kind = OPERATIONS[operation]
        skip = 1 if self.rowid else 0
        start, middle = _HEAD + skip, _HEAD + self.width
        new_start, end = middle + skip, middle + self.width
        numbered = enumerate(entries, after + 1)
        # `zip(strict=True)` would cost more than all the rest: slices have the length of the columns
        if operation == 2:
            return [
                RowChange(
                    seq,
                    kind,
                    name,
                    dict(zip(columns, entry[new_start:end])),  # noqa: B905
                    dict(zip(columns, entry[start:middle])),  # noqa: B905
                )
                for seq, entry in numbered
            ]
        if operation == 1:
            return [
                RowChange(seq, kind, name, dict(zip(columns, entry[start:middle])), None)  # noqa: B905
                for seq, entry in numbered
            ]
        return [
            RowChange(seq, kind, name, None, dict(zip(columns, entry[start:middle])))  # noqa: B905
            for seq, entry in numbered
        ]


def create_log(prefix: str, width: int, most_rows: int) -> str:
    """Return the statement that creates the log for tables of at most `width` values a row.

    The first row beyond `most_rows` violates a constraint whose name tells it from a user's.
    """
    columns = ", ".join([f"c{place}" for place in range(2 * width)])
    limit = f"CONSTRAINT {prefix}full CHECK(seq<={most_rows})"
    return f"CREATE TEMP TABLE {prefix}log(seq INTEGER PRIMARY KEY {limit}, t, op, {columns})"
