from __future__ import annotations

from typing import Any

import pytest

from durable_objects.realtime.binding import Realtime
from durable_objects.realtime.core.codes import RealtimeError
from durable_objects.realtime.core.settings import RealtimeSettings, TopicClass
from workers.request import Request


async def test_other_paths_are_left_to_the_worker(world: Any):
    for path in ("", "/", "/api", "/api/realtime/x", "/chat?x=/api/realtime"):
        assert await world.realtime.answer(Request(f"http://localhost:8787{path}")) is None
    response = await world.realtime.fetch(Request("http://localhost:8787/"))
    assert response.status == 404


async def test_the_worker_may_emit_publish_and_read(world: Any):
    client = await world.connect()
    await client.subscribe("chat/general")
    await world.realtime.emit("m", {"a": 1}, "general")
    assert (await client.next())["data"] == {"a": 1}
    await world.realtime.publish("chat/general/demo", "m", [2], persist=True, user_id="bot")
    told = await client.next()
    assert (told["data"], told["userId"]) == ([2], "bot")
    (stored,) = await world.realtime.history("chat/general")
    assert (stored["data"], stored["user_id"], stored["created_at"]) == ([2], "bot", told["timestamp"])
    assert await world.realtime.presence("chat/general") == []


async def test_a_topic_that_names_nothing_is_refused(world: Any):
    with pytest.raises(RealtimeError, match="names nothing"):
        await world.realtime.publish("/", "m", 1)


def test_a_topic_class_that_is_not_exported_is_named():
    settings = RealtimeSettings("demo", topics=(TopicClass("chat/*", "ChatRoom"),))
    with pytest.raises(ValueError, match="'ChatRoom' is not exported by the Worker; exported: TopicObject"):
        Realtime(settings, {"TopicObject": object()})


async def test_retention_follows_the_settings(start: Any):
    world = await start(history_limit=2)
    for number in range(4):
        await world.realtime.publish("chat/x", "m", number, persist=True)
    assert [message["data"] for message in await world.realtime.history("chat/x")] == [3, 2]
