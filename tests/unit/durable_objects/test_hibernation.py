from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from durable_objects import WebSocketRequestResponsePair
from workers import DurableObject, Response
from workers.compat.proxies import JsException, JsRangeError, JsTypeError
from workers.compat.websocket import WebSocketPair


class Room(DurableObject):
    made = 0

    def __init__(self, ctx: Any, env: Any) -> None:
        super().__init__(ctx, env)
        type(self).made += 1
        self.events: list[Any] = []

    async def fetch(self, request: Any) -> Response:
        client, server = WebSocketPair()
        path = request.url.removeprefix("http://object/")
        self.ctx.acceptWebSocket(server, [path] if path else None)
        server.serializeAttachment({"path": path})
        return Response(None, status=101, web_socket=client)

    def webSocketMessage(self, ws: Any, message: Any) -> None:
        if message == "name":
            ws.nickname = "ad hoc"
        ws.send(f"{message}:{getattr(ws, 'nickname', '-')}:{ws.deserializeAttachment().path}")

    def webSocketClose(self, ws: Any, code: int) -> None:
        self.events.append(["close", code, len(self.ctx.getWebSockets()), ws.readyState])

    def log(self) -> list[Any]:
        return self.events

    def paths(self, tag: str | None = None) -> list[str]:
        return [ws.deserializeAttachment()["path"] for ws in self.ctx.getWebSockets(tag)]

    def auto(self, request: str | None, response: str = "") -> None:
        self.ctx.setWebSocketAutoResponse(WebSocketRequestResponsePair(request, response) if request else None)

    def answered(self) -> list[bool]:
        return [self.ctx.getWebSocketAutoResponseTimestamp(ws) is not None for ws in self.ctx.getWebSockets()]

    def tags(self) -> list[Any]:
        return [list(self.ctx.getTags(ws)) for ws in self.ctx.getWebSockets()]

    def close_all(self, code: int) -> None:
        for ws in self.ctx.getWebSockets():
            ws.close(code, "over")


@pytest.fixture
def room() -> type[Room]:
    return type("Room", (Room,), {})


def test_sockets_are_listed_newest_first_and_by_tag_oldest_first(play: Any, connect: Any, room: type[Room]):
    async def story(rig: Any) -> None:
        stub = rig.namespace(room).getByName("a")
        for path in ("x", "y", "x"):
            await connect(stub, f"http://object/{path}")
        assert await stub.paths() == ["x", "y", "x"]
        assert await stub.paths("y") == ["y"]
        assert await stub.paths("none") == []
        assert await stub.tags() == [["x"], ["y"], ["x"]]

    play(story)


def test_an_idle_object_hibernates_and_its_sockets_stay(play: Any, connect: Any, room: type[Room]):
    async def story(rig: Any) -> None:
        stub = rig.namespace(room).getByName("a")
        port, client = await connect(stub, "http://object/p")
        port.send("name")
        await asyncio.sleep(9)
        assert room.made == 1
        port.send("before")
        await asyncio.sleep(12)
        port.send("after")
        await asyncio.sleep(0.1)
        assert room.made == 2
        assert client.messages == ["name:ad hoc:p", "before:ad hoc:p", "after:-:p"]

    play(story)


def test_an_automatic_response_wakes_nobody(play: Any, connect: Any, room: type[Room]):
    async def story(rig: Any) -> None:
        stub = rig.namespace(room).getByName("a")
        await stub.auto("ping", "pong")
        await asyncio.sleep(20)
        port, client = await connect(stub)
        await asyncio.sleep(20)
        made = room.made
        port.send("ping")
        port.send(b"ping")
        await asyncio.sleep(0.1)
        assert client.messages[0] == "pong"
        assert room.made == made + 1  # for the binary message only
        assert await stub.answered() == [True]

    play(story)


def test_a_socket_closed_by_its_client_is_listed_until_its_handler_ends(play: Any, connect: Any, room: type[Room]):
    async def story(rig: Any) -> None:
        stub = rig.namespace(room).getByName("a")
        port, client = await connect(stub)
        port.close(4000, "bye")
        await asyncio.sleep(0.1)
        assert await stub.log() == [["close", 4000, 1, 2]]
        assert await stub.paths() == []
        assert client.closes == []

    play(story)


