"""`flarelet types`, `flarelet doctor` and `flarelet tail`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import runpy
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from workers.runtime.cli.tail import NotRunning, events, pretty
from workers.runtime.testing import DevProcess

ROOT = Path(__file__).resolve().parents[3]
CONFIG = """
compatibility_date = "2026-01-01"
compatibility_flags = ["python_workers"]
[vars]
WHO = "me"
RETRIES = 3
LIMITS = { most = 5, names = ["a"], inner = { on = true } }
[[d1_databases]]
binding = "DB"
[[kv_namespaces]]
binding = "CACHE"
[[r2_buckets]]
binding = "FILES"
bucket_name = "files"
[[services]]
binding = "OTHER"
service = "other"
[[ratelimits]]
name = "LIMITER"
namespace_id = "1"
simple = { limit = 1, period = 10 }
[version_metadata]
binding = "VERSION"
[flarelet.realtime]
"""
SOURCE = """
from worker_types import Env
from workers import Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    env: Env

    async def fetch(self, request):
        found = await self.env.DB.prepare("SELECT 1").bind(1).all()
        text = self.env.WHO.upper() + str(self.env.RETRIES + 1) + str(self.env.LIMITS.most + 1)
        print(found, self.env.LIMITS.inner.on, self.env.VERSION.id, self.env.SECRET.lower(), self.env.FILES)
        return Response(text)
"""


def flarelet(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "workers", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def pyright(path: Path) -> list[str]:
    """Return what pyright says of a file."""
    settings = path.parent.parent / "pyrightconfig.json"
    settings.write_text(json.dumps({"extraPaths": [str(ROOT), str(path.parent)], "include": [str(path.parent)]}))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    return [found["message"] for found in json.loads(done.stdout)["generalDiagnostics"]]


def test_a_type_checker_knows_the_env_and_names_what_is_wrong(write) -> None:
    config = write(SOURCE, CONFIG)
    folder = config.parent
    (folder / ".dev.vars").write_text("SECRET=hush\n")
    assert flarelet("types", cwd=folder)[0] == 0
    types = folder / "src" / "worker_types.py"
    assert "hush" not in types.read_text()
    assert flarelet("types", "--check", cwd=folder)[0] == 0
    assert runpy.run_path(str(types))["Env"]  # it can be run without what it only names
    entry = folder / "src" / "entry.py"
    assert pyright(entry) == []
    wrong = SOURCE.replace("env.WHO", "env.WHOM").replace("RETRIES + 1", 'RETRIES + "1"')
    wrong = wrong.replace('.prepare("SELECT 1")', ".prepare(1)")
    entry.write_text(wrong)
    said = "\n".join(pyright(entry))
    assert 'attribute "WHOM"' in said
    assert 'Operator "+" not supported' in said
    assert '"Literal[1]"' in said
    with config.open("a") as file:
        file.write('[[d1_databases]]\nbinding = "SECOND"\n')
    status, _, error = flarelet("types", "--check", cwd=folder)
    assert (status, "is not what wrangler.toml says; run flarelet types" in error) == (1, True)


def test_the_doctor_finds_nothing_wrong_with_a_good_project(write) -> None:
    folder = write("from workers import *", CONFIG).parent
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, output, _ = flarelet("doctor", "--port", port, cwd=folder)
    assert status == 0
    assert f"127.0.0.1:{port} cannot be listened on: Address already in use" in output
    levels = [line.split()[0] for line in output.splitlines() if line[:1].strip()]
    assert levels.count("warning") == 1  # the port


def test_the_doctor_names_what_does_not_work(write) -> None:
    folder = write("def f(:", 'compatability_date = "2026-01-01"\n').parent
    (folder / "file").write_text("")
    status, output, _ = flarelet("doctor", "--persist-to", "file", cwd=folder)
    assert status == 1
    assert 'warning  wrangler.toml: unknown key "compatability_date"; did you mean "compatibility_date"?' in output
    assert "error    src/entry.py:1: invalid syntax" in output
    assert "cannot hold state: Not a directory" in output
    assert 'a deployment needs compatibility_flags = ["python_workers"]' in output
    (folder / "wrangler.toml").write_text("main = 5")
    assert "error    wrangler.toml: main: must be text in quotes, not 5" in flarelet("doctor", cwd=folder)[1]


TALKATIVE = """
from js import console
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if request.url.endswith("boom"):
            raise ValueError("boom")
        print("printed", "here")
        console.log("logged", 1)
        console.warn("warned \\x1b[31m")
        return Response("fine")
