"""TopicObject: one topic as a Durable Object, and the class a user derives from to give a kind of topic its rules."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, ClassVar, Literal

from durable_objects.realtime.core.access import Action, Connection
from durable_objects.realtime.core.codes import Refused
from durable_objects.realtime.core.history import Message
from durable_objects.realtime.core.protocol import dumps, loads
from durable_objects.realtime.core.publication import Publication
from durable_objects.realtime.core.table_events import TableEvent
from durable_objects.realtime.core.token_stream import StreamOptions
from durable_objects.realtime.room import Room
from durable_objects.realtime.session_rows import SessionRows
from durable_objects.realtime.streams import Tokens, run_stream
from workers.compat.websocket import WebSocketPair
from workers.entrypoints import DurableObject
from workers.request import Request
from workers.response import Response

__all__ = ["LEG_HEADER", "TopicObject"]

LEG_HEADER = "x-flarelet-leg"
_HOOKS = ("authorize", "on_subscribe", "on_unsubscribe", "on_publish", "on_presence")


class TopicObject(DurableObject):
    """One realtime topic: its subscribers, presence and history. Derive from it to decide what happens on it.

    Every hook is optional and may be a plain or an `async` method. A hook that raises `Refused` refuses what the client
    asked, with that message; any other exception is logged and told to that one client as an error. Hooks of one
    connection run in the order in which it sent its frames.

    Example:
        ```python
        from durable_objects import TopicObject
        from durable_objects.realtime import Refused

        class ChatRoom(TopicObject):
            history_limit = 200

            async def authorize(self, connection, action):
                return action == "subscribe" or connection.user_id is not None

            def on_subscribe(self, connection):
                self.broadcast("welcome", {"user": connection.user_id})

            def on_publish(self, connection, event, data):
                if event != "message":
                    raise Refused("only messages here")
                return {**data, "text": data["text"].strip()}

            async def on_presence(self, connection, verb, state):
                if verb == "leave" and not self.presence():
                    await self.storage.setAlarm(...)

            def on_alarm(self):
                self.publish("closed", {}, persist=True)
        ```

    `fetch`, `alarm` and the `webSocket...` methods are those of a Durable Object; an override of them should call
    `super()`, for the topic's own traffic arrives there.

    Attributes:
        history_limit: Persisted messages kept; None takes the configured number.
        persist: True stores everything that is said, False nothing; None what the publisher asks for.
        echo: Whether a publisher that is subscribed receives its own events.
        hook_timeout_s: Seconds an async hook may take.
    """

    history_limit: ClassVar[int | None] = None
    persist: ClassVar[bool | None] = None
    echo: ClassVar[bool] = True
    hook_timeout_s: ClassVar[float] = 10.0

    def __init__(self, ctx: Any, env: Any) -> None:
        super().__init__(ctx, env)
        self._sessions = SessionRows(ctx.storage)
        defined = [name for name in _HOOKS if getattr(type(self), name) is not getattr(TopicObject, name)]
        self._room = Room(
            str(ctx.id.name or ctx.id),
            ctx,
            {name: getattr(self, name) for name in defined},
            echo=self.echo,
            history_limit=self.history_limit,
            persist=self.persist,
            hook_timeout_s=self.hook_timeout_s,
        )

    # -- what a topic class may override

    def authorize(self, connection: Connection, action: Action) -> bool | Awaitable[bool]:
        """Decide whether a connection may "subscribe", "publish", "track" or read "history" here."""
        return True

    def on_subscribe(self, connection: Connection) -> object:
        """A connection has just subscribed: it was confirmed and receives what is broadcast from here on."""

    def on_unsubscribe(self, connection: Connection) -> object:
        """A connection has no subscription left here: it unsubscribed or its socket ended."""

    def on_publish(self, connection: Connection, event: str, data: Any) -> Any:
        """Look at what a client publishes; return what is to be sent instead of `data`, or None to leave it as it is.

        A chat message comes as event "chat_message" with data `{text, metadata?}`.
        """
        return None

    def on_presence(self, connection: Connection, verb: str, state: Mapping[str, Any]) -> object:
        """A user has joined, changed or left ("join", "update", "leave"); subscribers know already."""

    def on_alarm(self) -> object:
        """The alarm set with `self.storage.setAlarm` has come."""

    # -- what a topic class, or a Worker with a stub of it, may call

    @property
    def topic(self) -> str:
        """The canonical name of the topic."""
        return self._room.name

    @property
    def storage(self) -> Any:
        """The object's storage, shared with the topic's table `realtime_messages`."""
        return self.ctx.storage

    def broadcast(self, event: str, data: Any = None) -> None:
        """Send an event to all subscribers, without storing it and without a user."""
        self.publish(event, data)

    def publish(
        self, event: str, data: Any = None, persist: bool = False, user_id: str | None = None, id: str | None = None
    ) -> dict[str, Any] | None:
        """Send an event to all subscribers; with `persist`, store it and return the stored message.

        No hook is asked. A repeated `id` of the same `user_id` has no effect.

        Raises:
            ValueError: `data` holds a float that is not finite.
            TypeError: `data` has no JSON form.
        """
        stored = self._room.say(Publication(event, dumps(data), id, persist, user_id=user_id))
        return None if stored is None else _readable(stored, self.topic)

    async def stream(
        self,
        tokens: Tokens,
        *,
        id: str | None = None,
        user_id: str | None = None,
        persist: bool = False,
        without_viewers: Literal["go-on", "cancel"] = "go-on",
        viewer_grace_s: float = 10.0,
    ) -> dict[str, Any]:
        """Send tokens to all subscribers as they come, and return `{stream, reason, tokens, text}` when that is over.

        Subscribers are told each token as an event "ai:token", whoever comes late everything so far, and the end as
        "ai:done". The iteration is ended where it waits when a client cancels the stream, or, with
        `without_viewers="cancel"`, when nobody has followed the topic for `viewer_grace_s`. With `persist` the whole
        text is stored with "ai:done". In a hook, give it to `self.ctx.waitUntil(...)`: a hook must end soon.

        An exception of `tokens` is told to subscribers as an "ai:error" without its text, and raised again.
        """
        options = StreamOptions(without_viewers, viewer_grace_s, persist, user_id=user_id)
        return await run_stream(self, id or self._room.new_stream_id(), tokens, options)

    def history(self, limit: int = 50, before: int | None = None, after: int | None = None) -> list[dict[str, Any]]:
        """Return persisted messages older than `before` (a `created_at`), newest first.

        With `after`, the ones that follow that `created_at`, oldest first.
        """
        return [_readable(message, self.topic) for message in self._room.messages(limit, before, after)]

    def presence(self) -> list[dict[str, Any]]:
        """Return who is present: `[{userId, state, connections: [connection id]}]`."""
        return self._room.topic.presence.snapshot()

    # -- Durable Object events

    async def fetch(self, request: Request) -> Response:
        """Take in a leg that was announced with `expect_leg`."""
        leg_id = request.headers.get(LEG_HEADER)
        if request.headers.get("upgrade", "").lower() != "websocket" or leg_id is None:
            return Response("a topic object answers no HTTP requests by itself\n", status=404)
        client, server = WebSocketPair()
        if not self._room.let_in(leg_id, server):
            return Response("this leg was not announced\n", status=403)
        return Response(None, status=101, web_socket=client)

    async def webSocketMessage(self, ws: Any, message: Any) -> None:
        """Handle one command of a connection."""
        if isinstance(message, str):
            await self._room.receive(ws, message)

    async def webSocketClose(self, ws: Any, code: int, reason: str, was_clean: bool) -> None:
        """Forget a connection."""
        await self._room.lost(ws)

    async def webSocketError(self, ws: Any, error: Any) -> None:
        """Forget a connection."""
        await self._room.lost(ws)

    async def alarm(self, info: Any = None) -> None:
        """Pass the alarm on to `on_alarm`."""
        result = self.on_alarm()
        if isinstance(result, Awaitable):
            await result

    # -- called by the gateway and the table feed

    def expect_leg(self, attachment: str, limits: dict[str, Any]) -> None:
        """Announce a leg, whose id the next upgrade request names; `limits` is as in `publish_json`."""
        self._room.remember_limits(limits)
        self._room.expect(attachment)

    def publish_json(
        self, event: str, data: str, persist: bool, user_id: str | None, id: str | None, limits: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Publish data that is JSON text already; `limits` is what the settings say about this topic.

        Returns the stored message, None when it is not stored.
        """
        self._room.remember_limits(limits)
        stored = self._room.say(Publication(event, data, id, persist, user_id=user_id))
        return None if stored is None else _readable(stored, self.topic)

    async def open_stream(self, id: str, options: Mapping[str, Any], text: str = "", count: int = 0) -> None:
        """Begin a token stream of a producer elsewhere; see `StreamPort`."""
        self._room.streams.open(id, StreamOptions(**options), text, count)

    async def stream_tokens(self, id: str, tokens: list[str]) -> str | None:
        """Say the next tokens of a stream; returns why it is over, if it is."""
        return self._room.streams.tokens(id, tokens)

    async def stream_over(self, id: str) -> str:
        """Wait until a stream is over."""
        return await self._room.streams.over(id)

    async def close_stream(self, id: str, reason: Any, message: str = "") -> None:
        """End a stream."""
        self._room.streams.close(id, reason, message)

    def tell_changes(self, events: list[list[Any]]) -> None:
        """Tell subscribers about row changes: the kind, rest, epoch and offset of each table event."""
        self._room.tell_changes([TableEvent(*event) for event in events])

    def kept_sessions(self) -> list[Any]:
        """Return what `keep_sessions` stored: `[[[id, text]], {at, table} or None]`."""
        return self._sessions.read()

    def keep_sessions(self, gone: list[str], rows: list[list[str]], alive: dict[str, Any] | None) -> None:
        """Store sessions of connections by their id, and when the server was last seen alive."""
        self._sessions.write(gone, rows, alive)

    async def history_json(self, connection: str, room: str, limit: int, before: int | None) -> list[Any]:
        """Return `[True, body of the answer]`, or `[False, why]` when the topic class does not let `connection` read.

        `connection` is described as JSON text; `room` is the client's spelling of the topic.
        """
        try:
            await self._room.may_read(Connection(*loads(connection)))
        except Refused as error:
            return [False, error.message]
        messages = self._room.messages(limit, before)
        return [True, f'{{"messages":[{",".join([_row_json(message, room) for message in messages])}]}}']


def _readable(message: Message, room: str) -> dict[str, Any]:
    return {
        "id": message.id,
        "room_id": room,
        "user_id": message.user_id,
        "event": message.event,
        "data": loads(message.data),
        "created_at": message.created_at,
        "epoch": message.position.epoch,
        "offset": message.position.offset,
    }


def _row_json(message: Message, room: str) -> str:
    fields = {
        "id": message.id,
        "room_id": room,
        "user_id": message.user_id,
        "event": message.event,
        "created_at": message.created_at,
        "epoch": message.position.epoch,
        "offset": message.position.offset,
    }
    return f'{dumps(fields)[:-1]},"data":{message.data}}}'
