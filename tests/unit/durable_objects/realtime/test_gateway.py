from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from durable_objects.realtime.gateway import RealtimeGateway
from workers.request import Request


async def test_a_published_event_reaches_every_subscriber_in_its_own_spelling(world: Any):
    ann, bob = await world.connect("?projectId=p1&userId=ann"), await world.connect()
    assert await ann.subscribe("chat/general/p1") == {"type": "subscribed", "topic": "chat/general/p1"}
    assert await bob.subscribe("chat/general") == {"type": "subscribed", "topic": "chat/general"}
    ann.send({"type": "publish", "topic": "chat/general/p1", "event": "m", "data": {"a": 1}, "id": "x"})
    heard = await bob.next()
    assert heard == {
        "type": "event",
        "topic": "chat/general",
        "event": "m",
        "data": {"a": 1},
        "userId": "ann",
        "timestamp": world.clock.at_ms,
        "id": "x",
    }
    assert await ann.next() == heard | {"topic": "chat/general/p1"}
    assert await ann.next() == {"type": "ack", "id": "x", "timestamp": world.clock.at_ms}


async def test_a_broadcast_is_one_text_object_for_all_its_receivers(world: Any):
    clients = [await world.connect() for _ in range(3)]
    for client in clients:
        await client.subscribe("chat/x")
    clients[0].send({"type": "publish", "topic": "chat/x", "event": "m", "data": "d" * 50})
    texts = [await client.text() for client in clients]
    assert texts[0] is texts[1] is texts[2]


async def test_two_spellings_on_one_connection_are_each_delivered_once(world: Any):
    client = await world.connect("?projectId=p1")
    await client.subscribe("chat/x")
    await client.subscribe("chat/x/p1")
    client.send({"type": "publish", "topic": "chat/x", "event": "m"})
    topics = sorted([(await client.next())["topic"], (await client.next())["topic"]])
    assert topics == ["chat/x", "chat/x/p1"]
    assert await client.quiet() == []


async def test_publishing_and_tracking_need_no_subscription(world: Any):
    watcher, other = await world.connect(), await world.connect("?userId=ann")
    await watcher.subscribe("room/1")
    other.send({"type": "publish", "topic": "room/1", "event": "m", "data": 1, "id": "a"})
    other.send({"type": "track", "topic": "room/1", "state": {"x": 1}})
    assert (await watcher.next())["event"] == "m"
    assert (await other.next())["type"] == "ack"
    joined = await watcher.next()
    assert (joined["event"], joined["userId"], joined["data"]["state"]) == ("presence:join", "ann", {"x": 1})


async def test_presence_follows_the_connections_of_a_user(world: Any):
    watcher = await world.connect()
    await watcher.subscribe("room/1")
    first, second = await world.connect("?userId=ann"), await world.connect("?userId=ann")
    first.send({"type": "track", "topic": "room/1", "state": {"at": 1}})
    assert (await watcher.next())["event"] == "presence:join"
    second.send({"type": "track", "topic": "room/1", "state": {"at": 2}})
    assert (await watcher.next())["event"] == "presence:update"
    second.abort()
    update = await watcher.next()
    assert (update["event"], update["data"]["at"]) == ("presence:update", 1)
    first.close()
    assert (await watcher.next())["event"] == "presence:leave"
    late = await world.connect()
    await late.subscribe("room/1")
    assert (await late.next())["data"] == {"users": []}


async def test_a_new_subscriber_gets_the_presence_snapshot(world: Any):
    ann = await world.connect("?userId=ann")
    await ann.subscribe("room/1")
    await ann.ask({"type": "track", "topic": "room/1", "state": {"x": 1}})
    late = await world.connect()
    await late.subscribe("room/1")
    sync = await late.next()
    assert sync["event"] == "presence:sync"
    assert sync["data"] == {
        "users": [{"userId": "ann", "state": {"x": 1}, "connections": [sync["data"]["users"][0]["connections"][0]]}]
    }


async def test_unsubscribing_ends_delivery_and_presence(world: Any):
    ann, watcher = await world.connect("?userId=ann"), await world.connect()
    await watcher.subscribe("room/1")
    await ann.subscribe("room/1")
    ann.send({"type": "track", "topic": "room/1", "state": {}})
    assert (await ann.next())["event"] == (await watcher.next())["event"] == "presence:join"
    ann.send({"type": "unsubscribe", "topic": "room/1"})
    assert (await watcher.next())["event"] == "presence:leave"
    watcher.send({"type": "publish", "topic": "room/1", "event": "m"})
    assert (await watcher.next())["event"] == "m"
    assert await ann.quiet() == []
    assert await ann.subscribe("room/1") == {"type": "subscribed", "topic": "room/1"}


