"""The topic state machine: a command in, effects out.

A *leg* is one connection's link to this topic. It may subscribe under several spellings, publish without subscribing,
and be present. Legs that follow the topic in the same way are a *group*: each frame is written once for all of it.
Effects are carried out in order by the shell; a `Store` always comes before the frames it justifies, so that the
object's output gate holds them until the row is committed. What a leg is, beyond its socket, is its `Remember`ed
attachment: a topic that slept is rebuilt from those (`restore`) and from its `Tail`.

A leg whose client is away stays, for presence, but is in no group: what it misses is in the tail.

Not here: hooks of topic classes, sockets, storage, the clock, and the decision who may do what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from durable_objects.realtime.core import v1
from durable_objects.realtime.core.access import Connection
from durable_objects.realtime.core.audience import Group, Leg, Options, group_key
from durable_objects.realtime.core.codes import Code, RealtimeError
from durable_objects.realtime.core.delivery import Kind
from durable_objects.realtime.core.history import History, Message, Position, Receipt
from durable_objects.realtime.core.presence import EVENT_NAMES, Presence, PresenceChange
from durable_objects.realtime.core.protocol import (
    ack_frame,
    addressed,
    dumps,
    event_rest,
    subscribed_frame,
)
from durable_objects.realtime.core.publication import Publication, rest_of
from durable_objects.realtime.core.row_lens import lens_of
from durable_objects.realtime.core.table_events import TableEvent
from durable_objects.realtime.core.tail import Entry, Tail, Tails

__all__ = ["Broadcast", "Effect", "PresenceDue", "PresenceMoved", "Remember", "Reply", "Store", "Topic"]

_MAX_ATTACHMENT = 16_000
"""A little less than what the runtime keeps with a socket."""
_MAX_TAIL_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Reply:
    """Send `text` down one leg."""

    leg: str
    text: str


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Send the same text object to every leg of a group; `but` is left out."""

    frames: tuple[tuple[Group, str], ...]
    but: str | None = None
    kind: Kind = Kind.EVENT


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


@dataclass(frozen=True, slots=True)
class PresenceDue:
    """Carry out `presence_told()` at the end of the turn."""


Effect = PresenceMoved | PresenceDue | Reply | Broadcast | Remember | Store


