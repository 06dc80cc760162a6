"""Channels: what user code holds (`Channel`), and the one subscription that all channels of a topic share (`Topic`).

Every `realtime.channel("orders")` gives a channel of its own. The topic is subscribed while at least one of them is,
so one user that goes away does not silence the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol, Self

from flarelet_client.errors import RealtimeError
from flarelet_client.listeners import Listeners
from flarelet_client.presence import Presence
from flarelet_client.recovery import Recovery
from flarelet_client.types import Ack, Gap, HistoryMessage, Payload, Recovered

__all__ = ["Channel", "Topic", "Wire"]

Stop = Callable[[], None]

_NO_SUCH_TABLE = 304  # said beside a subscription that stands: the table may appear later


class Wire(Protocol):
    """What a topic needs of the client."""

    def send(self, frame: dict[str, Any]) -> bool:
        """Send a frame of state; False when there is no connection, which restores it later."""
        ...

    def publish(self, topic: str, event: str, data: Any, *, persist: bool, id: str | None) -> asyncio.Future[Ack]:
        """Publish an event."""
        ...

    async def history(self, topic: str, limit: int, before: int | None) -> list[HistoryMessage]:
        """Read stored messages, newest first."""
        ...

    def run(self, work: Coroutine[Any, Any, None], name: str) -> object:
        """Run work in the background."""
        ...

    def topic(self, name: str) -> Topic:
        """Return the shared topic."""
        ...

    def forget(self, topic: Topic) -> None:
        """Drop a topic nobody uses."""
        ...


class Topic:
    """The subscription of one topic, shared by its channels."""

    def __init__(self, name: str, wire: Wire, *, recover: bool) -> None:
        self.name = name
        self.presence = Presence()
        self.channels: dict[Channel, None] = {}
        self.subscribers: dict[Channel, None] = {}
        self.is_ready = False
        self._wire, self._recover = wire, recover
        self._trackers: dict[Channel, dict[str, Any]] = {}
        self._confirmations = 0
        self._recovery = self._new_recovery()

    def enter(self, channel: Channel) -> None:
        """Count a subscriber; the first one subscribes."""
        self.channels[channel] = None
        is_first = not self.subscribers
        self.subscribers[channel] = None
        if is_first:
            self._subscribe()

    def leave(self, channel: Channel) -> None:
        """Count a subscriber out; the last one unsubscribes."""
        self.channels.pop(channel, None)
        was_tracking = self._trackers.pop(channel, None) is not None
        if channel in self.subscribers:
            del self.subscribers[channel]
            if not self.subscribers:
                self._wire.send({"type": "unsubscribe", "topic": self.name})
                self.is_ready = False
                self._confirmations = 0
                self.presence.clear()
                self._recovery = self._new_recovery()  # what is read for the old one reaches nobody
                self._show_state(was_tracking=False)  # for the server, presence ended with the subscription
                was_tracking = False
        if was_tracking:
            self._show_state(was_tracking=True)
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
        if self.subscribers:
            self._subscribe()
        self._show_state(was_tracking=False)

    def subscribed(self) -> None:
        """Take the server's confirmation."""
        if not self.subscribers:
            return
        self.is_ready = True
        self.presence.expect_sync()
        for channel in list(self.channels):
            channel.confirmed()
        again, self._confirmations = self._confirmations > 0, self._confirmations + 1
        recovery = self._recovery
        self._wire.run(self._look_back(recovery) if again else recovery.first(), f"realtime-recovery-{self.name}")

    def received(self, payload: Payload) -> None:
        """Take a live message."""
        if self.subscribers:
            self.presence.follow(payload)
            self._recovery.accept(payload)

    def gap(self, gap: Gap) -> None:
        """Tell all channels that something may be missing."""
        for channel in list(self.channels):
            channel.verdict(gap)

    def error(self, error: RealtimeError) -> bool:
        """Tell all channels of an error; return whether anybody listened."""
        return any([channel.failed(error) for channel in list(self.channels)])

    async def _look_back(self, recovery: Recovery) -> None:
        verdict = await recovery.again()
        if verdict is not None and recovery is self._recovery:
            for channel in list(self.channels):
                channel.verdict(verdict)

    def _subscribe(self) -> None:
        self._wire.send({"type": "subscribe", "topic": self.name})

    def _show_state(self, *, was_tracking: bool) -> None:
        if self._trackers:
            state = list(self._trackers.values())[-1]
            self._wire.send({"type": "track", "topic": self.name, "state": state})
        elif was_tracking:
            self._wire.send({"type": "untrack", "topic": self.name})

    def _new_recovery(self) -> Recovery:
        def deliver(payload: Payload) -> None:
            if recovery is self._recovery:
                for channel in list(self.channels):
                    channel.emit(payload)

        recovery = Recovery(
            self.name,
            lambda limit, before: self._wire.history(self.name, limit, before),
            deliver,
            enabled=self._recover,
        )
        return recovery

    def _forget_if_unused(self) -> None:
        if not self.channels and not self._trackers:
            self._wire.forget(self)


