from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from durable_objects.realtime.core.access import Connection
from durable_objects.realtime.core.codes import Code, RealtimeError
from durable_objects.realtime.core.names import TopicName
from durable_objects.realtime.core.settings import RealtimeSettings
from durable_objects.realtime.link import Link
from durable_objects.realtime.tasks import Tasks
from workers.compat.websocket import WebSocketPair, take


class Topic:
    """The object's end of legs: remembers commands, answers nothing."""

    def __init__(self) -> None:
        self.commands: asyncio.Queue[str] = asyncio.Queue()
        self.ports: list[Any] = []
        self.closed_with: list[int] = []

    async def expect_leg(self, attachment: str, limits: object) -> None:
        """Accept everybody."""

    async def fetch(self, url: str, headers: dict[str, str]) -> Any:
        client, server = WebSocketPair()
        self.ports.append(take(server, self))
        return SimpleNamespace(web_socket=client, status=101)

    def message(self, data: str | bytes) -> None:
        self.commands.put_nowait(str(data))

    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        self.closed_with.append(code)


class Client:
    def __init__(self) -> None:
        self.identity = Connection("c")
        self.sent: list[Any] = []
        self.told: list[RealtimeError] = []
        self.closed_with: list[int] = []
        self.send = self.sent.append

    def tell(self, error: RealtimeError) -> None:
        self.told.append(error)

    def close(self, code: int, reason: str) -> None:
        self.closed_with.append(code)

    def link_failed(self, topic: str, link: object) -> None:
        """Nothing is kept here."""


def link_to(topic: Topic, client: Client, **limits: int) -> Link:
    directory = SimpleNamespace(
        settings=RealtimeSettings("demo", **limits),  # type: ignore[arg-type]
        tasks=Tasks(),
        tables=None,
        clock=SimpleNamespace(now_ms=lambda: 5),
        new_id=lambda: "leg",
        stub=lambda name: topic,
        limits=lambda name: {},
    )
    return Link(directory, client, TopicName("a/b"))  # type: ignore[arg-type]


async def commands(topic: Topic, count: int) -> list[str]:
    async with asyncio.timeout(5):
        return [await topic.commands.get() for _ in range(count)]


async def test_what_is_asked_while_the_leg_opens_is_sent_in_order_once_it_is_open():
    topic = Topic()
    link = link_to(topic, Client())
    link.open()
    link.subscribe("a/b")
    link.publish({"do": "publish", "event": "e"}, '{"x":1}')
    assert await commands(topic, 2) == ['{"do":"subscribe","as":"a/b"}', '{"do":"publish","event":"e","at":5}\n{"x":1}']


async def test_only_so_much_may_wait_for_a_leg_to_open():
    link = link_to(Topic(), Client(), max_waiting=2)
    link.subscribe("a/b")
    link.subscribe("a/b/")
    with pytest.raises(RealtimeError) as caught:
        link.subscribe("a/b//")
    assert caught.value.code is Code.OVERLOADED
    assert list(link.spellings) == ["a/b", "a/b/"]


async def test_frames_pass_as_the_very_object_the_topic_sent():
    topic, client = Topic(), Client()
    link = link_to(topic, client)
    link.open()
    link.subscribe("a/b")
    await commands(topic, 1)
    text = "".join(["fra", "me"])
    topic.ports[0].send(text)
    assert client.sent[0] is text


async def test_letting_go_asks_the_topic_to_end_the_leg_and_still_forwards():
    topic, client = Topic(), Client()
    link = link_to(topic, client)
    link.open()
    link.subscribe("a/b")
    assert link.unsubscribe("a/b")
    assert (await commands(topic, 2))[1] == '{"do":"leave"}'
    topic.ports[0].send("late")
    topic.ports[0].close(1000)
    assert client.sent == ["late"]
    await asyncio.sleep(0)
    assert len(topic.ports) == 1


async def test_a_link_whose_client_is_gone_closes_its_leg_and_forwards_nothing():
    topic, client = Topic(), Client()
    link = link_to(topic, client)
    link.open()
    link.subscribe("a/b")
    await commands(topic, 1)
    link.end(4001)
    topic.ports[0].send("late")
    assert (topic.closed_with, client.sent) == ([4001], [])


async def test_a_lost_leg_is_opened_again_with_its_subscriptions_and_presence():
    topic, client = Topic(), Client()
    link = link_to(topic, client)
    link.open()
    link.subscribe("a/b")
    link.track("a/b", {"x": 1})
    await commands(topic, 2)
    topic.ports[0].abort()
    again = await commands(topic, 2)
    assert again == [
        '{"do":"subscribe","as":"a/b","quiet":true}',
        '{"do":"track","as":"a/b","state":{"x":1},"at":5}',
    ]


async def test_a_server_that_restarts_closes_the_client():
    topic, client = Topic(), Client()
    link = link_to(topic, client)
    link.open()
    link.subscribe("a/b")
    await commands(topic, 1)
    topic.ports[0].close(1012)
    assert client.closed_with == [1012]
