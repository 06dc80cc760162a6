"""The server's own client against the real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from flarelet_client import FlareletClient, RealtimeError, RealtimeServer


class Heard:
    """Events of a topic, in order."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Any] = asyncio.Queue()

    async def next(self) -> Any:
        async with asyncio.timeout(10):
            return await self.events.get()


async def follow(client: FlareletClient, topic: str) -> Heard:
    heard = Heard()
    channel = client.realtime.channel(topic)
    channel.on("*", heard.events.put_nowait)
    await channel.subscribe()
    return heard


async def test_a_process_publishes_asks_and_queries(server: Any):
    async with RealtimeServer(server.url) as far, FlareletClient("demo", server.url) as client:
        heard = await follow(client, "orders/7")
        assert await far.publish("orders/7", "paid", {"n": 1}) is None
        assert (await heard.next()).data == {"n": 1}
        stored = await far.publish("orders/7", "paid", {"n": 2}, persist=True, user_id="shop")
        assert stored is not None
        assert (await heard.next()).data == {"n": 2}
        assert [message["id"] for message in await far.history("orders/7")] == [stored["id"]]
        assert await far.presence("orders/7") == []
        await far.query("CREATE TABLE IF NOT EXISTS things (id INTEGER PRIMARY KEY, name TEXT)")
        assert await far.query("INSERT INTO things (name) VALUES (?) RETURNING id", ["a"]) == [{"id": 1}]
        with pytest.raises(RealtimeError, match="no such table"):
            await far.query("SELECT * FROM absent")


async def test_a_process_streams_tokens_and_a_viewer_cancels(server: Any):
    given: asyncio.Queue[str] = asyncio.Queue()
    is_closed = asyncio.Event()

    async def tokens() -> AsyncIterator[str]:
        try:
            while True:
                yield await given.get()
        finally:
            is_closed.set()

    async with RealtimeServer(server.url) as far, FlareletClient("demo", server.url) as client:
        heard = await follow(client, "ai-chat/1")
        ended = await far.stream("ai-chat/1", [f"w{number} " for number in range(200)])
        assert (ended["reason"], ended["tokens"]) == ("done", 200)
        told = [(await heard.next()).data for _ in range(201)]
        assert "".join([data.get("token", "") for data in told]) == ended["text"]
        async with asyncio.TaskGroup() as group:
            run = group.create_task(far.stream("ai-chat/1", tokens()))
            given.put_nowait("a")
            assert (await heard.next()).data["token"] == "a"
            client.realtime.channel("ai-chat/1").publish("ai:cancel", {})
        assert (run.result()["reason"], run.result()["text"]) == ("cancelled", "a")
        assert is_closed.is_set()


async def test_a_producer_that_fails_is_told_to_viewers_without_its_reason(server: Any):
    async def tokens() -> AsyncIterator[str]:
        yield "a"
        raise ValueError("secret")

    async with RealtimeServer(server.url) as far, FlareletClient("demo", server.url) as client:
        heard = await follow(client, "ai-chat/2")
        with pytest.raises(ValueError, match="secret"):
            await far.stream("ai-chat/2", tokens())
        told = [await heard.next() for _ in range(2)]
        assert {event.event for event in told} <= {"ai:token", "ai:error", "ai:done"}
        assert "secret" not in str([event.data for event in told])


async def test_a_server_that_is_not_there_is_told_as_worth_retrying():
    async with RealtimeServer("http://127.0.0.1:9") as far:
        with pytest.raises(RealtimeError) as caught:
            await far.presence("a/b")
    assert (caught.value.name, caught.value.retry) == ("CONNECT_FAILED", True)
