"""The table of limits: each is enforced with the text it gives."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from d1 import D1Database, D1Error, Engine
from d1.limits import FORBIDDEN, LIMITS, PLANS, Forbidden, Plan, apply_limits, limit
from workers.compat.ambient import Invocation, invocation

TRIGGERS = [
    "CREATE TABLE chain(n)",
    "CREATE TRIGGER next AFTER INSERT ON chain WHEN new.n > 0 BEGIN INSERT INTO chain VALUES(new.n - 1); END",
    "PRAGMA recursive_triggers=ON",
]
BEYOND = {
    "bound_parameters": f"SELECT {','.join('?' * 101)}",
    "columns": f"CREATE TABLE w({','.join(f'c{n}' for n in range(101))})",
    "statement_bytes": f"SELECT '{'x' * 100_000}'",
    "value_bytes": "SELECT zeroblob(2200001)",
    "pattern_bytes": f"SELECT 'a' LIKE '{'x' * 51}'",
    "function_arguments": f"SELECT coalesce({','.join('1' * 128)})",
    "compound_terms": " UNION ALL ".join(["SELECT 1"] * 6),
    "expression_depth": f"SELECT {'+'.join(['1'] * 101)}",
    "program_operations": f"INSERT INTO t(id, name) VALUES {','.join(['(1,1)'] * 16_000)}",
    "attached_databases": "ATTACH ':memory:' AS other",
    "trigger_depth": "INSERT INTO chain VALUES(11)",
}
"""One statement beyond each limit that SQLite enforces; `worker_threads` has none."""


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[D1Database]:
    engine = Engine.open(tmp_path / "db.sqlite")
    db = D1Database(engine)
    await db.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT)")
    yield db
    await engine.close()


def test_every_limit_says_where_it_comes_from() -> None:
    assert len({(entry.name, entry.plan) for entry in LIMITS}) == len(LIMITS)
    assert all(entry.source and entry.plan and entry.unit for entry in LIMITS)
    assert [plan.queries for plan in PLANS.values()] == [1000, 50]


def test_sqlite_is_told_every_limit_it_has_a_category_for() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        apply_limits(connection)
        for entry in LIMITS:
            if entry.category is not None:
                assert connection.getlimit(entry.category) == entry.value


@pytest.mark.parametrize("name", BEYOND)
async def test_a_statement_beyond_a_limit_is_refused_with_the_text_of_the_table(db: D1Database, name: str) -> None:
    for sql in TRIGGERS:
        await db.prepare(sql).run()
    texts = next(entry.error for entry in LIMITS if entry.name == name).split(", or ")
    patterns = [re.escape(text).replace("NAME", r"\w+").replace("N:", r"\d+:") for text in texts]
    statements = [*(TRIGGERS[2:] if name == "trigger_depth" else []), BEYOND[name]]
    with pytest.raises(D1Error) as caught:
        await db.batch([db.prepare(sql) for sql in statements])
    assert any(re.fullmatch(f"D1_ERROR: {pattern}", caught.value.message) for pattern in patterns), caught.value.message


def test_every_limit_of_sqlite_is_tried() -> None:
    assert {entry.name for entry in LIMITS if entry.category is not None} == {*BEYOND, "worker_threads"}


@pytest.mark.parametrize("case", FORBIDDEN, ids=lambda case: case.example)
async def test_what_is_forbidden_is_refused_with_the_text_of_the_table(db: D1Database, case: Forbidden) -> None:
    with pytest.raises(D1Error) as caught:
        await db.prepare(case.example).run()
    assert caught.value.message.startswith(f"D1_ERROR: {case.error}"), caught.value.message


async def test_a_database_grows_up_to_the_size_of_its_plan(tmp_path: Path) -> None:
    engine = Engine.open(tmp_path / "small.sqlite", plan=Plan("small", 10, 60 * 4096))
    db = D1Database(engine)
    await db.prepare("CREATE TABLE t(a)").run()
    insert = db.prepare("INSERT INTO t VALUES(randomblob(10000))")

    async def fill() -> None:
        for _ in range(40):
            await insert.run()

    with pytest.raises(D1Error) as caught:
        await fill()
    assert caught.value.message == "D1_ERROR: Exceeded maximum DB size"
    kept = await db.prepare("SELECT count(*) n FROM t").first("n")
    assert 10 < kept < 25
    await db.prepare("DELETE FROM t WHERE rowid < 5").run()
    await insert.run()
    await engine.close()


async def test_a_statement_that_is_too_big_is_refused_alone_too(db: D1Database) -> None:
    with pytest.raises(D1Error, match="out of memory: SQLITE_NOMEM"):
        await db.prepare(BEYOND["program_operations"]).run()
    assert await db.prepare("SELECT count(*) n FROM t").first("n") == 0


async def test_an_invocation_may_call_so_often_only(tmp_path: Path) -> None:
    engine = Engine.open(tmp_path / "db.sqlite", plan=Plan("small", 4, limit("database_bytes", "free")))
    db = D1Database(engine)
    select = db.prepare("SELECT 1 AS one")
    token = invocation.set(Invocation())
    await db.exec("CREATE TABLE t(a)\nCREATE TABLE u(a)")
    await db.batch([select, select, select, select, select])
    assert await select.first("one") == 1
    await select.raw()
    calls = [select.run, select.all, select.first, select.raw, lambda: db.batch([select]), lambda: db.exec("SELECT 1")]
    for call in calls:
        with pytest.raises(D1Error) as caught:
            await call()
        assert caught.value.message.endswith("Too many API requests by single worker invocation.")
    invocation.set(Invocation())
    assert await select.first("one") == 1
    invocation.reset(token)
    for _ in range(10):
        await select.first()  # nobody's invocation: a test, a tool
    await engine.close()
