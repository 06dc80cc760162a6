"""`ctx.storage`: the asynchronous storage API of one object, over SQLite that answers at once.

Every method does its work when it is called; the awaitable it returns is already settled, so storage awaits never give
other events a turn. Writes join the implicit transaction of the turn.
"""

from __future__ import annotations

import datetime as dt
import inspect
import math
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from typing import Any, Generic, Protocol, TypeVar, cast

from durable_objects.errors import StorageError
from durable_objects.gates import InputGate, current_section
from durable_objects.storage.files import ObjectFile
from durable_objects.storage.kv import KeyValue, ListOptions, SyncKv, entries_of, key_text
from durable_objects.storage.sql import SqlStorage
from durable_objects.storage.transaction import Transactions
from workers.compat.proxies import JsDict, JsException, JsTypeError
from workers.compat.structured_clone import serialize

__all__ = ["AlarmSlot", "DurableObjectStorage", "DurableObjectTransaction", "Settled"]

_METADATA_DDL = "CREATE TABLE IF NOT EXISTS _cf_METADATA (key INTEGER PRIMARY KEY, value BLOB)"
_ALARM_KEY, _BOOKMARK_KEY = 1, 2
_LAST_ALARM_MS = 6_911_222_400_000  # end of what a 64-bit count of nanoseconds may hold, as workerd rounds it
_ENABLE_SQL = (
    "change `new_classes` to `new_sqlite_classes` within the 'migrations' field in your wrangler.jsonc or "
    "wrangler.toml file. If using workerd directly,{} `enableSql = true` in your workerd config for the class. "
    "Note that this change cannot be made after the class is already deployed to production."
)
_NO_SQL = f"SQL is not enabled for this Durable Object class. To enable it, {_ENABLE_SQL.format('set')}"
_NO_SYNC_KV = (
    "The storage.kv (synchronous KV) API is only available for SQLite-backed Durable Objects, but this object's "
    "namespace is not declared to use SQLite. You can use the older, asyncronous interface via methods of `storage` "
    f"itself (e.g. `storage.get()`). Alternatively, to enable SQLite, {_ENABLE_SQL.format(' set')}"
)
_NO_RECOVERY = "This Durable Object's storage back-end does not implement point-in-time recovery."
_BAD_PUT = (
    "put() may only be called with a single key-value pair and optional options as put(key, value, options) or with "
    "multiple key-value pairs and optional options as put(entries, options)"
)
_MISSING: Any = object()
_T = TypeVar("_T")


class Settled(Generic[_T]):
    """An awaitable that is done: awaiting it never yields to the event loop."""

    __slots__ = ("_value",)

    def __init__(self, value: _T) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, None, _T]:
        return self._value
        yield  # pyright: ignore[reportUnreachable] - makes this a generator


_NOTHING: Settled[None] = Settled(None)


class AlarmSlot(Protocol):
    """What storage needs to know about the class and tell about the alarm of its object."""

    is_running: bool
    """True while `alarm()` runs and has not touched the alarm itself: it reads as unset then."""

    @property
    def can_fire(self) -> bool:
        """False when the class has no `alarm()` and its constructor has run."""
        ...

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        ...


