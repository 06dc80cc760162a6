"""Key-value storage of one object: table `_cf_KV`, values in V8 serialization, keys in UTF-8 byte order.

`KeyValue` is the synchronous core; `SyncKv` is what users see as `ctx.storage.kv`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from durable_objects.errors import UnreadableValue
from durable_objects.storage.files import ObjectFile, storage_error
from durable_objects.storage.transaction import Transactions
from workers.compat.js_string import js_string
from workers.compat.proxies import JsDict, JsException, JsNull, JsTypeError, init_options
from workers.compat.structured_clone import deserialize, serialize

__all__ = ["KeyValue", "ListOptions", "SyncKv", "SyncKvIterator", "key_text"]

_DDL = """CREATE TABLE IF NOT EXISTS _cf_KV (
        key TEXT PRIMARY KEY,
        value BLOB
      ) WITHOUT ROWID"""
_INVALIDATED = (
    "kv.list() iterator was invalidated because a new call to kv.list() was started. "
    "Only one kv.list() iterator can exist at a time."
)


def key_text(key: object) -> str:
    """Return a key as storage keeps it: a string without lone surrogates."""
    text = key if isinstance(key, str) else "null" if key is None else js_string(key)
    return text if text.isascii() else text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class ListOptions:
    """Range of a `list()`: `start` inclusive, `start_after` and `end` exclusive, `end` also in reverse."""

    start: str | None = None
    start_after: str | None = None
    end: str | None = None
    prefix: str | None = None
    reverse: bool = False
    limit: int | None = None

    @classmethod
    def parse(cls, options: object, given: Mapping[str, Any]) -> ListOptions:
        """Read JavaScript options; unknown members are ignored.

        Raises:
            JsTypeError: `start` and `startAfter` together, or a limit that is not positive.
        """
        to_py = getattr(options, "to_py", None)
        merged = init_options(to_py() if callable(to_py) else options, given)
        texts = {name: merged.get(name) for name in ("start", "startAfter", "end", "prefix")}
        found = {name: _bound_text(value) for name, value in texts.items()}
        if found["start"] is not None and found["startAfter"] is not None:
            raise JsTypeError("list() cannot be called with both start and startAfter values.")
        return cls(
            start=found["start"],
            start_after=found["startAfter"],
            end=found["end"],
            prefix=found["prefix"],
            reverse=bool(merged.get("reverse")),
            limit=_limit(merged.get("limit")),
        )

    def query(self) -> tuple[str, list[object]]:
        """Return the SQL that lists this range, and its parameters."""
        conditions: list[str] = []
        parameters: list[object] = []
        bounds = [(">=", self.start), (">", self.start_after), ("<", self.end), (">=", self.prefix or None)]
        for operator, bound in bounds:
            if bound is not None:
                conditions.append(f"key {operator} ?")
                parameters.append(bound)
        if self.prefix:
            # The first key after all that begin with the prefix need not be valid text: it is compared as bytes.
            last = self.prefix.encode()
            conditions.append("key < CAST(? AS TEXT)")
            parameters.append(last[:-1] + bytes([last[-1] + 1]))
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        order = " ORDER BY key DESC" if self.reverse else " ORDER BY key"
        limit = f" LIMIT {self.limit}" if self.limit is not None else ""
        return f"SELECT key, value FROM _cf_KV{where}{order}{limit}", parameters


def _bound_text(value: object) -> str | None:
    return None if value is None or isinstance(value, JsNull) else key_text(value)


def _limit(value: object) -> int | None:
    if value is None or isinstance(value, JsNull):
        return None
    try:
        limit = int(float(js_string(value)))
    except (ValueError, OverflowError):
        limit = 0
    if limit <= 0:
        raise JsTypeError("List limit must be positive.")
    return limit


def _read(key: str, stored: bytes) -> Any:
    try:
        return deserialize(stored)
    except ValueError as error:
        raise UnreadableValue(key, error) from None


class KeyValue:
    """Synchronous access to the keys of one object."""

    __slots__ = ("_file", "_transactions", "list_count")

    def __init__(self, file: ObjectFile, transactions: Transactions) -> None:
        self._file = file
        self._transactions = transactions
        self.list_count = 0

    def get(self, key: str) -> Any:
        """Return the value, or None."""
        file = self._file
        file.usage.reads += 1
        if not file.has("_cf_KV"):
            return None
        row = file.run("SELECT value FROM _cf_KV WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        file.usage.rows_read += 1
        return _read(key, row[0])

    def get_many(self, keys: Iterable[str]) -> JsDict:
        """Return the values that exist, in key order."""
        found = JsDict()
        self._file.usage.reads += 1
        if self._file.has("_cf_KV"):
            for key in sorted(set(keys), key=lambda text: text.encode()):
                row = self._file.run("SELECT value FROM _cf_KV WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    self._file.usage.rows_read += 1
                    found[key] = _read(key, row[0])
        return found

    def put(self, key: str, value: object) -> None:
        """Store a copy of `value`."""
        self.put_encoded(((key, serialize(value)),))

    def put_encoded(self, pairs: Iterable[tuple[str, bytes]]) -> None:
        """Store values that are serialized already, so that none is stored when one cannot be."""
        self._transactions.write()
        file = self._file
        file.ensure("_cf_KV", _DDL)
        usage = file.usage
        usage.writes += 1
        for key, value in pairs:
            usage.rows_written += 1
            file.run("INSERT INTO _cf_KV VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (key, value))

    def delete(self, keys: Iterable[str]) -> int:
        """Remove keys; return how many existed."""
        usage = self._file.usage
        usage.writes += 1
        if not self._file.has("_cf_KV"):
            return 0
        self._transactions.write()
        count = sum(self._file.run("DELETE FROM _cf_KV WHERE key = ?", (key,)).rowcount for key in set(keys))
        usage.rows_written += count
        return count

    def scan(self, options: ListOptions) -> Iterator[tuple[str, Any]]:
        """Iterate over a range; writes made meanwhile are seen."""
        usage = self._file.usage
        usage.reads += 1
        if not self._file.has("_cf_KV"):
            return
        sql, parameters = options.query()
        cursor = self._file.run(sql, parameters)
        try:
            while (row := self._file.fetch(cursor)) is not None:
                usage.rows_read += 1
                yield row[0], _read(row[0], row[1])
        except sqlite3.Error as error:
            raise storage_error(error) from None
        finally:
            with suppress(sqlite3.ProgrammingError):  # the instance, and its connection, may be gone by now
                cursor.close()


class SyncKvIterator:
    """Iterator of `kv.list()`: [key, value] pairs; a newer `list()` ends it."""

    def __init__(self, core: KeyValue, options: ListOptions) -> None:
        core.list_count += 1
        self._core = core
        self._number = core.list_count
        self._pairs = core.scan(options)

    def __iter__(self) -> SyncKvIterator:
        return self

    def __next__(self) -> list[Any]:
        if self._number != self._core.list_count:
            raise JsException(_INVALIDATED)
        key, value = next(self._pairs)
        return [key, value]

    def next(self) -> JsDict:
        """JavaScript's iterator protocol: `{done, value}`."""
        try:
            return JsDict(done=False, value=next(self))
        except StopIteration:
            return JsDict(done=True, value=None)

    def toArray(self) -> list[list[Any]]:
        """Return the remaining pairs."""
        return list(self)


class SyncKv:
    """`ctx.storage.kv`: the same data as the asynchronous methods, without awaiting."""

    __slots__ = ("_core",)

    def __init__(self, core: KeyValue) -> None:
        self._core = core

    def get(self, key: object) -> Any:
        """Return the value, or None."""
        return self._core.get(key_text(key))

    def put(self, key: object, value: object = None) -> None:
        """Store a copy of `value`."""
        self._core.put(key_text(key), value)

    def delete(self, key: object) -> bool:
        """Remove the key; say whether it existed."""
        return self._core.delete((key_text(key),)) > 0

    def list(self, options: object = None, **given: Any) -> SyncKvIterator:
        """Iterate over [key, value] pairs of a range."""
        return SyncKvIterator(self._core, ListOptions.parse(options, given))


def entries_of(value: Any) -> Mapping[Any, Any] | None:
    """Return the mapping that a multi-key `put` was given, or None."""
    if not isinstance(value, Mapping):
        to_py: Any = getattr(value, "to_py", None)
        value = to_py() if callable(to_py) else value
    return cast("Mapping[Any, Any]", value) if isinstance(value, Mapping) else None
