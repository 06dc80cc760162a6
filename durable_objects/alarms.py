"""Alarms of one namespace: one time an object, kept in `metadata.sqlite`, retried when the handler fails.

An entry is *scheduled* (a loop timer runs) or *firing* (its handler runs). The row is written before the object's own
commit and removed after it, so a crash in between leaves at worst an alarm that finds nothing to do.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random

from durable_objects.clock import Clock
from workers.compat.proxies import JsDict

__all__ = ["MAX_RETRIES", "AlarmInvocationInfo", "Alarms", "retry_delay_s"]

MAX_RETRIES = 6
_FIRST_RETRY_S = 2.0
_JITTER = 0.25
_LONGEST_TIMER_S = 86_400.0  # loops refuse very long timers; a day is asked again
_DDL = """CREATE TABLE IF NOT EXISTS _cf_ALARM (
  actor_id TEXT PRIMARY KEY,
  scheduled_time INTEGER,
  actor_name TEXT
) WITHOUT ROWID"""


def retry_delay_s(failures: int, random: Random) -> float:
    """Return the wait before run number `failures` + 1: 2, 4, 8, ... seconds plus up to a quarter."""
    return _FIRST_RETRY_S * 2.0 ** (failures - 1) * (1 + random.uniform(0, _JITTER))


class AlarmInvocationInfo(JsDict):
    """Argument of `alarm()`: retryCount, isRetry and scheduledTime (milliseconds, kept across retries)."""

    __slots__ = ()


class _Entry:
    __slots__ = ("at_ms", "failures", "is_due", "name", "timer")

    def __init__(self, at_ms: int, name: str | None) -> None:
        self.at_ms = at_ms
        self.name = name
        self.failures = 0
        self.is_due = False
        self.timer: asyncio.TimerHandle | None = None


class Alarms:
    """Schedule of one namespace; `fire(object_id, name, at_ms, failures)` starts a handler."""

    def __init__(
        self, path: Path, clock: Clock, random: Random, fire: Callable[[str, str | None, int, int], None]
    ) -> None:
        self._path = path
        self._clock = clock
        self._random = random
        self._fire = fire
        self._entries: dict[str, _Entry] = {}
        self._running: set[str] = set()
        self._connection: sqlite3.Connection | None = None

    def load(self) -> None:
        """Schedule what an earlier process left; what is late fires at once."""
        if self._path.exists():
            for object_id, at_ns, name in (
                self._database().execute("SELECT actor_id, scheduled_time, actor_name FROM _cf_ALARM").fetchall()
            ):
                self._schedule(object_id, name, at_ns // 1_000_000)

    def prepare(self, object_id: str, name: str | None, at_ms: int) -> None:
        """Make a new alarm time durable, before the object commits it."""
        self._database().execute(
            "INSERT INTO _cf_ALARM VALUES (?, ?, ?) ON CONFLICT DO UPDATE "
            "SET scheduled_time = excluded.scheduled_time, actor_name = COALESCE(excluded.actor_name, actor_name)",
            (object_id, at_ms * 1_000_000, name),
        )

    def settle(self, object_id: str, name: str | None, at_ms: int | None) -> None:
        """Follow what the object has committed: schedule anew, or forget."""
        if at_ms is None:
            self._drop(object_id)
            if self._connection is not None or self._path.exists():
                self._database().execute("DELETE FROM _cf_ALARM WHERE actor_id = ?", (object_id,))
        else:
            self._schedule(object_id, name, at_ms)

    def finished(self, object_id: str) -> None:
        """The handler of an object is over: the next alarm may fire."""
        self._running.discard(object_id)
        entry = self._entries.get(object_id)
        if entry is not None and entry.is_due:
            entry.is_due = False
            self._due(object_id, entry)

    def failed(self, object_id: str, at_ms: int) -> bool:
        """Plan a retry of the alarm that fired for `at_ms`; False when none is left and it must be unset."""
        entry = self._entries.get(object_id)
        if entry is None or entry.at_ms != at_ms or entry.timer is not None or object_id in self._running:
            return True  # the handler set another alarm, or deleted this one
        entry.failures += 1
        if entry.failures > MAX_RETRIES:
            return False
        delay_s = retry_delay_s(entry.failures, self._random)
        entry.timer = asyncio.get_running_loop().call_later(delay_s, self._due, object_id, entry)
        return True

    def close(self) -> None:
        """Stop all timers and close the file; the rows stay."""
        for object_id in list(self._entries):
            self._drop(object_id)
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _schedule(self, object_id: str, name: str | None, at_ms: int) -> None:
        self._drop(object_id)
        self._entries[object_id] = entry = _Entry(at_ms, name)
        self._arm(object_id, entry)

    def _arm(self, object_id: str, entry: _Entry) -> None:
        delay_s = min(max(0.0, (entry.at_ms - self._clock.now_ms()) / 1000), _LONGEST_TIMER_S)
        entry.timer = asyncio.get_running_loop().call_later(delay_s, self._due, object_id, entry)

    def _due(self, object_id: str, entry: _Entry) -> None:
        if self._entries.get(object_id) is not entry:
            return
        if not entry.failures and entry.at_ms - self._clock.now_ms() > 1:
            self._arm(object_id, entry)
            return
        entry.timer = None
        if object_id in self._running:
            entry.is_due = True  # set by a handler that still runs: handlers of one object never overlap
            return
        self._running.add(object_id)
        self._fire(object_id, entry.name, entry.at_ms, entry.failures)

    def _drop(self, object_id: str) -> None:
        entry = self._entries.pop(object_id, None)
        if entry is not None and entry.timer is not None:
            entry.timer.cancel()

    def _database(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA page_size=4096")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute(_DDL)
            columns = {row[1] for row in connection.execute("PRAGMA table_info(_cf_ALARM)")}
            if "actor_name" not in columns:  # files of older miniflare versions
                connection.execute("ALTER TABLE _cf_ALARM ADD COLUMN actor_name TEXT")
            self._connection = connection
        return self._connection
