"""Snapshots of tables, from a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from d1.database import D1Database
from d1.engine import Engine, LogBounds
from workers.runtime.change_feed import ChangeFeed


class Followed:
    """A database whose changes a world follows."""

    def __init__(self, folder: Path) -> None:
        self.feed = ChangeFeed()
        self.engine = Engine.open(folder / "d1.sqlite", name="DB", on_commit=self.feed.committed)
        self.database = D1Database(self.engine, "DB")
        self.feed.attach(self.engine, self.database)
        self.engine.start_log(LogBounds(rows=5))

    async def run(self, sql: str, *values: object) -> None:
        statement = self.database.prepare(sql)
        await (statement.bind(*values) if values else statement).run()


@pytest.fixture
async def followed(tmp_path: Path) -> AsyncIterator[Followed]:
    found = Followed(tmp_path)
    await found.run("CREATE TABLE orders (id INTEGER PRIMARY KEY, total REAL, raw BLOB)")
    yield found
    await found.feed.close()


async def enter(start: Any, followed: Followed, **settings: Any) -> Any:
    world = await start(tables=followed.feed, **settings)
    followed.feed.listen(world.realtime.table_changes)
    return world


async def ask(world: Any, client: Any = None, **how: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Subscribe with a snapshot and return the client and what it was told, up to an answer to a ping."""
    if client is None:
        client = await world.connect(protocols="flarelet-v1")
        await client.next()
    client.send({"type": "subscribe", "topic": "orders", "snapshot": True, "presence": "none", **how})
    frames = [await client.next()]
    while frames[-1]["type"] not in ("error", "snapshot") or frames[-1].get("last") is False:
        frames.append(await client.next())
    return client, frames


async def test_rows_come_after_the_confirmation_and_changes_after_the_rows(start: Any, followed: Followed):
    world = await enter(start, followed)
    await followed.run("INSERT INTO orders VALUES (1, 5.0, x'0102'), (2, NULL, NULL)")
    client, (subscribed, snapshot) = await ask(world)
    assert subscribed["type"] == "subscribed"
    position = {name: subscribed[name] for name in ("epoch", "offset")}
    assert snapshot == {
        "type": "snapshot",
        "topic": "orders",
        "rows": [{"id": 1, "total": 5, "raw": [1, 2]}, {"id": 2, "total": None, "raw": None}],
        **position,
        "part": 0,
        "last": True,
    }
    await followed.run("DELETE FROM orders WHERE id = 1")
    told = await client.next()
    assert (told["operation"], told["offset"]) == ("DELETE", position["offset"] + 1)


async def test_an_empty_table_has_an_empty_snapshot(start: Any, followed: Followed):
    _, (_, snapshot) = await ask(await enter(start, followed), columns=["id"], filter={"id": {"gt": 3}})
    assert (snapshot["rows"], snapshot["last"]) == ([], True)


async def test_big_tables_come_in_parts(start: Any, followed: Followed):
    world = await enter(start, followed)
    for number in range(8):
        await followed.run("INSERT INTO orders VALUES (?, 0, ?)", number, b"x" * 30_000)
    _, (_, *parts) = await ask(world)
    assert [(part["part"], part["last"]) for part in parts] == [
        (number, number == len(parts) - 1) for number in range(len(parts))
    ]
    assert len(parts) > 1
    assert [row["id"] for part in parts for row in part["rows"]] == list(range(8))


async def test_a_table_with_too_many_rows_is_told_and_followed_all_the_same(start: Any, followed: Followed):
    world = await enter(start, followed, max_snapshot_rows=2)
    await followed.run("INSERT INTO orders (id) VALUES (1), (2), (3)")
    client, frames = await ask(world)
    assert [frame["type"] for frame in frames] == ["subscribed", "error"]
    assert (frames[1]["name"], frames[1]["ref"]["channel"]) == ("NO_SNAPSHOT", "orders")
    await followed.run("DELETE FROM orders WHERE id = 1")
    assert (await client.next())["operation"] == "DELETE"
    _, (_, snapshot) = await ask(world, filter={"id": 2})
    assert [row["id"] for row in snapshot["rows"]] == [2]


async def test_a_filter_that_is_too_long_for_sql_chooses_the_same_rows(start: Any, followed: Followed):
    world = await enter(start, followed)
    await followed.run("INSERT INTO orders (id) VALUES (1), (150), (300)")
    _, (_, snapshot) = await ask(world, filter={"id": list(range(100, 310))})
    assert [row["id"] for row in snapshot["rows"]] == [150, 300]


async def test_what_is_not_in_the_table_is_told(start: Any, followed: Followed):
    world = await enter(start, followed)
    _, frames = await ask(world, filter={"nothing": 1})
    assert (frames[-1]["name"], frames[-1]["ref"]["channel"]) == ("BAD_FILTER", "orders")
    client = await world.connect(protocols="flarelet-v1")
    await client.next()
    client.send({"type": "subscribe", "topic": "absent", "snapshot": True})
    names = [(await client.next()).get("name") for _ in range(3)]
    assert "NO_SUCH_TABLE" in names


async def test_a_position_is_continued_while_it_can_be_and_else_the_rows_come_again(start: Any, followed: Followed):
    world = await enter(start, followed)
    client, (subscribed, _) = await ask(world)
    since = {name: subscribed[name] for name in ("epoch", "offset")}
    await followed.run("INSERT INTO orders (id) VALUES (1)")
    assert (await client.next())["type"] == "db_change"
    again = await world.connect(protocols="flarelet-v1")
    await again.next()
    again.send({"type": "subscribe", "topic": "orders", "snapshot": True, "since": since, "presence": "none"})
    told = [await again.next() for _ in range(3)]
    assert [frame["type"] for frame in told] == ["subscribed", "recovered", "db_change"]
    for number in range(10, 30):  # more than the log keeps
        await followed.run("INSERT INTO orders (id) VALUES (?)", number)
    _, told = await ask(world, since=since)
    assert [frame["type"] for frame in told] == ["subscribed", "gap", "snapshot"]
    assert told[1]["reason"] == "dropped"
    assert len(told[2]["rows"]) == 21


async def test_a_transaction_is_told_as_a_whole(start: Any, followed: Followed):
    world = await enter(start, followed)
    client, _ = await ask(world, filter={"id": {"lt": 10}})
    database = followed.database
    await database.batch(
        [database.prepare("INSERT INTO orders (id) VALUES (?)").bind(number) for number in (1, 2, 10, 11)]
    )
    told = [await client.next() for _ in range(3)]
    assert [frame["type"] for frame in told] == ["db_change", "db_change", "transaction"]
    assert [frame.get("more") for frame in told] == [True, True, None]
    assert len({frame["txn"] for frame in told}) == 1
    await followed.run("INSERT INTO orders (id) VALUES (12)")
    assert await client.quiet() == []
