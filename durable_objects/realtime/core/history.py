"""Where a topic's log stands: numbering of its events and the window that recognises repeated publishes.

Rules: offsets grow by one with every event, whether it is stored or not; `created_at` grows strictly, by at least 1 ms,
because the public cursor (`before`) is a plain "smaller than"; the epoch names one life of the log, so that a position
of a lost log is never mistaken for one of a new log. Storage is not here: the shell keeps the rows and tells `History`
where they end.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["History", "Message", "Position", "Receipt"]


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a topic's log: after the message `offset` of the life `epoch`."""

    epoch: str
    offset: int


@dataclass(frozen=True, slots=True)
class Message:
    """One persisted message. `data` is JSON text; `created_at` is in ms and unique within the topic."""

    position: Position
    id: str
    user_id: str | None
    event: str
    data: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an acknowledgement says; a repeated publish gets the receipt of the first one."""

    id: str
    timestamp: int
    position: Position | None = None
    is_stored: bool = False


class History:
    """The writing end of one topic's log."""

    def __init__(self, epoch: str, *, offset: int = 0, created_at: int = 0, window: int = 1_024) -> None:
        self.epoch = epoch
        self.offset = offset
        self.created_at = created_at
        self._window = window
        self._recent: OrderedDict[tuple[str | None, str], Receipt] = OrderedDict()

    @property
    def position(self) -> Position:
        """The position after the newest message."""
        return Position(self.epoch, self.offset)

    def continue_from(self, newest_first: Iterable[Message]) -> None:
        """Continue the stored log; takes up to the window's size of its newest messages."""
        stored = list(newest_first)
        if not stored:
            return
        if stored[0].position.offset >= self.offset:
            self.epoch = stored[0].position.epoch
            self.offset = stored[0].position.offset
        self.created_at = max(self.created_at, stored[0].created_at)
        for message in reversed(stored):
            self.remember(message.user_id, Receipt(message.id, message.created_at, message.position, is_stored=True))

    def append(self, *, id: str | None, user_id: str | None, event: str, data: str, now_ms: int) -> Message:
        """Give the next message its place in the log. Without an `id` it is named after that place."""
        self.offset += 1
        self.created_at = max(now_ms, self.created_at + 1)
        position = self.position
        name = id if id is not None else f"{position.epoch}-{position.offset}"
        return Message(position, name, user_id, event, data, self.created_at)

    def pass_by(self) -> Position:
        """Give the next event that is not stored its place."""
        self.offset += 1
        return self.position

    def undo(self, message: Message) -> None:
        """Take back the newest `append`, whose message could not be stored. `created_at` does not go back."""
        if message.position == self.position:
            self.offset -= 1
        self._recent.pop((message.user_id, message.id), None)

    def remember(self, user_id: str | None, receipt: Receipt) -> None:
        """Recognise this publish when it comes again; forgets the oldest beyond the window."""
        self._recent[(user_id, receipt.id)] = receipt
        while len(self._recent) > self._window:
            self._recent.popitem(last=False)

    def repeated(self, user_id: str | None, id: str | None) -> Receipt | None:
        """Return the receipt of an earlier publish of the same user with the same id."""
        return None if id is None else self._recent.get((user_id, id))
