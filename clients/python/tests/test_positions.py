"""What flarelet-v1 adds, against the real server: positions, verdicts, snapshots, presence by versions, cancel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import aiohttp
import pytest

from flarelet_client import FlareletClient, Gap, Occupancy, Payload, Position, RealtimeServer, Recovered
from flarelet_client.presence import Presence
from flarelet_client.recovery import Recovery
from workers.runtime.testing import DevProcess


class Soon(Random):
    """No jitter."""

    def random(self) -> float:
        return 0.0


async def until(check: Callable[[], object], limit_s: float = 15.0) -> None:
    async with asyncio.timeout(limit_s):
        while not check():
            await asyncio.sleep(0.01)


async def sql(server: DevProcess, statement: str) -> None:
    async with aiohttp.ClientSession() as session, session.post(server.url, data=statement) as response:
        assert response.status == 200, await response.text()


class Cuttable(FlareletClient):
    """A client whose socket a test can cut."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, random=Soon(), **options)
        self.realtime.on_error(lambda error: None)
        self._sockets: list[aiohttp.ClientWebSocketResponse] = []
        session = self.realtime._http()
        connect = session.ws_connect

        async def kept(*args: Any, **more: Any) -> aiohttp.ClientWebSocketResponse:
            self._sockets.append(await connect(*args, **more))
            return self._sockets[-1]

        session.ws_connect = kept  # type: ignore[method-assign, assignment]

    def cut(self) -> None:
        transport = self._sockets[-1].get_extra_info("socket")
        transport.shutdown(2)


async def test_what_was_missed_comes_in_order_and_once_and_then_the_verdict(
    server: DevProcess, client: FlareletClient
) -> None:
    seen: list[Any] = []
    async with Cuttable("demo", server.url, user_id="bob") as other:
        room = other.realtime.channel("chat/pages")
        room.on("n", lambda payload: seen.append((payload.data, payload.recovered, payload.offset)))
        readies: list[bool] = []
        room.on_ready(readies.append)
        room.on_recovered(seen.append)
        room.on_gap(seen.append)
        await room.subscribe()
        writer = client.realtime.channel("chat/pages")
        await writer.publish("n", 0, persist=True)
        await until(lambda: seen)
        other.cut()
        await until(lambda: other.realtime.status == "reconnecting")
        for number in range(1, 151):
            await writer.publish("n", number, persist=True)
        await until(lambda: len(seen) == 152)
        await writer.publish("n", 151, persist=True)
        await until(lambda: len(seen) == 153)
    assert seen[:151] == [(number, number > 0, number + 1) for number in range(151)]
    assert seen[151:] == [Recovered("chat/pages/demo", 150), (151, False, 152)]
    assert readies == [False, True]


async def test_missed_changes_that_a_filter_hides_do_not_hold_the_verdict_back(server: DevProcess) -> None:
    await sql(server, "CREATE TABLE items (id INTEGER PRIMARY KEY, price INTEGER)")
    seen: list[Any] = []
    async with Cuttable("demo", server.url) as other:
        items = other.realtime.channel("items", filter={"price": {"lt": 5}})
        items.on("*", lambda change: seen.append(change.data["price"]))
        items.on_recovered(lambda recovered: seen.append(type(recovered)))
        items.on_gap(seen.append)
        await items.subscribe()
        for _ in range(2):
            seen.clear()
            other.cut()
            await until(lambda: other.realtime.status == "reconnecting")
            await sql(server, "INSERT INTO items (price) VALUES (1), (2), (20)")
            await until(lambda: Recovered in seen)
            assert seen == [1, 2, Recovered]
            await sql(server, "INSERT INTO items (price) VALUES (3)")
            await until(lambda: seen[-1] == 3)


async def test_a_topic_without_recovery_goes_on_from_now(server: DevProcess, client: FlareletClient) -> None:
    seen: list[Any] = []
    async with Cuttable("demo", server.url) as other:
        room = other.realtime.channel("chat/now", recover=False).on("n", lambda payload: seen.append(payload.data))
        room.on_recovered(seen.append)
        await room.subscribe()
        other.cut()
        await until(lambda: other.realtime.status == "reconnecting")
        await client.realtime.channel("chat/now").publish("n", 1, persist=True)
        await until(lambda: room.is_ready)
        await client.realtime.channel("chat/now").publish("n", 2, persist=True)
        await until(lambda: seen)
    assert seen == [2]


