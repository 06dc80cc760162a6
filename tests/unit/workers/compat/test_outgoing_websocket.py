from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from workers.compat import ambient
from workers.compat.ambient import Ambient, Env
from workers.compat.outgoing_websocket import OutgoingWebSocket
from workers.compat.proxies import JsException, JsSyntaxError
from workers.compat.web import Request, Response
from workers.compat.websocket import WebSocketPair


async def network(request: Request) -> Response:
    if request.url.endswith("/down"):
        raise JsException("connection refused")
    if request.url.endswith("/plain"):
        return Response("no", status=404)
    client, server = WebSocketPair()
    server.binaryType = "arraybuffer"
    server.accept()

    def answer(event: Any) -> None:
        if event.data == "bye":
            server.close(4001, "asked")
        else:
            server.send(event.data)

    server.addEventListener("message", answer)
    offered = request.headers.get("sec-websocket-protocol")
    return Response(
        None, status=101, webSocket=client, headers={"sec-websocket-protocol": offered} if offered else None
    )


@pytest.fixture(autouse=True)
def worker() -> Iterator[None]:
    with ambient.enter(Ambient(Env({}), lambda work: None, network)):
        yield


async def events(socket: OutgoingWebSocket, last: str) -> list[tuple[str, object]]:
    seen: list[tuple[str, object]] = []
    done = asyncio.Event()

    def note(event: Any) -> None:
        detail = {
            "message": lambda: event.data,
            "close": lambda: (event.code, event.reason),
            "error": lambda: event.message,
        }
        seen.append((event.type, detail.get(event.type, lambda: None)()))
        if event.type == last:
            done.set()

    for kind in ("open", "message", "close", "error"):
        socket.addEventListener(kind, note)
    async with asyncio.timeout(5):
        await done.wait()
    return seen


async def test_messages_sent_early_wait_for_the_opening():
    socket = OutgoingWebSocket.new("ws://h/x", ["v1"])
    socket.binaryType = "arraybuffer"
    assert socket.readyState == OutgoingWebSocket.CONNECTING
    socket.send("hello")
    socket.send(b"\x01")
    socket.send("bye")
    assert await events(socket, "close") == [
        ("open", None), ("message", "hello"), ("message", b"\x01"), ("close", (4001, "asked")),
    ]  # fmt: skip
    assert (socket.url, socket.protocol, socket.readyState) == ("ws://h/x", "v1", 3)


@pytest.mark.parametrize(
    ("url", "reason"),
    [("ws://h/down", "connection refused"), ("ws://h/plain", "the server answered 404 instead of upgrading")],
)
async def test_a_failed_opening_is_an_error_and_a_close(url: str, reason: str):
    socket = OutgoingWebSocket.new(url)
    seen = await events(socket, "close")
    assert seen[0] == ("error", reason)
    assert seen[-1][1][0] == 1006
    assert socket.readyState == OutgoingWebSocket.CLOSED


async def test_other_schemes_are_refused():
    with pytest.raises(JsSyntaxError, match="must be ws: or wss:"):
        OutgoingWebSocket("ftp://h/")
