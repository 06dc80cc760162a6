"""Who follows a topic, and how: legs, and the groups of those that are sent the same frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from durable_objects.realtime.core import v1
from durable_objects.realtime.core.access import Connection
from durable_objects.realtime.core.history import Position
from durable_objects.realtime.core.protocol import addressed, dumps, dumps_ascii, loads
from durable_objects.realtime.core.table_events import transaction_of
from durable_objects.realtime.core.tail import Entry

__all__ = ["Group", "Leg", "Lens", "Options", "group_key"]

Options = Mapping[str, Any]
"""How a spelling is followed, as JSON: `v` 1 for flarelet-v1, `presence`, `event`, `filter`, `columns`."""


@dataclass(slots=True)
class Leg:
    """One connection's link to the topic. `state` is its presence, None when it does not track.

    `is_away`: its client is not there at the moment; it is sent nothing.
    """

    id: str
    connection: Connection
    spellings: dict[str, Options | None] = field(default_factory=dict[str, "Options | None"])
    state: Mapping[str, Any] | None = None
    is_away: bool = False
    tracked: int = 0
    """Grows with every `track`: which of a user's connections spoke last, for a topic that slept."""

    def attachment(self) -> str:
        """Return what must outlive the object's memory, as ASCII JSON text."""
        who = self.connection.described()
        return dumps_ascii([self.id, who, self.spellings, self.state, self.is_away, self.tracked])

    @classmethod
    def from_attachment(cls, text: str) -> Leg:
        """Read back what `attachment` wrote."""
        leg_id, described, spellings, state, is_away, tracked = loads(text)
        return cls(leg_id, Connection(*described), spellings, state, is_away, tracked)


class Lens(Protocol):
    """What a group sees of row changes."""

    def change(self, rest: str) -> str | None:
        """Return the rest of the `db_change` frame the group is sent for this one, None for nothing."""
        ...


@dataclass(eq=False, slots=True)
class Group:
    """Legs that follow the topic under the same spelling in the same way."""

    spelling: str
    options: Options | None
    lens: Lens | None = None
    legs: dict[str, None] = field(default_factory=dict[str, None])
    crowd: Any = None
    """What the shell made of the legs to speak to all at once; forgotten when they change."""
    _is_amid: bool = False
    """Whether changes of a transaction were told whose end was not."""

    @property
    def is_v1(self) -> bool:
        """Whether its clients negotiated flarelet-v1."""
        return self.options is not None and self.options.get("v") == 1

    @property
    def presence(self) -> str:
        """How much it is told of presence: "full", "occupancy" or "none"; "events" for public clients."""
        return "events" if self.options is None or not self.is_v1 else self.options.get("presence", "full")

    def frame(self, entry: Entry) -> str | None:
        """Return what the group is sent of something that was said, None for nothing."""
        if self.options is not None:
            return self._chosen(entry, self.options)
        kind, spelling = entry.kind, self.spelling
        if kind == "resync":  # a new type must not carry `topic`, see protocol
            return f'{{"type":"resync","channel":{dumps(spelling)}{entry.rest}'
        return addressed("event" if kind == "presence" else kind, spelling, entry.rest)

    def _chosen(self, entry: Entry, options: Options) -> str | None:
        kind, rest, is_v1 = entry.kind, entry.rest, self.is_v1
        wanted = options.get("event")
        if wanted is not None and kind in ("event", "chat_message") and entry.event not in wanted:
            return None
        if kind == "presence":
            return None if is_v1 else addressed("event", self.spelling, rest)
        if kind == "resync":
            if is_v1:
                return v1.gap(self.spelling, None, Position(entry.epoch, entry.offset), "resync")
            return f'{{"type":"resync","channel":{dumps(self.spelling)}{rest}'
        if kind == "db_change":
            seen = rest if self.lens is None else self._through(self.lens, entry)
            if seen is None or seen.startswith("{"):
                return seen
            return addressed(kind, self.spelling, v1.positioned(seen, entry.epoch, entry.offset) if is_v1 else seen)
        if is_v1 and not entry.is_stored:  # what is stored has its position for everybody
            rest = v1.positioned(rest, entry.epoch, entry.offset)
        return addressed(kind, self.spelling, rest)

    def _through(self, lens: Lens, entry: Entry) -> str | None:
        """Return what is seen of a change, or the frame that ends its transaction when only earlier ones were."""
        seen = lens.change(entry.rest)
        if not self.is_v1:
            return seen
        place, is_last = transaction_of(entry.rest)
        if seen is None and is_last and self._is_amid:
            seen = v1.transaction(self.spelling, place, entry.epoch, entry.offset)
        self._is_amid = not is_last and (self._is_amid or seen is not None)
        return seen


def group_key(spelling: str, options: Options | None) -> tuple[str, str]:
    """Return what legs of the same group have in common."""
    return spelling, "" if options is None else dumps(options)
