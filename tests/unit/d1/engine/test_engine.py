"""One file: opening, watching from outside, other processes, closing."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from d1 import D1Database, D1Error, Engine
from d1.changes import Commit
from d1.errors import EngineClosed


@pytest.fixture
def commits() -> list[Commit]:
    return []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "d1" / "db.sqlite"


@pytest.fixture
async def engine(path: Path, commits: list[Commit]) -> AsyncIterator[Engine]:
    engine = Engine.open(path, name="MAIN", on_commit=commits.append)
    await D1Database(engine).exec("CREATE TABLE t(id INTEGER PRIMARY KEY, a)")
    yield engine
    await engine.close()


@pytest.fixture
def db(engine: Engine) -> D1Database:
    return D1Database(engine)


def elsewhere(path: Path, *statements: str) -> None:
    """Write with another process."""
    program = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
    program += "for sql in sys.argv[2:]: c.execute(sql)\nc.close()"
    subprocess.run([sys.executable, "-c", program, str(path), *statements], check=True)


async def test_what_was_written_is_there_after_opening_again(path: Path) -> None:
    first = Engine.open(path)
    await D1Database(first).exec("CREATE TABLE k(v)\nINSERT INTO k VALUES('kept')")
    await first.close()
    again = Engine.open(path)
    assert await D1Database(again).prepare("SELECT v FROM k").first("v") == "kept"
    await again.close()


async def test_commits_are_told_in_order_before_the_caller_has_the_result(
    engine: Engine, db: D1Database, commits: list[Commit]
) -> None:
    assert engine.watch("t")
    for number in range(3):
        await db.prepare("INSERT INTO t(a) VALUES(?)").bind(str(number)).run()
        assert len(commits) == number + 1
    assert [commit.txn for commit in commits] == [1, 2, 3]
    assert commits[2].database == "MAIN"
    assert commits[2].changes[0].data == {"id": 3, "a": "2"}


async def test_a_failed_batch_tells_nothing(engine: Engine, db: D1Database, commits: list[Commit]) -> None:
    engine.watch("t")
    with pytest.raises(D1Error):
        await db.batch([db.prepare("INSERT INTO t(a) VALUES(1)"), db.prepare("INSERT INTO nope VALUES(1)")])
    assert commits == []
    assert await db.prepare("SELECT count(*) n FROM t").first("n") == 0


async def test_watch_says_whether_the_table_exists(engine: Engine) -> None:
    assert engine.watch("T")
    assert not engine.watch("missing")
    assert await engine.watch_async("t")
    assert not await engine.watch_async("missing")
    assert engine.table_name("T") == "t"
    assert engine.tables() == ["t"]


async def test_watching_waits_its_turn_behind_a_long_statement(
    engine: Engine, db: D1Database, commits: list[Commit]
) -> None:
    fill = (
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<100000) INSERT INTO t(a) SELECT x FROM c"
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(db.prepare(fill).run())
        await asyncio.sleep(0)
        assert engine.watch("t")
        group.create_task(db.prepare("INSERT INTO t(a) VALUES('after')").run())
    assert [change.data for commit in commits for change in commit.changes] == [{"id": 100_001, "a": "after"}]


async def test_another_process_s_write_is_told_as_a_resync_before_the_next_own_change(
    engine: Engine, db: D1Database, commits: list[Commit], path: Path
) -> None:
    engine.watch("t")
    elsewhere(path, "INSERT INTO t(a) VALUES('foreign')")
    await db.prepare("INSERT INTO t(a) VALUES('own')").run()
    assert [change.type for change in commits[0].changes] == ["RESYNC", "INSERT"]


async def test_a_resync_survives_the_failure_of_the_call_that_noticed_it(
    engine: Engine, db: D1Database, commits: list[Commit], path: Path
) -> None:
    engine.watch("t")
    elsewhere(path, "INSERT INTO t(a) VALUES('foreign')")
    with pytest.raises(D1Error):
        await db.prepare("INSERT INTO t(id) VALUES(1)").run()
    assert commits == []
    await db.prepare("INSERT INTO t(a) VALUES('own')").run()
    assert [change.type for change in commits[0].changes] == ["RESYNC", "INSERT"]


async def test_another_process_s_write_is_noticed_without_any_call(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("d1.engine.engine.FOREIGN_LOOK_S", 0.01)
    told = asyncio.get_running_loop().create_future()
    engine = Engine.open(path, on_commit=told.set_result)
    await D1Database(engine).exec("CREATE TABLE t(a)")
    engine.watch("t")
    elsewhere(path, "INSERT INTO t VALUES('foreign')")
    async with asyncio.timeout(10):
        commit: Commit = await told
    assert [(change.type, change.table) for change in commit.changes] == [("RESYNC", "t")]
    await engine.close()


async def test_another_process_s_schema_change_does_not_break_capture(
    engine: Engine, db: D1Database, commits: list[Commit], path: Path
) -> None:
    engine.watch("t")
    elsewhere(path, "ALTER TABLE t RENAME COLUMN a TO b", "ALTER TABLE t ADD COLUMN z DEFAULT 1")
    await db.prepare("INSERT INTO t(b) VALUES('own')").run()
    assert commits[-1].changes[-1].data == {"id": 1, "b": "own", "z": 1}


async def test_own_writes_and_checkpoints_are_no_foreign_changes(
    engine: Engine, db: D1Database, commits: list[Commit], path: Path
) -> None:
    engine.watch("t")
    await db.prepare("INSERT INTO t(a) VALUES(1)").run()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    await db.prepare("INSERT INTO t(a) VALUES(2)").run()
    assert [change.type for commit in commits for change in commit.changes] == ["INSERT", "INSERT"]


async def test_a_lock_of_another_process_is_waited_for_off_the_loop(engine: Engine, db: D1Database, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with asyncio.TaskGroup() as group:
            write = group.create_task(db.prepare("INSERT INTO t(a) VALUES(1)").run())
            await asyncio.sleep(0)
            assert not write.done()
            other.execute("COMMIT")
    assert await db.prepare("SELECT count(*) n FROM t").first("n") == 1


async def test_the_wal_does_not_grow_without_end(
    engine: Engine, db: D1Database, path: Path, commits: list[Commit]
) -> None:
    engine.watch("t")
    blob = "x" * 50_000
    for _ in range(1200):
        await db.prepare("INSERT OR REPLACE INTO t VALUES(1,?)").bind(blob).run()
        await asyncio.sleep(0)
    assert path.with_name("db.sqlite-wal").stat().st_size < 50_000_000
    assert {change.type for commit in commits for change in commit.changes} == {"INSERT", "DELETE"}


async def test_a_closed_engine_refuses_calls(path: Path) -> None:
    engine = Engine.open(path)
    statement = D1Database(engine).prepare("SELECT 1")
    await engine.close()
    await engine.close()
    with pytest.raises(EngineClosed):
        await statement.first()
    with pytest.raises(EngineClosed):
        engine.watch("t")
    engine.unwatch("t")


def test_importing_d1_loads_neither_sqlite_nor_sqlglot() -> None:
    program = "import sys, d1, d1.changes, d1.values; print([m for m in ('sqlite3', 'sqlglot') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_using_a_database_does_not_load_sqlglot() -> None:
    program = "import sys; from d1 import D1Database, Engine; print('sqlglot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
