"""`ctx.storage.sql`: statements run at once, rows are read lazily through a cursor.

Numbers are JavaScript's: every bound number is stored as REAL unless the column's affinity says otherwise, and whole
numbers come back as int.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any, cast

from durable_objects.errors import StorageError
from durable_objects.storage.files import ObjectFile, storage_error
from durable_objects.storage.kv import key_text
from durable_objects.storage.locate import split_statements, tokens
from durable_objects.storage.transaction import Transactions
from workers.compat.js_string import js_string, whole
from workers.compat.proxies import JsDict, JsException, JsTypeError

__all__ = ["RawRows", "SqlCursor", "SqlStorage"]

_MISSING = object()
_UNKNOWN: Any = object()
_SAFE_INTEGER = 2**53 - 1
_INTERNAL_RENAME = re.compile(r"""\bRENAME\s+TO\s+["'`\[]?_cf_""", re.I)
_READING = frozenset({"SELECT", "VALUES", "EXPLAIN"})
_TRANSACTION_WORDS = frozenset({"BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE"})
_NO_STATEMENT = "SQL code did not contain a statement."
_USE_THE_API = (
    "To execute a transaction, please use the state.storage.transaction() or state.storage.transactionSync() APIs "
    "instead of the SQL BEGIN TRANSACTION or SAVEPOINT statements. The JavaScript API is safer because it will "
    "automatically roll back on exceptions, and because it interacts correctly with Durable Objects' automatic atomic "
    "write coalescing."
)
_ONLY_LAST = "When executing multiple SQL statements in a single call, only the last statement can have parameters."
_CANCELED = "SQLite query was canceled because the database was deleted."


class _Piece:
    """One statement of a text, looked at once: is it refused, does it only read, does it bind?"""

    __slots__ = ("binds", "counts_rows", "is_empty", "names", "reads", "refusal", "sql")

    def __init__(self, sql: str) -> None:
        words = [token[0] for token in tokens(sql)]
        word = words[0].upper() if words else ""
        self.sql = sql
        self.is_empty = not word or word == ";"
        self.reads = word in _READING
        self.refusal: Callable[[], Exception] | None = None
        if self.is_empty:
            self.refusal = partial(JsException, _NO_STATEMENT)
        elif word in _TRANSACTION_WORDS:
            self.refusal = partial(JsException, _USE_THE_API)
        elif word == "ALTER" and _INTERNAL_RENAME.search(sql) is not None:  # the authorizer is not told the new name
            self.refusal = partial(StorageError, "not authorized: SQLITE_AUTH")
        named = dict.fromkeys(item for item in words if item[0] in ":@$")
        self.names = tuple(name[1:] for name in named) if "?" not in {item[0] for item in words} else ()
        self.binds = any(item[0] in "?:@$" for item in words)
        self.counts_rows = any(item.upper() == "FROM" for item in words)

    def parameters(self, values: list[object]) -> list[object] | dict[str, object]:
        """Return the values as sqlite3 wants them: by name where the statement names all its parameters."""
        if not self.names or len(set(self.names)) != len(self.names):
            return values
        if len(values) != len(self.names):
            raise StorageError("Wrong number of parameter bindings for SQL query.")
        return dict(zip(self.names, values, strict=True))


@lru_cache(maxsize=512)
def _pieces(sql: str) -> tuple[_Piece, ...]:
    return tuple(_Piece(piece) for piece in split_statements(sql))


