"""Row changes on their way from committed transactions to the objects of their tables' topics.

Each table topic has its own queue and at most one task that empties it, so changes arrive in commit order, in batches
that grow under load, and a slow topic holds up no other. A full queue is replaced by one "read the table again".
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from d1.changes import Commit, Replay
from durable_objects.clock import Clock
from durable_objects.realtime.core.meter import METER
from durable_objects.realtime.core.names import table_topic
from durable_objects.realtime.core.table_events import TableEvent, lost_events, table_events
from durable_objects.realtime.tasks import Tasks

__all__ = ["Snapshot", "TableFeed", "TableWatch"]

_MAX_QUEUED = 20_000
_BATCH = 1_000
_DELIVERY_TIMEOUT_S = 60.0

_log = logging.getLogger(__name__)


Snapshot = tuple[str, int, list[dict[str, object]]]
"""Where the stream of changes was (epoch, offset) when the rows of a table were read, and these rows."""


class TableWatch(Protocol):
    """Where row changes come from: the runtime's change feed of one D1 database."""

    async def watch(self, table: str) -> str | None:
        """Arm capture of `table` and return its real name; None when it does not exist (armed once it does)."""
        ...

    def unwatch(self, table: str) -> None:
        """Undo one `watch`."""
        ...

    def position(self) -> tuple[str, int]:
        """Return where the stream of changes is now: its epoch and the offset (`RowChange.seq`) of its latest one."""
        ...

    async def changes_since(self, table: str, epoch: str, offset: int) -> Replay:
        """Return what happened to `table` after a position, or what of it is lost.

        Watch the table first, then ask. Commits told meanwhile may be in the replay too: those up to its offset.
        """
        ...

    async def snapshot(self, table: str, where: str, params: Sequence[object], limit: int) -> Snapshot | None:
        """Return up to `limit` rows of `table` for which the SQL expression `where` holds, and their exact position.

        None when there is no such table.

        Raises:
            JsException: The database refused the query.
        """
        ...

    async def query(self, sql: str, params: Sequence[object]) -> dict[str, object]:
        """Run one statement and return `{results, success, meta}`."""
        ...


class TableFeed:
    """Dispatches the changes of the tables that somebody follows."""

    def __init__(
        self,
        source: TableWatch,
        database: str | None,
        stub: Callable[[str], Any],
        tasks: Tasks,
        clock: Clock,
        *,
        max_queued: int = _MAX_QUEUED,
    ) -> None:
        self._source = source
        self._database = database
        self._stub = stub
        self._tasks = tasks
        self._clock = clock
        self._max_queued = max_queued
        self._followers: Counter[str] = Counter()
        self._queues: dict[str, deque[TableEvent]] = {}
        self._lost: set[str] = set()
        self._first: dict[str, int] = {}
        """Of each queue, the offset of the first change that has not reached its topic."""

    async def watch(self, table: str) -> str | None:
        """Arm capture of a table for one more follower; see `TableWatch.watch`."""
        topic = table_topic(table, self._database).text
        self._followers[topic] += 1
        try:
            return await self._source.watch(table)
        except BaseException:
            self._unfollow(topic)
            raise

    def unwatch(self, table: str) -> None:
        """Undo one `watch`."""
        self._unfollow(table_topic(table, self._database).text)
        self._source.unwatch(table)

    def position(self) -> tuple[str, int]:
        """Return where the stream of changes is now; see `TableWatch.position`."""
        return self._source.position()

    def told(self) -> tuple[str, int]:
        """Return a position up to which every change has reached the topics that follow its table."""
        epoch, offset = self._source.position()
        return epoch, min((first - 1 for first in self._first.values()), default=offset)

    async def changes_since(self, table: str, epoch: str, offset: int) -> Replay:
        """Return what happened to a table after a position; see `TableWatch.changes_since`."""
        return await self._source.changes_since(table, epoch, offset)

    async def snapshot(self, table: str, where: str, params: Sequence[object], limit: int) -> Snapshot | None:
        """Return a table's rows and their position; see `TableWatch.snapshot`."""
        return await self._source.snapshot(table, where, params, limit)

    async def query(self, sql: str, params: Sequence[object]) -> dict[str, object]:
        """Run one statement; see `TableWatch.query`."""
        return await self._source.query(sql, params)

    def dispatch(self, commit: Commit) -> None:
        """Queue a commit's changes for the topics of their tables. Called in commit order; never waits."""
        epoch = self._source.position()[0]
        METER.commits += 1
        for table, event in table_events(commit, epoch, self._is_followed):
            METER.changes += 1
            self._queue(table_topic(table, self._database).text, event)

    def _queue(self, topic: str, event: TableEvent) -> None:
        queue = self._queues.get(topic)
        if queue is None:
            lost = [lost_events(self._clock.now_ms())] if topic in self._lost else []
            self._lost.discard(topic)
            self._queues[topic] = deque((*lost, event))
            self._first[topic] = event.offset
            self._tasks.spawn(self._drain(topic), f"realtime-table-feed {topic}")
        elif len(queue) < self._max_queued:
            queue.append(event)
        else:
            _log.warning("topic %s: %s changes waited, dropped for a resync", topic, len(queue))
            queue.clear()
            queue.append(lost_events(self._clock.now_ms()))

    async def _drain(self, topic: str) -> None:
        queue = self._queues[topic]
        try:
            while queue:
                self._first[topic] = queue[0].offset or self._first[topic]
                batch = [queue.popleft() for _ in range(min(len(queue), _BATCH))]
                if not await self._delivered(topic, batch):
                    self._lost.add(topic)  # its followers hear of it with the next change
                    return
        finally:
            del self._queues[topic], self._first[topic]

    async def _delivered(self, topic: str, batch: list[TableEvent]) -> bool:
        events = [[event.kind, event.rest, event.epoch, event.offset] for event in batch]
        for _ in range(2):
            try:
                async with asyncio.timeout(_DELIVERY_TIMEOUT_S):
                    await self._stub(topic).tell_changes(events)
            except TimeoutError:  # it may still arrive: a second try could tell everything twice
                _log.warning("topic %s: %s row changes were not taken in time", topic, len(batch))
                return False
            except Exception:  # a task root: the object, or the class it runs, failed
                _log.exception("topic %s: %s row changes were not delivered", topic, len(batch))
            else:
                return True
        return False

    def _is_followed(self, table: str) -> bool:
        return table_topic(table, self._database).text in self._followers

    def _unfollow(self, topic: str) -> None:
        self._followers[topic] -= 1
        if self._followers[topic] <= 0:
            del self._followers[topic]
