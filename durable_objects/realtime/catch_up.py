"""Joining what a table's log tells again with what its topic tells live, without a hole and without a repetition.

The topic tells live changes from the moment it took the subscription in. The log is asked after that moment, and says
up to which offset it answered. What comes live meanwhile waits; of it, and of what comes later, only the changes beyond
that offset are new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from d1.changes import Replay
from durable_objects.realtime.core import v1
from durable_objects.realtime.core.audience import Group, Options
from durable_objects.realtime.core.history import Position
from durable_objects.realtime.core.protocol import dumps, loads
from durable_objects.realtime.core.table_events import table_event
from durable_objects.realtime.core.tail import Entry

__all__ = ["CatchUp", "replayed"]

_DB_CHANGE = '{"type":"db_change",'
_MAX_WAITING = 20_000
_BURST_MS = 50


class CatchUp:
    """What stands between a link and its client while one subscription to a table catches up."""

    def __init__(
        self, spellings: Iterable[str], onward: Callable[[str | bytes], None], over: Callable[[], None]
    ) -> None:
        """Pass frames on to `onward`; `over` is called when nothing stands in between any more."""
        self.onward = onward
        self.is_over = False
        self._behind = set(spellings)
        self._spellings = frozenset(self._behind)
        self._over = over
        self._waiting: list[str | bytes] | None = []
        self._until = 0

    @property
    def is_full(self) -> bool:
        """Whether more waits than the client should be given at once."""
        return self._waiting is not None and len(self._waiting) > _MAX_WAITING

    def take(self, data: str | bytes) -> None:
        """Take a frame that comes live."""
        if self._waiting is not None:
            self._waiting.append(data)
        elif self.is_over or self._is_new(data):
            self.onward(data)

    def told(self, frames: Sequence[str], until: int) -> None:
        """Send what the log tells, which is complete up to `until`, and then what waited."""
        self._until = until
        for frame in frames:
            self.onward(frame)
        waiting, self._waiting = self._waiting, None
        for data in waiting or ():
            self.take(data)

    def give_up(self) -> None:
        """The link ends: pass on what waits, nothing more is told."""
        if self._waiting is not None:
            self.told((), 0)
        self.is_over = True

    def _is_new(self, data: str | bytes) -> bool:
        if not isinstance(data, str) or not data.startswith(_DB_CHANGE):
            return True
        frame = loads(data)
        spelling = frame.get("topic")
        if spelling not in self._spellings:
            return True
        if frame.get("seq", 0) <= self._until:
            return False
        self._behind.discard(spelling)
        if not self._behind:
            self.is_over = True
            self._over()
        return True


def replayed(group: Group, replay: Replay, since: Position, *, restored: tuple[int, int] | None = None) -> list[str]:
    """Return what a subscriber is told of a replay: the verdict, and the changes.

    `restored`, of a session of an earlier process, leaves out what it has heard for sure, see `record`.
    """
    only_after_ms = 0
    if restored is not None:
        before = [commit.at_ms for commit in replay.commits if commit.at_ms <= restored[1]]
        only_after_ms = max(before, default=0) - _BURST_MS
    frames: list[str] = []
    for commit in replay.commits:
        if commit.at_ms < only_after_ms:
            continue
        for change in commit.changes:
            event = table_event(change, commit, replay.epoch)
            if event is None:
                continue
            entry = Entry(0, event.kind, event.rest, commit.at_ms, "", event.epoch, event.offset, True)
            frame = group.frame(entry)
            if frame is not None:
                frames.append(frame)
    gap = replay.gap
    if group.is_v1:
        return [_verdict(group.spelling, replay, since, len(frames)), *frames]
    if gap is not None:
        resync = group.frame(Entry(0, "resync", "}", 0))
        return frames if resync is None else [resync, *frames]
    return frames


def told_missing(spellings: Mapping[str, Options | None], at_ms: int, *, is_table: bool) -> list[str]:
    """Return what the followers of a topic whose object was reset are told; public clients only about tables."""
    frames: list[str] = []
    for spelling, how in spellings.items():
        if how is not None and how.get("v") == 1:
            frames.append(v1.gap(spelling, None, None, "reset"))
        elif is_table:
            frames.append(f'{{"type":"resync","channel":{dumps(spelling)},"timestamp":{at_ms}}}')
    return frames


def _verdict(spelling: str, replay: Replay, since: Position, count: int) -> str:
    gap = replay.gap
    if gap is None:
        return v1.recovered(spelling, Position(replay.epoch, replay.offset), count)
    start = since if since.epoch != replay.epoch else Position(replay.epoch, gap.after)
    return v1.gap(spelling, start, Position(replay.epoch, gap.until), gap.reason, count)
