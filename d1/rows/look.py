"""Questions to the database that an estimate rests on: sizes of tables, indexes, keys and triggers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from d1.sql import quote_name

__all__ = ["Ask", "Index", "Look", "Partial", "Table", "Work"]

Ask = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
"""Runs a small SELECT, PRAGMA or EXPLAIN on the database as it is after the statement, and returns its rows."""


_COUNTED_ROWS: Final = 5000
_KEYWORDS: Final = frozenset({"and", "between", "false", "is", "not", "null", "or", "true"})


@dataclass(frozen=True, slots=True)
class Work:
    """What a statement was and did."""

    sql: str
    returned: int
    """Rows it returned."""
    changed: int
    """Rows it changed, those of triggers and cascades among them."""
    is_schema_changed: bool = False


@dataclass(frozen=True, slots=True)
class Partial:
    """What a partial index costs a write."""

    columns: frozenset[str]
    condition: str
    share: float
    """Of the rows that are in it."""

    @property
    def words(self) -> frozenset[str]:
        """The names and numbers in its condition, in lower case."""
        return frozenset(re.findall(r"\w+", self.condition.lower()))


@dataclass(frozen=True, slots=True)
class Table:
    """What a write to a table costs."""

    name: str
    indexes: tuple[frozenset[str], ...]
    """Columns of every full index."""
    partial: tuple[Partial, ...]
    id_column: str
    """The column that is the rowid: giving it a value costs a look whether the row exists."""
    counts_ids: bool
    """AUTOINCREMENT: the highest id is kept in a row of its own."""
    generated: frozenset[str]
    parents: frozenset[str]
    """Columns that refer to the id of another table, which is looked up."""
    has_keys: bool
    """Foreign keys from or to it."""
    triggers: str
    """The texts of its triggers."""
    is_virtual: bool
    has_rowid: bool


@dataclass(frozen=True, slots=True)
class Index:
    """What searching an index costs."""

    table: str
    columns: tuple[str | None, ...]
    """In lower case, `None` for an expression."""
    is_unique: bool
    condition: str | None
    """The WHERE of a partial index."""


class Look:
    """Questions to the database; a table's size is asked once."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._sizes: dict[str, int] = {}

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run a question."""
        return self._ask(sql, parameters)

    def size(self, table: str) -> int:
        """Return about how many rows a table has: exact for small tables, never a long scan."""
        if table not in self._sizes:
            quoted = quote_name(table)
            ((count,),) = self.rows(f"SELECT count(*) FROM (SELECT 1 FROM {quoted} LIMIT {_COUNTED_ROWS})")
            if count >= _COUNTED_ROWS and self._has_rowid(table):
                ((highest,),) = self.rows(f"SELECT max(rowid) FROM {quoted}")
                count = max(count, highest or 0)
            self._sizes[table] = count
        return self._sizes[table]

    def _has_rowid(self, table: str) -> bool:
        found = self.rows("SELECT wr FROM pragma_table_list WHERE schema='main' AND name=?", table)
        return bool(found) and not found[0][0]

    def table_name(self, name: str) -> str | None:
        """Return a table's name as stored."""
        found = self.rows("SELECT name FROM main.sqlite_schema WHERE type='table' AND name=? COLLATE NOCASE", name)
        return found[0][0] if found else None

    def indexed_tables(self) -> list[str]:
        """Return the table of each index."""
        return [row[0] for row in self.rows("SELECT tbl_name FROM main.sqlite_schema WHERE type='index'")]

    def views(self) -> str:
        """Return the texts of all views: a plan names tables as they do."""
        return "\n".join(row[0] for row in self.rows("SELECT sql FROM main.sqlite_schema WHERE type='view'"))

    def statistics(self) -> int:
        """Return how many rows ANALYZE has left."""
        return self.rows("SELECT count(*) FROM main.sqlite_stat1")[0][0] if self.table_name("sqlite_stat1") else 0

    def schema_rows(self) -> int:
        """Return the entries of the schema table, with the one that production adds."""
        return (
            self.rows("SELECT count(*) FROM main.sqlite_schema WHERE name NOT LIKE '\\_cf\\_%' ESCAPE '\\'")[0][0] + 1
        )

    def index(self, name: str) -> Index | None:
        """Return what an index is, `None` when there is none of that name."""
        found = self.rows("SELECT tbl_name, sql FROM main.sqlite_schema WHERE type='index' AND name=?", name)
        if not found:
            return None
        table, sql = found[0]
        unique = self.rows(f'SELECT "unique" FROM pragma_index_list({_literal(table)}) WHERE name=?', name)
        columns = self.rows(f"SELECT name FROM pragma_index_info({_literal(name)}) ORDER BY seqno")
        names = tuple(None if column is None else str(column).lower() for (column,) in columns)
        return Index(table, names, bool(unique and unique[0][0]), _condition(sql))

    def entries(self, index: Index) -> int:
        """Return about how many entries an index has: fewer than the table has rows when it is partial."""
        size = self.size(index.table)
        if index.condition is None or size >= _COUNTED_ROWS:
            return size
        return self.rows(f"SELECT count(*) FROM {quote_name(index.table)} WHERE {index.condition}")[0][0]

    def matches(self, index: Index, columns: int) -> float:
        """Return how many entries an index has on average for one combination of its first columns."""
        size = self.size(index.table)
        names = index.columns[:columns]
        if size >= _COUNTED_ROWS or not size or None in names:
            return min(size, 10)
        listed = ", ".join(quote_name(str(name)) for name in names)
        ((distinct,),) = self.rows(f"SELECT count(*) FROM (SELECT DISTINCT {listed} FROM {quote_name(index.table)})")
        return self.entries(index) / max(1, distinct)

    def share_of_written(self, partial: Partial, values: Mapping[str, str]) -> float:
        """Return how likely a row with these literals is in a partial index."""
        if not all(word in values or word in _KEYWORDS or word.isdigit() for word in partial.words):
            return partial.share
        given = ", ".join(f"{literal} AS {quote_name(name)}" for name, literal in values.items())
        return float(bool(self.rows(f"SELECT {partial.condition} FROM (SELECT {given})")[0][0]))

    def key_columns(self, table: str) -> int:
        """Return how many columns the primary key has."""
        return sum(bool(row[5]) for row in self.rows(f"PRAGMA table_info({quote_name(table)})"))

    def describe(self, name: str) -> Table:
        """Return what a table is."""
        indexes: list[frozenset[str]] = []
        has_rowid = self._has_rowid(name)
        partial: list[Partial] = []
        for _, index_name, _, origin, _ in self.rows(f"PRAGMA index_list({quote_name(name)})"):
            index = self.index(index_name)
            if index is None or (origin == "pk" and not has_rowid):
                continue
            columns = frozenset(str(column) for column in index.columns)
            if index.condition is None:
                indexes.append(columns)
            else:
                share = self.entries(index) / max(1, self.size(index.table))
                partial.append(Partial(columns, index.condition, share))
        info = self.rows(f"PRAGMA table_xinfo({quote_name(name)})")
        keys = [row for row in info if row[5]]
        is_id = has_rowid and len(keys) == 1 and str(keys[0][2]).upper() == "INTEGER"
        found = self.rows("SELECT sql FROM main.sqlite_schema WHERE name=? COLLATE NOCASE", name)
        sql = str(found[0][0]).upper() if found else ""
        triggers = self.rows(
            "SELECT sql FROM main.sqlite_schema WHERE type='trigger' AND tbl_name=? COLLATE NOCASE", name
        )
        referred = self.rows(f"PRAGMA foreign_key_list({quote_name(name)})")
        referring = self.rows(
            "SELECT 1 FROM main.sqlite_schema m, pragma_foreign_key_list(m.name) AS f"
            " WHERE m.type='table' AND f.\"table\"=? COLLATE NOCASE LIMIT 1",
            name,
        )
        return Table(
            name,
            tuple(indexes),
            tuple(partial),
            str(keys[0][1]).lower() if is_id else "",
            "AUTOINCREMENT" in sql,
            frozenset(str(row[1]).lower() for row in info if row[6] in (2, 3)),
            frozenset(str(row[3]).lower() for row in referred if self._refers_to_id(row[2], row[4])),
            bool(referred or referring),
            "\n".join(str(row[0]) for row in triggers),
            sql.startswith("CREATE VIRTUAL"),
            has_rowid,
        )

    def looks_for_children(self, parent: str, gone: int) -> int:
        """Return what is read to find the rows that refer to a deleted one: twice the table where no index helps.

        `gone` are rows that were deleted with it.
        """
        total = 0
        found = self.rows(
            'SELECT m.name, f."from" FROM main.sqlite_schema m, pragma_foreign_key_list(m.name) f'
            " WHERE m.type='table' AND f.\"table\"=? COLLATE NOCASE",
            parent,
        )
        for child, column in found:
            described = self.describe(child)
            is_found = (
                any(column.lower() in index for index in described.indexes) or described.id_column == column.lower()
            )
            total += 2 if is_found else 2 * (self.size(child) + gone) + 2 * gone
        return total

    def _refers_to_id(self, table: str, column: str | None) -> bool:
        keys = [row for row in self.rows(f"PRAGMA table_info({quote_name(table)})") if row[5]]
        is_id = len(keys) == 1 and str(keys[0][2]).upper() == "INTEGER"
        return is_id and (column is None or str(keys[0][1]).lower() == column.lower())


def _condition(sql: str | None) -> str | None:
    found = re.search(r"\)\s*where\b(.*)\Z", sql or "", re.I | re.S)
    return found.group(1).strip() if found else None


def _literal(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"
