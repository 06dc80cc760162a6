from __future__ import annotations

import asyncio
import gc
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from workers.compat import web
from workers.compat.proxies import JsException, JsTypeError
from workers.runtime.worker_loader import WorkerLoader

SOURCE = """
from workers import Response, WorkerEntrypoint, fetch

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if request.url.endswith("/out"):
            return await fetch("http://elsewhere/")
        return Response(f"hello {self.env.NAME}")
"""


async def outside(request: web.Request) -> web.Response:
    return web.Response(f"the parent's way to {request.url}")


@pytest.fixture
async def loader() -> AsyncIterator[WorkerLoader]:
    async with asyncio.TaskGroup() as tasks:
        loader = WorkerLoader("parent", tasks, outside)
        yield loader
        await loader.drain()
        loader.close()


def code(**changes: Any) -> dict[str, Any]:
    return {"mainModule": "entry.py", "modules": {"entry.py": SOURCE}, "env": {"NAME": "one"}, **changes}


async def text(stub: Any, path: str = "/") -> str:
    return await (await stub.getEntrypoint().fetch(f"http://x{path}")).text()


async def test_a_name_is_loaded_once_and_again_when_its_code_was_bad(loader: WorkerLoader) -> None:
    asked: list[str] = []

    async def bad_then_good() -> dict[str, Any]:
        asked.append("code")
        return code(modules={"entry.py": "import nothing_of_the_kind"}) if len(asked) == 1 else code()

    with pytest.raises(JsException, match=r"cannot be loaded: w/entry\.py:1: ModuleNotFoundError"):
        await text(loader.get("w", bad_then_good))
    async with asyncio.TaskGroup() as tasks:
        answers = [tasks.create_task(text(loader.get("w", bad_then_good))) for _ in range(5)]
    assert {answer.result() for answer in answers} == {"hello one"}
    assert len(asked) == 2


async def test_the_way_to_the_network_is_the_parents_a_service_or_none(loader: WorkerLoader) -> None:
    class Service:
        async def fetch(self, request: web.Request) -> web.Response:
            return web.Response(f"a service for {request.url}")

    assert await text(loader.load(code()), "/out") == "the parent's way to http://elsewhere/"
    assert await text(loader.load(code(globalOutbound=Service())), "/out") == "a service for http://elsewhere/"
    with pytest.raises(OSError, match="not permitted to access the internet"):
        await text(loader.load(code(globalOutbound=None)), "/out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mainModule": None}, "WorkerCode needs `mainModule`"),
        ({"modules": None}, "WorkerCode needs `mainModule`"),
        ({"mainModule": "other.py"}, 'No such module "other.py": mainModule must be one of entry.py'),
        ({"mainModule": "a.js", "modules": {"a.js": ""}}, "JavaScript modules cannot be run here"),
        ({"modules": {"entry.py": SOURCE, "../up.py": ""}}, '"../up.py" cannot be the name of a module'),
        ({"modules": {"entry.py": SOURCE, "/etc/x.py": ""}}, '"/etc/x.py" cannot be the name of a module'),
        ({"modules": {"entry.py": SOURCE, "data": "text"}}, 'must end with ".py" or ".js"'),
        ({"modules": {"entry.py": 5}}, "must be text, or one of"),
    ],
)
async def test_code_that_cannot_be_run_is_refused(loader: WorkerLoader, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(JsTypeError) as caught:
        loader.load(code(**changes))
    assert message in caught.value.message
    with pytest.raises(JsTypeError):
        loader.get("name", None)  # type: ignore[arg-type]


async def test_modules_of_every_kind_lie_beside_the_main_one(loader: WorkerLoader) -> None:
    source = """
    import json
    from pathlib import Path
    from lib.tool import NAME
    from workers import Response, WorkerEntrypoint

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            here = Path(__file__).parent
            found = [NAME, (here / "a.txt").read_text(), (here / "b.bin").read_bytes().hex()]
            return Response.json([*found, json.loads((here / "c.json").read_text())])
    """

    modules = {
        "entry.py": textwrap.dedent(source),
        "lib/tool.py": {"py": "NAME = 'tool'"},
        "a.txt": {"text": "text"},
        "b.bin": {"data": b"\x00\xff"},
        "c.json": {"json": {"n": 1}},
    }
    assert await text(loader.load(code(modules=modules))) == '["tool", "text", "00ff", {"n": 1}]'


async def test_a_worker_that_nobody_holds_any_more_is_removed(
    loader: WorkerLoader, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert await text(loader.load(code())) == "hello one"
    async with asyncio.timeout(10):
        while list(tmp_path.iterdir()):  # noqa: ASYNC240
            gc.collect()
            await asyncio.sleep(0)
