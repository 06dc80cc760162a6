"""Rows read and written, where the estimate is known to equal production's count."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from d1 import D1Database, Engine


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[D1Database]:
    engine = Engine.open(tmp_path / "db.sqlite")
    db = D1Database(engine)
    await db.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, n)\nCREATE TABLE k(v TEXT PRIMARY KEY)")
    await db.batch([db.prepare("INSERT INTO t(name,n) VALUES(?,?)").bind(f"n{i}", i) for i in range(10)])
    yield db
    await engine.close()


@pytest.mark.parametrize(
    ("sql", "read", "written"),
    [
        ("SELECT 1", 0, 0),
        ("SELECT * FROM t", 10, 0),
        ("SELECT * FROM k", 1, 0),
        ("SELECT * FROM t LIMIT 2 OFFSET 3", 5, 0),
        ("SELECT * FROM t WHERE id=500", 1, 0),
        ("SELECT * FROM t WHERE id BETWEEN 3 AND 6", 5, 0),
        ("SELECT * FROM t WHERE name='n5'", 10, 0),
        ("SELECT * FROM t ORDER BY n DESC", 20, 0),
        ("SELECT max(id) FROM t", 1, 0),
        ("INSERT INTO t(name) VALUES('a')", 0, 1),
        ("INSERT INTO t(id,name) VALUES(1000,'a')", 1, 1),
        ("INSERT INTO k VALUES('a')", 0, 2),
        ("INSERT INTO t(name) VALUES('a') RETURNING id", 1, 1),
        ("UPDATE t SET n=0 WHERE id=1", 1, 1),
        ("UPDATE t SET n=0", 10, 10),
        ("DELETE FROM t WHERE id=3", 1, 1),
        ("DELETE FROM t", 0, 10),
        ("PRAGMA table_info(t)", 0, 0),
        ("CREATE TABLE z(a)", 1, 2),
    ],
)
async def test_rows_are_estimated(db: D1Database, sql: str, read: int, written: int) -> None:
    meta = (await db.prepare(sql).run()).meta
    assert (meta.rows_read, meta.rows_written) == (read, written)


@pytest.mark.parametrize(
    ("sql", "written"),
    [
        ("INSERT INTO t(name,n) VALUES('a',1),('b',2),('c',3)", 6),
        ("UPDATE t SET n=0 WHERE id=1", 1),
        ("UPDATE t SET name='z' WHERE id=1", 2),
        ("DELETE FROM t WHERE id<4", 3),
    ],
)
async def test_indexes_cost_writes(db: D1Database, sql: str, written: int) -> None:
    await db.exec("CREATE INDEX t_name ON t(name)\nCREATE INDEX part ON t(n) WHERE n>100")
    assert (await db.prepare(sql).run()).meta.rows_written == written


async def test_a_result_can_be_read_after_its_table_has_gone(db: D1Database) -> None:
    result = await db.prepare("SELECT * FROM t").all()
    await db.exec("DROP TABLE t")
    assert result.meta.rows_read == 10
