from __future__ import annotations

from typing import Any

import pytest

from durable_objects.errors import CommitFailed, ConstraintsLeftViolated


def test_writes_of_a_turn_are_one_transaction(bench: Any):
    bench.storage.put("a", 1)
    bench.storage.sql.exec("CREATE TABLE t(x)")
    bench.storage.kv.put("b", 2)
    assert bench.opened == 1
    assert bench.reopened().kv.get("a") is None
    bench.commit()
    assert bench.reopened().kv.get("b") == 2


def test_reading_opens_no_transaction(bench: Any):
    bench.storage.kv.get("a")
    bench.storage.sql.exec("SELECT 1")
    assert bench.opened == 0


def test_an_inner_failure_undoes_the_inner_part_only(bench: Any):
    def outer() -> None:
        bench.storage.kv.put("outer", 1)
        with pytest.raises(ValueError, match="inner"):
            bench.storage.transactionSync(inner)

    def inner() -> None:
        bench.storage.kv.put("inner", 1)
        raise ValueError("inner")

    bench.storage.transactionSync(outer)
    assert bench.storage.kv.get("outer") == 1
    assert bench.storage.kv.get("inner") is None


def test_a_rollback_may_undo_the_internal_tables_too(bench: Any):
    with pytest.raises(ValueError, match="x"):
        bench.storage.transactionSync(lambda: (bench.storage.kv.put("a", 1), _fail("x")))
    assert bench.storage.kv.get("a") is None
    bench.storage.kv.put("a", 2)
    assert bench.storage.kv.get("a") == 2


def _fail(message: str) -> None:
    raise ValueError(message)


async def test_an_async_transaction_undoes_everything_inside_it(bench: Any):
    async def closure(txn: Any) -> None:
        await txn.put("a", 1)
        bench.storage.sql.exec("CREATE TABLE t(x)")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await bench.storage.transaction(closure)
    assert await bench.storage.get("a") is None
    assert bench.storage.sql.exec("SELECT name FROM sqlite_master WHERE name = 't'").toArray() == []


async def test_rollback_ends_a_transaction_quietly_and_refuses_more(bench: Any):
    async def closure(txn: Any) -> str:
        await txn.put("a", 1)
        txn.rollback()
        with pytest.raises(Exception, match=r"Cannot put\(\) on rolled back transaction"):
            txn.put("b", 1)
        return "value"

    assert await bench.storage.transaction(closure) == "value"
    assert await bench.storage.get("a") is None


def test_a_violated_constraint_rolls_everything_back(bench: Any):
    sql = bench.storage.sql
    sql.exec("CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)")
    bench.commit()
    sql.exec("INSERT INTO c VALUES (1)")
    with pytest.raises(ConstraintsLeftViolated):
        bench.commit()
    assert sql.exec("SELECT * FROM c").toArray() == []


def test_an_unfinished_write_cannot_be_committed(bench: Any):
    bench.storage.sql.exec("CREATE TABLE t(a)")
    cursor = bench.storage.sql.exec("INSERT INTO t VALUES (1), (2) RETURNING a")
    with pytest.raises(CommitFailed, match="internal error; reference = "):
        bench.commit()
    del cursor
