"""The topic state machine: a command in, effects out.

A *leg* is one connection's link to this topic. It may subscribe under several spellings, publish without subscribing,
and be present. Effects are carried out in order by the shell; a `Store` always comes before the frames it justifies,
so that the object's output gate holds them until the row is committed. What a leg is, beyond its socket, is its
`Remember`ed attachment: a topic that slept is rebuilt from those (`restore`).

Not here: hooks of topic classes, sockets, storage, the clock, and the decision who may do what.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from durable_objects.realtime.core.access import Connection
from durable_objects.realtime.core.codes import Code, RealtimeError
from durable_objects.realtime.core.history import History, Message, Receipt
from durable_objects.realtime.core.presence import EVENT_NAMES, Presence, PresenceChange
from durable_objects.realtime.core.protocol import (
    ack_frame,
    addressed,
    chat_rest,
    dumps,
    dumps_ascii,
    event_rest,
    leg_mark,
    loads,
    subscribed_frame,
)
from durable_objects.realtime.core.table_events import TableEvent

__all__ = ["Broadcast", "Effect", "Leg", "PresenceMoved", "Publication", "Remember", "Reply", "Store", "Topic"]


_MAX_ATTACHMENT = 16_000
"""A little less than what the runtime keeps with a socket."""


@dataclass(slots=True)
class Leg:
    """One connection's link to the topic. `state` is its presence, None when it does not track."""

    id: str
    connection: Connection
    spellings: dict[str, None] = field(default_factory=dict[str, None])
    state: Mapping[str, Any] | None = None

    def attachment(self) -> str:
        """Return what must outlive the object's memory, as ASCII JSON text."""
        who = self.connection
        return dumps_ascii([self.id, who.id, who.user_id, who.role, who.project, list(self.spellings), self.state])

    @classmethod
    def from_attachment(cls, text: str) -> Leg:
        """Read back what `attachment` wrote."""
        leg_id, connection_id, user_id, role, project, spellings, state = loads(text)
        return cls(leg_id, Connection(connection_id, user_id, role, project), dict.fromkeys(spellings), state)


@dataclass(frozen=True, slots=True)
class Publication:
    """Something to be said on the topic. `data` is JSON text; for chat, an object of `text` and `metadata`."""

    event: str
    data: str
    id: str | None = None
    persist: bool = False
    kind: Literal["event", "chat"] = "event"
    user_id: str | None = None
    room_id: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """Send `text` down one leg."""

    leg: str
    text: str


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Send the same text object to every leg of a spelling; `but` is left out."""

    frames: tuple[tuple[str, str], ...]
    but: str | None = None


@dataclass(frozen=True, slots=True)
class Remember:
    """Keep a leg's attachment with its socket."""

    leg: str
    attachment: str


@dataclass(frozen=True, slots=True)
class Store:
    """Add a message to the stored log."""

    message: Message


@dataclass(frozen=True, slots=True)
class PresenceMoved:
    """Tell the topic class that a user joined, changed or left."""

    connection: Connection
    change: PresenceChange


Effect = PresenceMoved | Reply | Broadcast | Remember | Store


