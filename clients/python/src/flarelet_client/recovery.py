"""What a topic missed while the connection was away, read from the history endpoint.

All that the rest of the client knows of positions is in here, so that explicit positions can replace it. The position
is the newest persisted message known, by `created_at` and id; the server makes `created_at` unique and growing within
a topic. While missed messages are read, live ones wait, so that order is kept; a persisted message is handed on once.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Any

from flarelet_client.errors import RealtimeError
from flarelet_client.topics import is_table
from flarelet_client.types import Gap, HistoryMessage, Payload, Recovered

__all__ = ["Recovery"]

_PAGE = 100
_MOST = 1_000
_REMEMBERED = 2_048
_MOST_HELD = 5_000

ReadHistory = Callable[[int, int | None], Awaitable[list[HistoryMessage]]]


class Recovery:
    """The position of one topic, and the way back to it."""

    def __init__(self, topic: str, read: ReadHistory, deliver: Callable[[Payload], None], *, enabled: bool) -> None:
        self._topic, self._read, self._deliver = topic, read, deliver
        self._can_recover = enabled and not is_table(topic)
        self._at: int | None = None  # created_at of the newest persisted message known; 0: there was none
        self._id = ""
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._held: deque[Payload] | None = None
        self._dropped_held = False
        self._run = 0  # a newer connection makes an older run's answer worthless

    def accept(self, payload: Payload) -> None:
        """Take a live message: hand it on now, or after what was missed."""
        if self._held is None:
            self._pass(payload)
            return
        if len(self._held) >= _MOST_HELD:
            self._held.popleft()
            self._dropped_held = True
        self._held.append(payload)

    async def first(self) -> None:
        """Learn where the history stands, at the first confirmation of the subscription."""
        if not self._can_recover:
            return
        self._run += 1
        run = self._run
        try:
            newest = await self._read(1, None)
        except RealtimeError:
            return  # a later reconnect will say so as a gap
        if run == self._run:
            self._note(newest[0].created_at if newest else 0, newest[0].id if newest else "")

    async def again(self) -> Recovered | Gap | None:
        """Read what was missed, after a reconnect. None when the next reconnect overtook it."""
        if not self._can_recover:
            if is_table(self._topic):
                return Gap(self._topic, "table", "row changes have no history")
            return Gap(self._topic, "disabled", "recovery is off")
        self._run += 1
        run = self._run
        if self._held is None:
            self._held = deque()
        since = self._at
        try:
            missed, found = await self._missed(since, self._id)
        except RealtimeError as error:
            if run != self._run:
                return None
            verdict: Recovered | Gap = Gap(self._topic, "history", error.message)
        else:
            if run != self._run:
                return None
            for message in reversed(missed):
                self._pass(_payload(self._topic, message))
            verdict = Recovered(self._topic, len(missed))
            if since is None:
                verdict = Gap(self._topic, "history", "the position before the connection was lost is not known")
            elif not found:
                verdict = Gap(self._topic, "expired", "older messages are no longer kept")
        held, self._held = self._held, None
        if self._dropped_held:
            self._dropped_held = False
            verdict = Gap(self._topic, "history", "more arrived than could wait while missed messages were read")
        for payload in held:
            self._pass(payload)
        return verdict

    async def _missed(self, since: int | None, id: str) -> tuple[list[HistoryMessage], bool]:
        """Return messages after the position, newest first, and whether the position itself was found."""
        if since is None:
            newest = await self._read(1, None)
            self._note(newest[0].created_at if newest else 0, newest[0].id if newest else "")
            return [], False
        missed: list[HistoryMessage] = []
        while len(missed) < _MOST:
            page = await self._read(_PAGE, missed[-1].created_at if missed else None)
            for message in page:
                if message.created_at <= since:
                    return missed, message.id == id
                missed.append(message)
            if len(page) < _PAGE:
                return missed, since == 0
        return missed, False

    def _pass(self, payload: Payload) -> None:
        # Only what is stored has a place in the log; everything else passes as it comes.
        if payload.id is not None and (payload.recovered or "offset" in (payload.raw or {})):
            if payload.id in self._seen:
                return
            self._seen[payload.id] = None
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
            if payload.timestamp is not None:
                self._note(payload.timestamp, payload.id)
        self._deliver(payload)

    def _note(self, at: int, id: str) -> None:
        if self._at is None or at > self._at:
            self._at, self._id = at, id


def _payload(topic: str, message: HistoryMessage) -> Payload:
    is_chat = message.event == "chat_message"
    more: dict[str, Any] = {"event": None if is_chat else message.event}
    return Payload(
        type="chat_message" if is_chat else "event",
        topic=topic,
        data=message.data,
        user_id=message.user_id,
        timestamp=message.created_at,
        id=message.id,
        recovered=True,
        **more,
    )