class Channel:
    """One user's view of a topic. Made by `realtime.channel()`."""

    def __init__(self, topic: str, wire: Wire) -> None:
        self.topic = topic
        """The topic's full name, e.g. `table/orders/demo`."""
        self._wire = wire
        self._callbacks: dict[str, Listeners[Payload]] = {}
        self._recoveries: Listeners[Recovered] = Listeners()
        self._gaps: Listeners[Gap] = Listeners()
        self._errors: Listeners[RealtimeError] = Listeners()
        self._is_subscribed = False
        self._ready: asyncio.Future[None] | None = None

    @property
    def presence(self) -> Presence:
        """Everybody present, as a live map: `channel.presence.members`."""
        return self._wire.topic(self.topic).presence

    @property
    def is_ready(self) -> bool:
        """Whether the server has confirmed the subscription on the present connection."""
        return self._is_subscribed and self._wire.topic(self.topic).is_ready

    def on(self, event: str, callback: Callable[[Payload], object]) -> Self:
        """Call `callback` for a row change (INSERT, UPDATE, DELETE), an event by its name, or everything (`*`)."""
        self._callbacks.setdefault(event, Listeners()).add(callback)
        self._wire.topic(self.topic).channels[self] = None
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
        topic = self._wire.topic(self.topic)
        if not self._is_subscribed:
            self._is_subscribed = True
            topic.enter(self)
        if not topic.is_ready:
            if self._ready is None or self._ready.done():
                self._ready = asyncio.get_running_loop().create_future()
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(self._ready)
        return self

    def unsubscribe(self) -> None:
        """Receive nothing more and be no longer present; callbacks are removed. Other channels of the topic go on."""
        self._callbacks.clear()
        self._recoveries.clear()
        self._gaps.clear()
        self._errors.clear()
        self._is_subscribed = False
        if self._ready is not None:
            self._ready.cancel()
        self._wire.topic(self.topic).leave(self)

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
        self._wire.topic(self.topic).track(self, state)

    def untrack(self) -> None:
        """Be no longer present."""
        self._wire.topic(self.topic).untrack(self)

    def on_recovered(self, callback: Callable[[Recovered], object]) -> Stop:
        """Call `callback` when after a reconnect nothing is missing; return a function that stops it."""
        return self._recoveries.add(callback)

    def on_gap(self, callback: Callable[[Gap], object]) -> Stop:
        """Call `callback` when something may be missing; return a function that stops it."""
        return self._gaps.add(callback)

    def on_error(self, callback: Callable[[RealtimeError], object]) -> Stop:
        """Call `callback` for what is refused on this topic; return a function that stops it."""
        self._wire.topic(self.topic).channels[self] = None
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
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

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