class Topic:
    """State of one topic: its legs, who receives what, who is present, and where its log stands."""

    def __init__(self, history: History, *, echo: bool = True, max_spellings: int = 16) -> None:
        self.history = history
        self.presence = Presence()
        self.legs: dict[str, Leg] = {}
        self._echo = echo
        self._max_spellings = max_spellings
        self._audience: dict[str, dict[str, None]] = {}

    def audience(self, spelling: str) -> Iterable[str]:
        """Return the ids of the legs subscribed under `spelling`."""
        return self._audience.get(spelling, ())

    def attach(self, leg: Leg) -> list[Effect]:
        """Take in a new leg; it receives nothing before it subscribes."""
        self.legs[leg.id] = leg
        return [Remember(leg.id, leg.attachment())]

    def restore(self, leg: Leg) -> None:
        """Take back a leg that outlived the object's memory."""
        self.legs[leg.id] = leg
        for spelling in leg.spellings:
            self._audience.setdefault(spelling, {})[leg.id] = None
        if leg.state is not None:
            self.presence.restore(leg.connection.user, leg.connection.id, leg.state)

    def detach(self, leg_id: str, now_ms: int) -> list[Effect]:
        """Forget a leg whose socket ended; its user may leave with it."""
        leg = self.legs.pop(leg_id, None)
        if leg is None:
            return []
        for spelling in leg.spellings:
            self._leave_audience(spelling, leg_id)
        if leg.state is None:
            return []
        change = self.presence.untrack(leg.connection.user, leg.connection.id)
        return self._presence_effects(change, leg, now_ms)

    def subscribe(self, leg: Leg, spelling: str, now_ms: int, *, quiet: bool = False) -> list[Effect]:
        """Deliver the topic to `leg` under `spelling`; `quiet` for a subscription the client already knows of.

        Raises:
            RealtimeError: TOO_MANY_TOPICS, the leg has enough spellings; TOO_BIG, they do not fit beside its state.
        """
        effects: list[Effect] = []
        if spelling not in leg.spellings:
            if len(leg.spellings) >= self._max_spellings:
                raise RealtimeError(
                    Code.TOO_MANY_TOPICS, f"one topic can be subscribed under {self._max_spellings} spellings", "topic"
                )
            leg.spellings[spelling] = None
            try:
                effects.append(_remember(leg))
            except RealtimeError:
                del leg.spellings[spelling]
                raise
            self._audience.setdefault(spelling, {})[leg.id] = None
        if not quiet:
            effects.append(Reply(leg.id, subscribed_frame(spelling)))
        members = self.presence.snapshot()
        if members or self.presence.was_used:
            effects.append(Reply(leg.id, self._sync(spelling, members, now_ms)))
        return effects

    def resume(
        self, leg: Leg, spellings: Iterable[str], mark: str, source: str | None, missed: Iterable[Message], now_ms: int
    ) -> list[Effect]:
        """Subscribe a returning reader; what the leg `source` was told until here was told it, or will be.

        `missed` are stored messages, oldest first, that `source` could not hold.

        Raises:
            RealtimeError: As `subscribe`.
        """
        effects: list[Effect] = []
        fresh = [spelling for spelling in spellings if spelling not in leg.spellings]
        try:
            for spelling in fresh:
                joined = self.subscribe(leg, spelling, now_ms, quiet=True)
                effects += [effect for effect in joined if isinstance(effect, Remember)]
        except RealtimeError:
            for spelling in fresh:
                leg.spellings.pop(spelling, None)
                self._leave_audience(spelling, leg.id)
            raise
        # To the old leg first: its end of the tape is then known when the new leg's mark arrives.
        effects += [Reply(name, leg_mark(mark)) for name in (source, leg.id) if name is not None]
        for message in missed:
            kind, rest = _stored_rest(message, self._room_of(fresh))
            effects += [Reply(leg.id, addressed(kind, spelling, rest)) for spelling in fresh]
        return effects

    def unsubscribe(self, leg: Leg, spelling: str, now_ms: int) -> list[Effect]:
        """Stop delivering to `leg` under `spelling`; without any subscription left it is no longer present either."""
        if spelling not in leg.spellings:
            return []
        del leg.spellings[spelling]
        self._leave_audience(spelling, leg.id)
        if leg.spellings or leg.state is None:
            return [Remember(leg.id, leg.attachment())]
        return self.untrack(leg, now_ms)

    def publish(self, publication: Publication, sender: Leg | None, now_ms: int) -> list[Effect]:
        """Say something on the topic, store it if asked, acknowledge it to the sender.

        A repeated id of the same user is acknowledged as the first time and otherwise has no effect.
        """
        user_id = sender.connection.user_id if sender is not None else publication.user_id
        earlier = self.history.repeated(user_id, publication.id)
        if earlier is not None:
            return [_ack(sender.id, earlier, repeated=True)] if sender is not None else []
        effects: list[Effect] = []
        if publication.persist:
            message = self.history.append(
                id=publication.id, user_id=user_id, event=publication.event, data=publication.data, now_ms=now_ms
            )
            effects.append(Store(message))
            receipt = Receipt(message.id, message.created_at, message.position)
        else:
            receipt = Receipt(publication.id or "", now_ms)
        if publication.id is not None:
            self.history.remember(user_id, receipt)
        rest = _rest(publication, user_id, receipt)
        but = sender.id if sender is not None and not self._echo else None
        kind = "event" if publication.kind == "event" else "chat_message"
        if self._audience:
            effects.append(Broadcast(self._spelled(kind, rest), but))
        if sender is not None and receipt.id:
            effects.append(_ack(sender.id, receipt))
        return effects

    def track(self, leg: Leg, state: Mapping[str, Any], now_ms: int) -> list[Effect]:
        """Make the leg's user present with `state`.

        Raises:
            RealtimeError: TOO_BIG, the state does not fit into what is kept of a leg.
        """
        before, leg.state = leg.state, state
        try:
            remember = _remember(leg)
        except RealtimeError:
            leg.state = before
            raise
        change = self.presence.track(leg.connection.user, leg.connection.id, state)
        return [remember, *self._presence_effects(change, leg, now_ms)]

    def untrack(self, leg: Leg, now_ms: int) -> list[Effect]:
        """End the leg's presence."""
        leg.state = None
        change = self.presence.untrack(leg.connection.user, leg.connection.id)
        return [Remember(leg.id, leg.attachment()), *self._presence_effects(change, leg, now_ms)]

    def tell_changes(self, events: Iterable[TableEvent]) -> list[Effect]:
        """Tell all subscribers of the topic's row changes, in order."""
        if not self._audience:
            return []
        effects: list[Effect] = []
        for event in events:
            if event.kind == "resync":
                # A new type must not carry `topic`, see protocol.
                frames = [(name, f'{{"type":"resync","channel":{dumps(name)}{event.rest}') for name in self._audience]
                effects.append(Broadcast(tuple(frames)))
            else:
                effects.append(Broadcast(self._spelled("db_change", event.rest)))
        return effects

    def _room_of(self, spellings: list[str]) -> str:
        """Return a chat room's bare id; the log does not keep how its members called it."""
        return spellings[0].split("/")[1] if spellings and spellings[0].count("/") else ""

    def _spelled(self, kind: str, rest: str) -> tuple[tuple[str, str], ...]:
        return tuple([(spelling, addressed(kind, spelling, rest)) for spelling in self._audience])

    def _presence_effects(self, change: PresenceChange | None, leg: Leg, now_ms: int) -> list[Effect]:
        if change is None:
            return []
        moved = PresenceMoved(leg.connection, change)
        if not self._audience:
            return [moved]
        rest = event_rest(
            EVENT_NAMES[change.verb], dumps(change.data()), user_id=change.user, timestamp=now_ms, id=None
        )
        return [Broadcast(self._spelled("event", rest)), moved]

    def _sync(self, spelling: str, members: list[dict[str, Any]], now_ms: int) -> str:
        rest = event_rest(EVENT_NAMES["sync"], dumps({"users": members}), user_id=None, timestamp=now_ms, id=None)
        return addressed("event", spelling, rest)

    def _leave_audience(self, spelling: str, leg_id: str) -> None:
        legs = self._audience.get(spelling)
        if legs is not None:
            legs.pop(leg_id, None)
            if not legs:
                del self._audience[spelling]