class _Operations:
    """Key-value and alarm methods common to `ctx.storage` and a transaction."""

    _kv: KeyValue
    _file: ObjectFile
    _transactions: Transactions
    _alarm: AlarmSlot

    def _check(self, operation: str) -> None:
        """Refuse when the transaction was rolled back; a plain storage is always usable."""

    def get(self, key: object = _MISSING, options: object = None, **_given: object) -> Settled[Any]:
        """Return the value of one key (None when missing), or of a list of keys as a dict in key order."""
        self._check("get")
        if key is _MISSING:
            raise JsTypeError(
                "Failed to execute 'get' on 'DurableObjectStorage': parameter 1 is not of type 'string or Array'."
            )
        keys = _key_list(key)
        return Settled(self._kv.get(key_text(key)) if keys is None else self._kv.get_many(keys))

    def put(
        self, key: object = _MISSING, value: object = _MISSING, options: object = None, **_given: object
    ) -> Settled[None]:
        """Store one value, or each entry of a dict; a value that cannot be cloned leaves everything unstored."""
        self._check("put")
        entries = None if isinstance(key, str) else entries_of(key)
        if entries is not None:
            if value is not _MISSING and value is not None and not isinstance(value, Mapping):
                raise JsTypeError(_BAD_PUT)
            self._kv.put_encoded([(key_text(name), serialize(item)) for name, item in entries.items()])
        elif value is _MISSING:
            raise JsTypeError("put() called with undefined value.")
        else:
            self._kv.put(key_text(key), value)
        return _NOTHING

    def delete(self, key: object = _MISSING, options: object = None, **_given: object) -> Settled[Any]:
        """Remove one key and say whether it existed, or a list of keys and say how many did."""
        self._check("delete")
        keys = _key_list(key)
        return Settled(self._kv.delete((key_text(key),)) > 0 if keys is None else self._kv.delete(keys))

    def list(self, options: object = None, **given: Any) -> Settled[JsDict]:
        """Return a range of entries in key order; see `ListOptions`."""
        self._check("list")
        return Settled(JsDict(self._kv.scan(ListOptions.parse(options, given))))

    def getAlarm(self, options: object = None, **_given: object) -> Settled[int | None]:
        """Return the alarm time in milliseconds, or None; None while the alarm handler runs."""
        self._check("getAlarm")
        return Settled(None if self._alarm.is_running else self.read_alarm())

    def setAlarm(self, time: object = None, options: object = None, **_given: object) -> Settled[None]:
        """Set the one alarm of the object, in milliseconds since the epoch or as a datetime."""
        self._check("setAlarm")
        at_ms = max(_alarm_time(time), self._alarm.now_ms())  # a time in the past means now
        if not self._alarm.can_fire:
            raise JsTypeError("Your Durable Object class must have an alarm() handler in order to call setAlarm()")
        self.write_alarm(at_ms)
        return _NOTHING

    def deleteAlarm(self, options: object = None, **_given: object) -> Settled[None]:
        """Unset the alarm; inside the handler also give up its retries."""
        self._check("deleteAlarm")
        if self.read_alarm() is not None:
            self.write_alarm(None)
        return _NOTHING

    def read_alarm(self) -> int | None:
        """Return the stored alarm time, whether or not its handler is running."""
        if not self._file.has("_cf_METADATA"):
            return None
        row = self._file.run("SELECT value FROM _cf_METADATA WHERE key = ?", (_ALARM_KEY,)).fetchone()
        return None if row is None or row[0] is None else int(row[0]) // 1_000_000  # workerd keeps a NULL

    def write_alarm(self, at_ms: int | None) -> None:
        """Store the alarm time, or its absence, in the implicit transaction."""
        self._alarm.is_running = False
        self._transactions.write()
        self._transactions.alarm_touched = True
        self._file.ensure("_cf_METADATA", _METADATA_DDL)
        if at_ms is None:
            self._file.run("DELETE FROM _cf_METADATA WHERE key = ?", (_ALARM_KEY,))
        else:
            self._file.run("INSERT OR REPLACE INTO _cf_METADATA VALUES (?, ?)", (_ALARM_KEY, at_ms * 1_000_000))

    get_alarm = getAlarm
    set_alarm = setAlarm
    delete_alarm = deleteAlarm


