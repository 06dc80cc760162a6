from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from durable_objects.ids import IdFactory
from workers.runtime.testing import DevProcess
from workers.runtime.testing.process import ProcessFailed

ROOT = Path(__file__).resolve().parents[3]
COUNTER = """
from workers import DurableObject, Response, WorkerEntrypoint
from workers.compat.websocket import WebSocketPair

class Counter(DurableObject):
    async def add(self):
        n = (await self.ctx.storage.get("n") or 0) + 1
        await self.ctx.storage.put("n", n)
        return n

    async def fetch(self, request):
        client, server = WebSocketPair()
        self.ctx.acceptWebSocket(server)
        server.send("open")
        return Response(None, status=101, web_socket=client)

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        stub = self.env.COUNTER.getByName("c")
        if request.headers.get("Upgrade"):
            return await stub.fetch(request)
        return Response(f"{self.env.WHO} {await stub.add()}")
"""
CONFIG = """
[vars]
WHO = "file"
[[durable_objects.bindings]]
name = "COUNTER"
class_name = "Counter"
[[migrations]]
tag = "v1"
new_sqlite_classes = ["Counter"]
"""


def dev(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    """Run the command to its end and return status, stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "workers", "dev", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


async def test_it_serves_stops_on_sigterm_with_1012_and_keeps_its_state(write, tmp_path, client) -> None:
    process = DevProcess(write(COUNTER, CONFIG), tmp_path / "state", arguments=("--var", "WHO:line"))
    url = await process.start()
    async with client.get(url) as answer:
        assert await answer.text() == "line 1"
    async with client.ws_connect(url) as ws:
        assert await ws.receive_str() == "open"
        async with asyncio.TaskGroup() as tasks:
            stopping = tasks.create_task(process.stop())
            message = await ws.receive()
        assert (message.type, ws.close_code, stopping.result()) == (aiohttp.WSMsgType.CLOSE, 1012, 0)
    assert "GET / 200" in process.output
    assert "ERROR" not in process.output
    url = await process.start()
    async with client.get(url) as answer:
        assert await answer.text() == "line 2"
    assert await process.stop() == 0


async def test_what_was_answered_survives_a_kill(write, tmp_path, client) -> None:
    process = DevProcess(write(COUNTER, CONFIG), tmp_path / "state")
    for expected in ("file 1", "file 2", "file 3"):
        url = await process.start()
        async with client.get(url) as answer:
            assert await answer.text() == expected
        await process.kill()


async def test_it_stops_on_ctrl_c_too(write, tmp_path) -> None:
    async with DevProcess(write(COUNTER, CONFIG), tmp_path / "state") as process:
        os.kill(process.pid, signal.SIGINT)
        assert await process.wait() == 0


async def test_the_banner_says_what_is_served(write, tmp_path) -> None:
    config = write(COUNTER, CONFIG + "[flarelet.realtime]\n")
    async with DevProcess(config, tmp_path / "state") as process:
        for text in (
            "demo (src/entry.py)",
            "COUNTER (Durable Object Counter)",
            "WHO (var)",
            "OPEN: no keys",
            "state/v3",
        ):
            assert text in process.output


async def test_it_may_hold_as_many_sockets_as_the_system_allows(write, tmp_path) -> None:
    async with DevProcess(write(COUNTER, CONFIG), tmp_path / "state") as process:
        soft, hard = open_files(process.pid)
    assert soft >= min(hard, 262_144)


def open_files(pid: int) -> tuple[int, int]:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    soft, hard = next(line for line in lines if line.startswith("Max open files")).split()[3:5]
    return int(soft), int(hard)


def test_a_port_in_use_is_said_in_one_line(write, tmp_path) -> None:
    config = write(COUNTER, CONFIG)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, _, error = dev("--config", str(config), "--port", str(port), cwd=tmp_path)
    text = f"error: 127.0.0.1:{port} is already in use (another flarelet or wrangler?); choose another with --port\n"
    assert (status, error) == (1, text)


async def test_a_second_server_in_one_folder_names_the_port_not_the_locked_state(write, tmp_path) -> None:
    config = write(COUNTER, CONFIG)
    async with DevProcess(config, tmp_path / "state") as process:
        port = process.url.rpartition(":")[2]
        arguments = ("--config", str(config), "--persist-to", str(tmp_path / "state"), "--port")
        status, _, error = await asyncio.to_thread(dev, *arguments, port, cwd=tmp_path)
        assert (status, error.startswith(f"error: 127.0.0.1:{port} is already in use ")) == (1, True)
        status, _, error = await asyncio.to_thread(dev, *arguments, "0", cwd=tmp_path)
        assert (status, "is in use by another flarelet" in error) == (1, True)


@pytest.mark.parametrize(
    ("source", "config", "line"),
    [
        (
            "x = 1 / 0",
            "",
            "error: src/entry.py:1: ZeroDivisionError: division by zero\n"
            "at src/entry.py:1 in <module>\n     1 | x = 1 / 0\n       |     ^^^^^\n",
        ),
        (
            "def f(:",
            "",
            "error: src/entry.py:1: SyntaxError: invalid syntax\n"
            "at src/entry.py:1 in <module>\n     1 | def f(:\n       |       ^\n",
        ),
        (
            "",
            "[[d1_databases]]\nbinding = 5\n",
            "error: wrangler.toml: d1_databases.0.binding: must be text in quotes, not 5\n",
        ),
        ("", "[flarelet.realtime]\nkeys = []\n", "error: wrangler.toml: flarelet.realtime.keys: is not a known key\n"),
        (
            "",
            '[[durable_objects.bindings]]\nname = "R"\nclass_name = "Room"\n',
            "error: wrangler.toml: durable_objects.bindings.0.class_name: "
            'src/entry.py has no class "Room"; it exports no Durable Object class\n',
        ),
    ],
)
def test_a_mistake_at_the_first_start_is_told_on_stderr_and_status_1(
    write, tmp_path, source: str, config: str, line: str
) -> None:
    path = write(source, config)
    assert dev("--config", str(path), "--port", "0", cwd=tmp_path) == (1, "", line)


def test_a_missing_configuration_is_one_line_and_verbose_shows_the_traceback_of_a_failed_import(
    write, tmp_path
) -> None:
    status, _, error = dev(cwd=tmp_path)
    assert (status, error.count("\n")) == (1, 1)
    assert error.startswith("error: no wrangler.json, wrangler.jsonc or wrangler.toml in ")
    status, _, error = dev("--config", str(write("x = 1 / 0")), "--verbose", "--port", "0", cwd=tmp_path)
    assert status == 1
    assert "Traceback (most recent call last)" in error


def test_unknown_keys_and_unserved_bindings_are_warnings(write, tmp_path) -> None:
    path = write(
        "x = 1 / 0", 'compatability_date = "2026-01-01"\n[[r2_buckets]]\nbinding = "FILES"\nbucket_name = "x"\n'
    )
    (path.parent / "src" / "entry.py").write_text("from workers import *")

    async def output() -> str:
        async with DevProcess(path, tmp_path / "state") as process:
            return process.output

    text = asyncio.run(output())
    assert 'warning: wrangler.toml: unknown key "compatability_date"; did you mean "compatibility_date"?\n' in text
    assert "warning: wrangler.toml: env.FILES is an R2 binding, which this runtime does not serve yet\n" in text
    assert "warning: src/entry.py exports no Default class with fetch and no on_fetch\n" in text


async def test_a_process_that_ends_before_it_is_ready_fails_with_its_output(write, tmp_path) -> None:
    with pytest.raises(ProcessFailed, match="ZeroDivisionError"):
        await DevProcess(write("x = 1 / 0"), tmp_path / "state").start()


def test_state_that_cannot_be_used_is_said_in_one_line(write, tmp_path) -> None:
    config = write("from workers import *", '[[d1_databases]]\nbinding = "DB"\n')
    (tmp_path / "file").write_text("")
    status, _, error = dev("--config", str(config), "--persist-to", "file", "--port", "0", cwd=tmp_path)
    assert (status, error) == (1, "error: file/v3 cannot hold state: Not a directory\n")
    name = IdFactory("miniflare-D1DatabaseObject").from_name("DB")
    path = tmp_path / "state/v3/d1/miniflare-D1DatabaseObject" / f"{name}.sqlite"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a database" * 500)
    status, _, error = dev("--config", str(config), "--persist-to", "state", "--port", "0", cwd=tmp_path)
    assert status == 1
    assert error.startswith("error: the database of DB cannot be opened: file is not a database (")
    assert error.count("\n") == 1


@pytest.mark.parametrize("address", ["nonsense..host", "192.0.2.1"])
def test_an_address_that_is_not_ours_is_said_in_one_line(write, tmp_path, address: str) -> None:
    config = write("from workers import *\nclass Default(WorkerEntrypoint):\n    def fetch(self): ...")
    status, _, error = dev("--config", str(config), "--ip", address, "--port", "0", cwd=tmp_path)
    assert status == 1
    assert error.startswith(f"error: cannot listen on {address}:")
    assert error.count("\n") == 1
