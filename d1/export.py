"""A database as SQL text that makes an equal one, from one consistent look at it while others go on writing.

The order is what makes every text importable in one transaction: all tables, then their unique indexes (a foreign key
needs its parent's), rows, other indexes, views, virtual tables, and triggers last, so that no row fires one. Rowids
that tables without an INTEGER PRIMARY KEY would not get again by themselves are written down.

Real numbers are written with as many digits as SQLite needs to read the same number again, which is tried for each, or
as a product that is exact; text and BLOB byte by byte.
"""

from __future__ import annotations

import math
import re
import sqlite3
import struct
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from d1.engine.authorizer import is_reserved
from d1.sql import quote_name

__all__ = ["ExportError", "export"]

_ROWID_NAMES: Final = ("rowid", "_rowid_", "oid")
_MODULE: Final = re.compile(r"\busing\s+[\"'`\[]?(\w+)", re.I)
_CONTENT_OPTION: Final = re.compile(r"\bcontent\s*=\s*(?:'([^']*)'|\"([^\"]*)\"|([^\s,)]*))", re.I)
_BATCH_ROWS: Final = 256
_MAX_POWER: Final = 62
_LEAST_USUAL: Final = 1e-70
_MOST_USUAL: Final = 1e100
"""Decimals beyond these are read differently by different releases of SQLite, and wrongly by most."""


class ExportError(Exception):
    """The database cannot be written as SQL, or not the part of it that was asked for."""


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    sql: str
    kind: str
    """`table`, `virtual` or `shadow`, as SQLite lists it."""
    has_rowid: bool


class _Bytes(bytes):
    """TEXT that is not valid UTF-8; a plain `bytes` is a BLOB."""


def export(path: Path, *, schema: bool = True, data: bool = True, tables: Collection[str] = ()) -> Iterator[str]:
    """Yield the statements, each on a line of its own with its semicolon and without the line's end.

    Args:
        path: The database file; it is only read.
        schema: Write CREATE statements.
        data: Write rows.
        tables: Names of the tables and views to write, with their indexes and triggers; all of them by default.

    Raises:
        ExportError: There is no such file or table, or a virtual table's rows cannot be read back.
    """
    if not path.is_file():
        raise ExportError(f"there is no database at {path}")
    try:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=5)) as connection:
            connection.text_factory = _text
            connection.execute("PRAGMA query_only=ON")
            connection.execute("BEGIN")
            yield from _Dump(connection, tables).lines(schema, data)
    except sqlite3.Error as error:
        raise ExportError(f"{path} cannot be read: {error}") from error


def _text(value: bytes) -> str | _Bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return _Bytes(value)


