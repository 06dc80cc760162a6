"""Presence against a reference model, while connections crash, fall silent, objects sleep and the server restarts."""

from __future__ import annotations

import asyncio
import json
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

ROOM = "room/1"
slots = st.integers(0, 3)
users = st.sampled_from(["ann", "bob"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("track"), slots, users, st.integers(0, 2)),
        st.tuples(st.just("untrack"), slots),
        st.tuples(st.sampled_from(["crash", "leave", "silent"]), slots),
        st.tuples(st.sampled_from(["sleep", "restart"])),
    ),
    max_size=20,
)


class Clock:
    def __init__(self) -> None:
        self.at_ms = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.at_ms


class Socket:
    """A client's end: what it is told, and the picture of presence that it makes of it."""

    def __init__(self, end: Any) -> None:
        self.port = take(end, self)
        self.present: dict[str, Any] = {}
        self.version = -1
        self.is_closed = False
        self.answered = False

    def message(self, data: str | bytes) -> None:
        frame = json.loads(data)
        if frame["type"] != "presence":
            return
        self.answered = self.answered or "id" in frame
        if frame["kind"] == "snapshot":
            self.present = {member["userId"]: member["state"] for member in frame["users"]}
        else:
            assert frame["version"] == self.version + 1
            for member in frame["joins"]:
                assert member["userId"] not in self.present
            for member in (*frame["joins"], *frame["updates"]):
                self.present[member["userId"]] = member["state"]
            for user in frame["leaves"]:
                del self.present[user]
        self.version = frame["version"]
        assert frame["occupancy"]["users"] == len(self.present)

    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        self.is_closed = True

    def send(self, **frame: Any) -> None:
        self.port.send(json.dumps(frame))


class World:
    """A server that can restart, and a client that watches."""

    def __init__(self, root: Path) -> None:
        self.root, self.clock = root, Clock()
        self.connections: dict[int, tuple[str, Socket]] = {}
        self.model: dict[str, dict[int, Any]] = {}

    async def start(self) -> None:
        self.host = Host(self.root, random=Random(1))
        self.namespace = self.host.namespace(ObjectClass("w-TopicObject", TopicObject, None))
        given = RealtimeSettings("demo", presence_grace_s=0.0, session_grace_s=0.0)
        self.realtime = Realtime(given, {"TopicObject": self.namespace}, None, clock=self.clock, random=Random(2))
        await self.host.start()
        self.watcher = await self.connect("watcher")
        self.watcher.send(type="subscribe", topic=ROOM)

    async def connect(self, user: str) -> Socket:
        headers = {"Upgrade": "websocket", "Sec-WebSocket-Protocol": "flarelet-v1"}
        request = Request(f"http://localhost/api/realtime?userId={user}", headers=headers)
        answer = await self.realtime.answer(request)
        assert answer is not None
        return Socket(answer.web_socket)

    async def stop(self) -> None:
        await self.realtime.close()
        await self.host.close()

    async def step(self, kind: str, args: tuple[Any, ...]) -> None:
        if kind == "restart":
            await self.stop()
            self.connections.clear()
            self.model.clear()
            await self.start()
        elif kind == "sleep":
            for _ in range(50):
                await asyncio.sleep(0)
            await self.host.evict(self.namespace, self.namespace.idFromName(ROOM), close_sockets=False)
        elif kind == "track":
            slot, user, number = args
            if slot not in self.connections:
                self.connections[slot] = user, await self.connect(user)
            user, socket = self.connections[slot]
            socket.send(type="track", topic=ROOM, state={"n": number})
            self.model.setdefault(user, {}).pop(slot, None)
            self.model[user][slot] = {"n": number}
        elif args[0] in self.connections:
            self.end(kind, args[0])

    def end(self, kind: str, slot: int) -> None:
        user, socket = self.connections[slot]
        if kind == "untrack":
            socket.send(type="untrack", topic=ROOM)
        else:
            del self.connections[slot]
            if kind == "silent":
                self.fall_silent(socket)
            else:
                (socket.port.abort if kind == "crash" else socket.port.close)()
        self.model.get(user, {}).pop(slot, None)
        if not self.model.get(user):
            self.model.pop(user, None)

    def fall_silent(self, silent: Socket) -> None:
        self.clock.at_ms += 71_000
        for socket in (self.watcher, *(each for _, each in self.connections.values())):
            socket.send(type="ping")
        self.realtime._keeper._sweep()
        assert silent.is_closed

    def expected(self) -> dict[str, Any]:
        return {user: list(states.values())[-1] for user, states in self.model.items()}

    async def heard(self, socket: Socket) -> None:
        """Wait until the topic has acted on what a connection sent."""
        socket.answered = False
        socket.send(type="presence", topic=ROOM, id="q")
        for _ in range(2_000):
            if socket.answered:
                return
            await asyncio.sleep(0)
        raise AssertionError("a question was not answered")

    async def settled(self) -> None:
        for _, socket in self.connections.values():
            await self.heard(socket)
        for _ in range(2_000):
            if self.watcher.present == self.expected() and self.watcher.version >= 0:
                break
            await asyncio.sleep(0)
        assert self.watcher.present == self.expected()
        told = {user["userId"]: user["state"] for user in await self.realtime.presence(ROOM)}
        assert told == self.expected()


async def live(moves: list[tuple[Any, ...]], root: Path) -> None:
    world = World(root)
    await world.start()
    try:
        for kind, *args in moves:
            await world.step(kind, tuple(args))
            await world.settled()
    finally:
        await world.stop()


@settings(max_examples=40, deadline=None)
@given(steps)
def test_whoever_watches_sees_who_is_there(moves: list[tuple[Any, ...]]):
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(live(moves, Path(directory)))