class SqlStorage:
    """SQL access of one object."""

    __slots__ = ("_file", "_transactions")

    def __init__(self, file: ObjectFile, transactions: Transactions) -> None:
        self._file = file
        self._transactions = transactions

    def exec(self, sql: object = _MISSING, *bindings: object, **_options: object) -> SqlCursor:
        """Run one or several statements; the cursor belongs to the last, and only that one may have parameters.

        Raises:
            StorageError: SQLite refused; statements before the refused one stay done.
            JsTypeError: A binding cannot be stored.
        """
        if sql is _MISSING:
            raise JsTypeError("Failed to execute 'exec' on 'SqlStorage': parameter 1 is not of type 'JsString'.")
        pieces = _pieces(sql if isinstance(sql, str) else js_string(sql))
        values = [value if value.__class__ is str else _bound(value) for value in bindings]
        if len(pieces) != 1:
            self._execute_first(pieces)
        return self._execute(pieces[-1], values)

    def _execute_first(self, pieces: tuple[_Piece, ...]) -> None:
        """Run all statements of a text but the last."""
        if not pieces:
            raise JsException(_NO_STATEMENT)
        for piece in pieces[:-1]:
            if piece.binds:
                raise JsException(_ONLY_LAST)
            if not piece.is_empty:
                self._execute(piece, []).finish()

    def _execute(self, piece: _Piece, values: list[object]) -> SqlCursor:
        if piece.refusal is not None:
            raise piece.refusal()
        file = self._file
        usage = file.usage
        if piece.reads:
            usage.reads += 1
        else:
            usage.writes += 1
            self._transactions.write()
        connection = file.connection
        try:
            try:
                cursor = connection.execute(piece.sql, piece.parameters(values) if piece.names else values)
            except UnicodeEncodeError:  # half of a surrogate pair; the API for keys replaces it likewise
                values = [key_text(value) if isinstance(value, str) else value for value in values]
                cursor = connection.execute(piece.sql, piece.parameters(values))
        except sqlite3.Error as error:
            raise storage_error(error, piece.sql, connection) from None
        except OverflowError:
            raise JsTypeError("Cannot convert a BigInt value to a number") from None
        if (changed := cursor.rowcount) > 0:
            usage.rows_written += changed
        return SqlCursor(file, cursor, piece)

    @property
    def databaseSize(self) -> int:
        """Size of the database in bytes."""
        pages = self._file.run("PRAGMA page_count").fetchone()[0]
        return max(int(pages), 1) * 4096

    database_size = databaseSize


class SqlCursor:
    """Rows of one statement, read forward once. SQLite itself is one row ahead, so nothing is fetched early here."""

    __slots__ = ("_cursor", "_file", "_generation", "_names", "_next", "_piece", "_returned", "_work")

    def __init__(self, file: ObjectFile, cursor: sqlite3.Cursor, piece: _Piece) -> None:
        self._file = file
        self._piece = piece
        self._generation = file.generation
        self._cursor = cursor
        self._names: list[str] | None = None
        self._returned = 0
        self._work: tuple[int, int] | None = None
        self._next: tuple[object, ...] | None = None if cursor.description is None else _UNKNOWN

    def _peek(self) -> tuple[object, ...] | None:
        """Return the next row, None at the end, without moving."""
        if self._generation != self._file.generation:
            raise JsException(_CANCELED)
        if self._next is _UNKNOWN:
            try:
                self._next = row = self._file.fetch(self._cursor)
            except sqlite3.ProgrammingError:
                raise self._file.dead or JsException(_CANCELED) from None
            except sqlite3.Error as error:
                raise storage_error(error) from None
            if row is not None:
                self._returned += 1
                if self._piece.counts_rows:
                    self._file.usage.rows_read += 1
        return self._next

    def _advance(self) -> tuple[object, ...] | None:
        row = self._peek()
        if row is not None:
            self._next = _UNKNOWN
        return row

    def _object(self, row: tuple[object, ...]) -> JsDict:
        names = self._names or self._columns()
        return JsDict(zip(names, [value if value.__class__ is str else _shown(value) for value in row], strict=True))

    def _columns(self) -> list[str]:
        description: Any = self._cursor.description
        self._names = names = [] if description is None else [column[0] for column in description]
        return names

    def finish(self) -> None:
        """Run the statement to its end and forget its rows."""
        while self._advance() is not None:
            pass

    def __iter__(self) -> Iterator[JsDict]:
        while (row := self._advance()) is not None:
            yield self._object(row)

    def next(self) -> JsDict:
        """JavaScript's iterator protocol: `{done, value}`."""
        row = self._advance()
        return JsDict(done=True, value=None) if row is None else JsDict(done=False, value=self._object(row))

    def toArray(self) -> Rows:
        """Return the remaining rows as dicts."""
        return Rows(self)

    def one(self) -> JsDict:
        """Return the only remaining row.

        Raises:
            JsException: There is none, or there are more; the cursor is finished then.
        """
        row = self._advance()
        if row is None:
            raise JsException("Expected exactly one result from SQL query, but got no results.")
        if self._peek() is not None:
            self._next = None
            self._cursor.close()
            raise JsException("Expected exactly one result from SQL query, but got multiple results.")
        return self._object(row)

    def raw(self) -> RawRows:
        """Iterate over rows as lists of values, sharing this cursor's position."""
        return RawRows(self._advance)

    @property
    def columnNames(self) -> list[str]:
        """Names of the columns, duplicates included; empty for a statement without rows."""
        return Rows(self._names or self._columns())

    @property
    def rowsRead(self) -> int:
        """Rows read so far: those fetched, one ahead of what was handed out; at the end what the statement read."""
        is_open = self._peek() is not None
        fetched = self._returned if self._piece.counts_rows else 0
        return fetched if is_open else max(fetched, self._estimate()[0])

    @property
    def rowsWritten(self) -> int:
        """Entries written to tables and indexes."""
        return self._estimate()[1]

    # DIFFERS(sql-rows): production counts inside its own SQLite.
    def _estimate(self) -> tuple[int, int]:
        """Return (rows read, rows written), estimated when they are first asked for: most cursors never tell."""
        if self._work is None:
            from d1.rows import Work, estimate_rows

            changed = max(self._cursor.rowcount, 0)
            try:
                work = Work(self._piece.sql, self._returned, changed, is_schema_changed=True)
                self._work = estimate_rows(lambda sql, values: self._file.run(sql, values).fetchall(), work)
            except StorageError:  # the schema is not what it was
                self._work = self._returned, changed
            if self._next is not None:
                found, self._work = self._work, None  # more rows may follow
                return found
        return self._work

    to_array = toArray
    column_names = columnNames
    rows_read = rowsRead
    rows_written = rowsWritten