class _Dump:
    def __init__(self, connection: sqlite3.Connection, names: Collection[str]) -> None:
        self._connection = connection
        found = {table.name.lower(): table for table in self._tables()}
        wanted = {name.lower() for name in names}
        views = {str(name).lower() for (name,) in self._rows("SELECT name FROM sqlite_schema WHERE type='view'")}
        unknown = [name for name in names if name.lower() not in {*found, *views}]
        if unknown:
            known = ", ".join(table.name for table in found.values() if table.kind != "shadow") or "none"
            raise ExportError(f'there is no table "{unknown[0]}"; there are: {known}')
        self._wanted = wanted
        chosen = [table for key, table in found.items() if not wanted or key in wanted]
        self._plain = [table for table in chosen if table.kind == "table"]
        self._virtual = [table for table in chosen if table.kind == "virtual"]
        self._shadows = {key for key, table in found.items() if table.kind == "shadow"}

    def _rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, parameters).fetchall()

    def _tables(self) -> list[_Table]:
        listed = {row[1]: row for row in self._rows("PRAGMA main.table_list")}
        found = self._rows("SELECT name, sql FROM sqlite_schema WHERE type='table' AND sql IS NOT NULL ORDER BY rowid")
        return [
            _Table(name, sql, listed[name][2], not listed[name][4])
            for name, sql in found
            if not is_reserved(name) and not name.lower().startswith("sqlite_")
        ]

    def lines(self, schema: bool, data: bool) -> Iterator[str]:
        """Yield all statements; see the module for their order."""
        yield "PRAGMA defer_foreign_keys=TRUE;"
        if schema:
            yield from (f"{table.sql};" for table in self._plain)
            yield from self._objects("index", is_unique=True)
        if data:
            for table in self._plain:
                yield from self._table_rows(table)
        if schema:
            yield from self._objects("index", is_unique=False)
            yield from self._objects("view")
        for table in self._virtual:
            yield from self._virtual_table(table, schema, data)
        if data:
            yield from self._sequences()
        if schema:
            yield from self._objects("trigger")
        if schema and data and not self._wanted and self._exists("sqlite_stat1"):
            yield "ANALYZE;"

    def _exists(self, name: str) -> bool:
        return bool(self._rows("SELECT 1 FROM sqlite_schema WHERE name=?", (name,)))

    def _objects(self, kind: str, is_unique: bool | None = None) -> Iterator[str]:
        found = self._rows(
            "SELECT name, tbl_name, sql FROM sqlite_schema WHERE type=? AND sql IS NOT NULL ORDER BY rowid", (kind,)
        )
        for name, table, sql in found:
            if is_reserved(name) or (self._wanted and table.lower() not in self._wanted):
                continue
            if is_unique is None or (re.match(r"create\s+unique\b", sql, re.I) is not None) is is_unique:
                yield f"{sql};"

    # rows

    def _table_rows(self, table: _Table) -> Iterator[str]:
        columns = self._stored_columns(table.name)
        rowid = self._rowid_name(table)
        # a covering index must not decide the order: the rowids that new rows get follow from it
        order = "" if rowid is None else f" ORDER BY {rowid}"
        if rowid is not None and self._must_write_rowids(table, rowid):
            columns = [rowid, *columns]
        yield from self._inserts(table.name, columns, order)

    def _inserts(self, table: str, columns: Sequence[str], order: str) -> Iterator[str]:
        names = ",".join(quote_name(column) for column in columns)
        head = f"INSERT INTO {quote_name(table)} ({names}) VALUES("
        cursor = self._connection.execute(f"SELECT {names} FROM {quote_name(table)}{order}")
        while rows := cursor.fetchmany(_BATCH_ROWS):
            for row in rows:
                yield f"{head}{','.join([self._literal(value) for value in row])});"

    def _stored_columns(self, table: str) -> list[str]:
        """Return the names of the columns that may be inserted: not generated, not hidden."""
        return [row[1] for row in self._rows(f"PRAGMA main.table_xinfo({quote_name(table)})") if row[6] == 0]

    def _rowid_name(self, table: _Table) -> str | None:
        """Return a name by which the rowid can be reached, `None` when there is no rowid or columns hide it."""
        taken = {row[1].lower() for row in self._rows(f"PRAGMA main.table_xinfo({quote_name(table.name)})")}
        return next((name for name in _ROWID_NAMES if name not in taken), None) if table.has_rowid else None

    def _must_write_rowids(self, table: _Table, rowid: str) -> bool:
        """Tell whether rows inserted in order would get other rowids than they have."""
        if self._has_integer_key(table.name):
            return False  # the rowid is one of the columns
        ((count, least, most),) = self._rows(
            f"SELECT count(*), min({rowid}), max({rowid}) FROM {quote_name(table.name)}"
        )
        return count > 0 and (least, most) != (1, count)

    def _has_integer_key(self, table: str) -> bool:
        """Tell whether a column is the rowid: then the primary key needs no index of its own."""
        quoted = quote_name(table)
        has_key = any(row[5] for row in self._rows(f"PRAGMA main.table_xinfo({quoted})"))
        return has_key and not any(row[3] == "pk" for row in self._rows(f"PRAGMA main.index_list({quoted})"))

    def _sequences(self) -> Iterator[str]:
        """Write how far AUTOINCREMENT has come: rows since deleted must keep their numbers for themselves."""
        if not self._exists("sqlite_sequence"):
            return
        chosen = {table.name for table in self._plain}
        for name, seq in self._rows("SELECT name, seq FROM sqlite_sequence ORDER BY rowid"):
            if name in chosen:
                yield f"DELETE FROM sqlite_sequence WHERE name={self._literal(name)};"
                yield f"INSERT INTO sqlite_sequence (name,seq) VALUES({self._literal(name)},{self._literal(seq)});"

    # virtual tables

    def _virtual_table(self, table: _Table, schema: bool, data: bool) -> Iterator[str]:
        match = _MODULE.search(table.sql)
        module = match.group(1).lower() if match is not None else ""
        if module == "fts5vocab":
            if schema:
                yield f"{table.sql};"
            return
        if module != "fts5":
            raise ExportError(
                f'"{table.name}" is a virtual table of module {module or "unknown"}: only fts5 is exported'
            )
        if schema:
            yield f"{table.sql};"
            yield from self._index_settings(table.name)
        if data:
            yield from self._index_rows(table)

    def _index_settings(self, name: str) -> Iterator[str]:
        quoted = quote_name(name)
        for key, value in self._rows(f"SELECT k, v FROM {quote_name(name + '_config')} WHERE k<>'version' ORDER BY k"):
            yield f"INSERT INTO {quoted} ({quoted},rank) VALUES({self._literal(key)},{self._literal(value)});"

    def _index_rows(self, table: _Table) -> Iterator[str]:
        quoted = quote_name(table.name)
        if f"{table.name}_content".lower() in self._shadows:
            yield from self._inserts(table.name, ["rowid", *self._stored_columns(table.name)], " ORDER BY rowid")
            return
        match = _CONTENT_OPTION.search(table.sql)
        source = next((group for group in match.groups() if group), "") if match is not None else ""
        if source:
            yield f"INSERT INTO {quoted} ({quoted}) VALUES('rebuild');"
        elif self._rows(f"SELECT 1 FROM {quote_name(table.name + '_docsize')} LIMIT 1"):
            raise ExportError(
                f'"{table.name}" is a contentless fts5 table, so its text cannot be read back; '
                "export the other tables by --table, or leave the rows out by --no-data"
            )

    # values

    def _literal(self, value: int | float | str | bytes | None) -> str:
        if value is None:
            return "NULL"
        if isinstance(value, str):
            return _text_literal(value)
        if isinstance(value, int):
            return str(value)
        if isinstance(value, float):
            return _real_literal(value)
        return f"CAST(X'{value.hex()}' AS TEXT)" if isinstance(value, _Bytes) else f"X'{value.hex()}'"


