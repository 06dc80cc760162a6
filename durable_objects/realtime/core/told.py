"""The frames a client is told, as models: what the reference page is made of, and what tests hold every frame against.

Frames are written as text, for the sake of speed, by `protocol`, `topic` and `v1`; nothing here runs when a message is
sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["TOLD", "Told"]

Offset = Annotated[int, Field(ge=0)]


class Told(BaseModel):
    """What all frames of the server have in common: nothing is in them that is not described."""

    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid", frozen=True)


class At(Told):
    """A position: everything up to this event of this epoch."""

    epoch: str
    offset: Offset


class Occupied(Told):
    """How many are present."""

    users: int
    connections: int


class Member(Told):
    """One user who is present, with the state of the connection that tracked last."""

    userId: str
    state: dict[str, Any]
    connections: list[str]


class Welcome(Told):
    """The first frame of a flarelet-v1 connection.

    It says what the server allows: after `silenceMs` without any frame the connection counts as cut, and for `graceMs`
    after that what was missed can be told again.
    """

    type: Literal["welcome"]
    protocol: Literal["flarelet-v1"]
    connectionId: str
    userId: str | None
    silenceMs: int
    graceMs: int
    maxFrameBytes: int
    maxTopics: int


class Subscribed(Told):
    """A subscription holds; in flarelet-v1 everything after this position will be told."""

    type: Literal["subscribed"]
    topic: str
    epoch: str | None = None
    offset: Offset | None = None


class Recovered(Told):
    """The verdict on `since`: nothing is missing. `count` frames that were missed follow at once, in order."""

    type: Literal["recovered"]
    topic: str
    epoch: str
    offset: Offset
    count: int


class Gap(Told):
    """The verdict that events after `from` and up to `to` may be missing; `count` of them follow at once.

    It also comes without having been asked for, when the server itself lost something. `reason`: `epoch`, the position
    is of another numbering; `ahead`, of none that was given yet; `expired` or `dropped`, too old; `not_stored`, said
    before a restart and not stored; `unwatched`, nobody followed the table then; `resync`, changed in a way that is not
    described row by row; `reset`, the topic's object was reset; `slow`, the client did not read for too long.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid", frozen=True, populate_by_name=True)
    type: Literal["gap"]
    topic: str
    after: At | None = Field(alias="from")
    to: At | None
    reason: str
    count: int


class Event(Told):
    """Somebody published. `epoch` and `offset` are in every event of flarelet-v1, and in stored ones for everybody."""

    type: Literal["event"]
    topic: str
    event: str
    data: Any
    userId: str | None = None
    timestamp: int
    id: str | None = None
    epoch: str | None = None
    offset: Offset | None = None


class ChatMessage(Told):
    """Somebody wrote in a chat room; it is stored."""

    type: Literal["chat_message"]
    topic: str
    roomId: str
    data: Any
    text: str
    metadata: Any = None
    userId: str | None = None
    timestamp: int
    id: str
    epoch: str
    offset: Offset


class DbChange(Told):
    """A row changed. `new` repeats `data`; of a deleted row `data` is what it was."""

    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="allow", frozen=True)
    type: Literal["db_change"]
    topic: str
    operation: Literal["INSERT", "UPDATE", "DELETE"]
    data: dict[str, Any]
    new: dict[str, Any] | None = None
    old: dict[str, Any] | None = None
    timestamp: int
    seq: int
    txn: int
    more: Literal[True] | None = None
    """Whether the transaction changed the table further."""
    entered: Literal[True] | None = None
    """Whether an UPDATE brought the row into what the filter lets through; it is told as an INSERT."""
    left: Literal[True] | None = None
    """Whether an UPDATE took it out; it is told as a DELETE."""
    epoch: str | None = None
    offset: Offset | None = None


class SnapshotPart(Told):
    """Rows of a table as they were at a position; all parts come before any later change."""

    type: Literal["snapshot"]
    topic: str
    rows: list[dict[str, Any]]
    epoch: str
    offset: Offset
    part: Offset
    last: bool


class TransactionEnd(Told):
    """The end of a transaction whose last change the filter hides, for who was told earlier ones."""

    type: Literal["transaction"]
    topic: str
    timestamp: int
    seq: int
    txn: int
    epoch: str
    offset: Offset


class Resync(Told):
    """For public clients: changes of a table cannot be told; read it again."""

    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="allow", frozen=True)
    type: Literal["resync"]
    channel: str


class PresenceTold(Told):
    """Who is present: everybody (`snapshot`), what changed since the version before (`diff`), or how many.

    A diff whose version is not the next one was preceded by one that is missing: ask with a `presence` frame.
    """

    type: Literal["presence"]
    topic: str
    kind: Literal["snapshot", "diff", "occupancy"]
    epoch: str
    version: int
    occupancy: Occupied
    users: list[Member] | None = None
    joins: list[Member] | None = None
    updates: list[Member] | None = None
    leaves: list[str] | None = None
    id: str | None = None


class Ack(Told):
    """A publish was accepted, and is stored if it was to be. In flarelet-v1 it always has its position."""

    type: Literal["ack"]
    id: str | None
    timestamp: int
    persisted: Literal[True] | None = None
    epoch: str | None = None
    offset: Offset | None = None
    duplicate: Literal[True] | None = None


class Failed(Told):
    """A frame of the client was refused; `ref` tells which, `retry` whether it may succeed later."""

    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="allow", frozen=True)
    type: Literal["error"]
    code: int
    name: str
    message: str
    retry: bool
    ref: dict[str, str]


class Pong(Told):
    """The answer to a ping."""

    type: Literal["pong"]


TOLD: Mapping[str, type[Told]] = {
    "welcome": Welcome,
    "subscribed": Subscribed,
    "recovered": Recovered,
    "gap": Gap,
    "event": Event,
    "chat_message": ChatMessage,
    "db_change": DbChange,
    "snapshot": SnapshotPart,
    "transaction": TransactionEnd,
    "resync": Resync,
    "presence": PresenceTold,
    "ack": Ack,
    "error": Failed,
    "pong": Pong,
}
"""The frames of the server by their type."""
