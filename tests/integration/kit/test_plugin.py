"""The pytest plugin as a project meets it: pytest runs in a process of its own, in the project's folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from workers.runtime.testing import DevProcess

ROOT = Path(__file__).parents[3]
CONFIG = """
name = "shop"
main = "src/entry.py"
compatibility_date = "2025-10-01"
compatibility_flags = ["python_workers"]

[[d1_databases]]
binding = "DB"
database_name = "shop"
database_id = "shop"

[[durable_objects.bindings]]
name = "CART"
class_name = "Cart"

[[migrations]]
tag = "v1"
new_sqlite_classes = ["Cart"]

[flarelet.realtime]
database = "DB"
"""
ENTRY = """
from datetime import UTC, datetime

from workers import DurableObject, Response, WorkerEntrypoint


class Cart(DurableObject):
    async def add(self, item):
        items = await self.ctx.storage.get("items") or []
        await self.ctx.storage.put("items", [*items, item])
        return len(items) + 1


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if request.url.endswith("/boom"):
            raise ValueError("no luck")
        if request.url.endswith("/now"):
            return Response(datetime.now(UTC).isoformat())
        rows = await self.env.DB.prepare("SELECT count(*) AS n FROM orders").first()
        return Response(str(rows.n))

    async def scheduled(self, controller, env, ctx):
        await self.env.DB.prepare("INSERT INTO orders (item) VALUES (?)").bind(controller.cron).run()
"""
MIGRATION = "CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT, at TEXT DEFAULT CURRENT_TIMESTAMP);\n"


def project(folder: Path, tests: str, ini: str = "asyncio_mode = auto") -> Path:
    (folder / "src").mkdir(parents=True)
    (folder / "migrations").mkdir()
    (folder / "wrangler.toml").write_text(CONFIG)
    (folder / "src" / "entry.py").write_text(ENTRY)
    (folder / "migrations" / "0001_orders.sql").write_text(MIGRATION)
    (folder / "test_shop.py").write_text(tests)
    (folder / "pytest.ini").write_text(f"[pytest]\n{ini}\nasyncio_default_fixture_loop_scope = function\n")
    return folder


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
    plugin = () if _is_registered() else ("-p", "workers.runtime.testing.plugin")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *plugin, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def _is_registered() -> bool:
    from importlib.metadata import entry_points

    return any(entry.name == "flarelet" for entry in entry_points(group="pytest11"))


def test_fixtures_serve_a_project_and_isolate_its_tests(tmp_path: Path):
    tests = """
import pytest
from workers import env as the_running_env
from workers.runtime.testing import evict_durable_object, list_durable_object_ids, run_in_durable_object


@pytest.mark.parametrize("round", range(3))
async def test_what_a_test_writes_is_gone(env, worker, round):
    assert await (await worker.fetch("/")).text() == "0"
    await env.DB.exec("INSERT INTO orders (item) VALUES ('tea')")
    assert await (await worker.fetch("/")).text() == "1"
    assert await env.CART.getByName("a").add("tea") == 1
    assert the_running_env.DB is env.DB


async def test_the_helpers_act_on_the_running_worker(env):
    stub = env.CART.getByName("a")
    await stub.add("tea")
    assert [str(found) for found in await list_durable_object_ids(env.CART)] == [str(stub.id)]
    assert await run_in_durable_object(stub, lambda cart, state: state.storage.get("items")) == ["tea"]
    await evict_durable_object(stub)
    assert await stub.add("milk") == 2


async def test_scheduled_runs_the_handler(env, worker):
    assert (await worker.scheduled(cron="0 * * * *")).outcome == "ok"
    assert (await env.DB.prepare("SELECT item FROM orders").first()).item == "0 * * * *"


async def test_realtime_tells_of_committed_rows(env, realtime):
    await realtime.subscribe("orders")
    await env.DB.exec("INSERT INTO orders (item) VALUES ('tea')")
    event = await realtime.event()
    assert (event["operation"], event["data"]["item"]) == ("INSERT", "tea")
    ack = await realtime.publish("chat/a", "hello", {"n": 1})
    assert ack["type"] == "ack"


