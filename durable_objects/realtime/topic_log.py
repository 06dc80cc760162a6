"""The stored messages of one topic, in the topic object's own SQL storage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from durable_objects.realtime.core.history import Message, Position

__all__ = ["Retention", "TopicLog"]

# `created_at` is unique by construction; the constraint gives the public cursor its index.
_SCHEMA = """CREATE TABLE IF NOT EXISTS realtime_messages (
  position INTEGER PRIMARY KEY,
  epoch TEXT NOT NULL,
  id TEXT NOT NULL,
  user_id TEXT,
  event TEXT NOT NULL,
  data TEXT NOT NULL,
  created_at INTEGER NOT NULL UNIQUE
)"""
_EXISTS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
_MESSAGES, _MIXED = "realtime_messages", "realtime_mixed"
_COLUMNS = "position, epoch, id, user_id, event, data, created_at"
_SIZE = "length(CAST(data AS BLOB)) + length(id) + length(event) + 64"
_LATEST = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of a topic is stored: messages, and if they are not 0, seconds and bytes. The newest one always is."""

    count: int
    age_s: float = 0.0
    bytes: int = 0


class TopicLog:
    """Rows of `realtime_messages`; the table appears with the first message, and no file before it."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self._count = -1
        self._bytes = 0

    def append(self, message: Message, retention: Retention) -> None:
        """Store the newest message and drop the oldest ones that are too many, too old or too much."""
        storage = self._storage
        if self._count < 0 or not storage.is_kept:
            # Asked again when the file is new: user code may have emptied the storage with deleteAll().
            storage.sql.exec(_SCHEMA)
            self._measure()
        position = message.position
        storage.sql.exec(
            f"INSERT INTO {_MESSAGES} ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            position.offset,
            position.epoch,
            message.id,
            message.user_id,
            message.event,
            message.data,
            message.created_at,
        )
        self._count += 1
        self._bytes += len(message.data.encode("utf-8", "replace")) + len(message.id) + len(message.event) + 64
        self._trim(message, retention)

    def newest(
        self, limit: int, before: int | None = None, after: int | None = None, *, oldest_ms: int = 0
    ) -> list[Message]:
        """Return up to `limit` messages older than `before` (a `created_at`), newest first.

        With `after`, the ones that follow that `created_at` most closely, oldest first. None is before `oldest_ms`.
        """
        if not self._has(_MESSAGES):
            return []
        until = before if before is not None else _LATEST
        since, order = (max(after, oldest_ms - 1), "ASC") if after is not None else (oldest_ms - 1, "DESC")
        return self._select("created_at < ? AND created_at > ?", until, since, order=f"created_at {order}", limit=limit)

    def after(self, position: Position | None, at_ms: int = 0) -> list[Message]:
        """Return the messages after a position or, without one, later than `at_ms`; oldest first."""
        if not self._has(_MESSAGES):
            return []
        if position is None:
            return self._select("created_at > ?", at_ms, order="position")
        return self._select("position > ? AND epoch = ?", position.offset, position.epoch, order="position")

    def is_mixed(self) -> bool:
        """Whether the topic also said things that it did not store."""
        return self._has(_MIXED)

    def note_mixed(self) -> None:
        """Note, once and for all, that the topic says things that it does not store; nothing without stored ones."""
        if self._has(_MESSAGES) and not self._has(_MIXED):
            self._storage.sql.exec(f"CREATE TABLE {_MIXED} (at INTEGER)")

    def _has(self, table: str) -> bool:
        return self._storage.is_kept and bool(self._storage.sql.exec(_EXISTS, table).toArray())

    def _measure(self) -> None:
        row = self._storage.sql.exec(f"SELECT count(*) AS n, coalesce(sum({_SIZE}), 0) AS size FROM {_MESSAGES}").one()
        self._count, self._bytes = int(row["n"]), int(row["size"])

    def _trim(self, newest: Message, retention: Retention) -> None:
        too_many = self._count - retention.count
        if retention.bytes and self._bytes > retention.bytes:
            rows = self._storage.sql.exec(f"SELECT {_SIZE} AS size FROM {_MESSAGES} ORDER BY position").raw()
            excess, number = self._bytes - retention.bytes, 0
            for (size,) in rows:
                if excess <= 0:
                    break
                excess -= size
                number += 1
            too_many = max(too_many, number)
        oldest_ms = newest.created_at - int(retention.age_s * 1_000) if retention.age_s else -_LATEST
        if too_many <= 0 and not retention.age_s:
            return
        gone = self._storage.sql.exec(
            f"DELETE FROM {_MESSAGES} WHERE position < ? AND (created_at < ? OR position IN"
            f" (SELECT position FROM {_MESSAGES} ORDER BY position LIMIT ?)) RETURNING {_SIZE} AS size",
            newest.position.offset,
            oldest_ms,
            max(too_many, 0),
        ).toArray()
        self._count -= len(gone)
        self._bytes -= sum(int(row["size"]) for row in gone)
        if len(gone) < too_many:
            self._measure()  # user code deleted rows of its own

    def _select(self, where: str, *values: object, order: str, limit: int = -1) -> list[Message]:
        rows = self._storage.sql.exec(
            f"SELECT {_COLUMNS} FROM {_MESSAGES} WHERE {where} ORDER BY {order} LIMIT ?", *values, limit
        ).toArray()
        return [_message(cast("dict[str, Any]", row)) for row in rows]


def _message(row: dict[str, Any]) -> Message:
    position = Position(row["epoch"], int(row["position"]))
    return Message(position, row["id"], row["user_id"], row["event"], row["data"], int(row["created_at"]))
