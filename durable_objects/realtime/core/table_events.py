"""From a committed row change to the rest of a `db_change` frame.

JSON has fewer values than SQLite. Chosen here: a BLOB is a list of its bytes as integers (as D1's own JSON shows it);
+-Infinity is null and 5.0 is 5 (as JSON.stringify writes them); integers keep every digit, also beyond 2^53, where
JavaScript rounds.
`data` is the new row, and for DELETE the old one, because clients read `data.id` there; `new` repeats `data` for
INSERT and UPDATE, the other documented name of it. `txn` names the transaction; `"more":true` says that it changed the
table further, and that the rest follows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from d1.changes import Commit, RowChange
from durable_objects.realtime.core.protocol import dumps

__all__ = ["TableEvent", "lost_events", "row_json", "table_event", "table_events", "transaction_of"]

_MORE = ',"more":true}'

Kind = Literal["db_change", "resync"]


@dataclass(frozen=True, slots=True)
class TableEvent:
    """What subscribers of a table are told; `rest` completes a frame after its topic.

    `resync`: changes were lost or cannot be described; the client should read the table again.
    """

    kind: Kind
    rest: str
    epoch: str = ""
    offset: int = 0


def table_event(change: RowChange, commit: Commit, epoch: str = "", *, is_last: bool = True) -> TableEvent | None:
    """Return what a change of `commit` says to subscribers; a change of the schema says nothing.

    All but the last change that a transaction made to the table carry `"more":true`.
    """
    more = "" if is_last else ',"more":true'
    place = f',"timestamp":{commit.at_ms},"seq":{change.seq},"txn":{commit.txn}{more}}}'
    if change.type == "SCHEMA":
        return None
    if change.type == "RESYNC":
        return TableEvent("resync", place, epoch, change.seq)
    if change.type == "DELETE":
        old = row_json(change.old if change.old is not None else change.data)
        return TableEvent("db_change", f',"operation":"DELETE","data":{old},"old":{old}{place}', epoch, change.seq)
    data = row_json(change.data)
    old = f',"old":{row_json(change.old)}' if change.type == "UPDATE" and change.old is not None else ""
    rest = f',"operation":"{change.type}","data":{data},"new":{data}{old}{place}'
    return TableEvent("db_change", rest, epoch, change.seq)


def table_events(
    commit: Commit, epoch: str, is_followed: Callable[[str], bool] | None = None
) -> Iterator[tuple[str, TableEvent]]:
    """Yield what a commit says to the subscribers of each table that somebody follows, with the table's name."""
    last = {change.table: change for change in commit.changes if change.type != "SCHEMA"}
    for change in commit.changes:
        if is_followed is not None and not is_followed(change.table):
            continue
        event = table_event(change, commit, epoch, is_last=last.get(change.table) is change)
        if event is not None:
            yield change.table, event


def transaction_of(rest: str) -> tuple[str, bool]:
    """Return a `db_change`'s members `timestamp`, `seq` and `txn`, and whether its transaction ends with it."""
    place = rest[rest.rindex(',"timestamp":') :]
    return place.removesuffix(_MORE).removesuffix("}"), not place.endswith(_MORE)


def lost_events(at_ms: int) -> TableEvent:
    """Return the event that says changes of a table were dropped on their way."""
    return TableEvent("resync", f',"timestamp":{at_ms}}}')


def row_json(row: Mapping[str, object] | None) -> str:
    """Return a row as JSON text; no row is an empty object, so that readers of its columns never meet null."""
    if row is None:
        return "{}"
    return dumps({name: _json_value(value) for name, value in row.items()})


def _json_value(value: object) -> object:
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        # As D1 and JSON.stringify show it: typed clients cannot read 5.0 into an integer.
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, bytes):
        return list(value)
    return value
