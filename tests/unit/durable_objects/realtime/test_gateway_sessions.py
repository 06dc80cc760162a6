from __future__ import annotations

from typing import Any

from d1.changes import RowChange
from durable_objects.realtime.core.settings import TopicClass
from durable_objects.realtime.topic_object import TopicObject

ANN = "?projectId=p1&userId=ann"


def said(frames: list[dict[str, Any]]) -> list[Any]:
    return [frame["data"] for frame in frames if frame["type"] == "event"]


async def say(client: Any, topic: str, data: object, **more: Any) -> None:
    client.send({"type": "publish", "topic": topic, "event": "m", "data": data, **more})
    await client.quiet()


async def test_a_cut_client_that_does_not_subscribe_again_hears_all_once_and_in_order(world: Any):
    ann, bob = await world.connect(ANN), await world.connect("?userId=bob")
    await ann.subscribe("chat/x/p1")
    await say(bob, "chat/x", 0)
    assert (await ann.next())["data"] == 0
    ann.abort()
    await say(bob, "chat/x", 1)
    await say(bob, "chat/x", 2, persist=True)
    again = await world.connect(ANN)
    await say(bob, "chat/x", 3)
    frames = [await again.next() for _ in range(3)]
    assert said(frames) == [1, 2, 3]
    assert {frame["topic"] for frame in frames} == {"chat/x/p1"}
    await say(bob, "chat/x", 4)
    assert (await again.next())["data"] == 4
    assert await again.quiet() == []


async def test_a_second_cut_loses_nothing_either(world: Any):
    bob = await world.connect("?userId=bob")
    client = await world.connect(ANN)
    await client.subscribe("chat/x")
    for number in range(5):
        client.abort()
        await say(bob, "chat/x", number)
        client = await world.connect(ANN)
        assert (await client.next())["data"] == number
    assert await client.quiet() == []


async def test_row_changes_are_made_up_for(world: Any):
    ann = await world.connect(ANN)
    await ann.subscribe("orders")
    ann.abort()
    world.commit(RowChange(1, "INSERT", "orders", {"id": 1}, None))
    again = await world.connect(ANN)
    told = await again.next()
    assert (told["type"], told["topic"], told["data"]) == ("db_change", "orders", {"id": 1})


async def test_an_unsubscribed_topic_does_not_come_back(world: Any):
    ann, bob = await world.connect(ANN), await world.connect("?userId=bob")
    await ann.subscribe("chat/x")
    await ann.subscribe("chat/y")
    ann.send({"type": "unsubscribe", "topic": "chat/x"})
    await ann.quiet()
    ann.abort()
    again = await world.connect(ANN)
    await say(bob, "chat/x", 1)
    await say(bob, "chat/y", 2)
    assert (await again.next())["data"] == 2
    assert await again.quiet() == []


async def test_a_properly_closed_connection_leaves_nothing_behind(world: Any):
    ann, bob = await world.connect(ANN), await world.connect("?userId=bob")
    await ann.subscribe("chat/x")
    ann.close()
    again = await world.connect(ANN)
    await say(bob, "chat/x", 1)
    assert await again.quiet() == []


async def test_another_user_gets_nothing(world: Any):
    ann, bob = await world.connect(ANN), await world.connect("?userId=bob")
    await ann.subscribe("chat/x")
    ann.abort()
    other = await world.connect("?projectId=p1&userId=eve")
    await say(bob, "chat/x", 1)
    assert await other.quiet() == []


async def test_a_client_that_subscribes_by_itself_is_told_once(start: Any):
    world = await start(session_moment_s=0.05)
    ann, bob = await world.connect(ANN), await world.connect("?userId=bob")
    await ann.subscribe("chat/x")
    await ann.subscribe("chat/y")
    ann.abort()
    await say(bob, "chat/y", "missed")
    again = await world.connect(ANN)
    await again.subscribe("chat/x")
    await say(bob, "chat/x", 1)
    assert said([await again.next(), await again.next()]) == [1, "missed"]
    assert await again.quiet() == []