async def test_the_clock_moves_sql_too(env, clock):
    await env.DB.exec("INSERT INTO orders (item) VALUES ('tea')")
    await clock.advance(86_400)
    await env.DB.exec("INSERT INTO orders (item) VALUES ('milk')")
    first, second = (await env.DB.prepare("SELECT at FROM orders ORDER BY id").all()).results
    assert first["at"][:10] < second["at"][:10]


async def test_an_exception_is_the_workers_own(worker):
    with pytest.raises(ValueError, match="no luck"):
        await worker.fetch("/boom")
"""
    status, output = run(project(tmp_path / "shop", tests), "-q")
    assert status == 0, output
    assert "8 passed" in output


def test_isolation_holds_with_open_sockets_alarms_and_work_left_running_which_is_named(tmp_path: Path):
    tests = """
import asyncio
import workers


async def test_first(env, realtime):
    await realtime.subscribe("orders")
    await env.DB.exec("INSERT INTO orders (item) VALUES ('tea')")

    async def forgotten():
        await asyncio.sleep(3600)  # MARK

    workers.wait_until(forgotten())
    asyncio.get_running_loop().create_task(env.DB.prepare("INSERT INTO orders (item) VALUES ('late')").run())
    asyncio.get_running_loop().create_task(forgotten())


async def test_second(env, worker):
    assert await (await worker.fetch("/")).text() == "0"
"""
    line = tests.splitlines().index("        await asyncio.sleep(3600)  # MARK") + 1
    status, output = run(project(tmp_path / "shop", tests), "-q")
    assert status == 0, output
    assert "2 passed" in output
    assert "still running when its test ended" in output
    assert re.search(rf"test_first\n  waitUntil work of the Worker shop, at test_shop\.py:{line}\n", output), output
    assert re.search(rf"a task of the test, Task-\d+, waits at test_shop\.py:{line}\n", output), output


def test_interleavings_run_a_test_for_each_seed_and_the_name_of_a_failure_holds_its_seed(tmp_path: Path):
    tests = """
import asyncio
import pytest


@pytest.mark.flarelet(interleave=8)
async def test_order(env):
    seen = []

    async def call(name):
        await env.CART.getByName(name).add("x")
        seen.append(name)

    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(call(name))
    assert seen == ["a", "b", "c"]
"""
    folder = project(tmp_path / "shop", tests)
    status, output = run(folder, "-q")
    failed = re.findall(r"FAILED test_shop\.py::test_order\[seed=(\d+)\]", output)
    assert status == 1, output
    assert 0 < len(failed) < 8, output
    again, output = run(folder, "-q", f"--flarelet-seed={failed[0]}")
    assert again == 1, output
    assert re.findall(r"FAILED test_shop\.py::test_order\[seed=(\d+)\]", output) == [failed[0]]


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_both_modes_of_pytest_asyncio_work_beside_xdist(tmp_path: Path, mode: str):
    mark = "@pytest.mark.asyncio\n" if mode == "strict" else ""
    tests = f"""
import pytest

{mark}@pytest.mark.parametrize("n", range(4))
async def test_many(worker, env, n):
    await env.DB.exec("INSERT INTO orders (item) VALUES ('tea')")
    assert await (await worker.fetch("/")).text() == "1"
"""
    status, output = run(project(tmp_path / "shop", tests, f"asyncio_mode = {mode}"), "-q", "-n", "2")
    assert status == 0, output
    assert "4 passed" in output


def test_a_seed_fills_the_state_once_for_all_tests(tmp_path: Path):
    tests = """
import pytest

calls = []


@pytest.fixture(scope="session")
def flarelet_seed():
    async def seed(env):
        calls.append(1)
        await env.DB.exec("INSERT INTO orders (item) VALUES ('a'), ('b')")
        await env.CART.getByName("full").add("x")

    return seed


@pytest.mark.parametrize("n", range(3))
async def test_seeded(worker, env, n):
    assert await (await worker.fetch("/")).text() == "2"
    assert await env.CART.getByName("full").add("y") == 2
    await env.DB.exec("DELETE FROM orders")
    assert calls == [1]
