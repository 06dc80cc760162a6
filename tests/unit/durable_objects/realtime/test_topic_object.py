from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from durable_objects.realtime.core.codes import Refused
from durable_objects.realtime.core.settings import TopicClass
from durable_objects.realtime.topic_object import TopicObject


class ChatRoom(TopicObject):
    history_limit = 3
    echo = False

    def __init__(self, ctx: Any, env: Any) -> None:
        super().__init__(ctx, env)
        self.log: list[Any] = []

    async def authorize(self, connection: Any, action: Any) -> bool:
        await asyncio.sleep(0)
        if connection.user_id == "broken":
            raise RuntimeError("secret detail")
        return connection.user_id != "eve" or action == "subscribe"

    def on_subscribe(self, connection: Any) -> None:
        self.log.append(("subscribe", connection.user_id))
        self.broadcast("welcome", {"user": connection.user_id})

    async def on_unsubscribe(self, connection: Any) -> None:
        self.log.append(("unsubscribe", connection.user_id))

    async def on_publish(self, connection: Any, event: str, data: Any) -> Any:
        await asyncio.sleep(0)
        if event == "rude":
            raise Refused("be kind")
        if event == "crash":
            raise ValueError("secret detail")
        if event == "slow":
            await asyncio.sleep(3600)
        return {"text": data["text"].upper()} if event == "shout" else None

    def on_presence(self, connection: Any, verb: str, state: Any) -> None:
        self.log.append((verb, connection.user_id, dict(state)))

    def on_alarm(self) -> None:
        self.publish("closed", {"by": self.topic}, persist=True)

    def logged(self) -> list[Any]:
        return [list(entry) for entry in self.log]

    async def wake_me(self) -> None:
        await self.storage.setAlarm(1)


@pytest.fixture
async def world(start: Any) -> Any:
    return await start({"ChatRoom": ChatRoom}, topics=(TopicClass("chat/*", "ChatRoom"),))


def stub_of(world: Any) -> Any:
    return world.namespaces["ChatRoom"].getByName("chat/x")


async def joined(world: Any, user: str) -> Any:
    client = await world.connect(f"?userId={user}")
    assert (await client.subscribe("chat/x"))["type"] == "subscribed"
    assert (await client.next())["event"] == "welcome"
    return client


async def test_a_topic_class_may_change_what_is_published(world: Any):
    ann, bob = await joined(world, "ann"), await joined(world, "bob")
    await ann.next()
    ann.send({"type": "publish", "topic": "chat/x", "event": "shout", "data": {"text": "hi"}})
    ann.send({"type": "publish", "topic": "chat/x", "event": "say", "data": {"text": "hi"}})
    assert [(await bob.next())["data"]["text"] for _ in range(2)] == ["HI", "hi"]


async def test_a_refusal_is_told_to_the_publisher_alone(world: Any):
    ann, bob = await joined(world, "ann"), await joined(world, "bob")
    await ann.next()
    answer = await ann.ask({"type": "publish", "topic": "chat/x", "event": "rude", "id": "a"})
    assert (answer["code"], answer["message"], answer["retry"]) == (302, "be kind", False)
    assert answer["ref"] == {"type": "publish", "channel": "chat/x", "id": "a"}
    ann.send({"type": "publish", "topic": "chat/x", "event": "say", "data": 1})
    assert (await bob.next())["event"] == "say"


async def test_a_hook_that_raises_is_logged_and_hurts_nobody_else(world: Any, caplog: Any):
    ann, bob = await joined(world, "ann"), await joined(world, "bob")
    await ann.next()
    with caplog.at_level(logging.ERROR):
        answer = await ann.ask({"type": "publish", "topic": "chat/x", "event": "crash"})
    assert (answer["name"], answer["retry"]) == ("HANDLER_FAILED", True)
    assert "secret" not in answer["message"]
    assert "secret detail" in caplog.text
    ann.send({"type": "publish", "topic": "chat/x", "event": "say", "data": 1})
    assert (await bob.next())["event"] == "say"


async def test_authorize_decides_about_every_action(world: Any):
    eve = await joined(world, "eve")
    for frame in (
        {"type": "publish", "topic": "chat/x", "event": "say"},
        {"type": "track", "topic": "chat/x", "state": {}},
    ):
        assert (await eve.ask(frame))["name"] == "REFUSED"
    response = await world.request("/api/v1/public/realtime/history?room=chat/x&userId=eve")
    assert (response.status, (await response.json())["messages"]) == (403, [])
    assert (await world.request("/api/v1/public/realtime/history?room=chat/x&userId=ann")).status == 200


async def test_an_authorize_that_fails_lets_nobody_in(world: Any):
    broken = await world.connect("?userId=broken")
    assert (await broken.subscribe("chat/x"))["name"] == "HANDLER_FAILED"
    response = await world.request("/api/v1/public/realtime/history?room=chat/x&userId=broken")
    assert response.status == 503


async def test_frames_of_one_connection_stay_in_order_around_async_hooks(world: Any):
    ann, bob = await joined(world, "ann"), await joined(world, "bob")
    for number in range(20):
        event = "shout" if number % 3 == 0 else "say"
        ann.send({"type": "publish", "topic": "chat/x", "event": event, "data": {"text": str(number)}})
    assert [(await bob.next())["data"]["text"] for _ in range(20)] == [str(number) for number in range(20)]


