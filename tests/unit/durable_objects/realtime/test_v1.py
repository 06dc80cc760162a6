from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from d1.changes import RowChange
from durable_objects.realtime.core.settings import TopicClass
from durable_objects.realtime.core.told import TOLD
from durable_objects.realtime.topic_object import TopicObject
from workers.compat.proxies import JsException

V1 = "flarelet-v1"


async def joined(world: Any, topic: str, query: str = "?userId=ann", **how: Any) -> tuple[Any, dict[str, Any]]:
    """Connect and subscribe; return the client and `subscribed`, after which the presence snapshot was read."""
    client = await world.connect(query, protocols=V1)
    assert (await client.next())["type"] == "welcome"
    subscribed = await client.ask({"type": "subscribe", "topic": topic, **how})
    if how.get("presence") != "none" and "since" not in how:
        assert (await client.next())["type"] == "presence"
    return client, subscribed


async def say(world: Any, topic: str, *numbers: int, persist: bool = False) -> None:
    for number in numbers:
        await world.realtime.publish(topic, "m", number, persist=persist)


def at(frame: dict[str, Any]) -> dict[str, Any]:
    return {"epoch": frame["epoch"], "offset": frame["offset"]}


async def returned(world: Any, topic: str, since: dict[str, Any]) -> tuple[str, list[Any], Any]:
    """Come back with a position; return the verdict, what was told, and the client."""
    client = await world.connect("?userId=ann", protocols=V1)
    await client.next()
    client.send({"type": "subscribe", "topic": topic, "since": since, "presence": "none"})
    assert (await client.next())["type"] == "subscribed"
    verdict = await client.next()
    assert verdict["type"] in ("recovered", "gap")
    data = [(await client.next())["data"] for _ in range(verdict["count"])]
    return verdict.get("reason", "recovered"), data, client


async def forgotten(world: Any, topic: str) -> None:
    """Let a topic that nobody follows any more fall out of memory."""
    for _ in range(1_000):
        try:
            await world.evict(topic)
        except JsException:
            await asyncio.sleep(0)
        else:
            return


async def test_every_event_has_a_position_and_they_are_dense(world: Any):
    client, subscribed = await joined(world, "chat/x")
    await say(world, "chat/x", 1)
    await say(world, "chat/x", 2, persist=True)
    first, second = await client.next(), await client.next()
    assert (subscribed["offset"], first["offset"], second["offset"]) == (0, 1, 2)
    assert subscribed["epoch"] == first["epoch"] == second["epoch"]


async def test_a_public_client_sees_no_positions_of_what_is_not_stored(world: Any):
    client = await world.connect()
    await client.subscribe("chat/x")
    await say(world, "chat/x", 1)
    assert "offset" not in await client.next()


async def test_what_was_missed_is_told_once_and_in_order_and_said_to_be_all(world: Any):
    client, _ = await joined(world, "chat/x")
    await say(world, "chat/x", 1, 2)
    position = at(await client.next())
    client.abort()
    await say(world, "chat/x", 3)
    verdict, told, again = await returned(world, "chat/x", position)
    assert (verdict, told) == ("recovered", [2, 3])
    await say(world, "chat/x", 4)
    assert (await again.next())["data"] == 4


async def test_stored_messages_are_recovered_after_the_object_was_forgotten(world: Any):
    client, _ = await joined(world, "chat/x")
    await say(world, "chat/x", 1, 2, persist=True)
    position = at(await client.next())
    client.close()
    await forgotten(world, "chat/x")
    await say(world, "chat/x", 3, persist=True)
    assert (await returned(world, "chat/x", position))[:2] == ("recovered", [2, 3])


async def test_what_was_not_stored_is_a_gap_after_the_object_was_forgotten(world: Any):
    client, _ = await joined(world, "chat/x")
    await say(world, "chat/x", 1, persist=True)
    position = at(await client.next())
    await say(world, "chat/x", 2)
    client.close()
    await forgotten(world, "chat/x")
    await say(world, "chat/x", 3, persist=True)
    assert (await returned(world, "chat/x", position))[:2] == ("not_stored", [3])