async def test_a_server_that_does_not_negotiate_leaves_a_gap(
    server: DevProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flarelet_client.realtime._V1", "another-v1")
    gaps: list[Gap] = []
    async with Cuttable("demo", server.url, user_id="bob") as other:
        room = other.realtime.channel("chat/old")
        room.on_gap(gaps.append)
        await room.subscribe()
        assert not other.realtime.is_v1
        room.track({"x": 1})
        await until(lambda: "bob" in room.presence.members)
        other.cut()
        await until(lambda: gaps and "bob" in room.presence.members)
    assert [gap.reason for gap in gaps] == ["server"]


async def test_a_table_begins_with_its_rows_and_the_changes_after_them_follow(
    server: DevProcess, client: FlareletClient
) -> None:
    await sql(server, "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, price INTEGER, note TEXT)")
    await sql(server, "INSERT INTO items (name, price) VALUES ('tea', 3), ('milk', 2), ('cake', 9)")
    seen: list[Any] = []
    options: dict[str, Any] = {"snapshot": True, "filter": {"price": {"lt": 5}}, "columns": ["name", "price"]}
    items = client.realtime.channel("items", **options)
    items.on_snapshot(lambda rows: seen.append([row["name"] for row in rows]))
    items.on("*", lambda change: seen.append((change.operation, change.data["name"], "note" in change.data)))
    await items.subscribe()
    await until(lambda: seen)
    await sql(server, "INSERT INTO items (name, price) VALUES ('jam', 4), ('wine', 20)")
    await sql(server, "UPDATE items SET price = 1 WHERE name = 'cake'")  # it comes into the view
    await sql(server, "UPDATE items SET price = 30 WHERE name = 'tea'")  # and this leaves it
    await until(lambda: len(seen) == 4)
    changes = [("INSERT", "jam", False), ("INSERT", "cake", False), ("DELETE", "tea", False)]
    assert seen == [["tea", "milk"], *changes]
    second: list[int] = []
    again = client.realtime.channel("items", **options)
    again.on_snapshot(lambda rows: second.append(len(rows)))
    await again.subscribe()
    await until(lambda: second)
    assert second == [3]


async def test_only_the_events_that_were_asked_for_arrive(client: FlareletClient) -> None:
    seen: list[str] = []
    room = client.realtime.channel("chat/some", event=["b", "c"]).on("*", lambda payload: seen.append(payload.name))
    await room.subscribe()
    for event in "abac":
        await room.publish(event)
    await until(lambda: len(seen) == 2)
    assert seen == ["b", "c"]


async def test_presence_is_told_by_versions_and_as_a_count(server: DevProcess, client: FlareletClient) -> None:
    told: list[str] = []
    room = await client.realtime.channel("chat/who").on("*", lambda payload: told.append(payload.name)).subscribe()
    room.track({"x": 1})
    await until(lambda: "ann" in room.presence.members)
    async with FlareletClient("demo", server.url, user_id="bob") as other:
        count = await other.realtime.channel("chat/who", presence="occupancy").subscribe()
        count.track({"x": 2})
        await until(lambda: count.presence.occupancy == Occupancy(2, 2) == room.presence.occupancy)
        assert not count.presence.members
        assert room.presence.members["bob"].state == {"x": 2}
        assert len(room.presence.members["bob"].connections) == 1
        count.track({"x": 3})
        await until(lambda: room.presence.members["bob"].state == {"x": 3})
    await until(lambda: room.presence.occupancy == Occupancy(1, 1))
    assert told == ["presence:join", "presence:join", "presence:update", "presence:leave"]


async def test_a_viewer_cancels_a_stream(server: DevProcess, client: FlareletClient) -> None:
    given: asyncio.Queue[str] = asyncio.Queue()

    async def tokens() -> Any:
        while True:
            yield await given.get()

    seen: list[Payload] = []
    room = await client.realtime.channel("ai-chat/9").on("ai:token", seen.append).subscribe()
    async with RealtimeServer(server.url) as far, asyncio.TaskGroup() as group:
        run = group.create_task(far.stream("ai-chat/9", tokens(), id="s1"))
        given.put_nowait("a")
        await until(lambda: seen)
        room.cancel("s1", "enough")
    assert run.result()["reason"] == "cancelled"


def frame(kind: str, version: int, **more: Any) -> dict[str, Any]:
    occupancy = {"users": 1, "connections": 1}
    return {"kind": kind, "epoch": "e", "version": version, "occupancy": occupancy, **more}


def test_a_presence_change_after_a_missing_one_asks_for_the_list() -> None:
    presence = Presence()
    ann = {"userId": "ann", "state": {}, "connections": ["1"]}
    assert presence.follow(frame("snapshot", 4, users=[ann])) == [("presence:sync", {"users": [ann]})]
    assert presence.follow(frame("diff", 4, leaves=["ann"])) == []
    assert presence.follow(frame("diff", 6, leaves=["ann"])) is None
    assert list(presence.members) == ["ann"]
    assert presence.follow(frame("diff", 5, leaves=["ann"])) == [("presence:leave", {"userId": "ann", "state": {}})]


def test_a_gap_has_both_ends_and_is_told_after_what_is_still_there() -> None:
    told: list[Any] = []
    recovery = Recovery("t", told.append)
    recovery.begin({"epoch": "e", "offset": 3})
    ends = {"from": {"epoch": "e", "offset": 3}, "to": {"epoch": "e", "offset": 9}}
    recovery.judge({"type": "gap", "reason": "expired", "count": 1, **ends})
    assert told == []
    missed = recovery.accept(Payload("event", "t", 1, epoch="e", offset=9))
    assert missed is not None
    assert missed.recovered
    recovery.settle()
    gap = Gap("t", "expired", "older events are no longer kept", Position("e", 3), Position("e", 9))
    assert told == [gap]
    assert recovery.accept(Payload("event", "t", 1, epoch="e", offset=9)) is None
    assert recovery.since == Position("e", 9)
    recovery.judge({"type": "gap", "reason": "reset", "from": ends["to"], "to": {"epoch": "f", "offset": 0}})
    assert recovery.since == Position("f", 0)
