"""What the test kit costs a test: a fresh Worker on the state of a 10 MB database, 500 times, and the first test alone.

Prints the median and the 90th percentile of what setting up and tearing down adds to an empty test, and the wall time
of `pytest -k one_test` on a hello-world project beside the same run without the kit.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from workers.runtime.config.load import load
from workers.runtime.testing.kit import Kit
from workers.runtime.testing.state import ScratchFolder

# Plugins of this project's environment that a project with the kit need not have.
OTHERS = [
    word for name in ("aiohttp", "hypothesispytest", "anyio", "xdist", "timeout") for word in ("-p", f"no:{name}")
]
ROOT = Path(__file__).resolve().parents[1]
WRANGLER = """
name = "bench"
main = "entry.py"
compatibility_date = "2026-07-01"

[[d1_databases]]
binding = "DB"
database_name = "bench"
database_id = "bench"
"""
ENTRY = """
from workers import Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response("hello")
"""
TESTS = """
async def test_with_the_kit(worker):
    assert await (await worker.fetch("/")).text() == "hello"


async def test_without_it():
    assert True
"""


async def seed(env: Any) -> None:
    await env.DB.exec("CREATE TABLE big (n INTEGER PRIMARY KEY, filler BLOB)")
    await env.DB.prepare(
        "INSERT INTO big SELECT i, randomblob(1000) FROM "
        "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) SELECT i FROM n)"
    ).run()


async def isolated(kit: Kit) -> float:
    """Return the milliseconds around a test that writes one row."""
    began = time.perf_counter()
    async with kit.instance(seed=seed) as miniflare:
        ready = time.perf_counter()
        env = await miniflare.get_bindings()
        await env.DB.prepare("INSERT INTO big (filler) VALUES ('x')").run()
        done = time.perf_counter()
    return (ready - began + time.perf_counter() - done) * 1000


def start(folder: Path) -> tuple[float, float]:
    """Return the best wall times of pytest for one test with the kit and without it, run in turns, in milliseconds."""
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
    best = {"test_with_the_kit": float("inf"), "test_without_it": float("inf")}
    for _ in range(7):
        for test in best:
            began = time.perf_counter()
            subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "pytest",
                    "-q",
                    "-p",
                    "no:cacheprovider",
                    "-p",
                    "no:hypothesispytest",
                    "-k",
                    test,
                ],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": path},
                check=True,
                capture_output=True,
            )
            best[test] = min(best[test], (time.perf_counter() - began) * 1000)
    return best["test_with_the_kit"], best["test_without_it"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tests", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "wrangler.toml").write_text(WRANGLER)
        (folder / "entry.py").write_text(ENTRY)
        (folder / "test_hello.py").write_text(TESTS)
        (folder / "pytest.ini").write_text(
            "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
        )
        scratch = ScratchFolder(folder)
        kit = Kit(load(folder / "wrangler.toml"), scratch.make())
        try:
            asyncio.run(isolated(kit))
            took = sorted(asyncio.run(isolated(kit)) for _ in range(options.tests))
        finally:
            scratch.remove()
        median, high = statistics.median(took), took[int(len(took) * 0.9)]
        print(f"isolation, 10 MB database, {len(took)} tests: median {median:.2f} ms, p90 {high:.2f} ms")
        ours, bare = start(folder)
        print(f"pytest -k one_test: {ours:.0f} ms, {ours - bare:.0f} ms of them the kit's (without it {bare:.0f} ms)")


if __name__ == "__main__":
    main()
