"""What a topic object does around the pure topic: its legs' sockets, storage, hooks, one command after the other.

Commands reach a topic over the leg of the connection that gave them, as text: a JSON header, and after a newline the
published data as the JSON text it already is, which is passed on without being read again. The commands of one leg are
handled strictly in order, even when a hook of the topic class waits for something.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from durable_objects.realtime.core.access import Action, Connection
from durable_objects.realtime.core.audience import Leg
from durable_objects.realtime.core.codes import Code, RealtimeError, Refused
from durable_objects.realtime.core.delivery import Bounds
from durable_objects.realtime.core.history import History, Message, Position
from durable_objects.realtime.core.meter import METER
from durable_objects.realtime.core.protocol import (
    about,
    addressed,
    dumps,
    error_frame,
    event_rest,
    leg_refused,
    leg_resumed,
    loads,
)
from durable_objects.realtime.core.publication import Publication
from durable_objects.realtime.core.table_events import TableEvent
from durable_objects.realtime.core.token_stream import CANCEL, TOKEN
from durable_objects.realtime.core.topic import (
    Broadcast,
    Effect,
    PresenceDue,
    PresenceMoved,
    Remember,
    Reply,
    Store,
    Topic,
)
from durable_objects.realtime.record import Record
from durable_objects.realtime.speaker import Speaker
from durable_objects.realtime.streams import Streams
from durable_objects.realtime.tails import tail_of_object
from durable_objects.realtime.topic_log import Retention, TopicLog
from workers.compat.clock import now_ms
from workers.compat.proxies import JsException

__all__ = ["Limits", "Room"]

_TAG = "realtime-leg"
_END = ""
_MAX_TICKETS = 32_768  # as many sockets as one object can have: all may be opening at once
_MAX_WAITING = 1_024
_DEFAULT_KEEP = 1_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the settings say about one topic: what is stored, what the tail and a slow client may take."""

    count: int
    age_s: float = 0.0
    bytes: int = 0
    persist: bool | None = None
    tail_bytes: int = 1_048_576
    delivery: str | None = None
    queue_bytes: int = 1_048_576
    queue_frames: int = 1_024