def test_a_server_close_reaches_the_client_and_comes_back(play: Any, connect: Any, room: type[Room]):
    async def story(rig: Any) -> None:
        stub = rig.namespace(room).getByName("a")
        port, client = await connect(stub)
        await stub.close_all(4001)
        assert client.closes == [(4001, "over", True)]
        assert await stub.paths() == [""]
        port.close(4001, "over")
        await asyncio.sleep(0.1)
        assert await stub.log() == [["close", 4001, 1, 3]]

    play(story)


def test_a_lost_connection_is_told_with_1006(play: Any, connect: Any, room: type[Room]):
    async def story(rig: Any) -> None:
        stub = rig.namespace(room).getByName("a")
        port, _client = await connect(stub)
        port.abort()
        await asyncio.sleep(0.1)
        assert await stub.log() == [["close", 1006, 1, 2]]

    play(story)


def test_a_handler_that_fails_leaves_the_socket_open(play: Any, connect: Any, caplog: Any):
    class Fragile(Room):
        def webSocketMessage(self, ws: Any, message: Any) -> None:
            if message == "bad":
                raise ValueError("bad")
            ws.send(message)

    async def story(rig: Any) -> None:
        port, client = await connect(rig.namespace(Fragile).getByName("a"))
        port.send("bad")
        port.send("good")
        await asyncio.sleep(0.1)
        assert client.messages == ["good"]

    play(story)
    assert "message handler of a Durable Object failed" in caplog.text


def test_a_handler_may_be_limited_in_time(play: Any, connect: Any, caplog: Any):
    class Slow(Room):
        def webSocketOpen(self) -> None: ...

        async def webSocketMessage(self, ws: Any, message: Any) -> None:
            self.ctx.setHibernatableWebSocketEventTimeout(100)
            await asyncio.sleep(float(message))
            ws.send("finished")

    async def story(rig: Any) -> None:
        port, client = await connect(rig.namespace(Slow).getByName("a"))
        port.send("0")
        await asyncio.sleep(1)
        port.send("50")
        await asyncio.sleep(100)
        assert client.messages == ["finished"]

    play(story)
    assert "TimeoutError" in caplog.text


def test_eviction_that_closes_cuts_the_connections(play: Any, connect: Any, room: type[Room]):
    async def story(rig: Any) -> None:
        namespace = rig.namespace(room)
        stub = namespace.getByName("a")
        _port, client = await connect(stub)
        await rig.host.evict(namespace, stub.id, close_sockets=True)
        assert client.closes == [(1006, "", False)]
        assert await stub.paths() == []

    play(story)


def test_limits_are_refused_with_the_known_texts(play: Any):
    class Strict(DurableObject):
        def try_tags(self, tags: list[Any]) -> str:
            try:
                self.ctx.acceptWebSocket(WebSocketPair()[1], tags)
            except JsException as error:
                return error.message
            return "ok"

        def try_wrong(self) -> None:
            self.ctx.acceptWebSocket("no socket")

    async def story(rig: Any) -> None:
        stub = rig.namespace(Strict).getByName("a")
        assert await stub.try_tags([f"t{n}" for n in range(11)]) == (
            "a Hibernatable WebSocket cannot have more than 10 tags"
        )
        assert "is longer than the max tag length" in await stub.try_tags(["é" * 129])
        assert await stub.try_tags(["a", "a", ""]) == "ok"
        with pytest.raises(JsTypeError, match="not of type 'WebSocket'"):
            await stub.try_wrong()

    play(story)
    with pytest.raises(JsRangeError, match=r"Request cannot be larger than 2048 bytes\. A request of size 2049"):
        WebSocketRequestResponsePair("x" * 2049, "y")


def test_a_reset_cuts_every_connection(play: Any, connect: Any, room: type[Room]):
    class Doomed(Room):
        def doom(self) -> None:
            self.ctx.abort("doomed")

    async def story(rig: Any) -> None:
        namespace = rig.namespace(Doomed)
        stub = namespace.getByName("a")
        _port, client = await connect(stub)
        with pytest.raises(JsException, match="doomed"):
            await stub.doom()
        assert client.closes == [(1006, "", False)]
        assert json.dumps(list(await namespace.getByName("a").paths())) == "[]"

    play(story)
