"""Whatever clients send, in any order, the server answers, stays up and keeps what it promised."""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from durable_objects.host import Host, ObjectClass
from durable_objects.realtime.binding import Realtime
from durable_objects.realtime.core.settings import RealtimeSettings
from durable_objects.realtime.topic_object import TopicObject
from workers.compat.websocket import take
from workers.request import Request

topics = st.sampled_from(["room/1", "room/1/", "room/1/demo", "room/2"]) | st.text(max_size=4)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(float("1e999")),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
frames = st.one_of(
    st.builds(lambda topic: {"type": "subscribe", "topic": topic}, topics),
    st.builds(lambda topic: {"type": "unsubscribe", "topic": topic}, topics),
    st.builds(lambda topic: {"type": "untrack", "topic": topic}, topics),
    st.builds(lambda topic, state: {"type": "track", "topic": topic, "state": {"s": state}}, topics, values),
    st.builds(
        lambda topic, data, keep: {"type": "publish", "topic": topic, "event": "e", "data": data, "persist": keep},
        topics,
        values,
        st.booleans(),
    ),
    st.builds(lambda room: {"type": "chat", "roomId": room, "text": room}, st.text(max_size=3)),
    values,
)
scripts = st.lists(st.tuples(st.integers(0, 2), frames), max_size=25)


class Client:
    def __init__(self, web_socket: Any) -> None:
        self.frames: list[dict[str, Any]] = []
        self.port = take(web_socket, self)
        self.is_ready = asyncio.Event()
        self.is_done = asyncio.Event()

    def message(self, data: str | bytes) -> None:
        frame = json.loads(data)
        self.frames.append(frame)
        if len(self.frames) == 2:
            self.is_ready.set()
        if frame.get("event") == "the end":
            self.is_done.set()

    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        raise AssertionError(f"the server closed the connection with {code}")


def expected_events(script: list[tuple[int, Any]]) -> dict[int, int]:
    """How many events published to room/1 each client must have received under the spelling `room/1`."""
    subscribed: set[int] = set()
    heard = dict.fromkeys(range(3), 0)
    for who, frame in script:
        if not isinstance(frame, dict) or frame.get("type") not in ("subscribe", "unsubscribe", "publish"):
            continue
        if frame["type"] == "publish":
            if str(frame["topic"]).rstrip("/").removesuffix("/demo") == "room/1" and "Infinity" not in json.dumps(
                frame["data"]
            ):
                for client in subscribed:
                    heard[client] += 1
        elif frame["topic"] == "room/1":
            (subscribed.add if frame["type"] == "subscribe" else subscribed.discard)(who)
    return heard


async def play(script: list[tuple[int, Any]], root: Path) -> None:
    host = Host(root, random=Random(1))
    namespace = host.namespace(ObjectClass("w-TopicObject", TopicObject, None))
    realtime = Realtime(RealtimeSettings("demo"), {"TopicObject": namespace}, random=Random(2))
    clients: list[Client] = []
    for _ in range(3):
        answer = await realtime.fetch(Request("http://localhost/api/realtime", headers={"Upgrade": "websocket"}))
        clients.append(Client(answer.web_socket))
    # All links to the rooms are open before, so that the order in which clients spoke is the order of the topic.
    for client in clients:
        for room in ("room/1", "room/2"):
            client.port.send(json.dumps({"type": "publish", "topic": room, "event": "begin", "id": room}))
    async with asyncio.timeout(10):
        for client in clients:
            await client.is_ready.wait()
    for who, frame in script:
        clients[who].port.send(json.dumps(frame).replace("Infinity", "1e999"))
    for client in clients:
        client.port.send(json.dumps({"type": "subscribe", "topic": "room/1/end"}))
        client.port.send(json.dumps({"type": "publish", "topic": "room/1/end", "event": "the end"}))
    async with asyncio.timeout(10):
        for client in clients:
            await client.is_done.wait()
        # A call to the room comes after every frame that was sent to it.
        for room in ("room/1", "room/2"):
            await realtime.presence(room)
    check(script, clients)
    for client in clients:
        client.closed = lambda *_: None  # type: ignore[method-assign]
    await realtime.close()
    await host.close()


def check(script: list[tuple[int, Any]], clients: list[Client]) -> None:
    # Who unsubscribed lets the link go; a later subscription counts from its confirmation on, not from its frame.
    left = {who for who, frame in script if isinstance(frame, dict) and frame.get("type") == "unsubscribe"}
    for number, count in expected_events(script).items():
        heard = [
            frame
            for frame in clients[number].frames
            if frame["type"] == "event" and frame["topic"] == "room/1" and frame["event"] == "e"
        ]
        assert len(heard) <= count if number in left else len(heard) == count
        offsets = [frame["offset"] for frame in heard if "offset" in frame]
        assert offsets == sorted(set(offsets))


@settings(max_examples=80, deadline=None)
@given(scripts)
def test_any_script_of_frames_is_answered_and_every_subscriber_hears_what_was_published(
    script: list[tuple[int, Any]],
):
    logging.getLogger("durable_objects.realtime.gateway").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(play(script, Path(directory)))