def _remember(leg: Leg) -> Remember:
    attachment = leg.attachment()
    if len(attachment) > _MAX_ATTACHMENT:
        message = f"state and subscriptions of one connection take {len(attachment)} bytes, {_MAX_ATTACHMENT} fit"
        raise RealtimeError(Code.TOO_BIG, message)
    return Remember(leg.id, attachment)


def _ack(leg_id: str, receipt: Receipt, *, repeated: bool = False) -> Reply:
    fields: dict[str, object] = {"timestamp": receipt.timestamp}
    if receipt.position is not None:
        fields |= {"persisted": True, "epoch": receipt.position.epoch, "offset": receipt.position.offset}
    if repeated:
        fields["duplicate"] = True
    return Reply(leg_id, ack_frame(receipt.id, fields))


def _stored_rest(message: Message, room_id: str) -> tuple[str, str]:
    """Return the kind and the rest of the frame that a stored message once was."""
    chat = message.event == "chat_message" and message.data.startswith('{"text":')
    publication = Publication(
        message.event, message.data, kind="chat" if chat else "event", room_id=room_id if chat else ""
    )
    receipt = Receipt(message.id, message.created_at, message.position)
    return "chat_message" if chat else "event", _rest(publication, message.user_id, receipt)


def _rest(publication: Publication, user_id: str | None, receipt: Receipt) -> str:
    extra = ""
    if receipt.position is not None:
        extra = f',"epoch":{dumps(receipt.position.epoch)},"offset":{receipt.position.offset}'
    if publication.kind == "chat":
        return chat_rest(
            publication.room_id,
            publication.data,
            user_id=user_id,
            timestamp=receipt.timestamp,
            id=receipt.id,
            extra=extra,
        )
    return event_rest(
        publication.event,
        publication.data,
        user_id=user_id,
        timestamp=receipt.timestamp,
        id=receipt.id or None,
        extra=extra,
    )
