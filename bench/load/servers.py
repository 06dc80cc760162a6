"""Starting what is measured: our own server on a throw-away project, and the peers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from load.client import Target

HERE = Path(__file__).resolve().parent
WRANGLER = """
name = "bench"
main = "entry.py"
compatibility_date = "2026-07-01"

[[d1_databases]]
binding = "DB"
database_name = "bench"
database_id = "bench"

[flarelet.realtime]
database = "DB"
project = "p1"
"""
ENTRY = """
from workers import Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response("ok")
"""


@contextmanager
def flarelet(entry: str = ENTRY, settings: str = "") -> Iterator[Target]:
    """Serve a Worker with realtime by `flarelet dev`."""
    with tempfile.TemporaryDirectory() as folder:
        project, log = Path(folder), Path(folder) / "log"
        (project / "wrangler.toml").write_text(WRANGLER + settings)
        (project / "entry.py").write_text(entry)
        command = [sys.executable, "-m", "workers", "dev", "--config", str(project / "wrangler.toml"), "--port", "0"]
        with log.open("w") as output:
            process = subprocess.Popen(
                [*command, "--persist-to", str(project / "state")],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=HERE.parents[1],
            )
        try:
            url = ready(process, log)
            yield Target("flarelet", f"{url.replace('http', 'ws', 1)}/api/realtime?projectId=p1", process.pid)
        finally:
            stop(process)


def stop(process: subprocess.Popen[Any]) -> None:
    """End a server; one that is busy with thousands of lost connections need not say goodbye to all."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def ready(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until the server says where it listens."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(r"Ready on (http://\S+)", log.read_text())
        if found is not None:
            return found[1]
        time.sleep(0.05)
    raise SystemExit(f"the server did not start:\n{log.read_text()}")


@contextmanager
def peer(kind: str) -> Iterator[Target | None]:
    """Serve a peer; None when it is not to be had here."""
    if kind == "ws":
        node, modules = shutil.which("node"), node_modules()
        if node is None or modules is None:
            yield None
            return
        command = [node, str(HERE / "ws_peer.mjs"), str(modules)]
    else:
        command = [sys.executable, str(HERE / "peers.py"), kind]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        word, port, pid = process.stdout.readline().split()
        assert word == "LISTENING"
        yield Target(kind, f"ws://127.0.0.1:{port}/ws", int(pid))
    finally:
        stop(process)


def node_modules() -> Path | None:
    """Return a folder of npm packages that has `ws`: the one the interop tests install for miniflare."""
    found = sorted(HERE.parents[1].glob("build/interop/*/node_modules/ws/package.json"))
    return found[-1].parents[1] if found else None
