from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from workers import Request, Response
from workers.compat import web
from workers.compat.abort import AbortSignal
from workers.compat.fetcher import Fetcher
from workers.compat.proxies import JsException, JsRangeError, JsTypeError
from workers.compat.streams import ReadableStream
from workers.compat.websocket import WebSocketPair


class Service:
    """Echoes; a path may ask for something else."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def fetch(self, request: web.Request) -> web.Response:
        path = web.URL(request.url).pathname
        self.seen.append(f"{request.method} {path}")
        if path.startswith("/redirect/"):
            _, _, status, target = path.split("/", 3)
            return web.Response(None, status=int(status), headers={"location": f"/{target}"})
        if path == "/loop":
            return web.Response.redirect("http://x/loop")
        if path == "/throw":
            raise JsRangeError("svc")
        if path == "/bug":
            raise KeyError("k")
        if path == "/slow":
            await asyncio.Event().wait()
        if path == "/ws":
            return web.Response(None, status=101, webSocket=WebSocketPair()[0])
        return web.Response(f"{request.method} {path} {await request.text()}", headers={"x-svc": "1"})

    def method(self, name: str) -> Callable[..., Awaitable[Any]] | None:
        async def add(*values: Any) -> Any:
            if len(values) != 2:
                raise JsTypeError("two, please")
            return values[0] + values[1]

        return add if name == "add" else None


async def test_an_answer_is_the_services_with_the_url_asked_for():
    response = await Fetcher(Service()).fetch("http://any/p", {"method": "POST", "body": "b"})
    assert (response.url, response.redirected, await response.text()) == ("http://any/p", False, "POST /p b")
    with pytest.raises(JsTypeError, match="immutable"):
        response.headers.set("a", "b")


async def test_python_requests_go_in_and_python_responses_come_out():
    binding = Fetcher(Service(), face=Response)
    response = await binding.fetch(Request("http://x/p", method="PUT", body="z"))
    assert type(response) is Response
    assert await response.text() == "PUT /p z"


async def test_a_url_must_be_absolute():
    with pytest.raises(JsTypeError, match="Invalid URL: /path"):
        await Fetcher(Service()).fetch("/path")


@pytest.mark.parametrize(
    ("status", "then"),
    [(301, "GET /to "), (302, "GET /to "), (303, "GET /to "), (307, "POST /to b"), (308, "POST /to b")],
)
async def test_redirects_are_followed_inside_the_service(status: int, then: str):
    service = Service()
    response = await Fetcher(service).fetch(f"http://x/redirect/{status}/to", method="POST", body="b")
    assert (response.url, response.redirected, await response.text()) == ("http://x/to", True, then)
    assert len(service.seen) == 2


async def test_a_manual_redirect_is_an_answer():
    response = await Fetcher(Service()).fetch("http://x/redirect/302/to", redirect="manual")
    assert (response.status, response.headers.get("location")) == (302, "/to")


async def test_endless_redirects_and_unrepeatable_bodies_are_errors():
    with pytest.raises(JsException, match="Too many redirects"):
        await Fetcher(Service()).fetch("http://x/loop")

    async def chunks() -> Any:
        yield b"x"

    body = ReadableStream.from_iterator(chunks())
    with pytest.raises(JsTypeError, match="one-time-use body"):
        await Fetcher(Service()).fetch("http://x/redirect/307/to", method="POST", body=body)


async def test_exceptions_cross_with_class_and_message_and_are_marked():
    with pytest.raises(JsRangeError, match="svc") as caught:
        await Fetcher(Service()).fetch("http://x/throw")
    assert caught.value.remote is True
    with pytest.raises(KeyError):
        await Fetcher(Service()).fetch("http://x/bug")


async def test_methods_are_called_and_missing_ones_named():
    binding = Fetcher(Service())
    assert await binding.add(1, 2) == 3
    with pytest.raises(JsTypeError, match=r'The RPC receiver does not implement the method "nope"\.') as caught:
        await binding.nope()
    assert caught.value.remote is True
    with pytest.raises(JsTypeError, match="two, please"):
        await binding.add(1)


async def test_a_signal_ends_a_slow_call():
    with pytest.raises(JsException, match="TimeoutError"):
        await Fetcher(Service()).fetch("http://x/slow", signal=AbortSignal.timeout(1))


async def test_a_websocket_needs_an_upgrade():
    binding = Fetcher(Service())
    response = await binding.fetch("http://x/ws", headers={"Upgrade": "websocket"})
    assert response.webSocket is not None
    with pytest.raises(JsTypeError, match="did not contain the header"):
        await binding.fetch("http://x/ws")
