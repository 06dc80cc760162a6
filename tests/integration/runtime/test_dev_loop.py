"""The loop of a person who edits a Worker while `flarelet dev` runs."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from workers.runtime.testing import DevProcess

ROOT = Path(__file__).resolve().parents[3]
SOURCE = """
import asyncio
from workers import DurableObject, Response, WorkerEntrypoint
from js import ReadableStream
from workers.compat.websocket import WebSocketPair

class Counter(DurableObject):
    async def add(self):
        n = (await self.ctx.storage.get("n") or 0) + 1
        await self.ctx.storage.put("n", n)
        return n

    async def fetch(self, request):
        client, server = WebSocketPair()
        self.ctx.acceptWebSocket(server)
        return Response(None, status=101, web_socket=client)

async def forever():
    yield b"begun"
    await asyncio.Event().wait()

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        stub = self.env.COUNTER.getByName("c")
        if request.headers.get("Upgrade"):
            return await stub.fetch(request)
        if "stream" in request.url:
            return Response(ReadableStream.from_iterator(forever()))
        return Response(f"{'one'} {await stub.add()}")
"""
CONFIG = """
[[durable_objects.bindings]]
name = "COUNTER"
class_name = "Counter"
[[migrations]]
tag = "v1"
new_sqlite_classes = ["Counter"]
"""


async def body(client: aiohttp.ClientSession, url: str, **headers: str) -> tuple[int, str]:
    async with client.get(url, headers=headers) as answer:
        return answer.status, await answer.text()


async def saved(process: DevProcess, path: Path, text: str, expected: str = "Ready on ") -> None:
    """Save a file and wait until the server says what came of it."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(process.wait_for(expected))
        await asyncio.sleep(0)  # the waiter stands before the file changes
        save(path, text)


def save(path: Path, text: str) -> None:
    path.write_text(text)


async def test_a_save_starts_the_worker_again_and_keeps_its_storage(write, tmp_path, client) -> None:
    config = write(SOURCE, CONFIG)
    entry = config.parent / "src" / "entry.py"
    async with DevProcess(config, tmp_path / "state") as process:
        assert await body(client, process.url) == (200, "one 1")
        async with client.ws_connect(process.url) as ws, client.get(f"{process.url}/stream") as stream:
            assert await stream.content.readany() == b"begun"
            began = asyncio.get_running_loop().time()
            async with asyncio.TaskGroup() as tasks:
                told = tasks.create_task(process.wait_for("Ready on "))
                closed = tasks.create_task(ws.receive())
                await asyncio.sleep(0)
                entry.write_text(SOURCE.replace("'one'", "'two'"))
            assert asyncio.get_running_loop().time() - began < 2.5  # an endless answer does not hold it up
            assert re.search(r" again, after \d+ ms", told.result())
            assert (closed.result().type, ws.close_code) == (aiohttp.WSMsgType.CLOSE, 1012)
            with pytest.raises(aiohttp.ClientError):
                await stream.content.read()
        assert await body(client, process.url) == (200, "two 2")
        assert await process.stop() == 0
    assert process.output.count("flarelet dev\n") == 1


async def test_a_mistake_is_shown_to_every_client_until_the_next_good_save(write, tmp_path, client) -> None:
    config = write(SOURCE, CONFIG)
    entry = config.parent / "src" / "entry.py"
    async with DevProcess(config, tmp_path / "state") as process:
        await saved(process, entry, SOURCE + "\nx = '<b>' + 1\n", "Waiting for a change.")
        status, text = await body(client, process.url)
        lines = text.splitlines()
        assert (status, lines[0]) == (500, 'src/entry.py:31: TypeError: can only concatenate str (not "int") to str')
        assert lines[3:5] == ["    31 | x = '<b>' + 1", "       |     ^^^^^^^^^"]
        status, text = await body(client, process.url, Accept="text/html")
        assert "<b>   31  x = &#x27;&lt;b&gt;&#x27; + 1</b>" in text
        assert "error: src/entry.py:31: TypeError" in process.output
        await saved(process, config, "vars = 5\n", "error: wrangler.toml: vars: must be a table, not 5")
        assert (await body(client, process.url))[1].startswith("wrangler.toml: vars: must be a table, not 5\n")
        await saved(process, entry, SOURCE, "Waiting for a change.")
        await saved(process, config, f'name = "demo"\nmain = "src/entry.py"\n{CONFIG}')
        assert await body(client, process.url) == (200, "one 1")


async def test_a_browser_is_shown_an_exception_as_a_page(write, tmp_path, client) -> None:
    source = "from workers import *\nclass Default(WorkerEntrypoint):\n    def fetch(self):\n        return 1 / 0\n"
    config = write(source)
    async with DevProcess(config, tmp_path / "state") as process:
        async with client.get(f"{process.url}/?a=<i>", headers={"Accept": "text/html"}) as answer:
            assert (answer.status, answer.content_type) == (500, "text/html")
            assert "<b>    4          return 1 / 0</b>" in await answer.text()
        assert (await body(client, process.url))[1].startswith(
            "ZeroDivisionError: division by zero\n\nat src/entry.py:4"
        )


