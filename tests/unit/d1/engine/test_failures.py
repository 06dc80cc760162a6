"""Error texts with offsets, found again without SQLite's help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from math import inf
from pathlib import Path

import pytest

from d1.engine.calls import Query
from d1.engine.transactions import Transactions
from d1.errors import Failure


class Clock:
    def now_ms(self) -> int:
        return 0


@pytest.fixture
def transactions() -> Iterator[Transactions]:
    with closing(Transactions(Path(":memory:"), "DB", Clock())) as opened:
        opened.run([Query("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b); CREATE TABLE s(a INTEGER) STRICT")], inf)
        yield opened


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT zz FROM t", "no such column: zz at offset 7: SQLITE_ERROR"),
        ("SELECT 'é', zz FROM t", "no such column: zz at offset 13: SQLITE_ERROR"),
        ("SELECT a /* zz */, t.zz FROM t", "no such column: t.zz at offset 19: SQLITE_ERROR"),
        ("SELECT t.a FROM t WHERE zz=1", "no such column: zz at offset 24: SQLITE_ERROR"),
        ("SELECT id FROM t x JOIN t y", "ambiguous column name: id at offset 7: SQLITE_ERROR"),
        ("INSERT INTO t(zz) VALUES(1)", "table t has no column named zz: SQLITE_ERROR"),
        ("SELECT t.a FROM t JOIN t AS u ON zz=1", "no such column: zz: SQLITE_ERROR"),
        ("UPDATE t SET zz=1", "no such column: zz: SQLITE_ERROR"),
        ("UPDATE t SET a=zz", "no such column: zz at offset 15: SQLITE_ERROR"),
        ("ALTER TABLE t RENAME COLUMN zz TO y", 'no such column: "zz" at offset 28: SQLITE_ERROR'),
        ("SELECT a FROM t ORDER BY a, 5", "2nd ORDER BY term out of range - should be between 1 and 1: SQLITE_ERROR"),
        (
            "SELECT 1 UNION SELECT 2 ORDER BY max(1, 2), 9, 1",
            "2nd ORDER BY term out of range - should be between 1 and 1 at offset 44: SQLITE_ERROR",
        ),
        ("INSERT INTO t(id, a) SELECT id, 'x' 's' WHERE 1", "no such column: id at offset 28: SQLITE_ERROR"),
        ("WITH c(x) AS (SELECT x + 1 y WHERE x < 5) SELECT x FROM c", "no such column: x at offset 21: SQLITE_ERROR"),
        ("SELECT a AS zz FROM t WHERE (SELECT zz.b) = zz.b", "no such column: zz.b at offset 36: SQLITE_ERROR"),
        ("INSERT INTO t(a) VALUES(1 X'00')", "near \"X'00'\": syntax error at offset 26: SQLITE_ERROR"),
        ("SELECT count(*) FROM t WHERE count(*)>1", "misuse of aggregate: count() at offset 29: SQLITE_ERROR"),
        (
            "SELECT lag(a) OVER () FROM t WHERE lag(a) OVER ()",
            "misuse of window function lag() at offset 35: SQLITE_ERROR",
        ),
        ("SELECT '$' || $", 'unrecognized token: "$" at offset 14: SQLITE_ERROR'),
        ("SELECT 't', 1 FROM nope.t -- nope.t", "no such table: nope.t: SQLITE_ERROR"),
        ("/* x.y */ CREATE TABLE x.y(a)", "unknown database x at offset 23: SQLITE_ERROR"),
        ("SELECT sum(sum(a)) FROM t", "misuse of aggregate function sum() at offset 11: SQLITE_ERROR"),
        ("CREATE TABLE t(a)", "table t already exists at offset 13: SQLITE_ERROR"),
        ("CREATE INDEX i ON t(zz)", "no such column: zz at offset 20: SQLITE_ERROR"),
        ("SELECT json_extract('{}','a')", "bad JSON path: 'a': SQLITE_ERROR"),
        ("SELECT concat()", "wrong number of arguments to function concat() at offset 7: SQLITE_ERROR"),
        ("CREATE TABLE nope.x(a)", "unknown database nope at offset 13: SQLITE_ERROR"),
        ("SELECT 1; SELECT zz", "no such column: zz at offset 7: SQLITE_ERROR"),
        (
            "INSERT INTO s VALUES('x')",
            "cannot store TEXT value in INTEGER column s.a: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_DATATYPE)",
        ),
        ("SELECT 1 + frob(2)", "no such function: frob at offset 11: SQLITE_ERROR"),
        ("SELECT abs(1, 2)", "wrong number of arguments to function abs() at offset 7: SQLITE_ERROR"),
        ("SELEC 1", 'near "SELEC": syntax error at offset 0: SQLITE_ERROR'),
        ("SELECT 1 FROM t WHERE", "incomplete input: SQLITE_ERROR"),
        ("SELECT (1, (2) FROM t FROM t", 'near "FROM": syntax error at offset 15: SQLITE_ERROR'),
        ("SELECT a FROM t WHERE WHERE a", 'near "WHERE": syntax error at offset 22: SQLITE_ERROR'),
        ("SELECT 'abc", 'unrecognized token: "\'abc" at offset 7: SQLITE_ERROR'),
        ("SELECT ?101", "variable number must be between ?1 and ?100 at offset 7: SQLITE_ERROR"),
        ("SELECT " + ",".join("?" * 101), "too many SQL variables at offset 207: SQLITE_ERROR"),
        ("SELECT * FROM nope", "no such table: nope: SQLITE_ERROR"),
        ("INSERT INTO t(id) VALUES('x')", "datatype mismatch: SQLITE_MISMATCH"),
        ("SELECT json('{')", "malformed JSON: SQLITE_ERROR"),
        ("VACUUM", "cannot VACUUM from within a transaction: SQLITE_ERROR"),
        ("SELECT 'a' LIKE '" + "a" * 51 + "'", "LIKE or GLOB pattern too complex: SQLITE_ERROR"),
        ("SELECT " + "1+" * 101 + "1", "Expression tree is too large (maximum depth 100): SQLITE_ERROR"),
        ("SELECT 1 /*" + "x" * 100_000 + "*/", "statement too long: SQLITE_TOOBIG"),
        ("SELECT zeroblob(3000000)", "string or blob too big: SQLITE_TOOBIG"),
        ("SELECT 1\0", "SQL code did not contain a statement."),
    ],
)
def test_failures_read_as_in_production(transactions: Transactions, sql: str, text: str) -> None:
    with pytest.raises(Failure) as caught:
        transactions.run([Query(sql)], inf)
    assert caught.value.reason == text


@pytest.mark.parametrize(
    ("sql", "parameters", "text"),
    [
        ("SELECT ?, ?", (1.0,), "Wrong number of parameter bindings for SQL query."),
        ("SELECT ?3", (1.0,), "Wrong number of parameter bindings for SQL query."),
        ("SELECT :a, :a", (1.0, 2.0), "Wrong number of parameter bindings for SQL query."),
        ("SELECT ?; SELECT 1", (), "When executing multiple SQL statements in a single call, only the last"),
        ("INSERT INTO t(a) VALUES(?)", ("x" * 2_200_001,), "string or blob too big: SQLITE_TOOBIG"),
    ],
)
def test_parameters_that_do_not_fit(transactions: Transactions, sql: str, parameters: tuple[float], text: str) -> None:
    with pytest.raises(Failure) as caught:
        transactions.run([Query(sql, parameters)], inf)
    assert caught.value.reason.startswith(text)


def test_named_parameters_bind_by_their_first_appearance(transactions: Transactions) -> None:
    outcome = transactions.run([Query("SELECT :b, $a, :b, @c", (1.0, 2.0, 3.0))], inf)[0]
    assert outcome.rows == [(1.0, 2.0, 1.0, 3.0)]