async def test_what_a_tail_does_not_hold_comes_from_history(start: Any):
    world = await start(max_session_bytes=400)
    ann, bob = await world.connect(ANN), await world.connect("?userId=bob")
    await ann.subscribe("chat/x")
    ann.abort()
    for number in range(8):
        await bob.ask(
            {"type": "publish", "topic": "chat/x", "event": "m", "data": number, "persist": True, "id": f"{number}"}
        )
    again = await world.connect(ANN)
    assert said([await again.next() for _ in range(8)]) == list(range(8))
    assert await again.quiet() == []
    await say(bob, "chat/x", 8)
    assert (await again.next())["data"] == 8


async def test_changes_that_the_log_of_a_table_dropped_end_in_a_resync(start: Any, tables: Any):
    world = await start(tables=tables)
    ann, bob = await world.connect(ANN), await world.connect("?userId=bob")
    await ann.subscribe("orders")
    await bob.subscribe("orders")
    ann.abort()
    world.commit(RowChange(1, "INSERT", "orders", {"id": 1}, None))
    await bob.next()
    tables.dropped = 1
    tables.log.clear()
    again = await world.connect(ANN)
    told = await again.next()
    assert (told["type"], told["channel"]) == ("resync", "orders")


async def test_presence_outlives_a_short_cut_unseen(start: Any):
    world = await start(presence_grace_s=30.0)
    ann, bob = await world.connect(ANN), await world.connect("?userId=bob")
    await bob.subscribe("room/1")
    await ann.subscribe("room/1")
    ann.send({"type": "track", "topic": "room/1", "state": {"x": 1}})
    assert (await bob.next())["event"] == (await ann.next())["event"] == "presence:join"
    ann.abort()
    again = await world.connect(ANN)
    await say(bob, "room/1", 1)
    assert (await again.next())["data"] == 1
    assert {frame["event"] for frame in await bob.quiet()} <= {"m"}
    assert [user["userId"] for user in await world.realtime.presence("room/1")] == ["ann"]


async def test_presence_ends_after_its_grace_and_comes_back_with_the_client(world: Any):
    ann, bob = await world.connect(ANN), await world.connect("?userId=bob")
    await bob.subscribe("room/1")
    ann.send({"type": "track", "topic": "room/1", "state": {"x": 1}})
    assert (await bob.next())["event"] == "presence:join"
    ann.abort()
    assert (await bob.next())["event"] == "presence:leave"
    await world.connect(ANN)
    assert (await bob.next())["event"] == "presence:join"


class Door(TopicObject):
    async def authorize(self, connection: Any, action: str) -> bool:
        return self.env.is_open


async def test_who_may_not_subscribe_any_more_does_not_get_the_topic_back(start: Any):
    world = await start({"Door": Door}, topics=(TopicClass("d/*", "Door"),))
    world.env.is_open = True
    ann = await world.connect(ANN)
    await ann.subscribe("d/1")
    ann.abort()
    await world.realtime.publish("d/1", "m", 1)
    world.env.is_open = False
    again = await world.connect(ANN)
    refused = await again.next()
    assert (refused["type"], refused["name"]) == ("error", "REFUSED")
    await world.realtime.publish("d/1", "m", 2)
    assert await again.quiet() == []


async def test_nothing_is_kept_without_a_grace_time(start: Any):
    world = await start(session_grace_s=0.0)
    ann = await world.connect(ANN)
    await ann.subscribe("chat/x")
    ann.abort()
    again = await world.connect(ANN)
    await world.realtime.publish("chat/x", "m", 1)
    assert await again.quiet() == []


async def test_two_windows_with_the_same_topic_each_get_their_own_back(world: Any):
    first, second = await world.connect(ANN), await world.connect(ANN)
    for client in (first, second):
        await client.subscribe("chat/x")
    for client in (first, second):
        client.abort()
    await world.realtime.publish("chat/x", "m", 1)
    for client in (await world.connect(ANN), await world.connect(ANN)):
        assert (await client.next())["data"] == 1
        assert await client.quiet() == []