class Room:
    """One topic object's legs and state. Rebuilt from the sockets' attachments when the object wakes."""

    def __init__(
        self,
        name: str,
        ctx: Any,
        hooks: Mapping[str, Callable[..., Any]],
        *,
        echo: bool,
        history_limit: int | None,
        persist: bool | None,
        hook_timeout_s: float,
    ) -> None:
        """Start from what the object's sockets remember.

        `hooks` are the ones the topic class defines: authorize, on_subscribe, on_unsubscribe, on_publish, on_presence.
        """
        self.name = name
        tail = tail_of_object(ctx)
        is_table = name.startswith("table:")
        history = History("") if is_table else History(tail.epoch, offset=tail.offset)
        self.topic = Topic(history, tail, echo=echo, is_table=is_table)
        self.limits = Limits(_DEFAULT_KEEP)
        self._ctx = ctx
        self._hooks = hooks
        self._history_limit = history_limit
        self._persist = persist
        self._hook_timeout_s = hook_timeout_s
        self._record = Record(name, self.topic, TopicLog(ctx.storage))
        self.streams = Streams(self._say_of_stream, lambda: self.topic.is_followed, ctx.waitUntil)
        self._streams_named = 0
        self._tickets: dict[str, Leg] = {}
        self._sockets: dict[str, Any] = {}
        self._speaker = Speaker(self._sockets)
        self._turns: dict[str, deque[str]] = {}
        legs: list[Leg] = []
        for socket in ctx.getWebSockets(_TAG):
            leg = Leg.from_attachment(socket.deserializeAttachment())
            self._sockets[leg.id] = socket
            legs.append(leg)
        for leg in sorted(legs, key=lambda leg: leg.tracked):
            self.topic.restore(leg)

    def expect(self, attachment: str) -> None:
        """Let the leg that is described come in. Only code with a stub can say this, never an HTTP request."""
        leg = Leg.from_attachment(attachment)
        self._tickets[leg.id] = leg
        while len(self._tickets) > _MAX_TICKETS:
            del self._tickets[next(iter(self._tickets))]

    def let_in(self, leg_id: str, socket: Any) -> bool:
        """Take over the object's end of an expected leg; False for a leg nobody announced."""
        leg = self._tickets.pop(leg_id, None)
        if leg is None:
            return False
        self._ctx.acceptWebSocket(socket, [_TAG, leg_id])
        self._sockets[leg_id] = socket
        self._carry_out(self.topic.attach(leg))
        return True

    async def receive(self, socket: Any, message: str) -> None:
        """Handle one command that arrived on a leg."""
        leg_id = self._leg_of(socket)
        if leg_id is not None:
            await self._in_order(leg_id, message)

    async def lost(self, socket: Any) -> None:
        """Forget a leg whose socket ended, after what it had still sent."""
        leg_id = self._leg_of(socket)
        if leg_id is not None:
            await self._in_order(leg_id, _END)

    def say(self, publication: Publication) -> Message | None:
        """Publish on the server's own behalf; no hook is asked. Returns what was stored."""
        effects = self._published(publication, None, now_ms())
        self._carry_out(effects)
        return next((effect.message for effect in effects if isinstance(effect, Store)), None)

    def tell_changes(self, events: Iterable[TableEvent]) -> None:
        """Tell the subscribers about row changes of the topic's table."""
        self._carry_out(self.topic.tell_changes(events, now_ms()))

    def messages(self, limit: int, before: int | None = None, after: int | None = None) -> list[Message]:
        """Return persisted messages older than `before` (a `created_at`), newest first; after one, oldest first."""
        age_s = self.limits.age_s
        oldest_ms = now_ms() - int(age_s * 1_000) if age_s else 0
        return self._record.messages(limit, before, after, oldest_ms)

    async def may_read(self, connection: Connection) -> None:
        """Ask the topic class whether history may be read.

        Raises:
            Refused: It may not.
        """
        await self._authorize(connection, "history")

    def new_stream_id(self) -> str:
        """Return a name for a stream of this topic."""
        self._streams_named += 1
        return f"{now_ms():x}-{self._streams_named}"

    def remember_limits(self, limits: Mapping[str, Any]) -> None:
        """Set what the settings say about this topic."""
        self.limits = Limits(**limits)
        self.topic.max_tail_bytes = self.limits.tail_bytes
        self._speaker.configure(self.limits.delivery, Bounds(self.limits.queue_bytes, self.limits.queue_frames))

    # -- one leg's commands, in order

    async def _in_order(self, leg_id: str, message: str) -> None:
        waiting = self._turns.get(leg_id)
        if waiting is not None:
            if len(waiting) >= _MAX_WAITING and message != _END:
                error = RealtimeError(Code.OVERLOADED, f"{len(waiting)} frames of this connection wait for the topic")
                self._send(leg_id, error_frame(error))
                return
            waiting.append(message)
            return
        self._turns[leg_id] = waiting = deque((message,))
        try:
            while waiting:
                await self._turn(leg_id, waiting.popleft())
        finally:
            del self._turns[leg_id]

    async def _turn(self, leg_id: str, message: str) -> None:
        leg = self.topic.legs.get(leg_id)
        if leg is None:
            return
        if message == _END:
            await self._end(leg)
            return
        header, _, data = message.partition("\n")
        command: dict[str, Any] = json.loads(header)
        try:
            await self._obey(leg, command, data)
            self.streams.viewers_changed()
        except RealtimeError as error:
            self._refuse(leg, command, error)
        except Exception:  # an actor turn: user code failed; only its own client is told
            _log.exception("topic %s: a hook failed on %s", self.name, command["do"], extra={"topic": self.name})
            self._refuse(leg, command, RealtimeError(Code.HANDLER_FAILED, "the topic's handler failed"))

    async def _obey(self, leg: Leg, command: Mapping[str, Any], data: str) -> None:
        match command["do"]:
            case "publish" | "chat":
                await self._publish(leg, command, data)
            case "subscribe":
                await self._subscribe(leg, command)
            case "resume":
                await self._resume(leg, command)
            case "unsubscribe":
                was_subscribed = bool(leg.spellings)
                await self._notice(self._carry_out(self.topic.unsubscribe(leg, command["as"], now_ms())))
                if was_subscribed and not leg.spellings:
                    await self._call("on_unsubscribe", leg.connection)
            case "track":
                await self._authorize(leg.connection, "track")
                await self._notice(self._carry_out(self.topic.track(leg, command["state"], command["at"])))
            case "untrack":
                await self._notice(self._carry_out(self.topic.untrack(leg, command["at"])))
            case "identity":
                await self._notice(self._carry_out(self.topic.identify(leg, Connection(*command["who"]), now_ms())))
            case "presence":
                await self._authorize(leg.connection, "subscribe")
                self._carry_out(self.topic.answer_presence(leg, command["as"], command.get("id")))
            case "cancel":
                await self._authorize(leg.connection, "cancel")
                if not self.streams.cancel(command["stream"]):
                    raise RealtimeError(Code.NO_SUCH_STREAM, "no such stream is running on this topic", "stream")
            case "away":
                self._carry_out(self.topic.away(leg))
            case _:
                await self._end(leg)

    async def _subscribe(self, leg: Leg, command: Mapping[str, Any]) -> None:
        await self._authorize(leg.connection, "subscribe")
        is_first = not leg.spellings
        spelling, options = command["as"], command.get("how")
        if options is not None:
            self._record.know()
        quiet = bool(command.get("quiet"))
        effects = self.topic.subscribe(leg, spelling, now_ms(), quiet=quiet, options=options)
        if (mark := command.get("mark")) is not None:
            self._send(leg.id, leg_resumed(mark))
        self._carry_out(effects)
        is_whole = quiet
        if (since := command.get("since")) is not None:
            known = Position(*since)
            missed, reason = self._record.since(known)
            self._carry_out(self.topic.catch_up(leg, spelling, known, missed, reason))
            is_whole = not reason
            METER.recovered += is_whole
            METER.gaps += not is_whole
        if not is_whole:
            self._tell_streams(leg, spelling)
        if is_first and not quiet:
            await self._call("on_subscribe", leg.connection)

    async def _resume(self, leg: Leg, command: Mapping[str, Any]) -> None:
        await self._authorize(leg.connection, "subscribe")
        is_first = not leg.spellings
        spellings: Mapping[str, Any] = command["spellings"]
        self._record.know()
        # What a table's topic told is in the database's log, which the other end of the leg asks.
        missed, is_whole = ([], True) if command["table"] else self._record.missed(command)
        fresh = [spelling for spelling in spellings if spelling not in leg.spellings]
        self._carry_out(self.topic.resume(leg, spellings, missed, now_ms()))
        if not is_whole:
            self._carry_out(self.topic.sync(leg, fresh, now_ms()))
            for spelling in fresh:
                self._tell_streams(leg, spelling)
        self._send(leg.id, leg_resumed(command["mark"]))
        if is_first:
            await self._call("on_subscribe", leg.connection)

    async def _publish(self, leg: Leg, command: Mapping[str, Any], data: str) -> None:
        await self._authorize(leg.connection, "publish")
        event: str = command["event"]
        if "on_publish" in self._hooks:
            changed = await self._call("on_publish", leg.connection, event, loads(data))
            if changed is not None:
                data = dumps(changed)
        publication = Publication(
            event,
            data,
            command.get("id"),
            bool(command.get("persist")),
            "chat" if command["do"] == "chat" else "event",
            room_id=command.get("room", ""),
        )
        if "limits" in command:  # said again, because the object may have slept since the leg was announced
            self.remember_limits(command["limits"])
        self._carry_out(self._published(publication, leg, command["at"], is_v1="v" in command))
        if event == CANCEL:
            named = loads(data)
            self.streams.cancel(cast("dict[str, Any]", named).get("stream") if isinstance(named, dict) else None)

    def _published(self, publication: Publication, leg: Leg | None, at_ms: int, *, is_v1: bool = False) -> list[Effect]:
        wanted = self._persist if self._persist is not None else self.limits.persist
        if wanted is not None and wanted != publication.persist and publication.event != TOKEN:
            publication = replace(publication, persist=wanted)
        self._record.know(window=publication.persist)
        tail = self.topic.tail
        was_mixed = tail.is_mixed
        effects = self.topic.publish(publication, leg, at_ms, is_v1=is_v1)
        if tail.is_mixed and not was_mixed:
            self._record.note_mixed()
        return effects

    async def _end(self, leg: Leg) -> None:
        effects = self.topic.detach(leg.id, now_ms())
        socket = self._sockets.pop(leg.id)
        socket.close(1000, "left")
        was_subscribed = bool(leg.spellings)
        try:
            await self._notice(self._carry_out(effects))
            self.streams.viewers_changed()
            if was_subscribed:
                await self._call("on_unsubscribe", leg.connection)
        except Exception:  # an actor turn: there is no client left to tell
            _log.exception("topic %s: a hook failed when a connection left", self.name, extra={"topic": self.name})

    def _say_of_stream(self, event: str, data: str, persist: bool, user_id: str | None) -> None:
        self.say(Publication(event, data, None, persist, user_id=user_id))

    def _tell_streams(self, leg: Leg, spelling: str) -> None:
        """Tell a newcomer what the running streams have said."""
        wanted = (leg.spellings.get(spelling) or {}).get("event")
        if wanted is None or TOKEN in wanted:
            for data in self.streams.so_far():
                rest = event_rest(TOKEN, data, user_id=None, timestamp=now_ms(), id=None)
                self._send(leg.id, addressed("event", spelling, rest))

    def _refuse(self, leg: Leg, command: Mapping[str, Any], error: RealtimeError) -> None:
        told = about(error, frame=command["do"], channel=command.get("as"), id=command.get("id"))
        _log.info("topic %s refused %s: %s", self.name, command["do"], error.code.name, extra={"topic": self.name})
        self._send(leg.id, error_frame(told))
        names: Iterable[str] = {"subscribe": [command.get("as", "")], "resume": command.get("spellings", ())}.get(
            command["do"], ()
        )
        for spelling in names:
            if spelling not in leg.spellings:
                self._send(leg.id, leg_refused(spelling))

    # -- hooks

    async def _authorize(self, connection: Connection, action: Action) -> None:
        if "authorize" in self._hooks and not await self._call("authorize", connection, action):
            raise Refused(f"not allowed to {action} here")

    async def _notice(self, moves: Iterable[PresenceMoved]) -> None:
        if "on_presence" in self._hooks:
            for move in moves:
                await self._call("on_presence", move.connection, move.change.verb, move.change.state)

    async def _call(self, name: str, *args: object) -> Any:
        hook = self._hooks.get(name)
        if hook is None:
            return None
        result = hook(*args)
        if inspect.isawaitable(result):
            async with asyncio.timeout(self._hook_timeout_s):
                return await result
        return result

    # -- effects

    def _carry_out(self, effects: Iterable[Effect]) -> list[PresenceMoved]:
        moves: list[PresenceMoved] = []
        sockets = self._sockets
        for effect in effects:
            if isinstance(effect, Broadcast):
                for group, text in effect.frames:
                    self._speaker.tell(group, text, effect.kind, effect.but)
            elif isinstance(effect, Reply):
                self._send(effect.leg, effect.text)
            elif isinstance(effect, Remember):
                sockets[effect.leg].serializeAttachment(effect.attachment)
            elif isinstance(effect, Store):
                self._store(effect.message)
            elif isinstance(effect, PresenceDue):
                asyncio.get_running_loop().call_soon(self._tell_presence)
            else:
                moves.append(effect)
        return moves

    def _tell_presence(self) -> None:
        self._carry_out(self.topic.presence_told())

    def _store(self, message: Message) -> None:
        limits = self.limits
        retention = Retention(self._history_limit or limits.count, limits.age_s, limits.bytes)
        try:
            self._record.store(message, retention)
        except JsException as error:
            self.topic.history.undo(message)
            if not self.topic.is_table:
                self.topic.tail.offset = self.topic.history.offset
            _log.exception("topic %s: a message was not stored", self.name, extra={"topic": self.name})
            raise RealtimeError(Code.NOT_STORED, "the message could not be stored") from error

    def _send(self, leg_id: str, text: str) -> None:
        socket = self._sockets.get(leg_id)
        if socket is not None:
            socket.send(text)

    def _leg_of(self, socket: Any) -> str | None:
        tags = list(self._ctx.getTags(socket))
        return str(tags[1]) if len(tags) == 2 and tags[0] == _TAG else None
