"""What a topic has said: its numbering, the tail in memory and the log on the disk, as one.

Readers come back from three places: a public client whose connection was cut (`missed`), one whose server ended
meanwhile (`missed`, with what is stored of the time around that end), and a flarelet-v1 client that says where it
stands (`since`), which is told whether that is everything.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from durable_objects.realtime.core.history import Message, Position
from durable_objects.realtime.core.publication import stored_entry
from durable_objects.realtime.core.tail import Entry
from durable_objects.realtime.core.topic import Topic
from durable_objects.realtime.topic_log import Retention, TopicLog

__all__ = ["Record"]

_WINDOW = 1_024
_LEAP = 1_000_000
_BURST_MS = 50


class Record:
    """The past of one topic."""

    def __init__(self, name: str, topic: Topic, log: TopicLog) -> None:
        self._name = name
        self._topic = topic
        self._log = log
        self._is_known = False
        self._is_window_known = False

    def know(self, *, window: bool = False) -> None:
        """Before the first event of this life: number on where the stored log ends; `window`: and know its ids.

        Events that were not stored may have had later numbers before a crash: a topic that has such leaps over them.
        """
        history = self._topic.history
        if not self._is_known:
            self._is_known = True
            self._begin()
        if window and not self._is_window_known:
            self._is_window_known = True
            history.continue_from(self._log.newest(_WINDOW))

    def _begin(self) -> None:
        tail, history = self._topic.tail, self._topic.history
        if self._topic.is_table:
            history.epoch = secrets.token_hex(6)
            history.continue_from(self._log.newest(1))
            return
        if not tail.epoch:
            newest = self._log.newest(1)
            if newest:
                at = newest[0].position
                tail.is_mixed = self._log.is_mixed()
                tail.begin(at.epoch, at.offset + _LEAP if tail.is_mixed else at.offset)
                history.created_at = newest[0].created_at
            else:
                tail.begin(secrets.token_hex(6), 0)
        history.epoch, history.offset = tail.epoch, tail.offset

    def store(self, message: Message, retention: Retention) -> None:
        """Add a message to the log."""
        self._log.append(message, retention)
        if self._topic.tail.is_mixed:
            self._log.note_mixed()

    def note_mixed(self) -> None:
        """Note that the topic says things that it does not store."""
        self._log.note_mixed()

    def messages(self, limit: int, before: int | None, after: int | None, oldest_ms: int) -> list[Message]:
        """Return stored messages; see `TopicLog.newest`."""
        return self._log.newest(limit, before, after, oldest_ms=oldest_ms)

    def missed(self, command: Mapping[str, Any]) -> tuple[list[Entry], bool]:
        """Return what a returning public client missed, and whether that is all there is to tell it."""
        after, source, tail = command["after"], command["from"], self._topic.tail
        if after is not None and tail.is_whole_after(after):
            return [entry for entry in tail.after(after) if source is None or entry.but != source], True
        held = [entry for entry in tail.after(after if after is not None else 0) if entry.kind != "presence"]
        if (restored := command["restored"]) is not None:
            stored = _unheard(self._log.after(None, restored[0]), restored[1])
        else:
            heard = command["heard"]
            # Nothing was heard yet: then everything of this life is later, and of the same millisecond at the earliest.
            stored = self._log.after(None if heard is None else Position(*heard), command["ended"] - 1)
        first = next((entry.offset for entry in held if entry.offset), self._topic.tail.offset + 1)
        room_id = _room_of(next(iter(command["spellings"]), ""))
        return [
            *[stored_entry(message, room_id) for message in stored if message.position.offset < first],
            *held,
        ], False

    def since(self, since: Position) -> tuple[list[Entry], str]:
        """Return what was said after a position, and why it is not everything; empty when it is."""
        tail = self._topic.tail
        if since.epoch != tail.epoch:
            if since.offset:
                return [], "epoch"
            # It was there before the first event: everything is later. What was not stored before a restart is lost.
            since = Position(tail.epoch, 0)
            return self._since(since)[0], "epoch"
        return self._since(since)

    def _since(self, since: Position) -> tuple[list[Entry], str]:
        tail = self._topic.tail
        if since.offset > tail.offset:
            return [], "ahead"
        held = [entry for entry in tail.newest_first() if entry.offset > since.offset][::-1]
        if tail.is_whole_since(since.offset):
            return held, ""
        first = held[0].offset if held else tail.offset + 1
        stored = [message for message in self._log.after(since) if message.position.offset < first]
        entries = [stored_entry(message, _room_of(self._name)) for message in stored] + held
        if len(stored) == first - since.offset - 1:
            return entries, ""
        return entries, "not_stored" if tail.is_mixed else "expired"


def _unheard(stored: list[Message], started_ms: int) -> Iterable[Message]:
    """Of what was stored after a server was last seen alive, drop what it had surely told before it ended.

    It may have ended between storing a message and sending it, so the last burst before this server started stays.
    """
    last = max((message.created_at for message in stored if message.created_at <= started_ms), default=0)
    return [message for message in stored if message.created_at >= last - _BURST_MS]


def _room_of(spelling: str) -> str:
    """Return a chat room's bare id; the log does not keep how its members called it."""
    return spelling.split("/")[1] if "/" in spelling else ""
