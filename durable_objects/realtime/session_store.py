"""Sessions on the disk: what a connection is subscribed to is known to the next process, also after a crash.

Rows are written when subscriptions or presence change, many connections in one transaction, and never for a message.
Beside them stands when the server was last seen alive and where the database's changes stood: what was stored before
that had been told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from durable_objects.realtime.core.history import Position
from durable_objects.realtime.core.protocol import dumps, loads
from durable_objects.realtime.core.session import Identity, Kept, Session
from durable_objects.realtime.directory import Directory

__all__ = ["SessionStore", "described"]

_BETWEEN_S = 0.05
"""Between two writes at least: each waits for the disk. The first one after a pause is made at once."""
_SHARE = 25
"""Writing takes one part in so many of the time, however slow the disk is, while many clients come at once."""

_log = logging.getLogger(__name__)


class SessionStore:
    """Writes sessions behind the connections' backs, and reads those of the process before."""

    def __init__(self, directory: Directory, describe: Callable[[str], Mapping[str, Any] | None]) -> None:
        """`describe` returns what is to be kept of a connection, by its id; None when that is nothing."""
        self._directory = directory
        self._describe = describe
        self._changed: dict[str, None] = {}
        self._written: set[str] = set()
        self._is_writing = False
        self._is_closed = False
        self._wrote_at_s = 0.0
        self._between_s = _BETWEEN_S
        self._timer: asyncio.TimerHandle | None = None

    def changed(self, id: str) -> None:
        """Note that a connection has other subscriptions than before, or none any more."""
        if self._is_closed:
            return
        self._changed[id] = None
        if self._timer is None and not self._is_writing:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(loop.time(), self._wrote_at_s + self._between_s), self._begin)

    def forget(self, id: str) -> None:
        """Note that nothing of a connection needs to be kept."""
        if id in self._written or id in self._changed:
            self.changed(id)

    async def read(self, started_ms: int) -> list[Session]:
        """Return the sessions of the process before; this one began at `started_ms`."""
        try:
            rows, alive = await self._directory.store().kept_sessions()
        except Exception:  # a task root: nothing of the past is better than no connection
            _log.exception("the sessions of the server before could not be read")
            return []
        self._written = {str(row[0]) for row in rows}
        return [_session(str(id), loads(text), alive, started_ms) for id, text in rows]

    async def mark_alive(self) -> None:
        """Note that what was stored until now has been told."""
        if self._written and not self._is_closed:
            await self._write((), {}, is_alive=True)

    async def close(self) -> None:
        """Write what waits, and that everything has been told; nothing is written after that."""
        if not self._is_closed:
            await self._flush(is_alive=True)
            self._is_closed = True

    async def _flush(self, *, is_alive: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        changed, self._changed = self._changed, {}
        if self._is_closed:
            return
        rows: dict[str, str] = {}
        gone: list[str] = []
        for id in changed:
            described = self._describe(id)
            if described is not None:
                rows[id] = dumps(described)
            elif id in self._written:
                gone.append(id)
        self._written |= rows.keys()
        self._written.difference_update(gone)
        if rows or gone or (is_alive and self._written):
            await self._write(gone, rows, is_alive=is_alive)

    async def _write(self, gone: Iterable[str], rows: Mapping[str, str], *, is_alive: bool) -> None:
        alive = None
        if is_alive:
            tables = self._directory.tables
            at = None if tables is None else list(tables.told())
            alive = {"at": self._directory.clock.now_ms(), "table": at}
        try:
            await self._directory.store().keep_sessions(list(gone), [[id, text] for id, text in rows.items()], alive)
        except Exception:  # a task root: a full disk must not cost the clients their connections
            if self._is_closed:
                return  # the objects closed meanwhile, and what waited was written before
            _log.exception("sessions could not be stored: they will not outlive the server")

    def _begin(self) -> None:
        self._timer = None
        self._is_writing = True
        self._wrote_at_s = asyncio.get_running_loop().time()
        self._directory.tasks.spawn(self._write_changed(), "realtime-sessions")

    async def _write_changed(self) -> None:
        try:
            await self._flush()
        finally:
            self._is_writing = False
            took_s = asyncio.get_running_loop().time() - self._wrote_at_s
            self._between_s = min(max(_BETWEEN_S, took_s * _SHARE), 1.0)
            if self._changed:
                self.changed(next(iter(self._changed)))


def described(identity: Identity, topics: Mapping[str, Kept]) -> dict[str, Any]:
    """Return a session as JSON. A topic of a live connection has no end yet."""
    return {"who": list(identity), "topics": {name: _row(kept) for name, kept in topics.items()}}


def _row(kept: Kept) -> list[Any]:
    heard = None if kept.heard is None else [kept.heard.epoch, kept.heard.offset]
    return [kept.spellings, kept.state, heard, kept.ended_at_ms]


def _session(id: str, row: Mapping[str, Any], alive: Mapping[str, Any] | None, started_ms: int) -> Session:
    alive_ms = int(alive["at"]) if alive else 0
    told = Position(*alive["table"]) if alive and alive["table"] else None
    session = Session(id, Identity(*row["who"]))
    for name, (spellings, state, heard, ended_at_ms) in row["topics"].items():
        known = None if heard is None else Position(*heard)
        if ended_at_ms:  # it was away when that process ended
            session.topics[name] = Kept(spellings, state, known, None, ended_at_ms)
            continue
        if known is not None and told is not None and known.epoch == told.epoch and known.offset < told.offset:
            known = told
        session.topics[name] = Kept(spellings, state, known, None, alive_ms, (alive_ms, started_ms))
    return session
