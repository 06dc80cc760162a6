"""Joining what a table's log tells again with what its topic tells live, without a hole and without a repetition.

The topic tells live changes from the moment it took the subscription in. The log is asked after that moment, and says
up to which offset it answered. What comes live meanwhile waits; of it, and of what comes later, only the changes beyond
that offset are new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from d1.changes import Replay
from durable_objects.realtime.core import v1
from durable_objects.realtime.core.audience import Group, Options
from durable_objects.realtime.core.codes import Code, RealtimeError
from durable_objects.realtime.core.history import Position
from durable_objects.realtime.core.meter import METER
from durable_objects.realtime.core.protocol import dumps, loads
from durable_objects.realtime.core.row_filter import Filter
from durable_objects.realtime.core.row_lens import RowLens
from durable_objects.realtime.core.session import Kept
from durable_objects.realtime.core.table_events import row_json, table_events
from durable_objects.realtime.core.tail import Entry
from durable_objects.realtime.table_feed import TableFeed
from workers.compat.proxies import JsException

__all__ = ["Begin", "CatchUp", "replayed", "snapshot_of", "told_missing", "what_was"]

_DB_CHANGE = '{"type":"db_change",'
_MAX_WAITING = 20_000
_BURST_MS = 50
_MAX_PARAMETERS = 90  # of a statement's 100
_PART_BYTES = 262_144


@dataclass(slots=True)
class Begin:
    """Subscriptions that the topic is asked to take in, until it says so by their mark."""

    spellings: dict[str, Options | None]
    since: Position | None = None
    kept: Kept | None = None
    done: Callable[[], None] | None = None
    snapshot: bool = False


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
        for _, event in table_events(commit, replay.epoch):
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


async def what_was(
    tables: TableFeed,
    table: str,
    groups: Sequence[Group],
    begin: Begin,
    limit: int,
) -> tuple[list[str], int]:
    """Return what confirms subscriptions and tells what was before them, and the offset up to which it is complete.

    That is the changes after `since`, or, when there is no `since` or they cannot all be told, the `snapshot` of up to
    `limit` rows, if it is asked for.

    Raises:
        RealtimeError: As `snapshot_of`.
    """
    frames: list[str] = []
    replay, since = None, begin.since
    if since is not None:
        replay = await tables.changes_since(table, since.epoch, since.offset)
        if not (replay.gap and begin.snapshot):
            for group in groups:
                if group.is_v1:
                    frames.append(v1.subscribed(group.spelling, Position(replay.epoch, replay.offset)))
                frames += replayed(group, replay, since, restored=None if begin.kept is None else begin.kept.restored)
            return frames, replay.offset
    (group,) = groups  # a snapshot is asked for one subscription at a time
    confirmed, told, offset = await snapshot_of(tables, table, group, limit)
    verdict = [] if replay is None or since is None else [_verdict(group.spelling, replay, since, 0)]
    return [confirmed, *verdict, *told], offset


async def snapshot_of(tables: TableFeed, table: str, group: Group, limit: int) -> tuple[str, list[str], int]:
    """Return the frame that confirms a subscription, those that tell the rows that it sees, and their offset.

    Raises:
        RealtimeError: NO_SNAPSHOT, there are more rows than `limit`, or they cannot be read; NO_SUCH_TABLE; BAD_FILTER.
    """
    lens = group.lens
    filters: Sequence[Filter] = lens.filters if isinstance(lens, RowLens) else ()
    params = [value for each in filters for value in each.parameters]
    is_written = len(params) <= _MAX_PARAMETERS
    where = " AND ".join([each.sql for each in filters]) if filters and is_written else "1"
    try:
        # What cannot be written as SQL is looked for in all rows, of which one more than the limit may be read.
        found = await tables.snapshot(table, where, params if is_written else (), limit + 1)
    except JsException as error:
        code = Code.BAD_FILTER if "no such column" in str(error) else Code.NO_SNAPSHOT
        raise RealtimeError(code, f"the rows of {table} could not be read: {error}", "filter") from error
    if found is None:
        raise RealtimeError(Code.NO_SUCH_TABLE, f"no such table: {table}; its changes will be sent once it exists")
    epoch, offset, rows = found
    if len(rows) > limit:
        raise RealtimeError(Code.NO_SNAPSHOT, f"{table} has more than the {limit} rows that a snapshot may have")
    at, spelling = Position(epoch, offset), group.spelling
    texts = [row_json(row if not isinstance(lens, RowLens) else lens.shown(row)) for row in rows if _is_seen(lens, row)]
    parts = list(_parts(texts))
    frames = [
        v1.snapshot(spelling, part, at, part=number, is_last=number == len(parts) - 1)
        for number, part in enumerate(parts)
    ]
    return v1.subscribed(spelling, at), frames, offset


def _is_seen(lens: object, row: Mapping[str, object]) -> bool:
    return not isinstance(lens, RowLens) or lens.matches(row)


def _parts(rows: Sequence[str]) -> Iterable[list[str]]:
    """Yield rows in parts that are no bigger than a frame should be; one empty part when there are none."""
    part: list[str] = []
    size = 0
    for row in rows:
        if part and size + len(row) > _PART_BYTES:
            yield part
            part, size = [], 0
        part.append(row)
        size += len(row)
    yield part


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
    METER.recovered += gap is None
    METER.gaps += gap is not None
    if gap is None:
        return v1.recovered(spelling, Position(replay.epoch, replay.offset), count)
    start = since if since.epoch != replay.epoch else Position(replay.epoch, gap.after)
    return v1.gap(spelling, start, Position(replay.epoch, gap.until), gap.reason, count)
