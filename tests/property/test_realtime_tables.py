"""Snapshot and changes of a table, against the naive model: the rows that the filter lets through now."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import jwt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from d1.database import D1Database
from d1.engine import Engine
from durable_objects.host import Host, ObjectClass
from durable_objects.realtime.binding import Realtime
from durable_objects.realtime.core.row_filter import read_filter
from durable_objects.realtime.core.settings import AccessRule, JwtSettings, RealtimeSettings
from durable_objects.realtime.topic_object import TopicObject
from workers.compat.websocket import take
from workers.request import Request
from workers.runtime.change_feed import ChangeFeed

LAST = 9_999
SECRET = "s" * 32
POLICY = AccessRule("table:DB.t", allow=frozenset({"table-read"}), rows={"or": [{"owner": "{sub}"}, {"id": LAST}]})


class Viewer:
    """A client that keeps the rows it was told, strictly: nothing may come twice or be missing."""

    def __init__(self, response: Any, how: dict[str, Any]) -> None:
        self.how = how
        self.rows: dict[int, dict[str, Any]] | None = None
        self.position = (0, "")
        self.is_over = asyncio.Event()
        self.amid: int | None = None
        self.failure: Exception | None = None
        self._port = take(response.web_socket, self)
        self._port.send(json.dumps({"type": "subscribe", "topic": "t", "snapshot": True, **how}))

    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        self.is_over.set()

    def message(self, data: str | bytes) -> None:
        try:
            self.hear(json.loads(data))
        except Exception as error:  # the server would log it and go on
            self.failure = self.failure or error
            self.is_over.set()

    def hear(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "snapshot":
                self.rows = {} if self.rows is None else self.rows
                for row in frame["rows"]:
                    assert row["id"] not in self.rows
                    self.rows[row["id"]] = row
            case "db_change":
                self.change(frame)
            case "transaction":
                assert self.amid == frame["txn"]
                self.amid = None
            case "gap" | "error" | "resync":
                raise AssertionError(frame)
            case _:
                pass
        if self.rows is not None and LAST in self.rows:
            self.is_over.set()

    def change(self, frame: dict[str, Any]) -> None:
        assert self.rows is not None, "a change came before the rows it changes"
        assert frame["offset"] > self.position[0]
        self.position = frame["offset"], frame["epoch"]
        assert self.amid in (None, frame["txn"])
        self.amid = frame["txn"] if frame.get("more") else None
        if frame["operation"] == "INSERT":
            assert frame["data"]["id"] not in self.rows
        elif frame["operation"] == "UPDATE":
            assert self.rows.pop(frame["old"]["id"]) == frame["old"]
        else:
            assert self.rows.pop(frame["data"]["id"]) == frame["data"]
            return
        self.rows[frame["data"]["id"]] = frame["data"]


@asynccontextmanager
async def world(rules: tuple[AccessRule, ...] = (), **more: Any) -> AsyncIterator[tuple[D1Database, Realtime]]:
    with tempfile.TemporaryDirectory() as folder:
        feed = ChangeFeed()
        engine = Engine.open(Path(folder) / "d1.sqlite", name="DB", on_commit=feed.committed)
        database = D1Database(engine, "DB")
        feed.attach(engine, database)
        host = Host(Path(folder) / "do", random=Random(1))
        namespaces = {"TopicObject": host.namespace(ObjectClass("w-TopicObject", TopicObject, None))}
        given_settings = RealtimeSettings(project="demo", database="DB", rules=rules, **more)
        realtime = Realtime(given_settings, namespaces, feed, random=Random(2))
        feed.listen(realtime.table_changes)
        await host.start()
        await database.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, owner TEXT COLLATE NOCASE, n INTEGER)")
        try:
            yield database, realtime
        finally:
            await realtime.close()
            await host.close()
            await feed.close()


async def view(realtime: Realtime, how: dict[str, Any], query: str = "") -> Viewer:
    headers = {"Upgrade": "websocket", "Sec-WebSocket-Protocol": "flarelet-v1"}
    response = await realtime.answer(Request(f"http://localhost/api/realtime{query}", headers=headers))
    assert response is not None
    assert response.status == 101, await response.text()
    return Viewer(response, how)


FILTERS = st.sampled_from(
    [
        {},
        {"filter": {"n": {"gte": 1}}},
        {"filter": {"owner": ["ann", "Ann"]}},
        {"filter": {"or": [{"n": None}, {"n": {"lt": 1}}]}},
        {"filter": {"not": {"owner": "bob"}, "n": {"null": False}}},
        {"filter": {"n": {"gte": 1}}, "columns": ["id", "n"]},
    ]
)
OWNERS = st.sampled_from(["ann", "Ann", "bob", None])
NUMBERS = st.sampled_from([None, 0, 1, 2])
IDS = st.integers(1, 5)
WRITES = st.one_of(
    st.tuples(st.just("INSERT OR REPLACE INTO t VALUES (?, ?, ?)"), st.tuples(IDS, OWNERS, NUMBERS)),
    st.tuples(st.just("UPDATE t SET n = ? WHERE owner IS ?"), st.tuples(NUMBERS, OWNERS)),
    st.tuples(st.just("UPDATE t SET owner = ? WHERE id <= ?"), st.tuples(OWNERS, IDS)),
    st.tuples(st.just("UPDATE OR REPLACE t SET id = ? WHERE id = ?"), st.tuples(IDS, IDS)),
    st.tuples(st.just("DELETE FROM t WHERE id = ?"), st.tuples(IDS)),
)
STEPS = st.lists(
    st.one_of(
        st.lists(WRITES, min_size=1, max_size=4).map(lambda writes: ("write", writes)),
        FILTERS.map(lambda how: ("view", how)),
        st.integers(0, 3).map(lambda turns: ("wait", turns)),
    ),
    max_size=14,
)


async def run(database: D1Database, steps: Any, enter: Any) -> list[Viewer]:
    """Do the steps without waiting for anybody, then say the last row and wait until everybody has it."""
    viewers: list[Viewer] = []
    for kind, step in steps:
        if kind == "view":
            viewers.append(await enter(step))
        elif kind == "wait":
            for _ in range(step):
                await asyncio.sleep(0)
        else:
            await database.batch([database.prepare(sql).bind(*values) for sql, values in step])
    await database.prepare("INSERT INTO t VALUES (?, 'ann', 1)").bind(LAST).run()
    async with asyncio.timeout(20):
        for viewer in viewers:
            await viewer.is_over.wait()
    return viewers


async def check(database: D1Database, viewers: list[Viewer], policy: dict[str, Any] | None = None) -> None:
    rows = [dict(row) for row in (await database.prepare("SELECT * FROM t").all()).results]
    for viewer in viewers:
        if viewer.failure is not None:
            raise viewer.failure
        filters = [read_filter(each) for each in (policy, viewer.how.get("filter")) if each is not None]
        wanted = {row["id"]: row for row in rows if all(each.matches(row) for each in filters)}
        if columns := viewer.how.get("columns"):
            wanted = {key: {name: row[name] for name in columns} for key, row in wanted.items()}
        if LAST in wanted:
            assert viewer.rows == wanted, viewer.how
        assert viewer.amid is None


SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(STEPS)
def test_snapshot_and_changes_are_the_rows_that_the_filter_lets_through(steps: Any):
    # A row that everybody sees at last: the filters' own words, or the last row.
    def seen(how: dict[str, Any]) -> dict[str, Any]:
        if "filter" not in how:
            return how
        return {**how, "filter": {"or": [how["filter"], {"id": LAST}]}}

    async def go() -> None:
        async with world() as (database, realtime):
            viewers = await run(database, steps, lambda how: view(realtime, seen(how)))
            await check(database, viewers)

    asyncio.run(go())


@SLOW
@given(STEPS)
def test_nobody_is_told_of_rows_that_its_policy_hides(steps: Any):
    token = jwt.encode({"sub": "ann", "exp": 4_000_000_000}, SECRET, "HS256")

    async def go() -> None:
        async with world((POLICY,), jwt=JwtSettings(secrets=(SECRET,))) as (database, realtime):
            viewers = await run(database, steps, lambda _how: view(realtime, {}, f"?token={token}"))
            await check(database, viewers, {"or": [{"owner": "ann"}, {"id": LAST}]})

    asyncio.run(go())
