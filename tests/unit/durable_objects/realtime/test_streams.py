from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from durable_objects.realtime import TopicObject
from durable_objects.realtime.core.delivery import merge_tokens
from durable_objects.realtime.core.settings import TopicClass


class Producer:
    """Tokens that are given one by one, and what became of the iteration."""

    def __init__(self) -> None:
        self.tokens: asyncio.Queue[str | Exception | None] = asyncio.Queue()
        self.is_closed = asyncio.Event()

    def give(self, *tokens: str | Exception | None) -> None:
        for token in tokens:
            self.tokens.put_nowait(token)

    async def __aiter__(self) -> AsyncIterator[str]:
        try:
            while (token := await self.tokens.get()) is not None:
                if isinstance(token, Exception):
                    raise token
                yield token
        finally:
            self.is_closed.set()


async def data(client: Any, event: str) -> Any:
    frame = await client.next()
    assert (frame["type"], frame.get("event")) == ("event", event), frame
    return frame["data"]


async def v1(world: Any, query: str = "") -> Any:
    client = await world.connect(query, protocols="flarelet-v1")
    assert (await client.next())["type"] == "welcome"
    return client


async def test_a_stream_is_told_token_by_token_and_to_a_newcomer_in_one(world: Any):
    viewer, producer = await world.connect(), Producer()
    await viewer.subscribe("ai-chat/1")
    async with asyncio.TaskGroup() as group:
        run = group.create_task(world.realtime.stream("ai-chat/1", producer, id="s"))
        producer.give("He", "llo")
        assert await data(viewer, "ai:token") == {"token": "He", "stream": "s", "index": 0}
        assert await data(viewer, "ai:token") == {"token": "llo", "stream": "s", "index": 1}
        late = await world.connect()
        await late.subscribe("ai-chat/1")
        assert await data(late, "ai:token") == {"token": "Hello", "stream": "s", "index": 0, "lastIndex": 1}
        producer.give("!", None)
        for client in (viewer, late):
            assert await data(client, "ai:token") == {"token": "!", "stream": "s", "index": 2}
            assert await data(client, "ai:done") == {"stream": "s", "reason": "done", "tokens": 3}
    assert run.result() == {"stream": "s", "reason": "done", "tokens": 3, "text": "Hello!"}
    last = await world.connect()
    await last.subscribe("ai-chat/1")
    assert await last.quiet() == []


async def test_a_plain_list_of_tokens_can_be_streamed_and_stored(world: Any):
    viewer = await world.connect()
    await viewer.subscribe("ai-chat/1")
    ended = await world.realtime.stream("ai-chat/1", ["a", "b"], id="s", persist=True, user_id="bot")
    assert ended["text"] == "ab"
    frames = [await viewer.next() for _ in range(3)]
    assert [(frame["event"], frame["userId"]) for frame in frames] == [
        ("ai:token", "bot"),
        ("ai:token", "bot"),
        ("ai:done", "bot"),
    ]
    (stored,) = await world.realtime.history("ai-chat/1")
    assert (stored["event"], stored["data"]["text"]) == ("ai:done", "ab")


async def test_a_client_cancels_a_stream_where_it_waits(world: Any):
    client, producer = await v1(world), Producer()
    await client.subscribe("ai-chat/1")
    await client.next()  # who is present
    async with asyncio.TaskGroup() as group:
        run = group.create_task(world.realtime.stream("ai-chat/1", producer, id="s"))
        producer.give("a")
        await data(client, "ai:token")
        client.send({"type": "cancel", "topic": "ai-chat/1", "stream": "nope"})
        assert (await client.next())["name"] == "NO_SUCH_STREAM"
        client.send({"type": "cancel", "topic": "ai-chat/1", "stream": "s"})
        assert await data(client, "ai:done") == {"stream": "s", "reason": "cancelled", "tokens": 1}
    assert run.result()["reason"] == "cancelled"
    assert producer.is_closed.is_set()


async def test_a_public_client_cancels_by_an_event(world: Any):
    client, producer = await world.connect(), Producer()
    await client.subscribe("ai-chat/1")
    async with asyncio.TaskGroup() as group:
        group.create_task(world.realtime.stream("ai-chat/1", producer, id="s"))
        producer.give("a")
        await data(client, "ai:token")
        client.send({"type": "publish", "topic": "ai-chat/1", "event": "ai:cancel", "data": {"stream": "s"}})
        assert await data(client, "ai:cancel") == {"stream": "s"}
        assert (await data(client, "ai:done"))["reason"] == "cancelled"
    assert producer.is_closed.is_set()


async def test_the_server_cancels_a_stream(world: Any):
    producer = Producer()
    async with asyncio.TaskGroup() as group:
        run = group.create_task(world.realtime.stream("ai-chat/1", producer, id="s"))
        client = await world.connect()
        await client.subscribe("ai-chat/1")
        producer.give("a")
        await data(client, "ai:token")
        await world.realtime.cancel_stream("ai-chat/1", "s")
    assert run.result()["reason"] == "cancelled"
    await world.realtime.cancel_stream("ai-chat/1", "s")


async def test_a_producer_that_fails_is_told_without_its_reason(world: Any):
    client, producer = await world.connect(), Producer()
    await client.subscribe("ai-chat/1")
    producer.give("a", ValueError("the key is sk_hush"))
    with pytest.raises(ValueError, match="sk_hush"):
        await world.realtime.stream("ai-chat/1", producer, id="s")
    await data(client, "ai:token")
    assert await data(client, "ai:error") == {"stream": "s", "message": "the stream failed"}
    assert (await data(client, "ai:done"))["reason"] == "error"


async def test_what_is_no_text_is_the_producer_s_mistake(world: Any):
    with pytest.raises(TypeError, match="int, but must be a str"):
        await world.realtime.stream("ai-chat/1", [1])


