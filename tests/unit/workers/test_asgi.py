from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from workers import Request, asgi
from workers.compat import web as js


class App:
    """An application that notes its lifespan and serves by path."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.lifespan(scope, receive, send)
        elif scope["type"] == "websocket":
            await self.socket(scope, receive, send)
        else:
            await self.http(scope, receive, send)

    async def lifespan(self, scope: Any, receive: Any, send: Any) -> None:
        for phase in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{phase}"
            self.log.append(phase)
            scope["state"]["from"] = "lifespan"
            await send({"type": f"lifespan.{phase}.complete"})

    async def http(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        start = {"type": "http.response.start", "status": 200, "headers": [(b"X-A", b"1"), (b"set-cookie", b"a=1")]}
        match scope["path"]:
            case "/echo x":
                shown = {
                    name: scope[name] for name in ("method", "path", "scheme", "env", "state", "type", "http_version")
                }
                shown |= {name: scope[name].decode() for name in ("raw_path", "query_string")}
                shown |= {"body": body.decode(), "headers": [[n.decode(), v.decode()] for n, v in scope["headers"]]}
                await send(start)
                await send({"type": "http.response.body", "body": json.dumps(shown).encode()})
            case "/stream":
                await send(start)
                for number in range(3):
                    await send({"type": "http.response.body", "body": b"%d" % number, "more_body": number < 2})
                assert (await receive())["type"] == "http.disconnect"
                self.log.append("disconnected")
            case "/empty":
                await send({"type": "http.response.start", "status": 204})
                await send({"type": "http.response.body", "body": b""})
            case "/crash":
                raise RuntimeError("app crash")
            case "/late":
                await send(start)
                await send({"type": "http.response.body", "body": b"part", "more_body": True})
                raise RuntimeError("late crash")
            case _:
                pass

    async def socket(self, scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        if scope["path"] == "/refuse":
            await send({"type": "websocket.close", "code": 4000})
            return
        await send({"type": "websocket.accept", "subprotocol": (scope["subprotocols"] or [None])[0]})
        while (message := await receive())["type"] == "websocket.receive":
            if message.get("text") == "bye":
                await send({"type": "websocket.close", "code": 4001, "reason": "asked"})
                return
            kind = "text" if "text" in message else "bytes"
            await send({"type": "websocket.send", kind: message[kind] + message[kind]})
        self.log.append(f"{message['type']} {message['code']}")


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - each turn lets the application go one step
            await asyncio.sleep(0)


async def test_the_application_sees_the_request_and_its_lifespan():
    app = App()
    request = Request("https://h/echo%20x?q=%20", method="POST", body="hi", headers={"A": "1"})
    response = await asgi.fetch(app, request, "bindings")
    seen = await response.json()
    assert (seen.method, seen.path, seen.raw_path, seen.query_string) == ("POST", "/echo x", "/echo%20x", "q=%20")
    assert (seen.scheme, seen.env, seen.state.to_py(), seen.body) == ("https", "bindings", {"from": "lifespan"}, "hi")
    assert ["a", "1"] in seen.headers
    assert response.headers.get("x-a") == "1"
    await until(lambda: app.log == ["startup", "shutdown"])


def test_javascript_and_python_requests_give_the_same_scope():
    headers = {"Header1": "Value1", "Header2": "Value2"}
    scopes = [
        asgi.request_to_scope(r, {})
        for r in (js.Request("http://x", headers=headers), Request("http://x", headers=headers))
    ]
    assert scopes[0] == scopes[1]
    assert scopes[0]["headers"] == [(b"header1", b"Value1"), (b"header2", b"Value2")]


async def test_a_streamed_body_arrives_in_pieces_and_then_the_client_is_gone():
    app = App()
    response = await asgi.fetch(app, js.Request("http://x/stream"), {})
    assert [bytes(chunk) async for chunk in response.body] == [b"0", b"1", b"2"]
    await until(lambda: "disconnected" in app.log)


async def test_a_null_body_status_has_no_body():
    response = await asgi.fetch(App(), js.Request("http://x/empty"), {})
    assert (response.status, response.body) == (204, None)


async def test_an_exception_before_the_response_reaches_the_caller(caplog: pytest.LogCaptureFixture):
    with pytest.raises(RuntimeError, match="app crash"):
        await asgi.fetch(App(), js.Request("http://x/crash"), {})
    assert "ASGI request failed" in caplog.text
    with pytest.raises(RuntimeError, match="did not generate a response"):
        await asgi.fetch(App(), js.Request("http://x/nothing"), {})


async def test_an_exception_after_the_head_breaks_the_body(caplog: pytest.LogCaptureFixture):
    response = await asgi.fetch(App(), js.Request("http://x/late"), {})
    with pytest.raises(RuntimeError, match="late crash"):
        await response.text()
    assert "after the response had begun" in caplog.text


async def test_a_client_that_leaves_ends_the_stream():
    class Endless(App):
        async def http(self, scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            try:
                while True:
                    await send({"type": "http.response.body", "body": b"x", "more_body": True})
            finally:
                self.log.append("stopped")

    app = Endless()
    response = await asgi.fetch(app, js.Request("http://x/"), {})
    await response.body.cancel()
    await until(lambda: "stopped" in app.log)


async def test_an_application_without_lifespan_is_served():
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"ok"})

    assert await (await asgi.fetch(app, js.Request("http://x/"), {})).text() == "ok"


async def test_a_failed_startup_is_an_error():
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(RuntimeError, match="no database"):
        await asgi.fetch(app, js.Request("http://x/"), {})


def upgrade(path: str, **headers: str) -> js.Request:
    return js.Request(f"http://x{path}", headers={"Upgrade": "websocket", **headers})


async def test_a_websocket_talks_both_ways_and_is_closed_by_the_application():
    response = await asgi.fetch(App(), upgrade("/", **{"Sec-WebSocket-Protocol": "v2, v1"}), {})
    assert (response.status, response.headers.get("sec-websocket-protocol")) == (101, "v2")
    client, got, closed = response.webSocket, [], []
    client.binaryType = "arraybuffer"
    client.addEventListener("message", lambda event: got.append(event.data))
    client.addEventListener("close", lambda event: closed.append((event.code, event.reason)))
    client.accept()
    client.send("a")
    client.send(b"b")
    client.send("bye")
    await until(lambda: closed)
    assert got == ["aa", b"bb"]
    assert closed == [(4001, "asked")]


async def test_a_client_that_closes_is_a_disconnect():
    app = App()
    response = await asgi.websocket(app, upgrade("/"))
    response.webSocket.accept()
    response.webSocket.close(4005, "done")
    await until(lambda: app.log == ["websocket.disconnect 4005"])


async def test_a_refused_websocket_is_a_403():
    response = await asgi.fetch(App(), upgrade("/refuse"), {})
    assert (response.status, response.webSocket) == (403, None)
