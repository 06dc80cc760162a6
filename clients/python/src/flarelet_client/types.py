"""What crosses the wire, and what handlers are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Ack", "Gap", "HistoryMessage", "Payload", "Recovered", "Status"]

Status = Literal["idle", "connecting", "connected", "reconnecting", "disconnected"]
"""Where the connection stands. `reconnecting` covers the waiting and the trying after a loss."""


@dataclass(frozen=True, slots=True)
class Payload:
    """What a handler is given. `data` is the new row of a table change; for DELETE, the row that went.

    `recovered` is true when it was read from the history after a reconnect. `raw` is the whole frame.
    """

    type: Literal["db_change", "chat_message", "event"]
    topic: str
    data: Any
    operation: str | None = None
    event: str | None = None
    old: Any = None
    user_id: str | None = None
    timestamp: int | None = None
    id: str | None = None
    recovered: bool = False
    raw: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """Return what handlers are registered under: the operation, the event's name, or the type."""
        return self.operation or self.event or self.type

    @classmethod
    def from_frame(cls, frame: dict[str, Any]) -> Payload:
        """Read an `event`, `db_change` or `chat_message` frame."""
        return cls(
            type=frame["type"],
            topic=frame["topic"],
            data=frame.get("data"),
            operation=frame.get("operation"),
            event=frame.get("event"),
            old=frame.get("old"),
            user_id=frame.get("userId"),
            timestamp=frame.get("timestamp"),
            id=frame.get("id"),
            raw=frame,
        )


@dataclass(frozen=True, slots=True)
class HistoryMessage:
    """A stored message. `created_at` is in ms, unique and growing within a topic."""

    id: str
    room_id: str
    user_id: str | None
    event: str
    data: Any
    created_at: int


@dataclass(frozen=True, slots=True)
class Ack:
    """What the server says of a publish it accepted; `duplicate`: it knew this id already and did nothing again."""

    id: str
    timestamp: int
    persisted: bool = False
    duplicate: bool = False
    epoch: str | None = None
    offset: int | None = None

    @classmethod
    def from_frame(cls, frame: dict[str, Any]) -> Ack:
        """Read an `ack` frame."""
        return cls(
            id=frame["id"],
            timestamp=frame.get("timestamp", 0),
            persisted=bool(frame.get("persisted")),
            duplicate=bool(frame.get("duplicate")),
            epoch=frame.get("epoch"),
            offset=frame.get("offset"),
        )


@dataclass(frozen=True, slots=True)
class Recovered:
    """After a reconnect nothing is missing: `count` missed messages were handed to the handlers."""

    topic: str
    count: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Something may have been missed.

    `table`: row changes have no history, read the table again; `resync`: the server left changes out; `history`: the
    messages could not be read; `expired`: older ones are no longer kept; `disabled`: recovery is off for the channel.
    """

    topic: str
    reason: Literal["table", "resync", "history", "expired", "disabled"]
    message: str