"""
    status, output = run(project(tmp_path / "shop", tests), "-q")
    assert status == 0, output
    assert "3 passed" in output


async def test_the_same_tests_run_against_a_server(tmp_path: Path):
    tests = """
async def test_now(worker):
    assert (await (await worker.fetch("/now")).text())[:2] == "20"


async def test_inside(env):
    assert env.DB


async def test_realtime(realtime):
    await realtime.publish("chat/a", "hello", {"n": 1})
    await realtime.subscribe("chat/a")
    await realtime.publish("chat/a", "hello", {"n": 2})
    assert (await realtime.event())["data"] == {"n": 2}


async def test_redirects_and_errors(worker):
    assert (await worker.fetch("/boom")).status == 500
"""
    folder = project(tmp_path / "shop", tests)
    async with DevProcess(folder / "wrangler.toml", tmp_path / "state") as dev:
        status, output = run(folder, "-q", "-rs", f"--flarelet-url={dev.url}")
    assert status == 0, output
    assert "3 passed, 1 skipped" in output
    assert "looks inside the Worker, which a server at --flarelet-url does not allow" in output


def test_a_project_that_cannot_be_used_says_so_in_one_line(tmp_path: Path):
    folder = project(tmp_path / "shop", "async def test_x(env):\n    pass\n")
    (folder / "wrangler.toml").write_text("name = 3\n")
    status, output = run(folder, "-q")
    assert status == 1
    assert "wrangler.toml: name: must be text in quotes, not 3" in output
    (folder / "wrangler.toml").unlink()
    _, output = run(folder, "-q")
    assert "no wrangler.json, wrangler.jsonc or wrangler.toml in" in output


def test_the_plugin_costs_nothing_until_a_fixture_is_used(tmp_path: Path):
    tests = """
import sys


def test_nothing_of_the_runtime_is_loaded():
    loaded = [name for name in sys.modules if name.split(".")[0] in ("d1", "durable_objects", "aiohttp", "pydantic")]
    assert loaded == []
    ours = sorted(name for name in sys.modules if name.startswith("workers"))
    assert ours == ["workers", "workers.runtime", "workers.runtime.testing", "workers.runtime.testing.plugin"]
"""
    status, output = run(project(tmp_path / "shop", tests), "-q", "-p", "no:aiohttp", "-p", "no:hypothesispytest")
    assert status == 0, output


REPORTED = """
import pytest


@pytest.mark.parametrize("n", range(4))
async def test_requests(worker, env, n):
    for item in range(5):
        await env.DB.prepare("INSERT INTO orders (item) VALUES (?)").bind(str(item)).run()
    assert await (await worker.fetch("/")).text() == "5"
    assert await (await worker.fetch("/")).text() == "5"
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "xdist"])
def test_the_report_tells_what_the_run_came_to(tmp_path: Path, workers: tuple[str, ...]):
    folder = project(tmp_path / "shop", REPORTED, "asyncio_mode = auto\nflarelet_traffic = 1000000")
    file = tmp_path / "report.json"
    status, output = run(folder, "-q", *workers, "--flarelet-report", f"--flarelet-report-file={file}")
    assert status == 0, output
    assert "4 tests used the Worker, 8 requests" in output
    assert "A day of 1,000,000 such requests" in output
    told = json.loads(file.read_text())
    route = told["routes"]["GET /"]
    assert (route["requests"], route["rows_read"], route["most_rows_read"], route["rows_written"]) == (8, 40, 5, 0)
    assert told["limits"]["bound_parameters"]["value"] == 1
    lines = {line["unit"]: line["amount"] for line in told["day"]["lines"]}
    assert lines["rows_read"] == 5_000_000
    assert lines["worker_requests"] == 1_000_000


def test_the_report_as_json_is_json(tmp_path: Path):
    status, output = run(project(tmp_path / "shop", REPORTED), "-q", "--flarelet-report=json")
    assert status == 0, output
    text = output[output.index("{\n") : output.rindex("\n}") + 2]
    assert json.loads(text)["tests"] == 4
