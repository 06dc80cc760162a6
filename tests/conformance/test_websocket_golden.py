"""Recorded behaviour of hibernatable and accepted WebSockets, replayed in memory and in virtual time.

The client below stands where the HTTP edge stands: it takes the client end of the upgrade and is the network. Cases
that only the edge decides (protocol pings, refusing an upgrade nobody asked for) run over a real server instead; when
a TCP connection ends after a Close frame is not looked at.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from workers import Request
from workers.compat import web as js
from workers.compat.proxies import error_parts
from workers.compat.websocket import Port, take
from workers.runtime.edge.server import Edge

_SPEC = importlib.util.spec_from_file_location("steps_worker", Path(__file__).with_name("steps_worker.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
worker: Any = sys.modules.get("steps_worker")
if worker is None:
    worker = sys.modules["steps_worker"] = importlib.util.module_from_spec(_SPEC)
    _SPEC.loader.exec_module(worker)

SUITE = "websocket"

MAX_MESSAGE = 32 * 1024 * 1024
TOO_LARGE = (
    "WebSocket protocol error; protocolError.statusCode = 1009; protocolError.description = Message is too large"
)
AT_THE_EDGE = "answered by the HTTP edge: see the test over a real server"
EDGE_TEXT = "Worker tried to return a WebSocket in a response to a request which did not contain"


class Client:
    """A raw WebSocket client: it answers a Close frame with the same code, as RFC 6455 asks."""

    def __init__(self) -> None:
        self.port: Port | None = None
        self.seen: dict[str, Any] = {"open": False, "messages": []}

    def message(self, data: str | bytes) -> None:
        self.seen["messages"].append(worker.encode(data))

    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        if not was_clean:
            self.seen["close"] = {"code": 1006, "reason": ""}
        elif "closeFrame" not in self.seen:
            self.seen["closeFrame"] = {"code": code, "reason": reason}
            # The answer comes back over the network, not inside the call that sent the frame.
            asyncio.get_running_loop().call_soon(lambda: self.port and self.port.close(code, reason))

    def is_closed(self) -> bool:
        return "close" in self.seen or "closeFrame" in self.seen


class Play:
    """One script, run against one object."""

    def __init__(self, case: dict[str, Any], world: Any) -> None:
        self.world = world
        self.namespace = world.namespace("OBJ")
        self.id = self.namespace.idFromName(case["name"])
        self.clients: dict[str, Client] = {}
        self.observations: list[Any] = []
        self.done: list[Any] = []

    @property
    def stub(self) -> Any:
        return self.namespace.get(self.id)

    async def run(self, script: list[dict[str, Any]]) -> dict[str, Any]:
        for item in script:
            kind = next(name for name in item if hasattr(self, f"do_{name}"))
            await getattr(self, f"do_{kind}")(item, item[kind])
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        clients = {name: dict(client.seen) for name, client in self.clients.items()}
        log = worker.decode_plain(await self.stub.takeLog())
        return {"clients": clients, "observations": self.observations, "do": self.done, "log": log}

    async def do_handlers(self, item: dict[str, Any], handlers: dict[str, Any]) -> None:
        for name, steps in handlers.items():
            await self.stub.run1({"call": "ctx.storage.put", "args": [f"__h_{name}", {"$t": "raw", "v": steps}]})

    async def _upgrade(self, item: dict[str, Any]) -> Any:
        headers = {} if item.get("http") else {"Upgrade": "websocket"}
        request = Request(f"http://x/ws?opt={quote(json.dumps(item.get('opt', {})))}", headers=headers)
        return (await self.stub.fetch(request)).js_object

    async def do_connect(self, item: dict[str, Any], name: str) -> None:
        client = self.clients[name] = Client()
        try:
            response = await self._upgrade(item)
        except Exception as error:
            client.seen.update(status=500, body=str(error)[:200])
            return
        client.seen.update(open=True, protocol=response.headers.get("sec-websocket-protocol") or "")
        if response.webSocket.is_accepted:
            client.seen["close"] = {"code": 1006, "reason": ""}  # the edge cannot take what was accepted already
            return
        client.port = take(response.webSocket, client)

    async def do_http(self, item: dict[str, Any], _: Any) -> None:
        try:
            await self._upgrade(item)
        except Exception as error:
            self.observations.append({"http": 500, "body": str(error)})

    async def do_send(self, item: dict[str, Any], name: str) -> None:
        client = self.clients[name]
        assert client.port is not None
        data: Any = item.get("text")
        if "hex" in item:
            data = bytes.fromhex(item["hex"])
        elif "rep" in item:
            data = item["rep"]["s"] * item["rep"]["n"]
        if len(data) > MAX_MESSAGE:
            client.port.fail(TOO_LARGE)
            client.seen["closeFrame"] = {"code": 1009, "reason": "Message is too large"}
        else:
            client.port.send(data)

    async def do_close(self, item: dict[str, Any], name: str) -> None:
        client = self.clients[name]
        assert client.port is not None
        client.port.close(item.get("code", 1005), item.get("reason", ""))

    async def do_terminate(self, item: dict[str, Any], name: str) -> None:
        client = self.clients[name]
        assert client.port is not None
        client.port.abort()
        client.seen["close"] = {"code": 1006, "reason": ""}

    async def do_recv(self, item: dict[str, Any], name: str) -> None:
        await asyncio.sleep(0.1)
        got = len(self.clients[name].seen["messages"]) >= item["n"]
        self.observations.append({"recv": name, "got": got})

    async def do_waitclose(self, item: dict[str, Any], name: str) -> None:
        await asyncio.sleep(0.3)
        self.observations.append({"waitclose": name, "got": self.clients[name].is_closed()})

    async def do_do(self, item: dict[str, Any], steps: list[Any]) -> None:
        try:
            self.done.append({"ok": json.loads(await self.stub.steps(steps))})
        except Exception as error:
            self.done.append({"error": worker.encode_error(error)})

    async def do_log(self, item: dict[str, Any], _: Any) -> None:
        self.observations.append({"log": worker.decode_plain(await self.stub.takeLog())})

    async def do_evict(self, item: dict[str, Any], mode: str) -> None:
        try:
            await self.world.host.evict(self.namespace, self.id, close_sockets=mode == "close")
            self.observations.append({"evict": "ok"})
        except Exception as error:
            self.observations.append({"evict": str(error)})

    async def do_sleep(self, item: dict[str, Any], delay_ms: int) -> None:
        await asyncio.sleep(delay_ms / 1000)


class OverHttp(Play):
    """The same script over a real server: an aiohttp client instead of the client in memory."""

    def __init__(self, case: dict[str, Any], world: Any, url: str, session: aiohttp.ClientSession) -> None:
        super().__init__(case, world)
        self.url = url
        self.session = session
        self.sockets: dict[str, aiohttp.ClientWebSocketResponse] = {}

    async def answer(self, request: js.Request) -> js.Response:
        """The application behind the server: everything goes to the object."""
        return (await self.stub.fetch(Request(request))).js_object

    def _address(self, item: dict[str, Any]) -> str:
        return f"{self.url}/ws?opt={quote(json.dumps(item.get('opt', {})))}"

    async def do_connect(self, item: dict[str, Any], name: str) -> None:
        client = self.clients[name] = Client()
        try:
            self.sockets[name] = await self.session.ws_connect(self._address(item), autoping=False)
        except aiohttp.WSServerHandshakeError as error:
            client.seen.update(status=error.status, body=None)
        else:
            client.seen.update(open=True, protocol=self.sockets[name].protocol or "")

    async def do_http(self, item: dict[str, Any], _: Any) -> None:
        async with self.session.get(self._address(item)) as response:
            self.observations.append({"http": response.status, "body": (await response.text()).splitlines()[0]})

    async def do_ping(self, item: dict[str, Any], name: str) -> None:
        await self.sockets[name].ping(item.get("data", "").encode())

    async def do_recv(self, item: dict[str, Any], name: str) -> None:
        for _ in range(item["n"]):
            message = await self.sockets[name].receive(timeout=5)
            pong = message.type is aiohttp.WSMsgType.PONG
            self.clients[name].seen["messages"].append({"pong": bytes(message.data).decode()} if pong else message.data)
        self.observations.append({"recv": name, "got": True})


async def test_the_server_answers_as_recorded(edge_case: dict[str, Any], tmp_path: Path) -> None:
    def failure(error: BaseException, request: js.Request | None = None) -> js.Response:
        name, message = error_parts(error)
        return js.Response(f"{name}: {message}", status=500)

    async with worker.World(tmp_path, is_real=True) as world, aiohttp.ClientSession() as session:
        play = OverHttp(edge_case, world, "", session)

        async def respond(request: js.Request) -> js.Response:
            try:
                return await play.answer(request)
            except Exception as error:  # a request
                return failure(error)

        edge = Edge(respond, port=0, failed=failure)
        await edge.start()
        play.url = edge.url
        try:
            found = await play.run(edge_case["script"])
        finally:
            for socket in play.sockets.values():
                await socket.close()
            await edge.stop_listening()
            await edge.close_sockets(1001)
    for client in (*edge_case["expect"]["clients"].values(), *found["clients"].values()):
        client.pop("body", None)  # the client library does not show the body of a refused upgrade
    problems = worker.differences(edge_case["expect"], found)
    assert not problems, "\n".join(problems)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give the second test the cases that the first leaves to the HTTP edge."""
    if "edge_case" not in metafunc.fixturenames:
        return
    file = Path(str(metafunc.config.getoption("--golden"))) / f"{SUITE}.json"
    cases: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["cases"] if file.exists() else []
    left = [case for case in cases if _left_to_the_edge(case) and not worker.inexpressible(case)]
    metafunc.parametrize("edge_case", left, ids=[case["name"] for case in left])


def test_websockets_behave_as_recorded(case: dict[str, Any], tmp_path: Path) -> None:
    reason = worker.inexpressible(case) or _left_to_the_edge(case)
    if reason:
        pytest.skip(reason)
    problems = asyncio.run(_replay(case, tmp_path))
    assert not problems, "\n".join(problems)


async def _replay(case: dict[str, Any], root: Path) -> list[str]:
    async with worker.World(root) as world:
        found = await Play(case, world).run(case["script"])
    expected = json.loads(json.dumps(case["expect"]))
    for name, client in expected["clients"].items():
        seen = found["clients"][name]
        if "close" in client and client["close"]["code"] != 1006:
            del client["close"]  # when the TCP connection ends after a Close frame is the edge's matter
        if "body" in client:
            client["body"] = client["body"][:200]
        seen.setdefault("messages", [])
    return worker.differences(expected, found)


def _left_to_the_edge(case: dict[str, Any]) -> str | None:
    refused = json.dumps(case["expect"]["observations"]) + json.dumps(case["expect"]["clients"])
    if EDGE_TEXT in refused or "Responses with a WebSocket must have status code 101" in refused:
        return AT_THE_EDGE
    return AT_THE_EDGE if any("ping" in item for item in case["script"]) else None
