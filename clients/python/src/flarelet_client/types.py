"""What crosses the wire, and what handlers are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = [
    "Ack",
    "ChannelOptions",
    "Gap",
    "HistoryMessage",
    "Occupancy",
    "Payload",
    "Position",
    "PresenceMode",
    "Recovered",
    "Status",
]

Status = Literal["idle", "connecting", "connected", "reconnecting", "disconnected"]
"""Where the connection stands. `reconnecting` covers the waiting and the trying after a loss."""


PresenceMode = Literal["full", "occupancy", "none"]
"""Who is present, how many, or nothing."""


@dataclass(frozen=True, slots=True)
class Position:
    """The place of an event in its topic: `offset` grows within an `epoch`."""

    epoch: str
    offset: int

    @classmethod
    def from_frame(cls, value: dict[str, Any] | None) -> Position | None:
        """Read a position; None when it is unknown."""
        return None if value is None else cls(value["epoch"], value["offset"])


@dataclass(frozen=True, slots=True)
class Occupancy:
    """How many are present on a topic."""

    users: int = 0
    connections: int = 0


@dataclass(frozen=True, slots=True)
class ChannelOptions:
    """How a topic is subscribed, as `RealtimeClient.channel` describes it."""

    filter: Mapping[str, Any] | None = None
    columns: Sequence[str] | None = None
    snapshot: bool = False
    event: str | Sequence[str] | None = None
    presence: PresenceMode | None = None
    recover: bool = True


@dataclass(frozen=True, slots=True)
class Payload:
    """What a handler is given. `data` is the new row of a table change; for DELETE, the row that went.

    `epoch` and `offset` are its position. `recovered` is true when it was missed while the connection was away and told
    afterwards. `raw` is the whole frame.
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
    epoch: str | None = None
    offset: int | None = None
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
            epoch=frame.get("epoch"),
            offset=frame.get("offset"),
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
    """Something may have been missed between two positions, as far as they are known: read again what is shown.

    `reason` is the server's (`expired`, `epoch`, `resync`, `unwatched`, ...), or `server` when it does not speak of
    positions at all.
    """

    topic: str
    reason: str
    message: str
    from_: Position | None = None
    to: Position | None = None