class DurableObjectStorage(_Operations):
    """The storage of one instance."""

    def __init__(
        self,
        file: ObjectFile,
        gate: InputGate,
        transactions: Transactions,
        alarm: AlarmSlot,
        *,
        is_sqlite: bool,
        deletes_alarm: bool = True,
    ) -> None:
        self._file = file
        self._deletes_alarm = deletes_alarm
        self._gate = gate
        self._transactions = transactions
        self._alarm = alarm
        self._kv = KeyValue(file, transactions)
        self._sync_kv = SyncKv(self._kv)
        self._sql = SqlStorage(file, transactions)
        self._is_sqlite = is_sqlite

    @property
    def sql(self) -> SqlStorage:
        """SQL access."""
        if not self._is_sqlite:
            raise JsException(_NO_SQL)
        return self._sql

    @property
    def kv(self) -> SyncKv:
        """The synchronous key-value API."""
        if not self._is_sqlite:
            raise JsException(_NO_SYNC_KV)
        return self._sync_kv

    def deleteAll(self, options: object = None, **_given: object) -> Settled[None]:
        """Delete keys, SQL tables and, by newer compatibility dates, the alarm; open cursors become useless."""
        self._transactions.refuse_inside("deleteAll")
        alarm_ms = self.read_alarm()
        self._transactions.rollback()
        if self._file.exists:
            self._file.delete()
        if alarm_ms is not None and not self._deletes_alarm:
            self._keep_alarm(alarm_ms)
            return _NOTHING
        self._alarm.is_running = False
        if alarm_ms is not None:
            self._transactions.write()  # an empty transaction, whose commit tells the alarm's owner
            self._transactions.alarm_touched = True
        return _NOTHING

    def _keep_alarm(self, at_ms: int) -> None:
        is_running, is_touched = self._alarm.is_running, self._transactions.alarm_touched
        self.write_alarm(at_ms)
        # Nothing has changed for the alarm's owner, above all not while the handler of this alarm runs.
        self._alarm.is_running, self._transactions.alarm_touched = is_running, is_touched

    @property
    def is_kept(self) -> bool:
        """True when there is something on the disk; asking does not create it. Not part of Cloudflare's API."""
        return self._file.exists

    def sync(self) -> Awaitable[None]:
        """Wait until everything written so far is on the disk."""
        return self._transactions.settled()

    async def transaction(self, closure: Callable[[DurableObjectTransaction], Any], options: object = None) -> Any:
        """Run `closure(txn)` alone in the object; an exception, or `txn.rollback()`, undoes all storage it did."""
        outer = current_section.get()
        await self._gate.enter(outer)
        section = self._gate.lock(outer)
        token = current_section.set(section)
        name = self._transactions.pin()
        transaction = DurableObjectTransaction(self)
        keep = False
        try:
            result = closure(transaction)
            if inspect.isawaitable(result):
                result = await result
            keep = not transaction.is_rolled_back
            return result
        finally:
            self._transactions.unpin(name, keep=keep and not transaction.is_rolled_back)
            current_section.reset(token)
            self._gate.unlock(section)

    def transactionSync(self, closure: Callable[[], _T]) -> _T:
        """Run `closure()`; an exception undoes the storage operations it did."""
        result = self._transactions.run_sync(closure)
        if inspect.iscoroutine(result):
            result.close()
            raise JsTypeError("transactionSync() callback must be a synchronous function.")
        return cast(_T, result)

    def getCurrentBookmark(self) -> Settled[str]:
        """Return a bookmark: text that grows with each call, 59 characters long."""
        self._transactions.write()
        self._file.ensure("_cf_METADATA", _METADATA_DDL)
        row = self._file.run("SELECT value FROM _cf_METADATA WHERE key = ?", (_BOOKMARK_KEY,)).fetchone()
        count = 1 + (int(row[0]) if row is not None else 0)
        self._file.run("INSERT OR REPLACE INTO _cf_METADATA VALUES (?, ?)", (_BOOKMARK_KEY, count))
        return Settled(f"{count:08x}-{0:08x}-{0:08x}-{0:032x}")

    def getBookmarkForTime(self, time: object = None) -> Settled[str]:
        """Refuse: there is no point-in-time recovery here."""
        raise JsException(_NO_RECOVERY)

    def onNextSessionRestoreBookmark(self, bookmark: object = None) -> Settled[str]:
        """Refuse: there is no point-in-time recovery here."""
        raise JsException(_NO_RECOVERY)

    def core(self) -> KeyValue:
        """Return the synchronous core, for transactions."""
        return self._kv

    def parts(self) -> tuple[ObjectFile, Transactions, AlarmSlot]:
        """Return what a transaction shares with its storage."""
        return self._file, self._transactions, self._alarm

    delete_all = deleteAll
    transaction_sync = transactionSync
    get_current_bookmark = getCurrentBookmark


class DurableObjectTransaction(_Operations):
    """What the closure of `transaction()` receives."""

    def __init__(self, storage: DurableObjectStorage) -> None:
        self._kv = storage.core()
        self._file, self._transactions, self._alarm = storage.parts()
        self.is_rolled_back = False

    def rollback(self) -> None:
        """Undo the transaction when its closure ends; no storage operation of it may follow."""
        self.is_rolled_back = True

    def deleteAll(self, options: object = None, **_given: object) -> Settled[None]:
        """Refuse: it cannot be undone."""
        raise JsException("Cannot call deleteAll() within a transaction")

    def _check(self, operation: str) -> None:
        if self.is_rolled_back:
            raise StorageError(f"Cannot {operation}() on rolled back transaction")


def _key_list(key: object) -> list[str] | None:
    """Return the keys of a multi-key call, or None for a single key."""
    if isinstance(key, str):
        return None
    to_py = getattr(key, "to_py", None)
    plain = to_py() if callable(to_py) else key
    if isinstance(plain, (list, tuple, set, frozenset)):
        return [key_text(item) for item in cast("Iterable[object]", plain)]
    return None


def _alarm_time(time: object) -> int:
    if isinstance(time, dt.datetime):
        aware = time if time.tzinfo is not None else time.replace(tzinfo=dt.timezone.utc)  # noqa: UP017
        number = aware.timestamp() * 1000
    elif isinstance(time, bool) or not isinstance(time, (int, float)):
        raise JsTypeError("Failed to execute 'setAlarm' on 'DurableObjectStorage': parameter 1 is not of type 'date'.")
    else:
        number = time
    if isinstance(number, float) and not math.isfinite(number):
        raise JsTypeError("The value cannot be converted because it is not a valid Date.")
    if number <= 0:
        raise JsTypeError("setAlarm() cannot be called with an alarm time <= 0")
    if number > _LAST_ALARM_MS:
        raise JsTypeError("This API doesn't support dates after 2189.")
    return int(number)
