"""The ways a call can take; whichever it is, the result must be the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from math import inf
from pathlib import Path
from time import perf_counter

import pytest

from d1.engine.calls import Outcome, Query
from d1.engine.transactions import Interrupted, Transactions
from d1.errors import Failure
from d1.sql import parse

LONG = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<1000000) "


class Clock:
    def now_ms(self) -> int:
        return 0


@pytest.fixture
def transactions(tmp_path: Path) -> Iterator[Transactions]:
    with closing(Transactions(tmp_path / "db.sqlite", "DB", Clock())) as opened:
        opened.run([Query("CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE)")], inf)
        yield opened


def seen(outcome: Outcome) -> tuple[object, ...]:
    return outcome.rows, outcome.changes, outcome.last_row_id, outcome.is_changed, outcome.columns


def short(transactions: Transactions, sql: str) -> Outcome:
    """Take the short way that the engine would choose."""
    plain = parse(sql).plain
    assert plain is not None
    way = transactions.captured if transactions.capture.is_wanted else transactions.alone
    return way(plain, (), 60.0)


@pytest.mark.parametrize("is_watched", [False, True])
@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t(a) VALUES('x')",
        "INSERT OR IGNORE INTO t(id) VALUES(1)",
        "INSERT INTO t(id,a) VALUES(1,'y') ON CONFLICT(id) DO UPDATE SET a=excluded.a",
        "REPLACE INTO t VALUES(1,'z')",
        "UPDATE t SET a=a||'!'",
        "DELETE FROM t WHERE id>1",
        "DELETE FROM t",
    ],
)
def test_the_short_way_does_what_the_long_way_does(tmp_path: Path, sql: str, is_watched: bool) -> None:
    results: list[object] = []
    for name in ("short", "long"):
        with closing(Transactions(tmp_path / name, "DB", Clock())) as one:
            one.run([Query("CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE)")], inf)
            one.run([Query("INSERT INTO t(a) VALUES('a'),('b')")], inf)
            if is_watched:
                one.watch("t")
            outcome = short(one, sql) if name == "short" else one.run([Query(sql)], inf)[0]
            changes = one.commit.changes if one.commit is not None else ()
            results.append((seen(outcome), changes, one.run([Query("SELECT * FROM t")], inf)[0].rows))
    assert results[0] == results[1]


@pytest.mark.parametrize("is_watched", [False, True])
def test_the_short_way_fails_as_the_long_way_does(transactions: Transactions, is_watched: bool) -> None:
    if is_watched:
        transactions.watch("t")
    short(transactions, "INSERT INTO t VALUES(1,'a')")
    transactions.commit = None
    with pytest.raises(Failure, match=r"UNIQUE constraint failed: t\.id"):
        short(transactions, "INSERT INTO t VALUES(2,'b'),(1,'c')")
    assert transactions.commit is None
    assert transactions.run([Query("SELECT id FROM t")], inf)[0].rows == [(1,)]


def test_only_an_all_or_nothing_schema_lets_writes_be_their_own_transactions(transactions: Transactions) -> None:
    assert transactions.is_free
    transactions.run([Query("CREATE TABLE c(t REFERENCES t(id) DEFERRABLE INITIALLY DEFERRED)")], inf)
    assert not transactions.is_free
    transactions.run([Query("DROP TABLE c")], inf)
    assert transactions.is_free
    transactions.watch("t")
    assert not transactions.is_free
    transactions.unwatch("t")
    assert transactions.is_free


@pytest.mark.parametrize("is_watched", [False, True])
def test_a_call_that_is_stopped_has_not_happened(transactions: Transactions, is_watched: bool) -> None:
    if is_watched:
        transactions.watch("t")
    with pytest.raises(Interrupted):
        transactions.run([Query("INSERT INTO t(a) VALUES('x')"), Query(LONG + "INSERT INTO t(a) SELECT x FROM c")], 0.0)
    assert transactions.run([Query("SELECT count(*) FROM t")], inf)[0].rows == [(0,)]
    assert transactions.commit is None


def test_a_small_call_is_never_stopped_however_late_it_is(transactions: Transactions) -> None:
    for _ in range(200):
        transactions.run([Query("INSERT INTO t(a) VALUES(NULL)")], perf_counter() - 1)


def test_a_lock_of_another_connection_counts_as_an_interruption(tmp_path: Path, transactions: Transactions) -> None:
    with closing(Transactions(tmp_path / "db.sqlite", "DB", Clock())) as other:
        other.connection.raw.execute(other.connection.begin_sql)
        with pytest.raises(Interrupted):
            transactions.run([Query("INSERT INTO t(a) VALUES(1)")], inf)
        with pytest.raises(Interrupted):
            short(transactions, "INSERT INTO t(a) VALUES(1)")
        other.connection.rollback()
    short(transactions, "INSERT INTO t(a) VALUES(1)")


def test_a_writing_call_counts_once(transactions: Transactions) -> None:
    start = transactions.writes
    transactions.run([Query("INSERT INTO t(a) VALUES(1)"), Query("INSERT INTO t(a) VALUES(2)")], inf)
    short(transactions, "UPDATE t SET a=3 WHERE id=1")
    short(transactions, "SELECT * FROM t")
    transactions.run([Query("SELECT 1")], inf)
    assert transactions.writes == start + 2
