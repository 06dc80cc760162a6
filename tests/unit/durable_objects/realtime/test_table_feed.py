from __future__ import annotations

import asyncio
from typing import Any

from d1.changes import Commit, RowChange
from durable_objects.realtime.core.settings import TopicClass
from durable_objects.realtime.table_feed import TableFeed
from durable_objects.realtime.tasks import Tasks
from durable_objects.realtime.topic_object import TopicObject


def insert(number: int, table: str = "orders") -> RowChange:
    return RowChange(number, "INSERT", table, {"id": number}, None)


async def test_row_changes_reach_subscribers_in_their_spelling_and_in_order(world: Any):
    ann, bob = await world.connect("?projectId=p1"), await world.connect()
    assert await ann.subscribe("table/orders/p1") == {"type": "subscribed", "topic": "table/orders/p1"}
    assert await bob.subscribe("Orders") == {"type": "subscribed", "topic": "Orders"}
    world.commit(insert(0), insert(1), txn=1)
    world.commit(RowChange(0, "DELETE", "orders", None, {"id": 0}), txn=2)
    frames = [await ann.next() for _ in range(3)]
    assert [(frame["txn"], frame["seq"], frame["operation"]) for frame in frames] == [
        (1, 0, "INSERT"),
        (1, 1, "INSERT"),
        (2, 0, "DELETE"),
    ]
    assert frames[2]["data"] == {"id": 0}
    assert [await bob.next() for _ in range(3)] == [frame | {"topic": "Orders"} for frame in frames]


async def test_a_subscription_is_confirmed_only_when_the_table_is_watched(world: Any):
    client = await world.connect()
    await client.subscribe("orders")
    assert world.tables.watched == ["orders"]
    client.send({"type": "unsubscribe", "topic": "orders"})
    assert await client.quiet() == []
    assert world.tables.watched == []


async def test_a_client_that_leaves_watches_nothing_any_more(world: Any):
    client, other = await world.connect(), await world.connect()
    await client.subscribe("orders")
    await other.subscribe("orders")
    client.close()
    assert world.tables.watched == ["orders"]
    hasty = await world.connect()
    hasty.send({"type": "subscribe", "topic": "orders"})
    hasty.close()
    await other.quiet()
    other.close()
    assert world.tables.watched == []


async def test_a_table_that_does_not_exist_is_told_and_followed_all_the_same(world: Any):
    client = await world.connect()
    error = await client.subscribe("later")
    assert (error["name"], error["ref"]["channel"]) == ("NO_SUCH_TABLE", "later")
    assert (await client.next())["type"] == "subscribed"
    world.commit(RowChange(0, "SCHEMA", "later", None, None), insert(1, "later"))
    assert (await client.next())["data"] == {"id": 1}


async def test_without_a_database_a_table_topic_says_so(start: Any):
    world = await start()
    client = await world.connect()
    assert "no database" in (await client.subscribe("orders"))["message"]
    assert (await client.next())["type"] == "subscribed"


async def test_changes_nobody_follows_are_dropped(world: Any):
    client = await world.connect()
    await client.subscribe("orders")
    world.commit(insert(0, "invoices"), insert(1))
    assert (await client.next())["data"] == {"id": 1}
    names = {str(world.namespaces["TopicObject"].idFromName(name)) for name in ("table:DB.invoices",)}
    assert not names & {str(actor.id) for actor in world.host.actors("w-TopicObject")}


class Source:
    async def watch(self, table: str) -> str | None:
        return table

    def unwatch(self, table: str) -> None:
        """Nothing to undo."""

    def position(self) -> tuple[str, int]:
        return "d1", 0

    async def query(self, sql: str, params: object) -> dict[str, object]:
        return {}


class Topic:
    """A topic whose calls fail as often as told, and wait for `open`."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.open = asyncio.Event()
        self.failed = asyncio.Event()
        self.told: asyncio.Queue[list[list[str]]] = asyncio.Queue()

    async def tell_changes(self, events: list[list[str]]) -> None:
        await self.open.wait()
        if self.failures:
            self.failures -= 1
            self.failed.set()
            raise RuntimeError("not now")
        self.told.put_nowait(events)


def feed_to(topic: Topic, clock: Any, **limits: int) -> tuple[TableFeed, Tasks]:
    tasks = Tasks()
    return TableFeed(Source(), "DB", lambda name: topic, tasks, clock, **limits), tasks


class Clock:
    def now_ms(self) -> int:
        return 5


async def test_under_load_changes_travel_in_batches():
    topic = Topic()
    feed, tasks = feed_to(topic, Clock())
    await feed.watch("orders")
    for number in range(3):
        feed.dispatch(Commit(number, "DB", (insert(number),), 5))
        await asyncio.sleep(0)
    topic.open.set()
    assert [len(await topic.told.get()) for _ in range(2)] == [1, 2]
    await tasks.close()


async def test_a_queue_that_is_full_becomes_one_request_to_read_again(caplog: Any):
    topic = Topic()
    feed, tasks = feed_to(topic, Clock(), max_queued=2)
    await feed.watch("orders")
    for number in range(5):
        feed.dispatch(Commit(number, "DB", (insert(number),), 5))
    topic.open.set()
    kinds = [kind for kind, *_ in await topic.told.get()]
    assert kinds == ["resync", "db_change"] or kinds == ["resync"]
    await tasks.close()


async def test_changes_that_could_not_be_delivered_are_announced_with_the_next_ones(caplog: Any):
    topic = Topic(failures=2)
    feed, tasks = feed_to(topic, Clock())
    topic.open.set()
    await feed.watch("orders")
    feed.dispatch(Commit(1, "DB", (insert(1),), 5))
    await topic.failed.wait()
    await asyncio.sleep(0)
    feed.dispatch(Commit(2, "DB", (insert(2),), 5))
    assert [kind for kind, *_ in await topic.told.get()] == ["resync", "db_change"]
    await tasks.close()


class Writer(TopicObject):
    """Causes a row change inside a transaction of its own that stays open."""

    async def write(self) -> None:
        async def work(txn: Any) -> None:
            await txn.put("k", 1)
            self.env.commit()
            await self.env.gate.wait()

        await self.storage.transaction(work)


async def test_a_change_made_in_the_turn_of_another_object_does_not_wait_for_it(start: Any, tables: Any):
    world = await start({"Writer": Writer}, tables, topics=(TopicClass("w/*", "Writer"),))
    world.env.commit = lambda: world.commit(insert(1))
    world.env.gate = asyncio.Event()
    client = await world.connect()
    await client.subscribe("orders")
    writing = world.namespaces["Writer"].getByName("w/1").write()
    assert (await client.next())["data"] == {"id": 1}
    world.env.gate.set()
    await writing
