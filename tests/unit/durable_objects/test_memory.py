"""What leaves memory with an instance, and what stays."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from workers import DurableObject, Response
from workers.compat.proxies import JsException
from workers.compat.timers import clearInterval, clearTimeout, setInterval, setTimeout
from workers.compat.websocket import WebSocketPair


class Heavy:
    """Something an instance holds; only weak references tell whether it still exists."""


class Room(DurableObject):
    def __init__(self, ctx: Any, env: Any) -> None:
        super().__init__(ctx, env)
        self.heavy = Heavy()
        self.seen: list[Any] = []
        env["instances"].append(weakref.ref(self))
        env["heavy"].append(weakref.ref(self.heavy))
        env["log"].append("constructor")

    async def fetch(self, request: Any) -> Response:
        client, server = WebSocketPair()
        tag = request.url.removeprefix("http://object/")
        self.ctx.acceptWebSocket(server, [tag])
        server.serializeAttachment(int(tag))
        server.owner = self  # an ad-hoc attribute: lost, with what it holds
        server.addEventListener("message", lambda _event: self.heavy)
        self.ctx.getWebSockets()
        return Response(None, status=101, web_socket=client)

    def webSocketMessage(self, ws: Any, message: Any) -> None:
        self.env["log"].append((ws.deserializeAttachment(), message))
        assert not hasattr(ws, "owner") or message == "awake"

    async def touch(self) -> None:
        await self.ctx.storage.put("k", 1)
        await self.ctx.storage.transaction(self._inside)
        await self.ctx.blockConcurrencyWhile(self._inside)

    async def _inside(self, *_transaction: Any) -> None:
        await self.ctx.storage.put("k", 2)

    async def fail(self) -> None:
        raise ValueError(self.heavy.__class__.__name__)

    async def end(self) -> None:
        self.ctx.abort("ended")

    async def block(self) -> None:
        async def failing() -> None:
            raise ValueError(self.heavy.__class__.__name__)

        await self.ctx.blockConcurrencyWhile(failing)

    def order(self) -> list[int]:
        return [ws.deserializeAttachment() for ws in self.ctx.getWebSockets()]

    def later(self, seconds: float) -> None:
        setTimeout(lambda: self.env["log"].append("rang"), seconds * 1000)

    def cancelled(self, seconds: float) -> None:
        clearTimeout(setTimeout(lambda: self.env["log"].append("rang"), seconds * 1000))

    def every(self, seconds: float, times: int) -> None:
        def tick() -> None:
            self.seen.append("tick")
            self.env["log"].append("tick")
            if len(self.seen) == times:
                clearInterval(number)

        number = setInterval(tick, seconds * 1000)


@pytest.fixture
def env() -> dict[str, list[Any]]:
    return {"instances": [], "heavy": [], "log": []}


def _gone(env: dict[str, list[Any]]) -> bool:
    gc.collect()
    return all(ref() is None for ref in (*env["instances"], *env["heavy"]))


def test_an_evicted_instance_leaves_memory_although_its_stub_is_held(play: Any, env: Any):
    async def story(rig: Any) -> None:
        stub = rig.namespace(Room, env=env).getByName("a")
        await stub.touch()
        with pytest.raises(ValueError, match="Heavy"):
            await stub.fail()
        await asyncio.sleep(9.9)
        assert not _gone(env)
        await asyncio.sleep(0.2)
        assert _gone(env)
        await stub.touch()
        assert env["log"] == ["constructor"] * 2

    play(story)


def test_a_hibernating_instance_leaves_memory_although_its_sockets_are_open(play: Any, env: Any, connect: Any):
    async def story(rig: Any) -> None:
        stub = rig.namespace(Room, env=env).getByName("a")
        ports = [(await connect(stub, f"http://object/{number}"))[0] for number in range(3)]
        ports[0].send("awake")
        await asyncio.sleep(10.1)
        assert _gone(env)
        assert rig.host.objects()[0].sockets == 3
        ports[1].send("hello")
        await asyncio.sleep(0.1)
        assert env["log"] == ["constructor", (0, "awake"), "constructor", (1, "hello")]
        assert await stub.order() == [2, 1, 0]

    play(story)


def test_a_reset_instance_leaves_memory(play: Any, env: Any):
    async def story(rig: Any) -> None:
        stub = rig.namespace(Room, env=env).getByName("a")
        with pytest.raises(JsException, match="ended"):
            await stub.end()
        await asyncio.sleep(0)
        assert _gone(env)
        with pytest.raises(JsException, match="ended"):
            await stub.touch()

    play(story)


def test_an_instance_that_broke_leaves_memory(play: Any, env: Any):
    async def story(rig: Any) -> None:
        stub = rig.namespace(Room, env=env).getByName("a")
        with pytest.raises(ValueError, match="Heavy"):
            await stub.block()
        await asyncio.sleep(0)
        assert _gone(env)
        with pytest.raises(ValueError, match="Heavy"):
            await stub.touch()

    play(story)


def test_ten_thousand_idle_sockets_hibernate_stay_and_wake_in_order(play: Any, env: Any, connect: Any):
    count = 10_000

    async def story(rig: Any) -> None:
        stub = rig.namespace(Room, env=env).getByName("a")
        connected = [await connect(stub, f"http://object/{number}") for number in range(count)]
        await asyncio.sleep(10.1)
        assert _gone(env)
        (asleep,) = rig.host.objects()
        assert (asleep.is_awake, asleep.sockets) == (False, count)
        for number in (7, 9_999, 0, 7):  # all in one round of the loop: the first wakes it, all are heard in order
            connected[number][0].send(f"from {number}")
        await asyncio.sleep(0.1)
        heard = [(7, "from 7"), (9_999, "from 9999"), (0, "from 0"), (7, "from 7")]
        assert env["log"] == ["constructor", "constructor", *heard]
        assert await stub.order() == list(reversed(range(count)))
        assert not [sink.closes for _, sink in connected if sink.closes]

    play(story)


def test_a_timer_keeps_its_object_in_memory_until_it_has_rung(play: Any, env: Any):
    async def story(rig: Any) -> None:
        stub = rig.namespace(Room, env=env).getByName("a")
        await stub.later(30)
        await asyncio.sleep(11)
        assert rig.host.objects()[0].obstacle == "timers"
        await asyncio.sleep(20)
        assert env["log"] == ["constructor", "rang"]
        await asyncio.sleep(141)
        assert _gone(env)

    play(story)


def test_a_timer_that_was_cancelled_keeps_nothing(play: Any, env: Any):
    async def story(rig: Any) -> None:
        stub = rig.namespace(Room, env=env).getByName("a")
        await stub.cancelled(30)
        await asyncio.sleep(10.1)
        assert _gone(env)
        await stub.every(1, 3)
        await asyncio.sleep(2.5)
        assert rig.host.objects()[0].obstacle == "timers"
        await asyncio.sleep(1)
        assert rig.host.objects()[0].obstacle is None
        assert env["log"].count("tick") == 3

    play(story)


def test_a_timer_does_not_ring_in_an_instance_that_is_gone(play: Any, env: Any):
    async def story(rig: Any) -> None:
        stub = rig.namespace(Room, env=env).getByName("a")
        await stub.later(500)
        await asyncio.sleep(141)
        assert rig.host.objects() == []
        await asyncio.sleep(500)
        assert env["log"] == ["constructor"]
        assert _gone(env)

    play(story)
