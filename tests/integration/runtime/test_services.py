"""Several Workers in one process: service bindings, RPC between them, Durable Objects of another Worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
import websockets

from workers.runtime.app import App
from workers.runtime.config.load import ConfigError
from workers.runtime.testing import DevProcess, serve

Write = Callable[..., Path]

FRONT = """
from workers import DurableObject, Request, Response, WorkerEntrypoint

class Keeper(DurableObject):
    async def keep_and_ask(self):
        await self.ctx.storage.put("k", 1)
        return await self.env.BACK.add(1, 2)

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = "/" + request.url.split("/", 3)[3]
        back = self.env.BACK
        if path.startswith("/fetch/"):
            return await back.fetch("http://any.host/" + path[7:], method="POST", body="body", headers={"x-a": "1"})
        if path.startswith("/forward"):
            return await back.fetch(request)
        if path == "/rpc":
            value = await back.add(1, 2)
            shape = await back.shape({"a": [1, {"b": None}], "raw": b"x"})
            return Response.json([value, shape["a"][1]["b"], shape.kind, bytes(shape["raw"]).decode()])
        if path == "/pipeline":
            return Response(f"{await back.counter().increment(5)} {await back.label}")
        if path == "/target":
            made = await back.made()
            return Response(f"{await made.up()} {await made.up()} {await back.made().up()}")
        if path == "/callback":
            async def twice(n):
                return 2 * n
            return Response(str(await back.call(twice)))
        if path == "/admin":
            return Response.json([await self.env.ADMIN.who(), dict(await self.env.ADMIN.props())])
        if path == "/admin/fetch":
            return await self.env.ADMIN.fetch("http://x/")
        if path == "/exports":
            mine = self.ctx.exports
            there = await self.env.BACK.exported()
            keeper = await mine.Keeper.getByName("e").keep_and_ask()
            return Response.json([sorted(mine), there, keeper])
        if path == "/object":
            keeper = self.env.KEEPER.getByName("a")
            return Response(str(await keeper.keep_and_ask()))
        if path == "/remote-object":
            counter = self.env.COUNTER.getByName("shared")
            return Response(f"{await counter.increment()} {await back.count('shared')}")
        if path == "/copies":
            mine = [1]
            await back.change(mine)
            return Response(str(mine))
        if path.startswith("/error/"):
            try:
                await getattr(back, path[7:])()
            except Exception as error:
                kinds = [kind.__name__ for kind in (ValueError, TypeError) if isinstance(error, kind)]
                return Response(f"{[*kinds, type(error).__name__][0]}: {error} {getattr(error, 'remote', False)}")
        if path == "/missing":
            return Response(str(await self.env.GHOST.add(1)))
        return await back.fetch(Request(request.url, headers={"upgrade": "websocket"}))
"""
BACK = """
import asyncio
from js import WebSocketPair
from workers import DurableObject, Response, WorkerEntrypoint
from workers.entrypoints import RpcTarget

class Steps(RpcTarget):
    def __init__(self):
        self.n = 0

    def up(self):
        self.n += 1
        return self.n

class Counter(DurableObject):
    async def increment(self):
        n = (await self.ctx.storage.get("n") or 0) + 1
        await self.ctx.storage.put("n", n)
        return n

class Admin(WorkerEntrypoint):
    def who(self):
        return f"admin of {self.env.NAME}"

    async def props(self):
        return self.ctx.props

    async def fetch(self, request):
        return Response(f"admin {self.ctx.props.level}")

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if "/boom" in request.url:
            raise ValueError("boom")
        if "/ws" in request.url:
            client, server = WebSocketPair.new().object_values()
            server.accept()
            server.addEventListener("message", lambda event: server.send(f"{self.env.NAME}: {event.data}"))
            return Response(None, status=101, web_socket=client)
        body = await request.text()
        return Response(f"{self.env.NAME} {request.method} {request.url} {body} {request.headers.get('x-a')}")

    async def add(self, a, b):
        await asyncio.sleep(0)
        return a + b

    def shape(self, value):
        return {**value, "kind": type(value).__name__}

    def counter(self):
        total = 10

        def increment(by):
            nonlocal total
            total += by
            return total

        return {"increment": increment}

    @property
    def label(self):
        return "labelled"

    def made(self):
        return Steps()

    async def call(self, function):
        return await function(21)

    async def change(self, items):
        items.append(2)

    async def count(self, name):
        return await self.env.COUNTER.getByName(name).increment()

    async def exported(self):
        admin = self.ctx.exports.Admin(props={"level": 9})
        return [sorted(self.ctx.exports), await admin.who(), dict(await admin.props())]

    def fails(self):
        raise ValueError("no")

    def _private(self):
        return 1

    def wrong(self):
        return (1, 2)
