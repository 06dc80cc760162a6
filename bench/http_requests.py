"""HTTP: hello world under load, start to first answer and reload to first answer, beside plain aiohttp and miniflare.

The servers take turns, and figures stand beside those of aiohttp in the same run: the machine is shared. The load
client is C, compiled on the spot; without a compiler it is Python in a process of its own, which holds the fast back.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from support import miniflare
from support.load import Load, measure

SUPPORT = Path(__file__).parent / "support"
ROOT = Path(__file__).resolve().parents[1]
WRANGLER = 'name = "bench"\nmain = "entry.py"\ncompatibility_date = "2026-07-01"\n'
ENTRY = """
from workers import Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response("Hello World!")
"""
AIOHTTP = """
import sys
from aiohttp import web


async def hello(request):
    return web.Response(text="Hello World!")


app = web.Application()
app.router.add_get("/", hello)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
"""
GOALS = {"per_s": 15_000, "p99_ms": 10.0, "start_ms": 350.0, "reload_ms": 300.0}


# As installed: with bytecode, whatever this shell says of it.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
ENVIRONMENT |= {"PYTHONPATH": str(ROOT), "CI": "1"}


@dataclass(frozen=True)
class Server:
    """A server that can be started on a port."""

    name: str
    command: Callable[[int], list[str]]


def servers(folder: Path) -> list[Server]:
    """Write what the servers serve, and return those that this machine can run; ours is the first."""
    (folder / "wrangler.toml").write_text(WRANGLER)
    (folder / "entry.py").write_text(ENTRY)
    (folder / "plain.py").write_text(AIOHTTP)
    ours = [sys.executable, "-m", "workers", "dev", "--config", str(folder), "--persist-to", str(folder / "state")]
    found = [
        Server("flarelet", lambda port: [*ours, "--quiet", "--port", str(port)]),
        Server("aiohttp", lambda port: [sys.executable, str(folder / "plain.py"), str(port)]),
    ]
    installed = miniflare.install()
    if installed is None:
        print("   miniflare: needs Node 20 and npm")
    else:
        script = str(SUPPORT / "hello.mjs")
        found.append(Server("miniflare", lambda port: ["node", script, str(installed), str(folder / "mf"), str(port)]))
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def ask(port: int) -> str:
    """Return the body of `GET /`, or nothing when nobody answers yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


def wait_for(port: int, text: str, limit_s: float = 60.0) -> None:
    """Ask again and again until the answer begins with a text."""
    end = time.perf_counter() + limit_s
    while not ask(port).startswith(text):
        if time.perf_counter() > end:
            raise SystemExit(f"nobody said {text!r} on port {port} for {limit_s} s")
        time.sleep(0.002)


@contextmanager
def running(server: Server, port: int) -> Iterator[float]:
    """Run a server inside the `with` block; give the milliseconds from the process's start to its first answer."""
    began = time.perf_counter()
    process = subprocess.Popen(
        server.command(port),
        stdout=subprocess.DEVNULL,
        env=ENVIRONMENT,
        start_new_session=True,
    )
    try:
        wait_for(port, "Hello World!")
        yield (time.perf_counter() - began) * 1000
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def load_client(folder: Path) -> Callable[[int, float], Load]:
    """Return what puts a port under load for some seconds."""
    compiler, client = shutil.which("cc"), folder / "httpload"
    if compiler is not None:
        command = [compiler, "-O2", "-o", str(client), str(SUPPORT / "httpload.c")]
        if subprocess.run(command, check=False).returncode == 0:

            def compiled(port: int, seconds: float) -> Load:
                arguments = ["127.0.0.1", str(port), "/", "64", str(seconds)]
                done = subprocess.run([str(client), *arguments], capture_output=True, text=True, check=True)
                count, elapsed, p50, p99 = map(float, done.stdout.split())
                return Load(count / elapsed, p50, p99)

            return compiled
    print("   no C compiler: the load comes from Python, which is the limit for fast servers")
    return lambda port, seconds: asyncio.run(measure(f"http://127.0.0.1:{port}", ["/"], seconds=seconds))


def under_load(found: list[Server], put_load: Callable[[int, float], Load], seconds: float, rounds: int) -> None:
    seen: dict[str, list[Load]] = {server.name: [] for server in found}
    for _ in range(rounds):
        for server in found:
            port = free_port()
            with running(server, port):
                seen[server.name].append(put_load(port, seconds))
    base = statistics.median(one.per_s for one in seen["aiohttp"])
    print(f"   64 connections, {rounds} rounds of {seconds:g} s in turns")
    for name, loads in seen.items():
        median = statistics.median(one.per_s for one in loads)
        best, p99 = max(one.per_s for one in loads), statistics.median(one.p99_ms for one in loads)
        print(
            f"   {name:<10} {median:>8,.0f}/s median  {best:>8,.0f}/s best  p99 {p99:6.1f} ms median"
            f"  {min(one.p99_ms for one in loads):6.1f} ms best   {median / base:.2f} of aiohttp"
        )


def starts(found: list[Server], rounds: int) -> None:
    took: dict[str, list[float]] = {server.name: [] for server in found}
    for number in range(rounds + 1):
        for server in found:
            with running(server, free_port()) as first_ms:
                if number:  # the first one warms caches
                    took[server.name].append(first_ms)
    base = statistics.median(took["aiohttp"])
    print(f"   process start to first answer, {rounds} rounds in turns")
    for name, times in took.items():
        median = statistics.median(times)
        print(f"   {name:<10} {median:6.0f} ms median  {min(times):6.0f} ms best   {median / base:.2f} of aiohttp")


def reloads(ours: Server, folder: Path, rounds: int) -> None:
    port, took = free_port(), list[float]()
    with running(ours, port):
        time.sleep(1)  # until the system tells of changes
        for number in range(rounds):
            text = f"Hello {number}!"
            began = time.perf_counter()
            (folder / "entry.py").write_text(ENTRY.replace("Hello World!", text))
            wait_for(port, text)
            took.append((time.perf_counter() - began) * 1000)
            time.sleep(0.1)
    (folder / "entry.py").write_text(ENTRY)
    print(f"   save to first answer of the new code: {statistics.median(took):.0f} ms median, {max(took):.0f} ms worst")


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    goals = f"{GOALS['per_s']:,}/s, p99 {GOALS['p99_ms']:.0f} ms, start {GOALS['start_ms']:.0f} ms, "
    print(f"   goals: {goals}reload {GOALS['reload_ms']:.0f} ms; load of the machine: {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ENVIRONMENT["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
        found = servers(folder)
        under_load(found, load_client(folder), options.seconds, options.rounds)
        starts(found, options.rounds * 2 + 1)
        reloads(found[0], folder, 7)


if __name__ == "__main__":
    main()
