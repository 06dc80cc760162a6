from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from d1.changes import Commit
from d1.engine import Engine
from d1.errors import Failure
from d1.file import DatabaseFile, DatabaseLocked, UnusableFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "db.sqlite"


def run_all(file: DatabaseFile, *statements: str) -> None:
    with file.transaction():
        for sql in statements:
            file.run(sql)


def test_a_file_is_made_with_its_folders_in_wal_mode(path: Path):
    with DatabaseFile(path) as file, file.transaction():
        ran = file.run("CREATE TABLE t(a)")
        assert ran.is_schema_changed
        assert file.run("INSERT INTO t VALUES(1),(2) RETURNING a AS x").columns == ["x"]
        ran = file.run("UPDATE t SET a = 3")
    assert (ran.changes, ran.rows) == (2, [])
    with DatabaseFile(path) as file:
        assert file.own_rows("PRAGMA journal_mode") == [("wal",)]
        assert file.own_rows("SELECT a FROM t") == [(3,), (3,)]
    assert not path.with_name("db.sqlite-wal").exists()


def test_a_failing_block_leaves_nothing(path: Path):
    with DatabaseFile(path) as file:
        with pytest.raises(Failure, match="no such table: nope: SQLITE_ERROR"):
            run_all(file, "CREATE TABLE t(a)", "INSERT INTO nope VALUES(1)")
        assert file.own_rows("SELECT count(*) FROM sqlite_schema") == [(0,)]


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("PRAGMA page_size", "not authorized: SQLITE_AUTH"),
        ("ALTER TABLE t RENAME TO _cf_t", "not authorized: SQLITE_AUTH"),
        ("ATTACH 'x' AS y", "not authorized: SQLITE_AUTH"),
        ("SELECT sqlite_version()", "not authorized to use function: sqlite_version at offset 7: SQLITE_ERROR"),
        ("SELEC 1", 'near "SELEC": syntax error at offset 0: SQLITE_ERROR'),
        ("SELECT ?", "Wrong number of parameter bindings for SQL query. Parameters cannot be given here."),
        ("COMMIT", "To execute a transaction, please use"),
        (f"SELECT '{'x' * 100_000}'", "statement too long: SQLITE_TOOBIG"),
    ],
)
def test_statements_have_the_permissions_and_limits_of_a_worker(path: Path, sql: str, reason: str):
    with DatabaseFile(path) as file, pytest.raises(Failure) as caught, file.transaction():
        file.run(sql)
    assert caught.value.reason.startswith(reason)


def test_long_statements_can_be_accepted(path: Path):
    with DatabaseFile(path, accepts_long_statements=True) as file, file.transaction():
        assert file.run(f"SELECT length('{'x' * 500_000}')").rows == [(500_000,)]


def test_text_that_is_not_utf8_can_be_read(path: Path):
    with DatabaseFile(path) as file, file.transaction():
        assert file.run("SELECT CAST(X'41FF' AS TEXT)").rows == [("A\ufffd",)]


def test_a_lock_held_by_another_process_is_waited_for_and_then_named(path: Path):
    DatabaseFile(path).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with DatabaseFile(path, lock_wait_s=0.05) as file:
        with pytest.raises(DatabaseLocked, match=r"more than 0\.05 s"), file.transaction():
            raise AssertionError("the block must not run")
        with file.transaction(writes=False):
            assert file.run("SELECT 1").rows == [(1,)]
        other.execute("ROLLBACK")
        with file.transaction():
            file.run("CREATE TABLE t(a)")
    other.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path):
    wrong = tmp_path / "notes.txt"
    wrong.write_text("these are notes, not a database, and long enough to be looked at\n" * 20)
    with pytest.raises(UnusableFile, match="file is not a database"):
        DatabaseFile(wrong)


def test_violated_foreign_keys_are_named_at_the_end(path: Path):
    with DatabaseFile(path) as file:
        with file.transaction():
            file.run("CREATE TABLE parent(id INTEGER PRIMARY KEY)")
            file.run("CREATE TABLE child(id INTEGER PRIMARY KEY, p REFERENCES parent)")
        with (
            pytest.raises(Failure, match="child rowid 7 refers to no row of parent"),
            file.transaction(foreign_keys=False),
        ):
            file.run("INSERT INTO child VALUES(7, 1)")
        with file.transaction(foreign_keys=False):
            file.run("INSERT INTO child VALUES(7, 1)")
            file.run("INSERT INTO parent VALUES(1)")
        assert file.own_rows("SELECT count(*) FROM child") == [(1,)]


def test_rows_may_come_before_the_tables_they_refer_to(path: Path):
    with DatabaseFile(path) as file:
        with file.transaction(foreign_keys=False):
            file.run("CREATE TABLE child(p REFERENCES parent(id))")
            file.run("INSERT INTO child VALUES(1)")
            file.run("CREATE TABLE parent(id INTEGER PRIMARY KEY)")
            file.run("INSERT INTO parent VALUES(1)")
            file.run("CREATE TABLE odd(p REFERENCES parent(missing))")
        with pytest.raises(Failure, match="FOREIGN KEY constraint failed"):
            run_all(file, "INSERT INTO child VALUES(9)")


def test_a_running_statement_can_be_stopped(path: Path):
    with DatabaseFile(path) as file:
        timer = threading.Timer(0.1, file.stop)
        timer.start()
        with pytest.raises(KeyboardInterrupt), file.transaction():
            file.run("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c")
        timer.join()


def test_a_statement_that_ends_the_transaction_undoes_everything(path: Path):
    with DatabaseFile(path) as file:
        with file.transaction():
            file.run("CREATE TABLE t(a UNIQUE)")
        with pytest.raises(Failure, match="UNIQUE constraint failed"):
            run_all(file, "INSERT INTO t VALUES(1)", "INSERT OR ROLLBACK INTO t VALUES(1)")
        assert file.own_rows("SELECT count(*) FROM t") == [(0,)]


async def test_a_server_that_has_the_file_open_tells_its_listeners(path: Path):
    told: asyncio.Queue[Commit] = asyncio.Queue()
    engine = Engine.open(path, on_commit=told.put_nowait)
    with DatabaseFile(path) as file:
        with file.transaction():
            file.run("CREATE TABLE t(a)")
        await engine.watch_async("t")
        with file.transaction():
            file.run("INSERT INTO t VALUES(1)")
        async with asyncio.timeout(20):
            commit = await told.get()
    assert [(change.type, change.table) for change in commit.changes] == [("RESYNC", "t")]
    await engine.close()
