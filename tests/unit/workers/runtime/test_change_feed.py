from __future__ import annotations

from pathlib import Path

import pytest

from d1.changes import Commit
from d1.database import D1Database
from d1.engine import Engine
from workers.compat.ambient import counting, invocation
from workers.runtime.change_feed import ChangeFeed


@pytest.fixture
async def feed(tmp_path: Path):
    feed = ChangeFeed()
    engine = Engine.open(tmp_path / "db.sqlite", name="DB", on_commit=feed.committed)
    database = D1Database(engine, "DB")
    feed.attach(engine, database)
    await database.exec("CREATE TABLE Items (id INTEGER PRIMARY KEY, name TEXT)")
    yield feed
    await feed.close()


async def test_only_watched_tables_are_told_and_by_their_real_name(feed: ChangeFeed) -> None:
    seen: list[Commit] = []
    feed.listen(seen.append)
    await feed.query("INSERT INTO items (name) VALUES (?)", ["before"])
    assert await feed.watch("ITEMS") == "Items"
    await feed.query("INSERT INTO items (name) VALUES (?)", ["after"])
    feed.unwatch("ITEMS")
    await feed.query("INSERT INTO items (name) VALUES (?)", ["later"])
    assert [(change.table, change.type, change.data) for commit in seen for change in commit.changes] == [
        ("Items", "INSERT", {"id": 2, "name": "after"})
    ]


async def test_a_table_that_does_not_exist_is_captured_once_it_does(feed: ChangeFeed) -> None:
    seen: list[Commit] = []
    feed.listen(seen.append)
    assert await feed.watch("later") is None
    await feed.query("CREATE TABLE later (id INTEGER PRIMARY KEY)", [])
    await feed.query("INSERT INTO later DEFAULT VALUES", [])
    assert [change.data for commit in seen for change in commit.changes if change.type == "INSERT"] == [{"id": 1}]


async def test_a_query_has_the_form_the_server_sdk_expects(feed: ChangeFeed) -> None:
    await feed.query("INSERT INTO items (name) VALUES (?)", ["a"])
    answer = await feed.query("SELECT name FROM items WHERE name = ?", ["a"])
    assert (answer["results"], answer["success"]) == ([{"name": "a"}], True)
    meta = answer["meta"]
    assert isinstance(meta, dict)
    assert (meta["target"], meta["rowCount"]) == ("d1", 1)


async def test_queries_do_not_use_up_the_invocation_that_opened_the_connection(feed: ChangeFeed) -> None:
    with counting():
        for _ in range(1100):
            await feed.query("SELECT 1", [])
        assert invocation.get().d1_calls == 0


async def test_a_feed_without_a_database_watches_nothing() -> None:
    feed = ChangeFeed()
    assert await feed.watch("items") is None
    feed.unwatch("items")
    with pytest.raises(LookupError, match="no database is configured"):
        await feed.query("SELECT 1", [])