async def test_untracking_leaves_the_subscription(world: Any):
    ann = await world.connect("?userId=ann")
    await ann.subscribe("room/1")
    assert (await ann.ask({"type": "track", "topic": "room/1", "state": {}}))["event"] == "presence:join"
    assert (await ann.ask({"type": "untrack", "topic": "room/1"}))["event"] == "presence:leave"
    assert (await ann.ask({"type": "publish", "topic": "room/1", "event": "m"}))["event"] == "m"


async def test_a_persisted_publish_is_acknowledged_with_its_place_and_only_once_stored(world: Any):
    client = await world.connect("?userId=ann")
    await client.subscribe("chat/x")
    frame = {"type": "publish", "topic": "chat/x", "event": "m", "data": [1], "persist": True, "id": "a"}
    event, ack = await client.ask(frame), await client.next()
    assert (event["offset"], ack["offset"], ack["persisted"]) == (1, 1, True)
    again = await client.ask(frame)
    assert again == ack | {"duplicate": True}
    assert len(await world.realtime.history("chat/x")) == 1


async def test_a_chat_frame_is_stored_and_told_to_its_room(world: Any):
    client = await world.connect("?projectId=p1&userId=ann")
    await client.subscribe("chat/general/p1")
    told = await client.ask({"type": "chat", "roomId": "general", "text": "hi", "metadata": {"m": 1}})
    assert (told["type"], told["topic"], told["userId"]) == ("chat_message", "chat/general/p1", "ann")
    assert told["data"] == {"text": "hi", "metadata": {"m": 1}}
    assert (told["text"], told["roomId"]) == ("hi", "general")
    (stored,) = await world.realtime.history("chat/general")
    assert (stored["data"], stored["user_id"]) == (told["data"], "ann")


async def test_a_ping_is_answered_at_once(world: Any):
    client = await world.connect()
    assert await client.ask({"type": "ping"}) == {"type": "pong"}


@pytest.mark.parametrize(
    ("frame", "code", "ref"),
    [
        ("{", 201, {}),
        ("[]", 202, {}),
        ('{"type":"x"}', 203, {"field": "type"}),
        ('{"type":"subscribe","topic":5}', 204, {"type": "subscribe", "field": "topic"}),
        (b"\x00", 207, {}),
        ({"type": "subscribe", "topic": "x" * 257}, 206, {"type": "subscribe", "field": "topic", "channel": "x" * 257}),
        ({"type": "subscribe", "topic": "/"}, 206, {"type": "subscribe", "field": "topic", "channel": "/"}),
        ({"type": "publish", "topic": "a/b", "event": "e", "data": "x" * 300_000}, 205, {}),
        (
            {"type": "track", "topic": "a/b", "state": {"x": "é" * 2_000}},
            205,
            {"type": "track", "field": "state", "channel": "a/b"},
        ),
    ],
)
async def test_a_malformed_frame_is_answered_and_the_connection_stays(world: Any, frame: Any, code: int, ref: Any):
    client = await world.connect()
    answer = await client.ask(frame)
    assert (answer["type"], answer["code"], answer["ref"]) == ("error", code, ref)
    assert "topic" not in answer
    assert await client.ask({"type": "ping"}) == {"type": "pong"}


async def test_a_connection_has_a_limited_number_of_topics_but_publishing_is_not_held_up_by_it(start: Any):
    world = await start(max_topics=2)
    client = await world.connect()
    for number in range(5):
        client.send({"type": "publish", "topic": f"a/{number}", "event": "e", "id": "i"})
        assert (await client.next())["type"] == "ack"
    await client.subscribe("a/1")
    await client.subscribe("a/2")
    answer = await client.subscribe("a/3")
    assert (answer["code"], answer["ref"]["channel"]) == (301, "a/3")
    client.send({"type": "unsubscribe", "topic": "a/1"})
    assert (await client.subscribe("a/3"))["type"] == "subscribed"


@pytest.mark.parametrize("path", ["/api/realtime", "/v1/realtime", "/realtime"])
async def test_the_socket_is_found_on_all_its_paths(world: Any, path: str):
    client = await world.connect(path=path)
    assert await client.ask({"type": "ping"}) == {"type": "pong"}