async def test_hooks_hear_of_subscriptions_and_presence(world: Any):
    ann = await joined(world, "ann")
    ann.send({"type": "track", "topic": "chat/x", "state": {"a": 1}})
    assert (await ann.next())["event"] == "presence:join"
    bob = await world.connect("?userId=bob")
    await bob.subscribe("chat/x")
    ann.close()
    while (await bob.next())["event"] != "presence:leave":
        pass
    logged = await stub_of(world).logged()
    assert logged == [
        ["subscribe", "ann"],
        ["join", "ann", {"a": 1}],
        ["subscribe", "bob"],
        ["leave", "ann", {"a": 1}],
        ["unsubscribe", "ann"],
    ]


async def test_a_class_says_how_much_history_it_keeps(world: Any):
    stub = stub_of(world)
    for number in range(5):
        await stub.publish("say", number, True)
    stored = await stub.history(10)
    assert [message["data"] for message in stored] == [4, 3, 2]
    assert stored[0]["room_id"] == "chat/x"
    assert [message["data"] for message in await stub.history(10, stored[0]["created_at"])] == [3, 2]


async def test_an_alarm_reaches_its_hook(world: Any):
    ann = await joined(world, "ann")
    await stub_of(world).wake_me()
    told = await ann.next()
    assert (told["event"], told["data"]) == ("closed", {"by": "chat/x"})


async def test_a_reset_object_gets_its_subscribers_back(world: Any, start: Any, caplog: Any):
    ann = await joined(world, "ann")
    ann.send({"type": "track", "topic": "chat/x", "state": {"a": 1}})
    assert (await ann.next())["event"] == "presence:join"
    (actor,) = world.host.actors("w-ChatRoom")
    actor.instance.reset(RuntimeError("lost its mind"))
    assert (await ann.next())["event"] == "presence:join"
    await stub_of(world).broadcast("back", 1)
    assert (await ann.next())["event"] == "back"
    assert (await stub_of(world).presence())[0]["userId"] == "ann"


class Unable(TopicObject):
    def __init__(self, ctx: Any, env: Any) -> None:
        raise RuntimeError("cannot start")


async def test_a_topic_that_cannot_start_is_reported_for_every_frame(start: Any, caplog: Any):
    world = await start({"Unable": Unable}, topics=(TopicClass("u/*", "Unable"),))
    client = await world.connect()
    client.send({"type": "subscribe", "topic": "u/1"})
    client.send({"type": "publish", "topic": "u/1", "event": "e", "id": "a"})
    first, second = await client.next(), await client.next()
    assert first["name"] == second["name"] == "TOPIC_UNAVAILABLE"
    assert first["retry"] is True
    assert (first["ref"]["type"], second["ref"]["id"]) == ("subscribe", "a")
    assert (await client.subscribe("ok/1"))["type"] == "subscribed"


class Slow(TopicObject):
    hook_timeout_s = 0.01

    async def on_publish(self, connection: Any, event: str, data: Any) -> Any:
        await asyncio.Event().wait()


async def test_a_hook_that_never_ends_is_given_up(start: Any, caplog: Any):
    world = await start({"Slow": Slow}, topics=(TopicClass("s/*", "Slow"),))
    client = await world.connect()
    answer = await client.ask({"type": "publish", "topic": "s/1", "event": "e"})
    assert answer["name"] == "HANDLER_FAILED"


async def test_data_without_a_json_form_is_refused(world: Any):
    with pytest.raises(Exception, match=r"not JSON compliant|Out of range"):
        await stub_of(world).publish("say", float("inf"))


async def test_emptied_storage_begins_a_log_of_its_own(world: Any):
    stub = stub_of(world)
    await stub.publish("say", 1, True)
    (actor,) = world.host.actors("w-ChatRoom")
    await actor.instance.storage.deleteAll()
    assert await stub.history(5) == []
    await stub.publish("say", 2, True)
    assert [message["data"] for message in await stub.history(5)] == [2]


async def test_thousands_of_connections_may_open_at_once(start: Any):
    world = await start()
    clients = [await world.connect() for _ in range(5_000)]
    for client in clients:
        client.send({"type": "subscribe", "topic": "doc/1"})
    assert {(await client.next())["type"] for client in clients} == {"subscribed"}


class Deadly(TopicObject):
    def on_publish(self, connection: Any, event: str, data: Any) -> Any:
        self.ctx.abort("enough")

    def authorize(self, connection: Any, action: Any) -> bool:
        if action == "track":
            self.ctx.abort("enough")
        return True


async def test_an_object_that_dies_again_and_again_is_given_up(start: Any, caplog: Any, monkeypatch: Any):
    monkeypatch.setattr("durable_objects.realtime.link._DELAYS_S", (0.0,) * 4)
    world = await start({"Deadly": Deadly}, topics=(TopicClass("d/*", "Deadly"),))
    client = await world.connect()
    await client.subscribe("d/1")
    client.send({"type": "publish", "topic": "d/1", "event": "e"})
    client.send({"type": "publish", "topic": "ok/1", "event": "e", "id": "a"})
    assert (await client.next())["type"] == "ack"
    assert (await client.subscribe("d/1"))["type"] == "subscribed"
    client.send({"type": "track", "topic": "d/1", "state": {}})
    errors = [await client.next(), await client.next()]
    assert {error["name"] for error in errors} == {"TOPIC_UNAVAILABLE"}
    assert {error["ref"]["type"] for error in errors} == {"subscribe", "track"}
    assert (await client.subscribe("d/1"))["type"] == "subscribed"
