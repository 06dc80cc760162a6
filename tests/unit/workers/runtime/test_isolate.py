from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from workers.compat import web
from workers.compat.proxies import JsTypeError
from workers.runtime.isolate import ExecutionContext, Isolate
from workers.runtime.loader import ModuleSpace


async def no_network(request: web.Request) -> web.Response:
    raise OSError(request.url)


def written(folder: Path, source: str) -> ModuleSpace:
    (folder / "src").mkdir()
    (folder / "src" / "entry.py").write_text(source)
    return ModuleSpace(folder / "src" / "entry.py")


async def test_a_loaded_worker_has_its_env_at_import_and_its_default_class(tmp_path: Path) -> None:
    space = written(
        tmp_path,
        "from workers import WorkerEntrypoint, env\nSEEN = env.A\nclass Default(WorkerEntrypoint): pass\n",
    )
    async with asyncio.TaskGroup() as tasks:
        isolate = Isolate("demo", space, tasks, no_network)
        isolate.bind({"A": 1})
        isolate.load()
        try:
            assert isolate.module is not None
            assert isolate.module.SEEN == 1
            assert isolate.default is isolate.module.Default
            assert isolate.is_own(str(tmp_path / "src" / "entry.py"))
            assert not isolate.is_own(__file__)
        finally:
            isolate.unload()


async def test_a_project_without_a_module_is_empty() -> None:
    async with asyncio.TaskGroup() as tasks:
        isolate = Isolate("demo", None, tasks, no_network)
        isolate.load()
        assert (isolate.module, isolate.default, isolate.function("on_fetch")) == (None, None, None)
        isolate.unload()


async def test_work_is_owned_its_failure_logged_and_what_is_left_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    done: list[str] = []

    async def works() -> None:
        done.append("worked")

    async def fails() -> None:
        raise ValueError("broken")

    async def hangs() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            done.append("cancelled")

    async with asyncio.TaskGroup() as tasks:
        isolate = Isolate("demo", None, tasks, no_network)
        for work in (works(), fails(), hangs(), "not awaitable"):
            isolate.wait_until(work)
        await isolate.drain(0.01)
    assert done == ["worked", "cancelled"]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_wait_until_needs_something_to_wait_for() -> None:
    seen: list[object] = []
    context = ExecutionContext(seen.append)
    context.waitUntil("promise")
    context.passThroughOnException()
    assert (seen, context.props) == (["promise"], {})
    with pytest.raises(JsTypeError, match="parameter 1 is not of type 'Promise'"):
        context.wait_until()
