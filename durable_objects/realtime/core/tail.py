"""What a topic said lately, so that it can be said again to a client that lost its connection.

A `Tail` belongs to one topic: its place in the numbering of events, and the newest of them. `Tails` are those of one
process. They share a budget of bytes, beyond which the topics that were silent longest lose theirs, and one count
(`order`) over everything said, so that what was under way to a client that follows several topics can be told apart
from what had arrived.

What a tail does not hold any more is in the topic's log if it was stored, and otherwise lost, which `is_whole` tells.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from heapq import merge
from itertools import count
from weakref import WeakValueDictionary

from durable_objects.realtime.core.protocol import dumps

__all__ = ["Entry", "Tail", "Tails", "heard_until"]

_OVERHEAD = 300
"""About what an entry takes beside its text."""
_SMALL_LOSS_BYTES = 16_384
_ROUND_TRIP_MS = 1_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was said: `rest` completes a frame of `kind` after its topic."""

    order: int
    kind: str
    rest: str
    at_ms: int
    event: str = ""
    epoch: str = ""
    offset: int = 0
    """Its position; 0 for what has none, such as presence."""
    is_stored: bool = False
    but: str | None = None
    """The leg that was left out, because it said it itself."""

    @property
    def size(self) -> int:
        """Bytes it takes."""
        return len(self.rest) + _OVERHEAD


class Tail:
    """The newest events of one topic, and the end of its numbering."""

    __slots__ = (
        "__weakref__",
        "_entries",
        "_gone",
        "_gone_offset",
        "_tails",
        "epoch",
        "is_mixed",
        "offset",
        "size",
        "version",
    )

    def __init__(self, tails: Tails, epoch: str = "", offset: int = 0) -> None:
        self.epoch = epoch
        """Names the numbering: offsets of different epochs cannot be compared. Empty until it is known."""
        self.offset = offset
        """The newest offset given to an event."""
        self.is_mixed = False
        """Whether offsets were given to events that were not stored."""
        self.version = 0
        """Counts what was said about presence."""
        self.size = 0
        self._tails = tails
        self._entries: deque[Entry] = deque()
        self._gone = 0
        self._gone_offset = offset

    @property
    def tails(self) -> Tails:
        """The tails it is one of."""
        return self._tails

    def begin(self, epoch: str, offset: int) -> None:
        """Number events after `offset` from here on; earlier ones are not here."""
        self.epoch, self.offset, self._gone_offset = epoch, offset, offset

    def add(self, entry: Entry, max_bytes: int) -> None:
        """Keep what was said last."""
        entries = self._entries
        entries.append(entry)
        grown = entry.size
        self.size += grown
        while self.size > max_bytes and entries:
            grown -= self._drop_oldest()
        self._tails.grew(self, grown)

    def skip(self, order: int) -> None:
        """Something was said that nobody will ask for again: forget all that is kept."""
        if self._entries:
            self._tails.forget(self)
            self._entries.clear()
            self.size = 0
        self._gone, self._gone_offset = order, self.offset

    def is_whole_after(self, order: int) -> bool:
        """Whether everything said after `order` is here."""
        return order >= self._gone

    def is_whole_since(self, offset: int) -> bool:
        """Whether every event after `offset` is here."""
        return offset >= self._gone_offset

    @property
    def first_offset(self) -> int:
        """The offset of the oldest event here, or the next one when there is none."""
        return next((entry.offset for entry in self._entries if entry.offset), self.offset + 1)

    def after(self, order: int) -> list[Entry]:
        """Return what was said after `order`, oldest first."""
        found: list[Entry] = []
        for entry in reversed(self._entries):
            if entry.order <= order:
                break
            found.append(entry)
        return found[::-1]

    def newest_first(self) -> Iterable[Entry]:
        """Return what is kept, newest first."""
        return reversed(self._entries)

    def offset_at(self, order: int) -> int | None:
        """Return the newest offset that was given up to `order`, None when that is not known any more."""
        for entry in reversed(self._entries):
            if entry.order <= order and entry.offset:
                return entry.offset
        return self._gone_offset if self.epoch and self._gone <= order else None

    def expire(self, before_ms: int) -> None:
        """Forget what was said before a time."""
        freed = 0
        while self._entries and self._entries[0].at_ms < before_ms:
            freed += self._drop_oldest()
        if freed:
            self._tails.grew(self, -freed, touch=False)

    def halve(self) -> None:
        """Forget the older half: others need the memory."""
        freed = 0
        for _ in range((len(self._entries) + 1) // 2):
            freed += self._drop_oldest()
        self._tails.grew(self, -freed, touch=False)

    def _drop_oldest(self) -> int:
        entry = self._entries.popleft()
        self._gone = entry.order
        self._gone_offset = max(self._gone_offset, entry.offset)
        self.size -= entry.size
        return entry.size


class Tails:
    """All tails of a process, the longest silent ones first."""

    def __init__(self, max_bytes: int = 64 * 1024 * 1024) -> None:
        self.max_bytes = max_bytes
        self.size = 0
        self.next_order: Callable[[], int] = count(1).__next__
        self.by_object: WeakValueDictionary[str, Tail] = WeakValueDictionary()
        """The tail of each object that is one, by the object's id."""
        self._held: OrderedDict[Tail, None] = OrderedDict()

    def grew(self, tail: Tail, by: int, *, touch: bool = True) -> None:
        """Count what a tail took or gave back; others give way when it is too much."""
        self.size += by
        if not tail.size:
            self._held.pop(tail, None)
        elif touch:
            self._held[tail] = None
            self._held.move_to_end(tail)
        while self.size > self.max_bytes and self._held:
            next(iter(self._held)).halve()

    def forget(self, tail: Tail) -> None:
        """A tail lets go of everything it holds."""
        self.size -= tail.size
        self._held.pop(tail, None)

    def expire(self, before_ms: int) -> None:
        """Forget everywhere what was said before a time. A topic that still speaks expires its own as it does."""
        for tail in list(self._held):
            tail.expire(before_ms)
            if tail.size:
                return


def heard_until(
    spellings: Mapping[Tail, Iterable[str]], now: int, *, lost_bytes: int, doubtful_ms: int, heard_at_ms: int
) -> int:
    """Return the `order` up to which a cut client has surely received what it follows.

    `spellings` says under which names it follows each topic. `lost_bytes` were on their way when the connection ended;
    what was said after `doubtful_ms` may not have been read although it arrived. The client itself was heard at
    `heard_at_ms`: unless it reads slowly, what was said a round trip earlier had arrived by then.
    """
    lengths = {tail: [len(dumps(name).encode()) for name in names] for tail, names in spellings.items()}
    newest_first = merge(*map(_newest_first, lengths), key=lambda pair: -pair[0].order)
    order, left = now, lost_bytes
    for entry, tail in newest_first:
        if entry.order > now:
            continue  # said after it was closed: nothing of it is on its way
        is_lost = left > 0 and (lost_bytes > _SMALL_LOSS_BYTES or entry.at_ms >= heard_at_ms - _ROUND_TRIP_MS)
        if not is_lost and entry.at_ms < doubtful_ms:
            break
        order = entry.order - 1
        text = len(entry.rest) if entry.rest.isascii() else len(entry.rest.encode("utf-8", "replace"))
        for length in lengths[tail]:
            size = text + length + len(entry.kind) + 19
            left -= size + (2 if size < 126 else 4 if size < 65_536 else 10)
    return order


def _newest_first(tail: Tail) -> Iterator[tuple[Entry, Tail]]:
    for entry in tail.newest_first():
        yield entry, tail
