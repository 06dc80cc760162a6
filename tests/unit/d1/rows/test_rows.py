"""The estimator by its own API: any connection can be asked. Its figures on many statements: tests/conformance."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from d1.rows import Work, estimate_rows

SCHEMA = """
CREATE TABLE t(id INTEGER PRIMARY KEY, kind TEXT, n INT);
CREATE INDEX by_kind ON t(kind, n);
CREATE INDEX some ON t(n) WHERE n > 90;
CREATE TABLE k(a TEXT, b TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID;
CREATE TABLE child(t INT REFERENCES t(id), x);
CREATE VIEW big AS SELECT * FROM t WHERE n > 50;
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 100)
    INSERT INTO t SELECT x, 'k' || (x % 4), x FROM c;
INSERT INTO k VALUES('a', 'b'), ('a', 'c');
"""


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SCHEMA)
        yield connection


def estimate(connection: sqlite3.Connection, sql: str, parameters: tuple[Any, ...] = ()) -> tuple[int, int]:
    total = connection.total_changes
    rows = connection.execute(sql, parameters).fetchall()
    work = Work(sql, len(rows), connection.total_changes - total, is_schema_changed=True)
    return estimate_rows(lambda sql, parameters: connection.execute(sql, parameters).fetchall(), work)


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT * FROM t WHERE kind = 'k1'", (26, 0)),
        ("SELECT count(*) FROM t WHERE kind = 'k1'", (26, 0)),
        ("SELECT max(n) FROM t WHERE kind = 'k1'", (1, 0)),
        ("SELECT * FROM t WHERE n > 90 ORDER BY n", (11, 0)),
        ("SELECT * FROM k WHERE a = 'a' AND b = 'c'", (1, 0)),
        ("SELECT * FROM k WHERE a = 'a'", (3, 0)),
        ("SELECT * FROM big", (100, 0)),
        ("SELECT a.id FROM t a JOIN t b ON b.id = a.n", (200, 0)),
        ("SELECT kind, (SELECT count(*) FROM t i WHERE i.kind = o.kind) FROM t o WHERE o.id = 3", (27, 0)),
        ("SELECT id FROM t UNION SELECT n FROM t", (300, 0)),
        ("INSERT INTO t(kind, n) VALUES('z', 1)", (0, 2)),
        ("INSERT INTO child VALUES(1, 2)", (1, 1)),
        ("UPDATE t SET n = n + 1 WHERE id = 5", (1, 2)),
        ("UPDATE t SET n = 7 WHERE id = 5", (1, 2)),
        ("UPDATE t SET n = 99 WHERE id = 5", (1, 3)),
        ("INSERT INTO t(kind, n) VALUES('z', 95)", (0, 3)),
        ("UPDATE t SET kind = 'x' WHERE kind = 'k1'", (76, 50)),
        ("DELETE FROM child", (0, 0)),
        ("DELETE FROM k", (0, 2)),
        ("CREATE INDEX i ON t(id)", (202, 101)),
        ("REINDEX", (404, 200)),
        ("EXPLAIN SELECT * FROM t", (0, 0)),
    ],
)
def test_reads_and_writes_follow_from_plan_and_schema(
    connection: sqlite3.Connection, sql: str, rows: tuple[int, int]
) -> None:
    assert estimate(connection, sql) == rows


def test_parameters_need_not_be_known(connection: sqlite3.Connection) -> None:
    assert estimate(connection, "SELECT * FROM t WHERE kind = ? AND n < ?3", ("k1", None, 50)) == (14, 0)


def test_a_table_that_has_gone_is_the_callers_affair(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError):
        estimate_rows(lambda sql, _: connection.execute(sql).fetchall(), Work("SELECT * FROM gone", 0, 0))


def test_big_tables_are_not_counted_to_the_end(connection: sqlite3.Connection) -> None:
    connection.execute(
        "WITH RECURSIVE c(x) AS (SELECT 101 UNION ALL SELECT x + 1 FROM c WHERE x < 20000)"
        " INSERT INTO t SELECT x, x, x FROM c"
    )
    asked: list[str] = []

    def ask(sql: str, parameters: Any) -> list[tuple[Any, ...]]:
        asked.append(sql)
        return connection.execute(sql, parameters).fetchall()

    assert estimate_rows(ask, Work("SELECT * FROM t", 20000, 0)) == (20000, 0)
    assert all("LIMIT" in sql for sql in asked if "count" in sql and '"t"' in sql)