"""
FRONT_CONFIG = """
services = [
  { binding = "BACK", service = "back" },
  { binding = "ADMIN", service = "back", entrypoint = "Admin", props = { level = 3 } },
  { binding = "GHOST", service = "ghost" },
]
durable_objects.bindings = [
  { name = "KEEPER", class_name = "Keeper" },
  { name = "COUNTER", class_name = "Counter", script_name = "back" },
]
migrations = [{ tag = "v1", new_sqlite_classes = ["Keeper"] }]
"""
BACK_CONFIG = """
vars = { NAME = "back" }
durable_objects.bindings = [{ name = "COUNTER", class_name = "Counter" }]
migrations = [{ tag = "v1", new_sqlite_classes = ["Counter"] }]
"""


@pytest.fixture
def two(write: Write) -> tuple[Path, Path]:
    return write(FRONT, FRONT_CONFIG, "front"), write(BACK, BACK_CONFIG, "back")


async def _ask(two: tuple[Path, Path], state: Path, client: aiohttp.ClientSession, *paths: str) -> list[str]:
    front, back = two
    async with serve(front, state, others=[back]) as url:
        answers: list[str] = []
        for path in paths:
            async with client.get(url + path) as response:
                answers.append(await response.text())
        return answers


async def test_requests_and_calls_reach_the_other_worker(
    two: tuple[Path, Path], tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    answers = await _ask(
        two, tmp_path / "state", client,
        "/fetch/p?q=1", "/rpc", "/pipeline", "/callback", "/admin", "/object", "/remote-object", "/copies",
        "/admin/fetch", "/exports", "/target",
    )  # fmt: skip
    assert answers == [
        "back POST http://any.host/p?q=1 body 1",
        '[3, null, "JsDict", "x"]',
        "15 labelled",
        "42",
        '["admin of back", {"level": 3}]',
        "3",
        "1 2",
        "[1]",
        "admin 3",
        '[["Keeper", "default"], [["Admin", "Counter", "default"], "admin of back", {"level": 9}], 3]',
        "1 2 1",
    ]
    assert (tmp_path / "state/v3/do/back-Counter").is_dir()


async def test_errors_cross_with_their_class_and_words(
    two: tuple[Path, Path], tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    answers = await _ask(
        two, tmp_path / "state", client,
        "/fetch/boom", "/error/fails", "/error/nothing", "/error/_private", "/error/fetch_", "/error/wrong", "/missing",
    )  # fmt: skip
    assert answers[0].startswith("ValueError: boom")
    assert answers[1] == "ValueError: no True"
    assert answers[2] == 'TypeError: TypeError: The RPC receiver does not implement the method "nothing". True'
    assert answers[3].startswith("AttributeError")
    assert answers[5].startswith("TypeError: ")
    assert answers[6].startswith('Error: env.GHOST is bound to the Worker "ghost", which is not running here')


async def test_a_websocket_of_the_other_worker_reaches_the_client(two: tuple[Path, Path], tmp_path: Path) -> None:
    front, back = two
    async with (
        serve(front, tmp_path / "state", others=[back]) as url,
        websockets.connect(url.replace("http", "ws") + "/forward/ws") as socket,
    ):
        await socket.send("hello")
        assert await socket.recv() == "back: hello"


async def test_what_is_missing_is_said_at_the_start(two: tuple[Path, Path], write: Write, tmp_path: Path) -> None:
    front, back = two
    async with App.open(front, persist_to=tmp_path / "state") as app:
        absent = "is not running here; name its configuration too, with another -c"
        assert [line for line in app.warnings if "not running" in line] == [
            f'wrangler.toml: env.COUNTER is a Durable Object binding, and its Worker, "back", {absent}',
            f'wrangler.toml: env.BACK: the Worker "back" {absent}',
            f'wrangler.toml: env.ADMIN: the Worker "back" {absent}',
            f'wrangler.toml: env.GHOST: the Worker "ghost" {absent}',
        ]
    config = 'services = [{ binding = "BACK", service = "back", entrypoint = "Nobody" }]\n'
    with pytest.raises(ConfigError) as caught:
        async with App.open(write(FRONT, config, "lost"), persist_to=tmp_path / "state", others=[back]):
            pass
    assert str(caught.value) == (
        'wrangler.toml: services.0.entrypoint: the Worker "back" has no entrypoint "Nobody"; it exports Admin, Default'
    )
    with pytest.raises(ConfigError, match='name: "front" is also the name of the Worker in'):
        async with App.open(front, persist_to=tmp_path / "state", others=[front]):
            pass


async def test_a_worker_may_call_itself_and_one_that_calls_it(
    write: Write, tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    source = """
    from workers import Response, WorkerEntrypoint

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            return Response(str(await self.env.NEXT.count(5)))

        async def count(self, n):
            return f"{self.env.NAME}{n} " + (await self.env.NEXT.count(n - 1) if n else "end")
    """
    config = 'vars = {{ NAME = "{name}" }}\nservices = [{{ binding = "NEXT", service = "{other}" }}]'
    paths = [write(source, config.format(name=name, other=other), name) for name, other in (("a", "b"), ("b", "a"))]
    async with serve(paths[0], tmp_path / "state", others=paths[1:]) as url, client.get(url) as response:
        assert await response.text() == "b5 a4 b3 a2 b1 a0 end"


async def test_the_command_serves_several_configurations(
    two: tuple[Path, Path], tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    front, back = two
    async with DevProcess(front, tmp_path / "state", arguments=["-c", str(back)]) as dev:
        async with client.get(f"{dev.url}/rpc") as response:
            assert await response.text() == '[3, null, "JsDict", "x"]'
        assert 'the Worker "ghost" is not running here' in dev.output
