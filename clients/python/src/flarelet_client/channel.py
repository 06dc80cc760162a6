"""Channels: what user code holds (`Channel`), and the one subscription that all channels of a topic share (`Topic`).

Every `realtime.channel("orders")` gives a channel of its own. The topic is subscribed while at least one of them is,
so one user that goes away does not silence the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Protocol, Self

from flarelet_client.errors import RealtimeError
from flarelet_client.listeners import Listeners
from flarelet_client.presence import Presence
from flarelet_client.recovery import Recovery
from flarelet_client.types import Ack, ChannelOptions, Gap, HistoryMessage, Payload, Recovered

__all__ = ["Channel", "Topic", "Wire"]

Stop = Callable[[], None]

_NO_SUCH_TABLE = 304  # said beside a subscription that stands: the table may appear later


class Wire(Protocol):
    """What a topic needs of the client."""

    @property
    def is_v1(self) -> bool:
        """Whether the server speaks flarelet-v1 on the present connection."""
        ...

    def send(self, frame: dict[str, Any]) -> bool:
        """Send a frame of state; False when there is no connection, which restores it later."""
        ...

    def publish(self, topic: str, event: str, data: Any, *, persist: bool, id: str | None) -> asyncio.Future[Ack]:
        """Publish an event."""
        ...

    async def history(self, topic: str, limit: int, before: int | None) -> list[HistoryMessage]:
        """Read stored messages, newest first."""
        ...

    def topic(self, name: str, options: ChannelOptions) -> Topic:
        """Return the shared topic, made with these options when it is new."""
        ...

    def forget(self, topic: Topic) -> None:
        """Drop a topic nobody uses."""
        ...


class Topic:
    """The subscription of one topic, shared by its channels."""

    def __init__(self, name: str, wire: Wire, options: ChannelOptions) -> None:
        self.name = name
        self.presence = Presence()
        self.channels: dict[Channel, None] = {}
        self.subscribers: dict[Channel, None] = {}
        self.is_ready = False
        self._wire, self._options = wire, options
        self._trackers: dict[Channel, dict[str, Any]] = {}
        self._recovery = Recovery(name, self._tell)
        self._rows: list[dict[str, Any]] = []  # parts of a snapshot
        self._confirmations = 0
        self._is_wanted = False  # the server is, or will be, asked for it

    def enter(self, channel: Channel) -> None:
        """Count a subscriber; the first one subscribes."""
        self.channels[channel] = None
        self.subscribers[channel] = None
        if not self._is_wanted:
            self._is_wanted = True
            self._subscribe()
        elif self._options.snapshot and self.is_ready:
            self._subscribe(anew=True)  # its rows are wanted by one more: they come again, for all

    def leave(self, channel: Channel) -> None:
        """Count a subscriber out; when the last one is gone, unsubscribe."""
        self.channels.pop(channel, None)
        if self._trackers.pop(channel, None) is not None:
            self._show_state(was_tracking=True)
        if channel in self.subscribers:
            del self.subscribers[channel]
            if not self.subscribers:  # a moment later: one that is replaced by the next leaves and enters in one go
                asyncio.get_running_loop().call_soon(self._leave_if_alone)
        self._forget_if_unused()

    def track(self, channel: Channel, state: dict[str, Any]) -> None:
        """Be present; the state of the channel that tracked last is shown."""
        self.channels[channel] = None
        self._trackers.pop(channel, None)
        self._trackers[channel] = state
        self._show_state(was_tracking=False)

    def untrack(self, channel: Channel) -> None:
        """Be no longer present for one channel."""
        if self._trackers.pop(channel, None) is not None:
            self._show_state(was_tracking=True)
        self._forget_if_unused()

    def restore(self) -> None:
        """Tell a new connection what the old one knew."""
        if self._is_wanted:
            self._subscribe()
        self._show_state(was_tracking=False)

    def received(self, frame: dict[str, Any]) -> None:
        """Take a frame about this topic."""
        if not self.subscribers:
            return
        match frame["type"]:
            case "subscribed":
                self._subscribed(frame)
            case "recovered" | "gap":
                self._recovery.judge(frame)
            case "resync":
                self._tell(Gap(self.name, "resync", "the server left changes out"))
            case "snapshot":
                self._part(frame)
            case "presence":
                self._present(frame)
            case "transaction":
                self._recovery.pass_over(frame)
            case "event" | "db_change" | "chat_message":
                self._message(Payload.from_frame(frame))
            case _:
                pass

    def error(self, error: RealtimeError) -> bool:
        """Tell all channels of an error; return whether anybody listened."""
        return any([channel.failed(error) for channel in list(self.channels)])

    def _message(self, payload: Payload) -> None:
        if not self._wire.is_v1:
            self.presence.follow_event(payload)
        accepted = self._recovery.accept(payload)
        if accepted is not None:
            self._emit(accepted)
        self._recovery.settle()

    def _subscribed(self, frame: dict[str, Any]) -> None:
        self.is_ready = True
        again, self._confirmations = self._confirmations > 0, self._confirmations + 1
        if not self._wire.is_v1:
            self.presence.clear()
        self._recovery.begin(frame)
        for channel in list(self.channels):
            channel.confirmed()
        if again and not self._wire.is_v1:
            self._tell(Gap(self.name, "server", "the server does not tell what was missed"))

    def _part(self, frame: dict[str, Any]) -> None:
        self._rows += frame["rows"]
        if frame["last"]:
            rows, self._rows = self._rows, []
            for channel in list(self.channels):
                channel.snapshot(rows)

    def _present(self, frame: dict[str, Any]) -> None:
        told = self.presence.follow(frame)
        if told is None:
            self._wire.send({"type": "presence", "topic": self.name})
        for event, data in told or ():
            self._emit(Payload("event", self.name, data, event=event, user_id=data.get("userId"), raw=frame))

    def _emit(self, payload: Payload) -> None:
        for channel in list(self.channels):
            channel.emit(payload)

    def _leave_if_alone(self) -> None:
        if self.subscribers or not self._is_wanted:
            return
        self._is_wanted = self.is_ready = False
        self._confirmations = 0
        self._wire.send({"type": "unsubscribe", "topic": self.name})
        self._show_state(was_tracking=False)  # for the server, presence ended with the subscription
        self.presence.clear()
        self._recovery.forget()
        self._forget_if_unused()

    def _subscribe(self, *, anew: bool = False) -> None:
        options, frame = self._options, {"type": "subscribe", "topic": self.name}
        if anew or not options.recover:
            self._recovery.forget()
        self._recovery.interrupt()
        self._rows = []
        more: dict[str, Any] = {"filter": None if options.filter is None else dict(options.filter)}
        if self._wire.is_v1:
            since = self._recovery.since
            more["since"] = None if since is None else {"epoch": since.epoch, "offset": since.offset}
            more["snapshot"] = True if options.snapshot and since is None else None
            more["columns"] = None if options.columns is None else list(options.columns)
            more["event"] = (
                options.event if options.event is None or isinstance(options.event, str) else [*options.event]
            )
            more["presence"] = options.presence
        self._wire.send(frame | {name: value for name, value in more.items() if value is not None})

    def _show_state(self, *, was_tracking: bool) -> None:
        """Tell the server what is tracked: the state of the channel that tracked last."""
        if self._trackers:
            state = list(self._trackers.values())[-1]
            self._wire.send({"type": "track", "topic": self.name, "state": state})
        elif was_tracking:
            self._wire.send({"type": "untrack", "topic": self.name})

    def _tell(self, verdict: Recovered | Gap) -> None:
        for channel in list(self.channels):
            channel.verdict(verdict)
        if isinstance(verdict, Gap) and self._options.snapshot and self._wire.is_v1 and self.is_ready:
            self._subscribe(anew=True)

    def _forget_if_unused(self) -> None:
        if not self.channels and not self._trackers and not self._is_wanted:
            self._wire.forget(self)


class Channel:
    """One user's view of a topic. Made by `realtime.channel()`."""

    def __init__(self, topic: str, wire: Wire, options: ChannelOptions) -> None:
        self.topic = topic
        """The topic's full name, e.g. `table/orders/demo`."""
        self._wire, self._options = wire, options
        self._callbacks: dict[str, Listeners[Payload]] = {}
        self._recoveries: Listeners[Recovered] = Listeners()
        self._gaps: Listeners[Gap] = Listeners()
        self._snapshots: Listeners[list[dict[str, Any]]] = Listeners()
        self._readies: Listeners[bool] = Listeners()
        self._errors: Listeners[RealtimeError] = Listeners()
        self._is_subscribed = self._was_ready = False
        self._ready: asyncio.Future[None] | None = None

    @property
    def _topic(self) -> Topic:
        return self._wire.topic(self.topic, self._options)

    @property
    def presence(self) -> Presence:
        """Everybody present, as a live map: `channel.presence.members`."""
        return self._topic.presence

    @property
    def is_ready(self) -> bool:
        """Whether the server has confirmed the subscription on the present connection."""
        return self._is_subscribed and self._topic.is_ready

    def on(self, event: str, callback: Callable[[Payload], object]) -> Self:
        """Call `callback` for a row change (INSERT, UPDATE, DELETE), an event by its name, or everything (`*`)."""
        self._callbacks.setdefault(event, Listeners()).add(callback)
        self._topic.channels[self] = None
        return self

    def off(self, event: str, callback: Callable[[Payload], object]) -> Self:
        """Remove a callback."""
        if event in self._callbacks:
            self._callbacks[event].remove(callback)
        return self

    async def subscribe(self, *, timeout_s: float | None = None) -> Self:
        """Receive the topic from now on, and wait until the server confirms; connects if that has not happened yet.

        Raises:
            RealtimeError: The server refused.
            TimeoutError: There was no answer within `timeout_s` seconds; the subscription is still wanted.
        """
        topic = self._topic
        if not self._is_subscribed:
            self._is_subscribed = True
            topic.enter(self)
        if not topic.is_ready:
            if self._ready is None or self._ready.done():
                self._ready = asyncio.get_running_loop().create_future()
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(self._ready)
        elif not self._was_ready:
            self.confirmed()
        return self

    def unsubscribe(self) -> None:
        """Receive nothing more and be no longer present; callbacks are removed. Other channels of the topic go on."""
        self._callbacks.clear()
        for listeners in (self._recoveries, self._gaps, self._snapshots, self._readies, self._errors):
            listeners.clear()
        self._is_subscribed = self._was_ready = False
        if self._ready is not None:
            self._ready.cancel()
        self._topic.leave(self)

    def publish(
        self, event: str, data: Any = None, *, persist: bool = False, id: str | None = None
    ) -> asyncio.Future[Ack]:
        """Send an event to all subscribers, this client included; await the result for the server's ack.

        With `persist` it is stored first. The future raises `RealtimeError` when the publish is refused, cannot be
        kept, or gets no ack in time; `on_error` is told as well.
        """
        return self._wire.publish(self.topic, event, data, persist=persist, id=id)

    async def get_history(self, limit: int = 50, before: int | None = None) -> list[HistoryMessage]:
        """Return stored messages, newest first; `before` is the `created_at` of the oldest one known.

        Raises:
            RealtimeError: The server refused, or could not be reached.
        """
        return await self._wire.history(self.topic, limit, before)

    def track(self, state: dict[str, Any]) -> None:
        """Be present with this state, also after a reconnect; call again to change it."""
        self._topic.track(self, state)

    def untrack(self) -> None:
        """Be no longer present."""
        self._topic.untrack(self)

    def cancel(self, stream: str, reason: str = "") -> None:
        """Ask for a token stream of this topic to end; its producer is told."""
        self._wire.send({"type": "cancel", "topic": self.topic, "stream": stream, "reason": reason})

    def on_ready(self, callback: Callable[[bool], object]) -> Stop:
        """Call `callback(again)` when the subscription is confirmed; `again` is true on a new connection.

        Returns a function that stops it.
        """
        return self._readies.add(callback)

    def on_snapshot(self, callback: Callable[[list[dict[str, Any]]], object]) -> Stop:
        """Call `callback(rows)` with the rows of the table, of a channel with `snapshot`.

        The changes after them come to the handlers. Returns a function that stops it.
        """
        return self._snapshots.add(callback)

    def on_recovered(self, callback: Callable[[Recovered], object]) -> Stop:
        """Call `callback` when after a reconnect nothing is missing; return a function that stops it."""
        return self._recoveries.add(callback)

    def on_gap(self, callback: Callable[[Gap], object]) -> Stop:
        """Call `callback` when something may be missing; return a function that stops it."""
        return self._gaps.add(callback)

    def on_error(self, callback: Callable[[RealtimeError], object]) -> Stop:
        """Call `callback` for what is refused on this topic; return a function that stops it."""
        self._topic.channels[self] = None
        return self._errors.add(callback)

    async def events(self, event: str = "*", *, most_waiting: int = 1_000) -> AsyncIterator[Payload]:
        """Subscribe and give the messages one by one; when more than `most_waiting` wait, the oldest are dropped."""
        queue: asyncio.Queue[Payload] = asyncio.Queue(most_waiting)

        def put(payload: Payload) -> None:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(payload)

        self.on(event, put)
        try:
            await self.subscribe()
            while True:
                yield await queue.get()
        finally:
            self.off(event, put)

    # -- what the topic tells

    def emit(self, payload: Payload) -> None:
        """Hand a message to the callbacks; for the client, not for its user."""
        for name in dict.fromkeys((payload.name, "*")):
            if name in self._callbacks:
                self._callbacks[name].tell(payload)

    def confirmed(self) -> None:
        """Take the confirmation of the subscription; for the client, not for its user."""
        if not self._is_subscribed:
            return
        again, self._was_ready = self._was_ready, True
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)
        self._readies.tell(again)

    def snapshot(self, rows: list[dict[str, Any]]) -> None:
        """Tell a table's rows; for the client, not for its user."""
        self._snapshots.tell(rows)

    def verdict(self, verdict: Recovered | Gap) -> None:
        """Tell what a reconnect came to; for the client, not for its user."""
        if isinstance(verdict, Gap):
            self._gaps.tell(verdict)
        else:
            self._recoveries.tell(verdict)

    def failed(self, error: RealtimeError) -> bool:
        """Tell of an error, and whether anybody listened; for the client, not for its user."""
        heard = len(self._errors) > 0
        self._errors.tell(error)
        is_mine = error.ref.get("type") == "subscribe" and error.code != _NO_SUCH_TABLE
        if is_mine and self._ready is not None and not self._ready.done():
            with suppress(asyncio.InvalidStateError):
                self._ready.set_exception(error)
            self._ready.exception()
            heard = True
        return heard
