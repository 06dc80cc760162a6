"""Workers written as the public examples are: served from their folders, config and all, and used over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import websockets
from aiohttp import web

from workers.runtime.testing import DevProcess


async def test_hello_and_a_module_beside_it(start: Any, get: Any) -> None:
    async with start("hello") as url:
        assert await get(url) == "Hello from a Python Worker"


async def test_the_older_style_with_javascript_objects(start: Any, client: Any) -> None:
    async with start("legacy") as url:
        async with client.get(f"{url}/a/b?name=Ann") as response:
            answer = response.status, response.headers["x-path"], await response.text()
        assert answer == (201, "/a/b", "hi Ann")
        async with client.get(f"{url}/json?name=Ann") as response:
            assert await response.text() == '{"name":"Ann","list":[1,2]}'


async def test_a_namespace_of_keys_and_values(start: Any, get: Any) -> None:
    async with start("binding") as url:
        for count in ("1", "2"):
            assert await get(f"{url}/a", headers={"user-agent": "me"}) == f"{count} me"
        await get(f"{url}/b")
        assert json.loads(await get(f"{url}/all")) == {"names": ["/a", "/b"], "complete": True}


async def test_fastapi(start: Any, client: Any, get: Any) -> None:
    async with start("fastapi") as url:
        assert json.loads(await get(url)) == {"message": "Hello", "env": "from the environment", "base": f"{url}/"}
        assert json.loads(await get(f"{url}/sync/4?twice=true")) == {"number": 8}
        async with client.get(f"{url}/waits") as response:
            assert (response.headers["x-stamp"], await response.json()) == ("seen", {"message": "waited for"})
        assert json.loads(await get(f"{url}/sync/x"))["detail"][0]["loc"] == ["path", "number"]
        for title, stars in (("A", 1), ("B", 5)):
            async with client.post(f"{url}/notes", json={"title": title, "stars": stars}) as response:
                assert response.status == 201
        assert [note["title"] for note in json.loads(await get(f"{url}/notes"))] == ["B", "A"]
        assert await get(f"{url}/stream") == "0\n1\n2\n"
        assert "swagger" in await get(f"{url}/docs")
        async with websockets.connect(url.replace("http", "ws") + "/ws") as socket:
            await socket.send("hello")
            assert json.loads(await socket.recv()) == {"echo": "hello"}


async def test_a_query_of_a_database_that_a_tool_filled(project: Any, tmp_path: Path, client: Any) -> None:
    folder = project("query-d1")
    command = [sys.executable, "-m", "workers", "d1", "execute", "quotes", "--local", "--file=db_init.sql", "--yes"]
    done = await asyncio.to_thread(subprocess.run, command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    async with DevProcess(folder, folder / ".wrangler" / "state") as dev, client.get(dev.url) as response:
        assert await response.json() == {"quote": "Simple is better", "author": "Tim", "total": 3}


async def test_static_files_and_the_worker_behind_them(start: Any, client: Any, get: Any) -> None:
    async with start("assets") as url:
        async with client.get(url) as response:
            assert (response.status, response.content_type) == (200, "text/html")
            assert "<h1>Files</h1>" in await response.text()
        async with client.get(f"{url}/style.css") as response:
            assert response.content_type == "text/css"
            tag = response.headers["etag"]
        async with client.get(f"{url}/style.css", headers={"if-none-match": tag}) as response:
            assert (response.status, await response.text()) == (304, "")
        async with client.get(f"{url}/index.html", allow_redirects=False) as response:
            assert (response.status, response.headers["location"]) == (307, "/")
        assert await get(f"{url}/api/page") == "the page has 55 characters"
        async with client.get(f"{url}/nothing") as response:
            assert response.status == 404


async def test_durable_objects_keep_lists(start: Any, get: Any) -> None:
    async with start("durable-objects") as url:
        assert await get(f"{url}/one") == "empty"
        await get(f"{url}/one/add/milk")
        await get(f"{url}/one/add/bread")
        await get(f"{url}/other/add/tea")
    async with start("durable-objects") as url:
        assert await get(f"{url}/one") == "milk\nbread"
        assert json.loads(await get(f"{url}/one/log")) == ["added milk", "added bread"]
        assert await get(f"{url}/other") == "tea"


async def test_a_cron_is_run_by_its_trigger(start: Any, get: Any) -> None:
    async with start("cron") as url:
        assert await get(url) == "never"
        assert await get(f"{url}/cdn-cgi/handler/scheduled?cron=0+9+*+*+1&time=1600000000000") == "ok"
        assert await get(url) == "0 9 * * 1 1600000000000"


async def _origin(handler: Any, tmp_path: Path, echo: Any = None) -> tuple[web.AppRunner, str]:
    application = web.Application()
    if echo is not None:
        application.router.add_post("/echo", echo)
    application.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


async def test_a_page_is_rewritten_on_its_way(start: Any, get: Any, tmp_path: Path) -> None:
    async def page(request: web.Request) -> web.Response:
        body = '<html><head><meta property="og:title" content="old"></head><body><h1>News</h1></body></html>'
        return web.Response(text=body, content_type="text/html")

    runner, origin = await _origin(page, tmp_path)
    try:
        async with start("opengraph", ORIGIN=origin) as url:
            assert await get(url) == (
                '<html><head><meta property="og:title" content="A &quot;title&quot; &amp; more" /></head>'
                "<body><h1>NEWS</h1></body></html>"
            )
    finally:
        await runner.cleanup()


async def test_an_object_consumes_a_stream_and_resumes_it(start: Any, get: Any, tmp_path: Path) -> None:
    cursors: list[str | None] = []
    sent = asyncio.Event()

    async def stream(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        cursors.append(request.query.get("cursor"))
        assert (await socket.receive_json()) == {"type": "hello"}
        for number in range(1, 4):
            await socket.send_json({"kind": "commit" if number != 2 else "other", "seq": number})
        sent.set()
        async for _ in socket:
            pass
        return socket

    async def until(url: str, wanted: str) -> None:
        async with asyncio.timeout(10):
            while await get(f"{url}/status") != wanted:
                pass

    runner, origin = await _origin(stream, tmp_path)
    try:
        for _ in range(2):
            sent.clear()
            async with start("websocket-consumer", STREAM=origin.replace("http", "ws")) as url:
                assert await get(url) == "connecting"
                await sent.wait()
                await until(url, "connected, seen 3")
    finally:
        await runner.cleanup()
    assert cursors == [None, "3"]


async def test_a_room_to_chat_in(start: Any, get: Any) -> None:
    async with start("chatroom") as url:
        assert "<title>Chat</title>" in await get(url)
        assert await get(f"{url}/room/a") == "Expected a WebSocket"
        address = url.replace("http", "ws") + "/room/a"
        async with websockets.connect(address) as ann, websockets.connect(address) as bob:
            for socket in (ann, bob):
                assert json.loads(await socket.recv())["type"] == "system"
            await ann.send(json.dumps({"who": "ann", "text": "hi"}))
            for socket in (ann, bob):
                assert json.loads(await socket.recv()) == {"type": "message", "who": "ann", "text": "hi"}
        async with websockets.connect(address) as late:
            assert json.loads(await late.recv())["messages"][0]["text"] == "hi"


async def test_bytes_of_an_image(start: Any, client: Any, get: Any) -> None:
    async with start("image") as url:
        async with client.get(url) as response:
            image = await response.read()
            assert (response.content_type, image[:4]) == ("image/png", b"\x89PNG")
        assert await get(f"{url}/digest") == hashlib.sha256(image).hexdigest()


async def test_a_worker_calls_another(start: Any, get: Any) -> None:
    async with start("rpc-client", "rpc-server") as url:
        assert json.loads(await get(url)) == {
            "html": "<b>for</b> x <b>in</b> y",
            "alias": None,
            "error": "unknown language None",
            "said": "Call my methods.",
        }


async def test_a_worker_loads_workers_from_memory(start: Any, get: Any) -> None:
    async with start("dynamic") as url:
        for path in ("/", "/", "/once", "/once"):
            assert await get(url + path) == "Hello from memory"
        assert await get(f"{url}/rpc") == "3 3"
        assert await get(f"{url}/store") == "the dynamic Worker"
        assert "not permitted to access the internet" in await get(f"{url}/out")
        for _ in range(2):
            assert await get(f"{url}/broken") == (
                "Error: The Worker 'broken' cannot be loaded: broken/a.py:1: ZeroDivisionError: division by zero"
            )


async def test_synchronous_clients_suspend_their_handler_only(start: Any, get: Any, tmp_path: Path) -> None:
    waiting: list[asyncio.Event] = []

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/slow":
            await asyncio.sleep(1)
        if request.path == "/page":
            raise web.HTTPFound("/landed")
        if request.path == "/cookie":
            answer = web.Response(text="set")
            answer.set_cookie("seen", "yes")
            return answer
        if request.path == "/missing":
            raise web.HTTPNotFound
        for event in waiting:
            await event.wait()
        return web.Response(text="the page", headers={"x-a": "1"})

    async def echo(request: web.Request) -> web.Response:
        return web.json_response([request.query["q"], await request.json(), request.cookies.get("seen")])

    runner, origin = await _origin(handler, tmp_path, echo)
    try:
        async with start("sync-http", TARGET=origin) as url:
            answers = json.loads(await get(f"{url}/all"))
            assert [(one["client"], one["status"], one["text"]) for one in answers] == [
                (client, 200, "the page") for client in ("requests", "urllib3", "httpx")
            ]
            assert json.loads(await get(f"{url}/session")) == ["x y", {"a": 1}, "yes"]
            assert await get(f"{url}/itself") == "plain"
            assert json.loads(await get(f"{url}/errors")) == [
                "ConnectionError", "ReadTimeout", "ConnectError", "ReadTimeout", "HTTPError",
            ]  # fmt: skip
            waiting.append(asyncio.Event())
            async with asyncio.TaskGroup() as tasks:
                held = tasks.create_task(get(f"{url}/all"))
                assert await get(f"{url}/plain") == "plain"
                waiting[0].set()
            assert len(json.loads(held.result())) == 3
    finally:
        await runner.cleanup()


async def test_every_part_of_the_api(start: Any, get: Any) -> None:
    async with start("surface") as url:
        assert await get(url) == "12 parts"