@pytest.mark.parametrize(
    ("since", "reason"), [({"epoch": "other", "offset": 1}, "epoch"), ({"epoch": None, "offset": 99}, "ahead")]
)
async def test_a_position_that_means_nothing_here_is_a_gap(world: Any, since: dict[str, Any], reason: str):
    _, subscribed = await joined(world, "chat/x")
    since = {"epoch": since["epoch"] or subscribed["epoch"], "offset": since["offset"]}
    assert (await returned(world, "chat/x", since))[0] == reason


async def test_what_retention_dropped_is_a_gap(start: Any):
    world = await start(history_limit=2, max_session_bytes=1)
    client, _ = await joined(world, "chat/x")
    await say(world, "chat/x", 1, 2, 3, 4, persist=True)
    position = at(await client.next())
    client.abort()
    assert (await returned(world, "chat/x", position))[:2] == ("expired", [3, 4])


async def test_row_changes_are_recovered_from_the_databases_log(world: Any):
    client, subscribed = await joined(world, "orders")
    assert at(subscribed) == {"epoch": "d1", "offset": 0}
    world.commit(RowChange(1, "INSERT", "orders", {"id": 1}, None))
    position = at(await client.next())
    client.abort()
    world.commit(RowChange(2, "INSERT", "orders", {"id": 2}, None))
    assert (await returned(world, "orders", position))[:2] == ("recovered", [{"id": 2}])


async def test_row_changes_that_the_log_dropped_are_a_gap(world: Any):
    client, _ = await joined(world, "orders")
    world.tables.dropped = 3
    client.abort()
    assert (await returned(world, "orders", {"epoch": "d1", "offset": 1}))[0] == "dropped"


async def test_a_publish_is_acknowledged_with_its_position_and_harmless_when_repeated(world: Any):
    client, _ = await joined(world, "chat/x", presence="none")
    frame = {"type": "publish", "topic": "chat/x", "event": "m", "data": 1, "id": "i"}
    client.send(frame)
    client.send(frame)
    told, ack, again = await client.next(), await client.next(), await client.next()
    assert at(ack) == at(told)
    assert again == ack | {"duplicate": True}


async def test_only_chosen_events_are_told(world: Any):
    client, _ = await joined(world, "chat/x", event=["a", "b"], presence="none")
    for event in ("a", "c", "b"):
        await world.realtime.publish("chat/x", event, None)
    assert [frame["event"] for frame in await client.quiet()] == ["a", "b"]


async def test_presence_is_a_snapshot_and_then_numbered_diffs(world: Any):
    watcher, _ = await joined(world, "room/1", "?userId=w", presence="none")
    client, _ = await joined(world, "room/1")
    watcher.send({"type": "track", "topic": "room/1", "state": {"x": 1}})
    join = await client.next()
    watcher.send({"type": "track", "topic": "room/1", "state": {"x": 2}})
    update = await client.next()
    watcher.send({"type": "untrack", "topic": "room/1"})
    leave = await client.next()
    assert [join["joins"][0]["state"], update["updates"][0]["state"], leave["leaves"]] == [{"x": 1}, {"x": 2}, ["w"]]
    assert [join["version"], update["version"], leave["version"]] == [1, 2, 3]
    assert (join["occupancy"], leave["occupancy"]) == ({"users": 1, "connections": 1}, {"users": 0, "connections": 0})
    answer = await client.ask({"type": "presence", "topic": "room/1", "id": "q"})
    assert (answer["kind"], answer["users"], answer["version"], answer["id"]) == ("snapshot", [], 3, "q")


async def test_who_asks_only_how_many_are_present_is_not_told_who(world: Any):
    client, _ = await joined(world, "room/1", presence="occupancy")
    other, _ = await joined(world, "room/1", "?userId=bob")
    other.send({"type": "track", "topic": "room/1", "state": {"secret": 1}})
    told = await client.next()
    assert (told["kind"], told["occupancy"]) == ("occupancy", {"users": 1, "connections": 1})
    assert not {"users", "joins"} & told.keys()