"""


async def test_tail_shows_requests_exceptions_and_what_was_printed(write, tmp_path, client) -> None:
    config = write(TALKATIVE)
    async with DevProcess(config, tmp_path / "state") as process:
        place = tmp_path / "state" / "v3" / ".flarelet.tail"
        async with asyncio.timeout(10):
            while not place.exists():
                async with client.get(process.url):
                    pass
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        seen: list[dict[str, object]] = []
        listening = events(tmp_path / "state" / "v3")
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(anext(listening))
            while not following.done():  # it listens from some moment on
                async with client.get(f"{process.url}/?key=secret"):
                    pass
            async with client.get(f"{process.url}/boom"):
                pass
        seen.append(following.result())
        async for event in listening:
            seen.append(event)
            if event["event"] == "request" and event["status"] == 500:
                break
        await listening.aclose()
        assert "logged 1\n" in process.output  # and the terminal has it all too
        assert "printed here\n" in process.output
        assert await process.stop() == 0
        assert not place.exists()
    lines = [pretty(event) for event in seen]
    assert {("log", "print", "printed here"), ("log", "info", "logged 1")} <= {
        (event["event"], event.get("level"), event.get("text")) for event in seen
    }
    assert any(line.endswith("WARNING warned \\x1b[31m") for line in lines)
    (failure,) = [event for event in seen if event["event"] == "exception"]
    assert (failure["name"], failure["where"]) == (
        "ValueError",
        {"path": "src/entry.py", "line": 8, "function": "fetch"},
    )
    assert "secret" not in json.dumps(seen)
    assert seen[-1]["url"] == "/boom"


async def test_tail_shows_only_what_is_asked_for_and_ends_with_the_server(write, tmp_path, client) -> None:
    config = write(TALKATIVE)
    async with DevProcess(config, tmp_path / "state") as process:
        command = (sys.executable, "-u", "-m", "workers", "tail", "-c", str(config), "--persist-to")
        arguments = (str(tmp_path / "state"), "--format", "json", "--status", "error")
        tail = await asyncio.create_subprocess_exec(
            *command,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert tail.stdout is not None
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(tail.stdout.readline())
            while not first.done():
                for path in ("", "boom"):
                    async with client.get(f"{process.url}/{path}"):
                        pass
        assert json.loads(first.result())["event"] == "exception"
        await process.stop()
        rest, error = await tail.communicate()
    assert tail.returncode == 0
    assert error == b"The server stopped.\n"
    assert all(json.loads(line).get("status", 500) == 500 for line in rest.splitlines())


async def test_tail_tells_nothing_to_who_has_no_token_and_says_when_nobody_runs(write, tmp_path, client) -> None:
    config = write(TALKATIVE)
    async with DevProcess(config, tmp_path / "state") as process:
        place = tmp_path / "state" / "v3" / ".flarelet.tail"
        async with asyncio.timeout(10):
            while not place.exists():
                async with client.get(process.url):
                    pass
        port = json.loads(place.read_text())["port"]
        for text in ("POST / HTTP/1.1\r\n\r\n", "guess\n", "x" * 10_000):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(text.encode())
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()
        assert (await client.get(process.url)).status == 200
    folder = tmp_path / "state" / "v3"
    with pytest.raises(NotRunning, match="no flarelet dev is running"):
        await anext(events(folder))
    assert await asyncio.to_thread(flarelet, "tail", "-c", str(config), cwd=tmp_path) == (
        1,
        "",
        f"Error: no flarelet dev is running with the state in {config.parent / '.wrangler' / 'state' / 'v3'}\n",
    )
