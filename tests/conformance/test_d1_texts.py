"""Recorded answers to odd texts: empty statements, comments, errors of every kind and where they are, bookmarks."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from d1 import D1Database, Engine

SUITE = "d1-texts"

_spec = importlib.util.spec_from_file_location("d1_golden", Path(__file__).with_name("test_d1_golden.py"))
assert _spec is not None
assert _spec.loader is not None
golden: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = Engine.open(tmp_path / "db.sqlite")
    yield engine
    await engine.close()


async def test_odd_texts_are_answered_as_recorded(case: dict[str, Any], engine: Engine) -> None:
    db = D1Database(engine)
    for sql in case["setup"]:
        await db.prepare(sql).run()
    answer = await golden.observe(db, case["op"], case["args"])
    problem = golden.difference(case["expect"], answer)
    assert problem is None, f"{case['args']}: {problem}"