async def test_a_producer_that_is_given_up_ends_its_stream(world: Any):
    client, producer = await world.connect(), Producer()
    await client.subscribe("ai-chat/1")
    async with asyncio.TaskGroup() as group:
        run = group.create_task(world.realtime.stream("ai-chat/1", producer, id="s"))
        producer.give("a")
        await data(client, "ai:token")
        run.cancel()
    assert (await data(client, "ai:done"))["reason"] == "cancelled"
    assert producer.is_closed.is_set()


async def test_a_stream_may_end_with_its_last_viewer_but_not_while_a_page_is_loaded_again(world: Any):
    viewer, producer = await world.connect(), Producer()
    await viewer.subscribe("ai-chat/1")
    async with asyncio.TaskGroup() as group:
        run = group.create_task(
            world.realtime.stream(
                "ai-chat/1", producer, id="s", without_viewers="cancel", viewer_grace_s=0.2, persist=True
            )
        )
        producer.give("a")
        await data(viewer, "ai:token")
        viewer.close()
        again = await world.connect()
        await again.subscribe("ai-chat/1")
        assert (await data(again, "ai:token"))["token"] == "a"
        producer.give("b")
        assert (await data(again, "ai:token"))["token"] == "b"
        again.abort()
    assert (run.result()["reason"], run.result()["text"]) == ("no-viewers", "ab")
    (stored,) = await world.realtime.history("ai-chat/1")
    assert stored["data"]["text"] == "ab"


async def test_a_stream_goes_on_when_its_topic_s_object_begins_anew(start: Any):
    class Room(TopicObject):
        def fall(self) -> None:
            self.ctx.abort("on purpose")

    world = await start({"Room": Room}, topics=(TopicClass("ai-chat/*", "Room"),))
    client, producer = await world.connect(), Producer()
    await client.subscribe("ai-chat/1")
    async with asyncio.TaskGroup() as group:
        run = group.create_task(world.realtime.stream("ai-chat/1", producer, id="s"))
        producer.give("a")
        await data(client, "ai:token")
        with pytest.raises(Exception, match="on purpose"):
            await world.namespaces["Room"].getByName("ai-chat/1").fall()
        await client.quiet()
        producer.give("b", None)
        late = await world.connect()
        await late.subscribe("ai-chat/1")
    assert run.result()["text"] == "ab"


async def test_a_topic_class_streams_in_answer_to_a_question(start: Any):
    class Bot(TopicObject):
        def on_publish(self, connection: Any, event: str, data: Any) -> None:
            if event == "ask":
                self.ctx.waitUntil(self.stream(self.answer(data), id="s"))

        async def answer(self, question: str) -> AsyncIterator[str]:
            for word in question.split():
                yield word[::-1]

    world = await start({"Bot": Bot}, topics=(TopicClass("ai-chat/*", "Bot"),))
    client = await world.connect()
    await client.subscribe("ai-chat/1")
    client.send({"type": "publish", "topic": "ai-chat/1", "event": "ask", "data": "abc de"})
    await data(client, "ask")
    assert [(await data(client, "ai:token"))["token"] for _ in range(2)] == ["cba", "ed"]
    assert (await data(client, "ai:done"))["reason"] == "done"


async def test_who_may_cancel_is_decided_by_rules_and_the_topic_class(start: Any):
    class Room(TopicObject):
        def authorize(self, connection: Any, action: str) -> bool:
            return action != "cancel"

    world = await start({"Room": Room}, topics=(TopicClass("ai-chat/*", "Room"),))
    client = await v1(world)
    assert (await client.ask({"type": "cancel", "topic": "ai-chat/1", "stream": "s"}))["name"] == "REFUSED"


async def test_tokens_that_wait_for_a_slow_reader_are_merged(world: Any):
    viewer = await world.connect()
    await viewer.subscribe("ai-chat/1")
    await world.realtime.stream("ai-chat/1", ["a", "b", "c"], id="s")
    frames = [await viewer.text() for _ in range(4)]
    import json

    merged = [json.loads(frame) for frame in merge_tokens(frames)]
    assert [frame["data"] for frame in merged] == [
        {"token": "abc", "stream": "s", "index": 0, "lastIndex": 2},
        {"stream": "s", "reason": "done", "tokens": 3},
    ]


async def test_a_stream_keeps_its_object_awake_and_ends_when_its_producer_is_gone(world: Any):
    client = await world.connect()
    await client.subscribe("ai-chat/1")
    stub = world.namespaces["TopicObject"].getByName("ai-chat/1")
    await stub.open_stream("s", {"idle_s": 0.2})
    await stub.stream_tokens("s", ["a"])
    assert (await data(client, "ai:token"))["token"] == "a"
    (picture,) = [each for each in world.host.objects() if each.name == "ai-chat/1"]
    assert picture.obstacle == "waitUntil"
    assert await data(client, "ai:done") == {"stream": "s", "reason": "abandoned", "tokens": 1}
    assert await stub.stream_over("s") == "unknown"
    (picture,) = [each for each in world.host.objects() if each.name == "ai-chat/1"]
    assert picture.obstacle is None


async def test_an_object_that_leaves_memory_says_nothing_any_more(world: Any):
    client = await world.connect()
    await client.subscribe("ai-chat/1")
    stub = world.namespaces["TopicObject"].getByName("ai-chat/1")
    await stub.open_stream("s", {"idle_s": 0.05})
    await stub.stream_tokens("s", ["a"])
    await data(client, "ai:token")
    await world.evict("ai-chat/1")
    await asyncio.sleep(0.1)  # longer than the producer may be silent
    assert await client.quiet() == []
    assert await stub.stream_tokens("s", ["b"]) == "unknown"
