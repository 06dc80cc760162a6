from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest

from durable_objects.realtime.core.settings import AccessRule

SSE = "/api/realtime/sse"


class Stream:
    """Events of a stream, read one by one."""

    def __init__(self, response: Any) -> None:
        assert response.status == 200
        assert response.headers["content-type"] == "text/event-stream"
        self.headers = response.headers
        self._chunks = aiter(response.js_object.body)
        self._text = ""
        self.id = ""

    async def block(self) -> str:
        while "\n\n" not in self._text:
            async with asyncio.timeout(5):
                self._text += bytes(await anext(self._chunks)).decode()
        block, _, self._text = self._text.partition("\n\n")
        return block

    async def next(self) -> dict[str, Any]:
        while not (block := await self.block()).startswith(("data:", "id:")):
            pass
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        self.id = fields.get("id", self.id)
        return json.loads(fields["data"])

    async def rest(self) -> list[dict[str, Any]]:
        """Read until the stream ends."""
        frames: list[dict[str, Any]] = []
        with suppress(StopAsyncIteration):
            while True:
                frames.append(await self.next())
        return frames

    async def leave(self) -> None:
        await self._chunks.aclose()


async def follow(world: Any, query: str, **headers: str) -> Stream:
    return Stream(await world.request(f"{SSE}?{query}", headers=headers))


async def test_a_topic_is_followed(world: Any):
    stream = await follow(world, "topics=chat/a,orders")
    assert await stream.block() == ": flarelet-v1\nretry: 2000"
    assert sorted([(await stream.next())["topic"], (await stream.next())["topic"]]) == ["chat/a", "orders"]
    await world.realtime.publish("chat/a", "m", {"text": "two\nlines é"})
    heard = await stream.next()
    assert (heard["type"], heard["event"], heard["data"]) == ("event", "m", {"text": "two\nlines é"})
    assert stream.id.startswith(f"{heard['epoch']}:{heard['offset']},")
    await stream.leave()
    assert not world.realtime._guards.live


async def test_a_client_that_comes_back_is_told_what_it_missed(world: Any):
    stream = await follow(world, "topics=chat/a,chat/b")
    await stream.next()
    await stream.next()
    await world.realtime.publish("chat/a", "m", 1)
    await stream.next()
    await stream.leave()
    other = await follow(world, "topics=chat/a")  # somebody stays, so that the topic remembers
    await other.next()
    for number in (2, 3):
        await world.realtime.publish("chat/a", "m", number)
    again = await follow(world, "topics=chat/a,chat/b", **{"Last-Event-ID": stream.id})
    told = [await again.next() for _ in range(6)]
    about_a = [frame for frame in told if frame["topic"] == "chat/a"]
    assert [frame["type"] for frame in about_a] == ["subscribed", "recovered", "event", "event"]
    assert [frame["data"] for frame in about_a[2:]] == [2, 3]
    assert [frame["type"] for frame in told if frame["topic"] == "chat/b"] == ["subscribed", "recovered"]


async def test_a_position_of_another_life_is_told_as_a_gap(world: Any):
    stream = await follow(world, "topics=chat/a&lastEventId=old:7")
    assert [(await stream.next())["type"] for _ in range(2)] == ["subscribed", "gap"]


@pytest.mark.parametrize("id", ["nonsense", "a:1,b:2", "-", ":", "a:x", "a:99999999999999999999"])
async def test_an_id_that_means_nothing_begins_anew(world: Any, id: str):
    stream = await follow(world, "topics=chat/a", **{"Last-Event-ID": id})
    assert (await stream.next())["type"] == "subscribed"
    await world.realtime.publish("chat/a", "m", 1)
    assert (await stream.next())["type"] == "event"


async def test_a_refused_subscription_is_an_event_and_a_refused_client_a_status(start: Any):
    rules = (AccessRule("no/*", deny=frozenset({"subscribe"})),)
    world = await start(public_keys=("pk_1",), rules=rules)
    assert (await world.request(f"{SSE}?topics=chat/a")).status == 401
    stream = await follow(world, "topics=no/a&apiKey=pk_1")
    assert (await stream.next())["name"] == "REFUSED"


async def test_without_keys_only_pages_of_this_machine_may_read(world: Any):
    for origin, status in (("http://localhost:3000", 200), ("http://evil.example", 403)):
        response = await world.request(f"{SSE}?topics=chat/a", headers={"Origin": origin, "Host": "localhost:8787"})
        assert response.status == status
        assert response.headers.get("access-control-allow-origin") == (origin if status == 200 else None)


@pytest.mark.parametrize("query", ["", "topics=", "topics=a/b&snapshot=maybe", "topics=a&filter={"])
async def test_a_request_that_cannot_be_meant_is_told_why(world: Any, query: str):
    response = await world.request(f"{SSE}?{query}")
    assert response.status == 400
    assert (await response.json())["message"]


async def test_other_methods_are_refused(world: Any):
    assert (await world.request(f"{SSE}?topics=a/b", method="POST")).status == 405
    assert (await world.request(f"{SSE}?topics=a/b", method="OPTIONS")).status == 204


async def test_a_silent_stream_says_that_it_is_there(world: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("durable_objects.realtime.sse._HEARTBEAT_S", 0.01)
    stream = await follow(world, "topics=chat/a")
    await stream.next()
    assert [await stream.block() for _ in range(2)] == [":", ":"]


async def test_a_reader_that_does_not_keep_up_is_cut_off_and_continues(world: Any):
    stream = await follow(world, "topics=chat/a")
    await stream.next()
    for number in range(30):
        await world.realtime.publish("chat/a", "m", [number, "x" * 100_000])
    assert not world.realtime._guards.live
    heard = [frame["data"][0] for frame in await stream.rest()]
    assert heard == list(range(len(heard)))
    assert 5 < len(heard) < 12


async def test_a_server_that_stops_ends_the_stream(world: Any):
    stream = await follow(world, "topics=chat/a")
    await stream.next()
    await world.host.close()
    await stream.rest()