async def test_what_a_framework_answers_itself_is_told_with_the_workers_own_line_first(write, tmp_path, client) -> None:
    source = (
        "import asgi\nfrom workers import WorkerEntrypoint\n\n"
        "async def app(scope, receive, send):\n"
        "    await send({'type': 'http.response.start', 'status': 500, 'headers': []})\n"
        "    await send({'type': 'http.response.body', 'body': b'sorry'})\n"
        "    raise ValueError('late')\n\n"
        "class Default(WorkerEntrypoint):\n    async def fetch(self, request):\n"
        "        return await asgi.fetch(app, request.js_object, self.env)\n"
    )
    async with DevProcess(write(source), tmp_path / "state") as process:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(process.wait_for("at src/entry.py:7 in app"))
            await asyncio.sleep(0)
            assert await body(client, process.url) == (500, "sorry")
        assert "Traceback" not in process.output


async def test_without_reload_a_save_changes_nothing(write, tmp_path, client) -> None:
    config = write(SOURCE, CONFIG)
    async with DevProcess(config, tmp_path / "state", arguments=("--no-reload",)) as process:
        (config.parent / "src" / "entry.py").write_text("nonsense(")
        assert await body(client, process.url) == (200, "one 1")
        assert "watchfiles" not in process.output


class Terminal:
    """A person at a terminal: `flarelet dev` on a pseudo terminal, what it shows and what is typed."""

    def __init__(self, file: int, process: subprocess.Popen[bytes]) -> None:
        self.file, self.process = file, process
        self.shown = ""
        self._more = asyncio.Event()
        asyncio.get_running_loop().add_reader(file, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self.file, 65536)
        except OSError:  # the other side is closed
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self.file)
        self.shown += data.decode("utf-8", "replace")
        self._more.set()

    async def until(self, text: str) -> str:
        """Wait until a text is shown."""
        async with asyncio.timeout(20):
            while text not in self.shown:
                self._more.clear()
                await self._more.wait()
        return self.shown

    def type(self, text: str) -> None:
        os.write(self.file, text.encode())


def started(terminal: int, config: Path, state: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "workers", "dev", "--config", str(config)),
            *("--persist-to", str(state), "--port", "0"),
        ],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "DISPLAY": "", "WAYLAND_DISPLAY": ""},
        preexec_fn=lambda: os.login_tty(terminal),
    )


@asynccontextmanager
async def terminal(config: Path, state: Path) -> AsyncIterator[Terminal]:
    ours, theirs = pty.openpty()
    process = started(theirs, config, state)
    os.close(theirs)
    try:
        yield Terminal(ours, process)
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)


@pytest.mark.parametrize("key", ["x", "q", "\x03"])
async def test_keys_open_clear_and_quit(write, tmp_path, key: str) -> None:
    async with terminal(write(SOURCE, CONFIG), tmp_path / "state") as person:
        await person.until("b opens the page")
        await person.until("Ready on ")
        person.type("c")
        await person.until("\x1b[2J")
        person.type("\x1b[A")  # an arrow key means nothing
        person.type("b")
        await person.until("in a browser.")
        person.type(key)
        await person.until("Stopping.")
        assert await asyncio.to_thread(person.process.wait) == 0


async def test_a_breakpoint_stops_at_the_workers_line_and_the_server_goes_on_after_it(write, tmp_path, client) -> None:
    source = (
        "from workers import *\nclass Default(WorkerEntrypoint):\n    def fetch(self, request):\n"
        "        answer = 41\n        breakpoint()\n        return Response(str(answer))\n"
    )
    async with terminal(write(source), tmp_path / "state") as person:
        shown = await person.until("Ready on ")
        await person.until("\n")
        url = re.findall(r"Ready on (http://\S+)", await person.until("Ready on http"))[0]
        assert shown
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(body(client, url))
            await person.until("(Pdb)")
            assert "entry.py(6)fetch()" in person.shown
            person.type("answer += 1\nc\n")
        assert asked.result() == (200, "42")
        person.type("x")  # single keys work again
        await person.until("Stopping.")


async def test_no_request_is_lost_while_the_worker_starts_again_and_again(write, tmp_path) -> None:
    source = (
        "from workers import *\nclass Default(WorkerEntrypoint):\n    def fetch(self):\n        return Response('{}')\n"
    )
    config = write(source.format(0))
    entry = config.parent / "src" / "entry.py"
    async with DevProcess(config, tmp_path / "state") as process:
        host, _, port = process.url.removeprefix("http://").partition(":")
        answers: list[bytes] = []
        done = asyncio.Event()

        async def ask_on() -> None:
            while not done.is_set():
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
                async with asyncio.timeout(20):
                    answers.append(await reader.read())
                writer.close()

        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(ask_on())
            for number in range(1, 9):
                await saved(process, entry, source.format(number))
            done.set()
    assert [answer for answer in answers if not answer.startswith(b"HTTP/1.1 200 ")] == []
    assert len({answer[-1:] for answer in answers}) > 1