class Door(TopicObject):
    async def authorize(self, connection: Any, action: str) -> bool:
        return connection.user_id != "eve"


async def test_a_refused_subscription_counts_for_nothing(start: Any):
    world = await start({"Door": Door}, topics=(TopicClass("d/*", "Door"),), max_topics=1)
    client = await world.connect("?userId=eve")
    for number in range(3):
        refused = await client.subscribe(f"d/{number}")
        assert (refused["name"], refused["ref"]["channel"]) == ("REFUSED", f"d/{number}")
        await client.quiet()
    assert (await client.subscribe("chat/x"))["type"] == "subscribed"


async def test_a_refused_subscription_leaves_its_table_unwatched(start: Any, tables: Any):
    world = await start({"Door": Door}, tables=tables, topics=(TopicClass("table:*", "Door"),))
    for protocols in (None, V1):
        client = await world.connect("?userId=eve", protocols=protocols)
        client.send({"type": "subscribe", "topic": "orders"})
        frames = [await client.next() for _ in range(1 if protocols is None else 2)]
        assert frames[-1]["name"] == "REFUSED"
        await client.quiet()
        assert tables.watched == []


async def test_history_of_an_unknown_room_makes_no_file(world: Any):
    assert await world.realtime.history("chat/nobody") == []
    answer = await world.request("/api/v1/public/realtime/history?room=chat/nobody")
    assert json.loads(await answer.text())["messages"] == []
    assert list(world.host.root.rglob("*.sqlite")) == []


async def test_topics_may_store_everything_or_nothing(start: Any):
    topics = (TopicClass("all/*", "TopicObject", persist=True), TopicClass("none/*", "TopicObject", persist=False))
    world = await start(topics=topics)
    await say(world, "all/1", 1)
    await say(world, "none/1", 2, persist=True)
    assert [message["data"] for message in await world.realtime.history("all/1")] == [1]
    assert await world.realtime.history("none/1") == []


async def test_history_is_kept_by_count_by_age_and_by_bytes_and_read_both_ways(start: Any):
    world = await start(history_bytes=1_000)
    for number in range(20):
        await world.realtime.publish("chat/x", "m", "x" * 100 + str(number), persist=True)
    kept = await world.realtime.history("chat/x")
    assert 3 <= len(kept) <= 6
    oldest = kept[-1]["created_at"]
    assert await world.realtime.history("chat/x", 2, after=oldest) == kept[::-1][1:3]


async def test_every_frame_is_as_it_is_described(world: Any):
    client, _ = await joined(world, "chat/x")
    frames: list[dict[str, Any]] = []
    for frame in (
        {"type": "publish", "topic": "chat/x", "event": "m", "data": {"a": None}, "id": "1"},
        {"type": "publish", "topic": "chat/x", "event": "m", "persist": True},
        {"type": "chat", "roomId": "x", "text": "hi", "metadata": 1},
        {"type": "track", "topic": "chat/x", "state": {}},
        {"type": "presence", "topic": "chat/x"},
        {"type": "subscribe", "topic": "orders", "presence": "occupancy"},
        {"type": "cancel", "topic": "chat/x", "stream": "s"},
        {"type": "nonsense"},
    ):
        client.send(frame)
    while sum(frame["type"] == "subscribed" for frame in frames) < 1:
        frames.append(await client.next())
    world.commit(
        RowChange(1, "INSERT", "orders", {"id": 1}, None),
        RowChange(2, "UPDATE", "orders", {"id": 1}, {"id": 1}),
        RowChange(3, "DELETE", "orders", None, {"id": 1}),
        RowChange(4, "RESYNC", "orders", None, None),
    )
    while not any(frame["type"] == "gap" for frame in frames):
        frames.append(await client.next())
    for frame in frames:
        TOLD[frame["type"]].model_validate(frame)
    assert {"event", "ack", "chat_message", "presence", "subscribed", "error", "db_change", "gap"} == {
        frame["type"] for frame in frames
    }