class RawRows:
    """Rows as lists of values."""

    __slots__ = ("_advance",)

    def __init__(self, advance: Callable[[], tuple[object, ...] | None]) -> None:
        self._advance = advance

    def __iter__(self) -> RawRows:
        return self

    def __next__(self) -> list[Any]:
        row = self._advance()
        if row is None:
            raise StopIteration
        return [_shown(value) for value in row]

    def next(self) -> JsDict:
        """JavaScript's iterator protocol: `{done, value}`."""
        row = self._advance()
        done = row is None
        return JsDict(done=done, value=None if row is None else [_shown(value) for value in row])

    def toArray(self) -> Rows:
        """Return the remaining rows."""
        return Rows(self)

    to_array = toArray


class Rows(list[Any]):
    """A list that also answers what JavaScript arrays answer through a proxy."""

    __slots__ = ()

    def to_py(self, **_options: object) -> list[Any]:
        """Return a plain list."""
        return list(self)

    @property
    def length(self) -> int:
        """Number of elements."""
        return len(self)


def _shown(value: Any) -> Any:
    kind = value.__class__
    if kind is str or value is None:
        return value
    if kind is int:
        return value if -_SAFE_INTEGER <= value <= _SAFE_INTEGER else whole(float(value))
    if kind is float:
        return whole(value)
    return memoryview(value)


def _bound(value: Any) -> object:
    kind = value.__class__
    if kind is str or kind is bytes or value is None:
        return value
    if kind is int and -_SAFE_INTEGER <= value <= _SAFE_INTEGER:
        return float(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        if isinstance(value, int) and not -_SAFE_INTEGER <= value <= _SAFE_INTEGER:
            raise JsTypeError("Cannot convert a BigInt value to a number")
        return float(value)
    if isinstance(value, (bytearray, memoryview)):
        return bytes(cast(bytes, value))
    to_bytes = getattr(value, "to_bytes", None)
    if callable(to_bytes):
        return bytes(cast(bytes, to_bytes()))
    return None if value.__class__.__name__ == "JsNull" else js_string(value)
