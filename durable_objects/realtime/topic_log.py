"""The stored messages of one topic, in the topic object's own SQL storage."""

from __future__ import annotations

from typing import Any, cast

from durable_objects.realtime.core.history import Message, Position

__all__ = ["TopicLog"]

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
_EXISTS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'realtime_messages'"
_LATEST = 2**53 - 1
_COLUMNS = "position, epoch, id, user_id, event, data, created_at"


class TopicLog:
    """Rows of `realtime_messages`; the table appears with the first message."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    def append(self, message: Message, *, keep: int) -> None:
        """Store the newest message and drop all but the newest `keep`."""
        # Asked every time: user code may have emptied the storage with deleteAll().
        self._storage.sql.exec(_SCHEMA)
        position = message.position
        self._storage.sql.exec(
            f"INSERT INTO realtime_messages ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            position.offset,
            position.epoch,
            message.id,
            message.user_id,
            message.event,
            message.data,
            message.created_at,
        )
        self._storage.sql.exec("DELETE FROM realtime_messages WHERE position <= ?", position.offset - keep)

    def newest(self, limit: int, before: int | None = None) -> list[Message]:
        """Return up to `limit` messages older than `before` (a `created_at`), newest first."""
        if not self._storage.sql.exec(_EXISTS).toArray():
            return []
        rows = self._storage.sql.exec(
            f"SELECT {_COLUMNS} FROM realtime_messages WHERE created_at < ? ORDER BY created_at DESC LIMIT ?",
            before if before is not None else _LATEST,
            limit,
        ).toArray()
        return [_message(cast("dict[str, Any]", row)) for row in rows]

    def after(self, position: Position | None, at_ms: int) -> list[Message]:
        """Return the messages after a position or, without one, later than `at_ms`; oldest first."""
        if not self._storage.sql.exec(_EXISTS).toArray():
            return []
        where = "created_at > ?" if position is None else "position > ? AND epoch = ?"
        known = (at_ms,) if position is None else (position.offset, position.epoch)
        rows = self._storage.sql.exec(
            f"SELECT {_COLUMNS} FROM realtime_messages WHERE {where} ORDER BY position", *known
        ).toArray()
        return [_message(cast("dict[str, Any]", row)) for row in rows]


def _message(row: dict[str, Any]) -> Message:
    position = Position(row["epoch"], int(row["position"]))
    return Message(position, row["id"], row["user_id"], row["event"], row["data"], int(row["created_at"]))
