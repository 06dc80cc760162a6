from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from durable_objects.errors import StorageError
from workers.compat.proxies import JsException, JsTypeError


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [
        (5, "real", 5),
        (1.5, "real", 1.5),
        (True, "text", "true"),
        (None, "null", None),
        (float("nan"), "null", None),
        (b"ab", "blob", b"ab"),
        (memoryview(b"ab"), "blob", b"ab"),
        ([1, 2], "text", "1,2"),
        ({"a": 1}, "text", "[object Object]"),
        (dt.datetime(1970, 1, 1), "text", "Thu Jan 01 1970 00:00:00 GMT+0000 (Coordinated Universal Time)"),
    ],
)
def test_bindings_are_what_javascript_makes_of_them(bench: Any, value: object, kind: str, shown: object):
    row = bench.storage.sql.exec("SELECT typeof(?1) AS kind, ?1 AS value", value).one()
    assert (row.kind, row.value) == (kind, shown)


def test_a_large_integer_is_refused(bench: Any):
    with pytest.raises(JsTypeError, match="Cannot convert a BigInt value to a number"):
        bench.storage.sql.exec("SELECT ?", 2**60)


def test_whole_numbers_come_back_as_int(bench: Any):
    row = bench.storage.sql.exec("SELECT 5.0 AS a, 5 AS b, 1e300 AS c, 9007199254740993 AS d").one()
    assert [type(value) for value in row.values()] == [int, int, float, float]


def test_a_cursor_is_read_once_and_its_views_share_the_position(bench: Any):
    sql = bench.storage.sql
    sql.exec("CREATE TABLE t(a)")
    sql.exec("INSERT INTO t VALUES (1), (2), (3)")
    cursor = sql.exec("SELECT a FROM t")
    assert cursor.next() == {"done": False, "value": {"a": 1}}
    assert next(cursor.raw()) == [2]
    assert [row.a for row in cursor] == [3]
    assert cursor.toArray() == []
    assert cursor.next().done is True


def test_one_needs_exactly_one_row(bench: Any):
    sql = bench.storage.sql
    with pytest.raises(JsException, match="got no results"):
        sql.exec("SELECT 1 WHERE 0").one()
    with pytest.raises(JsException, match="got multiple results"):
        sql.exec("SELECT 1 UNION SELECT 2").one()


def test_earlier_statements_stay_done_when_a_later_one_fails(bench: Any):
    with pytest.raises(StorageError, match="no such table: nope: SQLITE_ERROR"):
        bench.storage.sql.exec("CREATE TABLE t(a); INSERT INTO nope VALUES (1)")
    assert bench.storage.sql.exec("SELECT count(*) AS n FROM t").one().n == 0


@pytest.mark.parametrize("sql", ["", "-- nothing", "SELECT 1; -- nothing"])
def test_text_without_a_last_statement_is_refused(bench: Any, sql: str):
    with pytest.raises(JsException, match="did not contain a statement"):
        bench.storage.sql.exec(sql)


def test_comments_do_not_hide_a_statement(bench: Any):
    assert bench.storage.sql.exec("/* a */ SELECT /* b */ 1 AS n -- c").one().n == 1


@pytest.mark.parametrize("sql", ["BEGIN", "commit", " /* x */ SAVEPOINT a", "RELEASE a", "ROLLBACK"])
def test_transactions_are_the_business_of_the_api(bench: Any, sql: str):
    with pytest.raises(JsException, match=r"please use the state\.storage\.transaction\(\)"):
        bench.storage.sql.exec(sql)


def test_parameters_must_match_and_belong_to_the_last_statement(bench: Any):
    with pytest.raises(StorageError, match="Wrong number of parameter bindings"):
        bench.storage.sql.exec("SELECT ?, ?", 1)
    with pytest.raises(JsException, match="only the last statement can have parameters"):
        bench.storage.sql.exec("SELECT ?; SELECT 1", 1)
    assert bench.storage.sql.exec("SELECT '?' AS q; SELECT ? AS v", 1).one().v == 1


def test_named_parameters_are_filled_in_order(bench: Any):
    row = bench.storage.sql.exec("SELECT :a AS x, @b AS y, $c AS z, :a AS again", 1, 2, 3).one()
    assert dict(row) == {"x": 1, "y": 2, "z": 3, "again": 1}
    with pytest.raises(StorageError, match="Wrong number of parameter bindings"):
        bench.storage.sql.exec("SELECT :a, :b", 1)


def test_constraint_errors_carry_both_codes(bench: Any):
    bench.storage.sql.exec("CREATE TABLE t(a UNIQUE); INSERT INTO t VALUES (1)")
    with pytest.raises(StorageError) as caught:
        bench.storage.sql.exec("INSERT INTO t VALUES (1)")
    assert caught.value.message == (
        "UNIQUE constraint failed: t.a: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)"
    )


async def test_deleting_everything_cancels_open_cursors(bench: Any):
    bench.storage.sql.exec("CREATE TABLE t(a); INSERT INTO t VALUES (1), (2)")
    bench.commit()
    cursor = bench.storage.sql.exec("SELECT a FROM t")
    cursor.next()
    await bench.storage.deleteAll()
    with pytest.raises(JsException, match="query was canceled because the database was deleted"):
        cursor.next()
    assert bench.storage.sql.exec("SELECT name FROM sqlite_master").toArray() == []


def test_an_internal_name_cannot_be_taken_by_renaming(bench: Any):
    bench.storage.sql.exec("CREATE TABLE t(a)")
    with pytest.raises(StorageError, match="not authorized: SQLITE_AUTH"):
        bench.storage.sql.exec('ALTER TABLE t RENAME TO "_cf_t"')


def test_size_is_counted_in_pages(bench: Any):
    assert bench.storage.sql.databaseSize == 4096
    bench.storage.sql.exec("CREATE TABLE t(a)")
    assert bench.storage.sql.databaseSize % 4096 == 0


def test_a_finished_cursor_tells_what_was_read_and_written(bench: Any):
    execute = bench.storage.sql.exec
    execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, n INTEGER)")
    execute("CREATE INDEX t_name ON t (name)")
    written = execute("INSERT INTO t (name, n) VALUES ('a', 1), ('b', 2), ('c', 3)")
    assert (written.rowsRead, written.rowsWritten) == (0, 6)
    one = execute("SELECT * FROM t WHERE n = 2")
    one.toArray()
    assert (one.rowsRead, one.rowsWritten) == (3, 0)
    by_key = execute("SELECT * FROM t WHERE id = ?", 2)
    assert by_key.rowsRead == 1
    by_key.one()
    assert by_key.rowsRead == 1
    removed = execute("DELETE FROM t WHERE id = 1")
    assert removed.rowsWritten == 1
    again = execute("UPDATE t SET n = 5 RETURNING id")
    again.next()
    again.toArray()
    assert again.rowsWritten == 2
    returning = execute("INSERT INTO t (name) VALUES ('d') RETURNING id")
    returning.toArray()
    assert (returning.rowsRead, returning.rowsWritten) == (1, 2)
    constant = execute("SELECT 1")
    constant.toArray()
    assert constant.rowsRead == 0
    execute("DROP TABLE t")
    assert one.rowsRead == 3


def test_a_cursor_whose_table_is_gone_tells_what_it_saw(bench: Any):
    execute = bench.storage.sql.exec
    execute("CREATE TABLE t (n)")
    execute("INSERT INTO t VALUES (1), (2)")
    cursor = execute("SELECT n FROM t")
    cursor.toArray()
    execute("DROP TABLE t")
    assert (cursor.rowsRead, cursor.rowsWritten) == (2, 0)
