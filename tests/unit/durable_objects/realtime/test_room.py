from __future__ import annotations

import asyncio
from typing import Any

from durable_objects.realtime.core.access import Connection
from durable_objects.realtime.core.audience import Leg
from durable_objects.realtime.core.settings import TopicClass
from durable_objects.realtime.topic_object import TopicObject


class Waiting(TopicObject):
    async def on_publish(self, connection: Any, event: str, data: Any) -> Any:
        await self.env.gate.wait()


async def test_a_connection_that_floods_a_waiting_hook_is_told_and_loses_only_the_excess(start: Any, monkeypatch: Any):
    monkeypatch.setattr("durable_objects.realtime.room._MAX_WAITING", 2)
    world = await start({"Waiting": Waiting}, topics=(TopicClass("w/*", "Waiting"),))
    world.env.gate = asyncio.Event()
    client = await world.connect()
    await client.subscribe("w/1")
    for number in range(5):
        client.send({"type": "publish", "topic": "w/1", "event": "e", "data": number})
    assert [(await client.next())["name"] for _ in range(2)] == ["OVERLOADED", "OVERLOADED"]
    world.env.gate.set()
    assert [(await client.next())["data"] for _ in range(3)] == [0, 1, 2]


async def test_a_leg_comes_in_once_for_each_announcement(world: Any):
    stub = world.namespaces["TopicObject"].getByName("a/b")
    headers = {"Upgrade": "websocket", "x-flarelet-leg": "leg-1"}
    await stub.expect_leg(Leg("leg-1", Connection("c")).attachment(), {"count": 10})
    assert (await stub.fetch("http://topic/", headers=headers)).status == 101
    assert (await stub.fetch("http://topic/", headers=headers)).status == 403


async def test_announcements_that_are_never_used_are_forgotten(world: Any, monkeypatch: Any):
    monkeypatch.setattr("durable_objects.realtime.room._MAX_TICKETS", 2)
    stub = world.namespaces["TopicObject"].getByName("a/b")
    for number in range(3):
        await stub.expect_leg(Leg(f"leg-{number}", Connection("c")).attachment(), {"count": 10})
    statuses = [
        (await stub.fetch("http://t/", headers={"Upgrade": "websocket", "x-flarelet-leg": f"leg-{number}"})).status
        for number in range(3)
    ]
    assert statuses == [403, 101, 101]


async def test_a_topic_that_stores_nothing_leaves_no_file(world: Any):
    client = await world.connect()
    await client.subscribe("chat/x")
    await client.ask({"type": "publish", "topic": "chat/x", "event": "e"})
    topic = world.namespaces["TopicObject"].idFromName("chat/x")
    assert list(world.host.root.rglob(f"{topic}.sqlite")) == []


class Own(TopicObject):
    """Accepts a socket of its own beside the topic's legs."""

    async def fetch(self, request: Any) -> Any:
        from workers.compat.websocket import WebSocketPair
        from workers.response import Response

        if request.url.endswith("/own"):
            client, server = WebSocketPair()
            self.ctx.acceptWebSocket(server, ["own"])
            return Response(None, status=101, web_socket=client)
        return await super().fetch(request)

    async def webSocketMessage(self, ws: Any, message: Any) -> None:
        if list(self.ctx.getTags(ws)) == ["own"]:
            ws.send(f"own {message}")
        else:
            await super().webSocketMessage(ws, message)


async def test_a_topic_class_may_have_sockets_of_its_own(start: Any):
    from workers.compat.websocket import take

    world = await start({"Own": Own}, topics=(TopicClass("o/*", "Own"),))
    client = await world.connect()
    assert (await client.subscribe("o/1"))["type"] == "subscribed"
    stub = world.namespaces["Own"].getByName("o/1")
    answer = await stub.fetch("http://o/own", headers={"Upgrade": "websocket"})
    heard: asyncio.Queue[Any] = asyncio.Queue()

    class Sink:
        message = staticmethod(heard.put_nowait)

        def closed(self, code: int, reason: str, was_clean: bool) -> None:
            """Nothing to do."""

    port = take(answer.web_socket, Sink())  # type: ignore[arg-type]
    port.send("hello")
    assert await heard.get() == "own hello"
    port.close(1000)
    assert (await client.ask({"type": "publish", "topic": "o/1", "event": "e"}))["event"] == "e"
