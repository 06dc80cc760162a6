"""What a subscription sees of a table: a filter of its own, a policy of the server's rules, chosen columns.

A change is looked at on both sides. An UPDATE of a row that was not seen before and is now *enters*: it is told as an
INSERT with `"entered":true`, without the old row. One of a row that is not seen any more *leaves*: it is told as a
DELETE with `"left":true` and the row as it was, without the new one. So the rows that were told, with the changes
applied, are always the rows that the filter lets through, and nothing is told of rows that it does not.

With chosen columns, an UPDATE that touches none of them is not told. Who applies changes should choose the key's
columns too.

A lens is shared by all who see the same, and each change is looked at once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast
from weakref import WeakValueDictionary

from durable_objects.realtime.core.protocol import dumps, loads
from durable_objects.realtime.core.row_filter import Filter, read_filter

__all__ = ["RowLens", "lens_of", "policed"]

Row = Mapping[str, Any]


class RowLens:
    """One way to see a table. `change` is asked about each change in turn, by all groups that see the table so."""

    __slots__ = ("__weakref__", "_columns", "_last", "_seen", "filters")

    def __init__(self, filters: Iterable[Filter], columns: Iterable[str] | None) -> None:
        self.filters = tuple(filters)
        self._columns = None if columns is None else frozenset(name.lower() for name in columns)
        self._last: str | None = None
        self._seen: str | None = None

    def matches(self, row: Row) -> bool:
        """Whether a row is seen at all."""
        return all([each.matches(row) for each in self.filters])

    def shown(self, row: Row) -> Row:
        """Return what is seen of a row."""
        columns = self._columns
        return row if columns is None else {name: value for name, value in row.items() if name.lower() in columns}

    def change(self, rest: str) -> str | None:
        """Return the rest of the `db_change` frame that tells of a change, None when nothing is seen of it."""
        if rest is not self._last:
            self._seen = self._look(rest)
            self._last = rest
        return self._seen

    def _look(self, rest: str) -> str | None:
        frame = _parsed(rest)
        operation, data = frame["operation"], frame["data"]
        if operation != "UPDATE":
            return self._told(rest, frame) if self.matches(data) else None
        old = frame.get("old")
        is_in, was_in = self.matches(data), old is not None and self.matches(old)
        if is_in and was_in:
            return self._told(rest, frame)
        place = {name: value for name, value in frame.items() if name not in ("operation", "data", "new", "old")}
        if is_in:
            row = self.shown(data)
            return _rest({"operation": "INSERT", "data": row, "new": row, "entered": True, **place})
        if was_in:
            row = self.shown(cast(Row, old))
            return _rest({"operation": "DELETE", "data": row, "old": row, "left": True, **place})
        return None

    def _told(self, rest: str, frame: Mapping[str, Any]) -> str | None:
        if self._columns is None:
            return rest
        rows = {name: self.shown(frame[name]) for name in ("data", "new", "old") if name in frame}
        if frame["operation"] == "UPDATE" and rows["data"] == rows.get("old"):
            return None
        return _rest({**frame, **rows})


def policed(options: Mapping[str, Any] | None, rows: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return a subscription's options with the row policy that holds now in place of any other."""
    if rows is None and (options is None or "rows" not in options):
        return options
    kept = {name: value for name, value in (options or {}).items() if name != "rows"}
    return (kept or None) if rows is None else {**kept, "rows": rows}


_lenses: WeakValueDictionary[str, RowLens] = WeakValueDictionary()
_last_parsed: list[Any] = [None, None]


def lens_of(options: Mapping[str, Any] | None) -> RowLens | None:
    """Return the lens of a subscription's options (`filter`, `columns` and the rules' `rows`), None for everything.

    Raises:
        RealtimeError: BAD_FILTER.
    """
    if options is None:
        return None
    chosen = {name: options[name] for name in ("rows", "filter", "columns") if options.get(name) is not None}
    if not chosen:
        return None
    key = dumps(chosen)
    lens = _lenses.get(key)
    if lens is None:
        filters = [read_filter(chosen[name], name) for name in ("rows", "filter") if name in chosen]
        lens = _lenses[key] = RowLens(filters, chosen.get("columns"))
    return lens


def _parsed(rest: str) -> dict[str, Any]:
    """Read a change once for all lenses that look at it one after the other."""
    if rest is not _last_parsed[0]:
        _last_parsed[:] = rest, loads("{" + rest[1:])
    return _last_parsed[1]


def _rest(frame: Mapping[str, Any]) -> str:
    return "," + dumps(frame)[1:]