async def test_the_selected_subprotocol_is_one_that_was_offered(world: Any):
    for offered, chosen in (("aerostack-key.k, aerostack-v1", "aerostack-v1"), ("aerostack-key.k", "aerostack-key.k")):
        client = await world.connect(protocols=offered)
        assert client.response.headers["sec-websocket-protocol"] == chosen
    client = await world.connect()
    assert "sec-websocket-protocol" not in client.response.headers


async def test_bad_credentials_are_refused_at_the_upgrade(start: Any):
    world = await start(public_keys=("pk_1",), secret_keys=("sk_1",))
    upgrade = {"Upgrade": "websocket"}
    for query in ("", "?apiKey=nope", "?token=a.b.c"):
        response = await world.request("/api/realtime" + query, headers=upgrade)
        assert response.status == 401
        assert {"code", "message"} <= (await response.json()).keys()
    client = await world.connect("?apiKey=pk_1")
    answer = await client.ask({"type": "auth", "token": "a.b.c"})
    assert (answer["type"], answer["name"]) == ("error", "TOKEN_NOT_VERIFIED")
    client.send({"type": "auth", "token": "pk_1"})
    assert await client.quiet() == []


async def test_a_plain_request_is_told_to_upgrade(world: Any):
    response = await world.request("/api/realtime")
    assert response.status == 426


async def test_a_gateway_worker_answers_with_its_binding(world: Any):
    gateway = RealtimeGateway(None, world.env)
    response = await gateway.fetch(Request("http://localhost/elsewhere"))
    assert response.status == 404


async def test_what_a_client_sent_before_it_left_is_done(world: Any):
    watcher, hasty = await world.connect(), await world.connect()
    await watcher.subscribe("chat/x")
    hasty.send({"type": "publish", "topic": "chat/x", "event": "m"})
    hasty.close()
    assert (await watcher.next())["event"] == "m"


async def test_subscriptions_and_presence_survive_the_sleep_of_the_object(world: Any):
    ann, bob = await world.connect("?userId=ann"), await world.connect()
    await ann.subscribe("room/1")
    await bob.subscribe("room/1")
    ann.send({"type": "track", "topic": "room/1", "state": {"x": 1}})
    assert (await ann.next())["event"] == (await bob.next())["event"] == "presence:join"
    await world.evict("room/1")
    bob.send({"type": "publish", "topic": "room/1", "event": "m", "data": 1})
    assert (await ann.next())["event"] == (await bob.next())["event"] == "m"
    assert (await world.realtime.presence("room/1"))[0]["state"] == {"x": 1}
    ann.abort()
    assert (await bob.next())["event"] == "presence:leave"


async def test_the_log_goes_on_after_the_sleep_of_the_object(world: Any):
    client = await world.connect()
    await client.subscribe("chat/x")
    frame = {"type": "publish", "topic": "chat/x", "event": "m", "data": 1, "persist": True, "id": "a"}
    first = (await client.ask(frame), await client.next())[1]
    await world.evict("chat/x")
    assert await client.ask(frame) == first | {"duplicate": True}
    second = (await client.ask(frame | {"id": "b"}), await client.next())[1]
    assert (second["offset"], second["epoch"]) == (2, first["epoch"])
    assert second["timestamp"] > first["timestamp"]


async def test_retention_is_known_after_the_sleep_of_the_object(start: Any):
    world = await start(history_limit=2)
    client = await world.connect()
    await client.subscribe("chat/x")
    for number in range(4):
        await world.evict("chat/x")
        frame = {"type": "publish", "topic": "chat/x", "event": "m", "data": number, "persist": True}
        assert (await client.ask(frame), await client.next())[1]["offset"] == number + 1
    assert [message["data"] for message in await world.realtime.history("chat/x")] == [3, 2]


async def test_a_host_that_stops_closes_clients_for_a_restart(world: Any):
    client = await world.connect()
    await client.subscribe("chat/x")
    await world.host.close(1012)
    async with asyncio.timeout(5):
        await client.closed_event.wait()
    assert client.close_code == 1012


async def test_a_leg_that_nobody_announced_is_refused(world: Any):
    stub = world.namespaces["TopicObject"].getByName("chat/x")
    headers = {"Upgrade": "websocket", "x-flarelet-leg": json.dumps(["l", "c", "admin", "secret", "", [], None])}
    response = await stub.fetch("http://topic/", headers=headers)
    assert response.status == 403
    assert (await stub.fetch("http://topic/")).status == 404
