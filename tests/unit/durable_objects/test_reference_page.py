"""The examples of the reference page run as they stand there."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from durable_objects import Host, ObjectClass
from workers import DurableObject
from workers.compat import js

PAGE = Path(__file__).resolve().parents[3] / "docs/reference/durable-objects.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def _name(source: str) -> str:
    return re.findall(r"class (\w+)\(DurableObject\)", source)[0]


async def _settle() -> None:
    await asyncio.sleep(0.001)


@pytest.mark.parametrize("source", EXAMPLES, ids=_name)
async def test_an_example_of_the_page_runs(source: str, tmp_path: Path, monkeypatch: Any):
    monkeypatch.setitem(sys.modules, "js", js)  # a loaded Worker finds it there
    written: dict[str, Any] = {}
    exec(compile(source, PAGE.name, "exec"), written)
    env = SimpleNamespace(settle=_settle)
    host = Host(tmp_path, random=Random(1))
    for name, value in written.items():
        if isinstance(value, type) and issubclass(value, DurableObject) and value is not DurableObject:
            setattr(env, name.upper(), host.namespace(ObjectClass(f"page-{name}", value, env)))
    try:
        async with asyncio.timeout(30):
            await written["example"](env)
    finally:
        await host.close()
