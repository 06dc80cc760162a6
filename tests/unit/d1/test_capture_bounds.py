"""Transactions that change more than is told row by row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from math import inf
from pathlib import Path
from typing import Any

import pytest

from d1.capture import CaptureBounds
from d1.changes import RowChange
from d1.engine.calls import Query
from d1.engine.transactions import Transactions
from d1.errors import Failure

NUMBERS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x<{}) "


class SteadyClock:
    def now_ms(self) -> int:
        return 1_000


@pytest.fixture
def transactions() -> Iterator[Transactions]:
    with closing(Transactions(Path(":memory:"), "DB", SteadyClock())) as opened:
        opened.capture.bounds = CaptureBounds(rows=500, bytes=4_000_000)
        run(
            opened,
            "CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE)",
            "CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES t(id) ON DELETE CASCADE)",
            "CREATE TABLE other(x)",
        )
        for table in ("t", "c", "other"):
            opened.watch(table)
        yield opened


def run(transactions: Transactions, *statements: str) -> tuple[RowChange, ...]:
    transactions.commit = None
    transactions.run([Query(sql) for sql in statements], inf)
    commit = transactions.commit
    return commit.changes if commit is not None else ()


def kinds(changes: tuple[RowChange, ...]) -> list[tuple[str, str]]:
    return [(change.type, change.table) for change in changes]


def one(transactions: Transactions, sql: str) -> Any:
    return transactions.run([Query(sql)], inf)[0].rows[0][0]


@pytest.mark.parametrize("conflict", ["", "OR IGNORE ", "OR REPLACE ", "OR FAIL ", "OR ABORT "])
def test_too_many_rows_are_one_resync_of_their_table(transactions: Transactions, conflict: str) -> None:
    changes = run(transactions, f"INSERT {conflict}INTO t(a) {NUMBERS.format(5_000)} SELECT x FROM n")
    cascades = [("RESYNC", "c")] if "REPLACE" in conflict else []  # the statement may delete rows of c
    assert kinds(changes) == [("RESYNC", "t"), *cascades]
    assert one(transactions, "SELECT count(*) FROM t") == 5_000


def test_as_many_as_are_told_are_told(transactions: Transactions) -> None:
    changes = run(transactions, f"INSERT INTO t(a) {NUMBERS.format(500)} SELECT x FROM n")
    assert kinds(changes) == [("INSERT", "t")] * 500


def test_row_changes_are_told_again_after_a_resync(transactions: Transactions) -> None:
    run(transactions, f"INSERT INTO t(a) {NUMBERS.format(5_000)} SELECT x FROM n")
    (change,) = run(transactions, "UPDATE t SET a=-1 WHERE id=7")
    assert (change.type, change.data, change.old) == ("UPDATE", {"id": 7, "a": -1}, {"id": 7, "a": 7})


def test_every_table_that_the_call_writes_is_told(transactions: Transactions) -> None:
    run(transactions, f"INSERT INTO t(a) {NUMBERS.format(5_000)} SELECT x FROM n", "INSERT INTO c VALUES(1,1)")
    changes = run(transactions, "INSERT INTO other VALUES(1)", "DELETE FROM t")
    assert sorted(kinds(changes)) == [("RESYNC", "c"), ("RESYNC", "other"), ("RESYNC", "t")]
    assert one(transactions, "SELECT count(*) FROM c") == 0


def test_many_small_statements_of_one_call_count_together(transactions: Transactions) -> None:
    insert = f"INSERT INTO t(a) {NUMBERS.format(100)} SELECT x+(SELECT count(*) FROM t) FROM n"
    assert kinds(run(transactions, *[insert] * 8)) == [("RESYNC", "t")]


def test_wide_rows_are_bounded_by_bytes(transactions: Transactions) -> None:
    changes = run(transactions, f"INSERT INTO other {NUMBERS.format(100)} SELECT zeroblob(100000) FROM n")
    assert kinds(changes) == [("RESYNC", "other")]
    assert one(transactions, "SELECT count(*) FROM other") == 100


def test_schema_work_in_such_a_call_is_told_too(transactions: Transactions) -> None:
    changes = run(
        transactions,
        f"INSERT INTO t(a) {NUMBERS.format(5_000)} SELECT x FROM n",
        "ALTER TABLE t ADD COLUMN b",
        "ALTER TABLE other RENAME TO another",
        "UPDATE t SET b=1",
    )
    assert sorted(kinds(changes)) == [("RESYNC", "t"), ("SCHEMA", "other"), ("SCHEMA", "t")]
    (change,) = run(transactions, "UPDATE t SET b=2 WHERE id=1")
    assert change.data == {"id": 1, "a": 1, "b": 2}


def test_a_call_that_fails_beyond_the_bound_changes_and_tells_nothing(transactions: Transactions) -> None:
    with pytest.raises(Failure, match="UNIQUE constraint failed"):
        run(transactions, f"INSERT INTO t(a) {NUMBERS.format(5_000)} SELECT x%4000 FROM n")
    assert transactions.commit is None
    assert kinds(run(transactions, "INSERT INTO t(a) VALUES('x')")) == [("INSERT", "t")]
    assert one(transactions, "SELECT count(*) FROM t") == 1


def test_results_and_counters_are_the_user_s(transactions: Transactions) -> None:
    counters = "SELECT changes(), total_changes(), last_insert_rowid()"
    before = transactions.run([Query(counters)], inf)[0].rows[0]
    outcome = transactions.run([Query(f"INSERT INTO t(a) {NUMBERS.format(5_000)} SELECT x FROM n")], inf)[0]
    assert (outcome.changes, outcome.last_row_id) == (5_000, 5_000)
    after = transactions.run([Query(counters)], inf)[0].rows[0]
    assert after == (5_000, before[1] + 5_000, 5_000)


def test_triggers_of_the_user_run_as_without_capture(transactions: Transactions) -> None:
    run(transactions, "CREATE TRIGGER copy AFTER INSERT ON t BEGIN INSERT INTO other VALUES(NEW.a); END")
    changes = run(transactions, f"INSERT INTO t(a) {NUMBERS.format(5_000)} SELECT x FROM n")
    assert sorted(kinds(changes)) == [("RESYNC", "other"), ("RESYNC", "t")]
    assert one(transactions, "SELECT count(*) FROM other") == 5_000