def _text_literal(value: str) -> str:
    if "\0" in value:  # SQL text ends at a NUL
        return f"CAST(X'{value.encode().hex()}' AS TEXT)"
    literal = "'" + value.replace("'", "''") + "'"
    # One statement a line, and nothing that a tool which changes line ends could change: as SQLite's shell does it.
    for character, code, candidates in (("\n", 10, ("\\n", "\\012")), ("\r", 13, ("\\r", "\\015"))):
        if character in value:
            mark = next((mark for mark in candidates if mark not in value), None) or _unused(value, candidates[0])
            literal = f"replace({literal.replace(character, mark)},'{mark}',char({code}))"
    return literal


def _unused(value: str, stem: str) -> str:
    number = 0
    while f"({stem}{number})" in value:
        number += 1
    return f"({stem}{number})"


@lru_cache(1)
def _reader() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", check_same_thread=False)


def _real_literal(value: float) -> str:
    if math.isinf(value):
        return "1e999" if value > 0 else "-1e999"
    is_usual = value == 0 or _LEAST_USUAL < abs(value) < _MOST_USUAL
    wanted = struct.pack("<d", value)
    for literal in (repr(value), f"{value:.17e}", f"{value:.19e}") if is_usual else ():
        if struct.pack("<d", _reader().execute(f"SELECT {literal}").fetchone()[0]) == wanted:
            return literal
    return _exact_real(value)


def _exact_real(value: float) -> str:
    """Write a number as integer times powers of two: no step of that is ever rounded."""
    fraction, exponent = math.frexp(value)
    literal, exponent = f"CAST({int(math.ldexp(fraction, 53))} AS REAL)", exponent - 53
    operator = "*" if exponent > 0 else "/"
    exponent = abs(exponent)
    while exponent:
        power = min(exponent, _MAX_POWER)
        literal += f"{operator}{1 << power}"
        exponent -= power
    return literal
