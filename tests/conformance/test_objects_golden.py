"""Recorded answers of Durable Objects (storage, ids and RPC, concurrency, alarms), replayed here in virtual time."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

_SPEC = importlib.util.spec_from_file_location("steps_worker", Path(__file__).with_name("steps_worker.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
worker: Any = sys.modules.get("steps_worker")
if worker is None:
    worker = sys.modules["steps_worker"] = importlib.util.module_from_spec(_SPEC)
    _SPEC.loader.exec_module(worker)

SUITES = ("do-storage", "do-ids-rpc", "do-concurrency", "do-alarms")

TIMER_DEADLOCK = "a recorded deadlock of JavaScript timers, which is not copied"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "recorded" not in metafunc.fixturenames:
        return
    folder = Path(str(metafunc.config.getoption("--golden")))
    cases: list[dict[str, Any]] = []
    for suite in SUITES:
        file = folder / f"{suite}.json"
        if file.exists():
            cases += json.loads(file.read_text(encoding="utf-8"))["cases"]
    metafunc.parametrize("recorded", cases, ids=[case["name"] for case in cases])


def test_objects_answer_as_recorded(recorded: dict[str, Any], tmp_path: Path) -> None:
    reason = worker.inexpressible(recorded) or _timer_deadlock(recorded)
    if reason:
        pytest.skip(reason)
    problems = asyncio.run(_OPERATIONS[recorded["op"]](recorded, tmp_path))
    assert not problems, "\n".join(problems)


def _timer_deadlock(recorded: dict[str, Any]) -> str | None:
    """A section that takes no 30 seconds and yet ran into their limit: its timer waited behind another call's."""
    waits = [int(wait) for wait in re.findall(r'"(?:sleep|extio)": (\d+)', json.dumps(recorded))]
    ran_out = "blockConcurrencyWhile() in a Durable Object waited for too long" in json.dumps(recorded["expect"])
    return TIMER_DEADLOCK if ran_out and sum(waits) < 30_000 else None


async def _call(stub: Any, steps: list[Any]) -> dict[str, Any]:
    try:
        return {"ok": json.loads(await stub.steps(steps))}
    except Exception as error:
        return {"error": worker.encode_error(error)}


async def _do_calls(case: dict[str, Any], root: Path) -> list[str]:
    async with worker.World(root) as world:
        stub = world.namespace(case.get("ns")).getByName(case["name"])
        answers: list[Any] = []
        for call in case["calls"]:
            if isinstance(call, dict) and "sleep" in call:
                await asyncio.sleep(call["sleep"] / 1000)
                answers.append(None)
            else:
                answers.append(await _call(stub, call))
        return worker.differences(case["expect"], answers)


async def _worker_steps(case: dict[str, Any], root: Path) -> list[str]:
    async with worker.World(root) as world:
        roots = {"env": world.env, "Object": worker._Object}
        answers = await worker.Interpreter(roots, {}, []).run(case["steps"])
        return worker.differences(case["expect"], answers)


async def _do_concurrent(case: dict[str, Any], root: Path) -> list[str]:
    async with worker.World(root) as world:
        namespace = world.namespace(case.get("ns"))
        stub = namespace.getByName(case["name"])
        if case.get("before"):
            await stub.steps(case["before"])
        await stub.takeLog()
        found: dict[str, Any] = {"results": await _issue_all(stub, case)}
        try:
            found["log"] = worker.decode_plain(await stub.takeLog())
        except Exception as error:
            found["log_error"] = worker.encode_error(error)
        if "afterSteps" in case:
            after = await _call(namespace.getByName(case["name"]), case["afterSteps"])
            found["after"] = after.get("ok", after)
        return worker.differences(case["expect"], found)


async def _issue_all(stub: Any, case: dict[str, Any]) -> list[Any]:
    async def issue(entry: dict[str, Any]) -> dict[str, Any]:
        if entry.get("delay"):
            await asyncio.sleep(entry["delay"] / 1000)
        try:
            answer = json.loads(await stub.logged(entry["steps"], entry.get("label")))
        except Exception as error:
            return {"error": worker.encode_error(error)}
        return {"ok": answer if case.get("keepResults") else None}

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(issue(entry)) for entry in case["concurrent"]]
    return [task.result() for task in running]


async def _do_alarm(case: dict[str, Any], root: Path) -> list[str]:
    async with worker.World(root) as world:
        stub = world.namespace(case.get("ns")).getByName(case["name"])
        await stub.steps(case["setup"])
        await asyncio.sleep(case["wait_ms"] / 1000)
        found: dict[str, Any] = {"log": worker.decode_plain(await stub.takeLog())}
        if "after" in case:
            found["after"] = [await _call(stub, case["after"])]
        return worker.differences(case["expect"], found)


_OPERATIONS = {
    "do_calls": _do_calls,
    "worker_steps": _worker_steps,
    "do_concurrent": _do_concurrent,
    "do_alarm": _do_alarm,
}