class Topic:
    """State of one topic: its legs, who receives what, who is present, and where its numbering stands."""

    def __init__(
        self,
        history: History,
        tail: Tail | None = None,
        *,
        echo: bool = True,
        is_table: bool = False,
        max_spellings: int = 16,
        max_tail_bytes: int = _MAX_TAIL_BYTES,
    ) -> None:
        self.history = history
        self.tail = tail if tail is not None else Tail(Tails(), history.epoch, history.offset)
        self.presence = Presence()
        self.legs: dict[str, Leg] = {}
        self.is_table = is_table
        """Whether positions are those of a database's changes, and not given here."""
        self.max_tail_bytes = max_tail_bytes
        self._echo = echo
        self._max_spellings = max_spellings
        self._groups: dict[tuple[str, str], Group] = {}
        self._away = 0
        self._touched: dict[str, bool] = {}
        """Users whose presence changed in this turn, and whether they were present before it."""

    def audience(self, spelling: str) -> Iterable[str]:
        """Return the ids of the legs subscribed under `spelling`."""
        return [leg for group in self._groups.values() if group.spelling == spelling for leg in group.legs]

    @property
    def is_followed(self) -> bool:
        """Whether anybody who is there is told what is said."""
        return bool(self._groups)

    @property
    def position(self) -> Position:
        """The position of the newest event."""
        return Position(self.tail.epoch, self.tail.offset)

    # -- legs

    def attach(self, leg: Leg) -> list[Effect]:
        """Take in a new leg; it receives nothing before it subscribes."""
        self.legs[leg.id] = leg
        return [Remember(leg.id, leg.attachment())]

    def restore(self, leg: Leg) -> None:
        """Take back a leg that outlived the object's memory."""
        self.legs[leg.id] = leg
        if leg.is_away:
            self._away += 1
        else:
            for spelling in leg.spellings:
                self._join(leg, spelling)
        if leg.state is not None:
            self.presence.restore(leg.connection.user, leg.connection.id, leg.state)

    def detach(self, leg_id: str, now_ms: int) -> list[Effect]:
        """Forget a leg whose socket ended; its user may leave with it."""
        leg = self.legs.pop(leg_id, None)
        if leg is None:
            return []
        if leg.is_away:
            self._away -= 1
        else:
            for spelling in leg.spellings:
                self._leave(leg, spelling)
        if leg.state is None:
            return []
        return self._presence_effects(leg, self.presence.untrack, now_ms)

    def away(self, leg: Leg) -> list[Effect]:
        """The leg's client is away: send it nothing, and keep what is said in the tail."""
        if leg.is_away:
            return []
        for spelling in leg.spellings:
            self._leave(leg, spelling)
        leg.is_away = True
        self._away += 1
        return [Remember(leg.id, leg.attachment())]

    # -- subscriptions

    def subscribe(
        self, leg: Leg, spelling: str, now_ms: int, *, quiet: bool = False, options: Options | None = None
    ) -> list[Effect]:
        """Deliver the topic to `leg` under `spelling`; `quiet` for a subscription the client already knows of.

        Raises:
            RealtimeError: TOO_MANY_TOPICS, the leg has enough spellings; TOO_BIG, they do not fit beside its state.
        """
        effects = self._enter(leg, spelling, options)
        is_v1 = options is not None and options.get("v") == 1
        if not quiet:
            frame = v1.subscribed(spelling, self.position) if is_v1 else subscribed_frame(spelling)
            effects.append(Reply(leg.id, frame))
        effects += self._told_presence(leg, spelling, now_ms)
        return effects

    def resume(
        self, leg: Leg, spellings: Mapping[str, Options | None], missed: Iterable[Entry], now_ms: int
    ) -> list[Effect]:
        """Subscribe a returning reader and tell it what it missed.

        Raises:
            RealtimeError: As `subscribe`.
        """
        effects: list[Effect] = []
        fresh = [spelling for spelling in spellings if spelling not in leg.spellings]
        try:
            for spelling in fresh:
                effects += self._enter(leg, spelling, spellings[spelling])
        except RealtimeError:
            for spelling in fresh:
                if spelling in leg.spellings:
                    self._leave(leg, spelling)
                    del leg.spellings[spelling]
            raise
        groups = [self._group(leg, spelling) for spelling in fresh]
        for entry in missed:
            texts = [group.frame(entry) for group in groups]
            effects += [Reply(leg.id, text) for text in texts if text is not None]
        return effects

    def catch_up(self, leg: Leg, spelling: str, since: Position, missed: list[Entry], reason: str) -> list[Effect]:
        """Tell a subscriber whether everything after `since` is there (`reason` is empty), and what is."""
        group = self._group(leg, spelling)
        frames = [frame for entry in missed if (frame := group.frame(entry)) is not None]
        if reason:
            verdict = v1.gap(spelling, since, self.position, reason, len(frames))
        else:
            verdict = v1.recovered(spelling, self.position, len(frames))
        return [Reply(leg.id, text) for text in (verdict, *frames)]

    def sync(self, leg: Leg, spellings: Iterable[str], now_ms: int) -> list[Effect]:
        """Tell a leg who is present."""
        return [effect for spelling in spellings for effect in self._told_presence(leg, spelling, now_ms)]

    def unsubscribe(self, leg: Leg, spelling: str, now_ms: int) -> list[Effect]:
        """Stop delivering to `leg` under `spelling`; without any subscription left it is no longer present either."""
        if spelling not in leg.spellings:
            return []
        self._leave(leg, spelling)
        del leg.spellings[spelling]
        if leg.spellings or leg.state is None:
            return [Remember(leg.id, leg.attachment())]
        return self.untrack(leg, now_ms)

    # -- what is said

    def publish(
        self, publication: Publication, sender: Leg | None, now_ms: int, *, is_v1: bool = False
    ) -> list[Effect]:
        """Say something on the topic, store it if asked, acknowledge it to the sender.

        A repeated id of the same user is acknowledged as the first time and otherwise has no effect.
        """
        user_id = sender.connection.user_id if sender is not None else publication.user_id
        earlier = self.history.repeated(user_id, publication.id)
        if earlier is not None:
            return [_ack(sender.id, earlier, is_v1, repeated=True)] if sender is not None else []
        effects: list[Effect] = []
        history, tail = self.history, self.tail
        if publication.persist:
            message = history.append(
                id=publication.id, user_id=user_id, event=publication.event, data=publication.data, now_ms=now_ms
            )
            effects.append(Store(message))
            receipt = Receipt(message.id, message.created_at, message.position, is_stored=True)
        else:
            receipt = Receipt(publication.id or "", now_ms, history.pass_by())
            tail.is_mixed = True
        if not self.is_table:
            tail.offset = history.offset
        if publication.id is not None:
            history.remember(user_id, receipt)
        entry = Entry(
            tail.tails.next_order(),
            "event" if publication.kind == "event" else "chat_message",
            rest_of(publication, user_id, receipt),
            now_ms,
            publication.event,
            "" if self.is_table else history.epoch,
            0 if self.is_table else history.offset,
            publication.persist,
            sender.id if sender is not None and not self._echo else None,
        )
        effects += self._said(entry)
        if sender is not None and receipt.id:
            effects.append(_ack(sender.id, receipt, is_v1))
        return effects

    def tell_changes(self, events: Iterable[TableEvent], now_ms: int = 0) -> list[Effect]:
        """Tell all subscribers of the topic's row changes, in order."""
        effects: list[Effect] = []
        tail = self.tail
        for event in events:
            if event.epoch:
                tail.epoch, tail.offset = event.epoch, event.offset
            order = tail.tails.next_order()
            entry = Entry(order, event.kind, event.rest, now_ms, "", event.epoch, event.offset, True)
            effects += self._said(entry)
        return effects

    def _said(self, entry: Entry) -> list[Effect]:
        """Keep what is said for those who are away, and say it to those who are there."""
        if not self._groups:
            if self._away:
                self.tail.add(entry, self.max_tail_bytes)
            else:
                self.tail.skip(entry.order)
            return []
        self.tail.add(entry, self.max_tail_bytes)
        frames = [(group, text) for group in self._groups.values() if (text := group.frame(entry)) is not None]
        return [Broadcast(tuple(frames), entry.but, _kind_of(entry))] if frames else []

    # -- presence

    def track(self, leg: Leg, state: Mapping[str, Any], now_ms: int) -> list[Effect]:
        """Make the leg's user present with `state`.

        Raises:
            RealtimeError: TOO_BIG, the state does not fit into what is kept of a leg.
        """
        before, leg.state = leg.state, state
        leg.tracked = self.tail.tails.next_order()
        try:
            remember = _remember(leg)
        except RealtimeError:
            leg.state = before
            raise
        return [
            remember,
            *self._presence_effects(leg, lambda user, name: self.presence.track(user, name, state), now_ms),
        ]

    def untrack(self, leg: Leg, now_ms: int) -> list[Effect]:
        """End the leg's presence."""
        leg.state = None
        return [Remember(leg.id, leg.attachment()), *self._presence_effects(leg, self.presence.untrack, now_ms)]

    def identify(self, leg: Leg, connection: Connection, now_ms: int) -> list[Effect]:
        """A leg's client may do more or less from now on, and may be another user."""
        state, moved = leg.state, connection.user != leg.connection.user
        effects = self.untrack(leg, now_ms) if moved and state is not None else []
        leg.connection = connection
        if moved and state is not None:
            return [*effects, *self.track(leg, state, now_ms)]
        return [_remember(leg)]

    def presence_told(self) -> list[Effect]:
        """Tell flarelet-v1 subscribers what became of presence in this turn, in one diff."""
        touched, self._touched = self._touched, {}
        diff = self.presence.diff(touched)
        if diff is None:
            return []
        self.tail.version += 1
        occupancy = self.presence.occupancy()
        frames: list[tuple[Group, str]] = []
        for group in self._groups.values():
            if group.presence == "full":
                text = v1.presence_diff(group.spelling, self.tail.epoch, self.tail.version, diff, occupancy)
                frames.append((group, text))
            elif group.presence == "occupancy":
                frames.append((group, v1.occupancy(group.spelling, self.tail.epoch, self.tail.version, occupancy)))
        return [Broadcast(tuple(frames), kind=Kind.PRESENCE)] if frames else []

    def answer_presence(self, leg: Leg, spelling: str, id: str | None) -> list[Effect]:
        """Answer who is present."""
        return [
            *self.presence_told(),
            Reply(
                leg.id,
                v1.presence_snapshot(
                    spelling,
                    self.tail.epoch,
                    self.tail.version,
                    self.presence.snapshot(),
                    self.presence.occupancy(),
                    id=id,
                ),
            ),
        ]

    def _presence_effects(
        self, leg: Leg, move: Callable[[str, str], PresenceChange | None], now_ms: int
    ) -> list[Effect]:
        user = leg.connection.user
        was_there, was_due = user in self.presence, bool(self._touched)
        change = move(user, leg.connection.id)
        if change is None:
            return []
        self._touched.setdefault(user, was_there)
        moved = PresenceMoved(leg.connection, change)
        due: list[Effect] = [] if was_due else [PresenceDue()]
        rest = event_rest(
            EVENT_NAMES[change.verb], dumps(change.data()), user_id=change.user, timestamp=now_ms, id=None
        )
        entry = Entry(self.tail.tails.next_order(), "presence", rest, now_ms)
        return [*self._said(entry), moved, *due]

    def _told_presence(self, leg: Leg, spelling: str, now_ms: int) -> list[Effect]:
        """Return what a new subscriber is told of who is present."""
        how = self._group(leg, spelling).presence
        if how == "none":
            return []
        told = self.presence_told()
        epoch, version, occupancy = self.tail.epoch, self.tail.version, self.presence.occupancy()
        if how == "occupancy":
            return [*told, Reply(leg.id, v1.occupancy(spelling, epoch, version, occupancy))]
        members = self.presence.snapshot()
        if how == "full":
            return [*told, Reply(leg.id, v1.presence_snapshot(spelling, epoch, version, members, occupancy))]
        if not (members or self.presence.was_used):
            return told
        rest = event_rest(EVENT_NAMES["sync"], dumps({"users": members}), user_id=None, timestamp=now_ms, id=None)
        return [*told, Reply(leg.id, addressed("event", spelling, rest))]

    # -- groups

    def _enter(self, leg: Leg, spelling: str, options: Options | None) -> list[Effect]:
        """Put the leg under a spelling, or change how it follows it."""
        if spelling in leg.spellings:
            if leg.spellings[spelling] == options:
                return []
            self._leave(leg, spelling)
        elif len(leg.spellings) >= self._max_spellings:
            raise RealtimeError(
                Code.TOO_MANY_TOPICS, f"one topic can be subscribed under {self._max_spellings} spellings", "topic"
            )
        leg.spellings[spelling] = options
        try:
            remember = _remember(leg)
            self._join(leg, spelling)
        except RealtimeError:
            del leg.spellings[spelling]
            raise
        return [remember]

    def _join(self, leg: Leg, spelling: str) -> None:
        options = leg.spellings[spelling]
        key = group_key(spelling, options)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(spelling, options, lens_of(options))
        group.legs[leg.id] = None
        group.crowd = None

    def _leave(self, leg: Leg, spelling: str) -> None:
        key = group_key(spelling, leg.spellings[spelling])
        group = self._groups.get(key)
        if group is not None:
            group.legs.pop(leg.id, None)
            group.crowd = None
            if not group.legs:
                del self._groups[key]

    def _group(self, leg: Leg, spelling: str) -> Group:
        return self._groups[group_key(spelling, leg.spellings[spelling])]


def _kind_of(entry: Entry) -> Kind:
    if entry.kind in ("db_change", "resync"):
        return Kind.TABLE
    if entry.kind == "presence":
        return Kind.PRESENCE
    if entry.event.startswith("ai:"):  # also a stored end of a stream: it must not overtake the tokens
        return Kind.TOKENS
    return Kind.STORED if entry.is_stored else Kind.EVENT


def _remember(leg: Leg) -> Remember:
    attachment = leg.attachment()
    if len(attachment) > _MAX_ATTACHMENT:
        message = f"state and subscriptions of one connection take {len(attachment)} bytes, {_MAX_ATTACHMENT} fit"
        raise RealtimeError(Code.TOO_BIG, message)
    return Remember(leg.id, attachment)


def _ack(leg_id: str, receipt: Receipt, is_v1: bool, *, repeated: bool = False) -> Reply:
    fields: dict[str, object] = {"timestamp": receipt.timestamp}
    if receipt.is_stored:
        fields["persisted"] = True
    if receipt.position is not None and (receipt.is_stored or is_v1):
        fields |= {"epoch": receipt.position.epoch, "offset": receipt.position.offset}
    if repeated:
        fields["duplicate"] = True
    return Reply(leg_id, ack_frame(receipt.id, fields))
