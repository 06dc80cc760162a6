"""What user SQL may do, beyond the recorded cases."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from math import inf
from pathlib import Path

import pytest

from d1.engine.authorizer import ALLOWED_FUNCTIONS, DENIED_FUNCTIONS, PRAGMAS, Authorizer, PragmaArgument, is_reserved
from d1.engine.calls import Query
from d1.engine.transactions import Transactions
from d1.errors import Failure


class Clock:
    def now_ms(self) -> int:
        return 0


@pytest.fixture
def transactions() -> Iterator[Transactions]:
    with closing(Transactions(Path(":memory:"), "DB", Clock())) as opened:
        opened.run([Query("CREATE TABLE t(id INTEGER PRIMARY KEY, a)")], inf)
        yield opened


def reason(transactions: Transactions, sql: str) -> str:
    with pytest.raises(Failure) as caught:
        transactions.run([Query(sql)], inf)
    return caught.value.reason


def answer(transactions: Transactions, sql: str) -> list[tuple[object, ...]]:
    return transactions.run([Query(sql)], inf)[0].rows


def test_own_statements_are_never_refused() -> None:
    authorizer = Authorizer("_cap_x_")
    assert authorizer(sqlite3.SQLITE_ATTACH, "file", None, None, None) == sqlite3.SQLITE_OK


@pytest.mark.parametrize("name", ["_cf_KV", "_CF_x", "_cf_"])
def test_the_platform_s_names_are_reserved(name: str) -> None:
    assert is_reserved(name)
    assert not is_reserved("x" + name)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE _cf_x(a)",
        "CREATE INDEX _cf_i ON t(a)",
        "CREATE VIEW _cf_v AS SELECT 1",
        "CREATE TRIGGER _cf_g AFTER INSERT ON t BEGIN SELECT 1; END",
        "ALTER TABLE t RENAME TO _cf_t",
        'ALTER TABLE t RENAME TO "_cf_t"',
        "CREATE TEMP TABLE x(a)",
        "CREATE TEMP TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END",
        "CREATE VIRTUAL TABLE f USING fts3(a)",
        "CREATE VIRTUAL TABLE f USING rtree(id, a, b)",
        "ATTACH ':memory:' AS other",
        "DETACH main",
        "PRAGMA journal_mode",
        "PRAGMA foreign_keys=maybe",
        "PRAGMA table_info(_cf_KV)",
        "PRAGMA index_list",
        "PRAGMA nothing_of_the_kind",
        "PRAGMA integrity_check",
    ],
)
def test_refused_with_production_s_text(transactions: Transactions, sql: str) -> None:
    assert reason(transactions, sql) == "not authorized: SQLITE_AUTH"


@pytest.mark.parametrize("sql", ["BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT s", "RELEASE s", "ROLLBACK TO s"])
def test_transactions_are_the_platform_s(transactions: Transactions, sql: str) -> None:
    assert reason(transactions, sql).startswith("To execute a transaction, please use")


ARGUMENTS = {"power": "2,3", "fts5_source_id": "", "sqlite_source_id": "", "sqlite_version": "", "sqlite_log": "1,'a'"}


@pytest.mark.parametrize("function", sorted(DENIED_FUNCTIONS))
def test_functions_that_production_refuses(transactions: Transactions, function: str) -> None:
    found = reason(transactions, f"SELECT {function}({ARGUMENTS.get(function, '1')})")
    assert found == f"not authorized to use function: {function} at offset 7: SQLITE_ERROR"


@pytest.mark.parametrize("function", ["soundex", "fts3_tokenizer", "rtreenode", "frob"])
def test_functions_that_production_does_not_have(transactions: Transactions, function: str) -> None:
    assert reason(transactions, f"SELECT {function}('a', 1)") == (
        f"no such function: {function} at offset 7: SQLITE_ERROR"
    )


@pytest.mark.parametrize("name", [name for name, kind in PRAGMAS.items() if kind is PragmaArgument.BOOLEAN])
def test_boolean_settings_can_be_read_and_set(transactions: Transactions, name: str) -> None:
    assert len(answer(transactions, f"PRAGMA {name}")) == (0 if name == "case_sensitive_like" else 1)
    for word in ("ON", "'off'", "1", "FALSE"):
        assert answer(transactions, f"PRAGMA {name}={word}") == []


def test_built_in_tables_that_production_does_not_have(transactions: Transactions) -> None:
    assert reason(transactions, "SELECT * FROM dbstat") == "no such table: dbstat: SQLITE_ERROR"


def test_reading_a_reserved_table_is_prohibited(transactions: Transactions) -> None:
    transactions.connection.change("CREATE TABLE _cf_KV(key)")
    assert reason(transactions, "SELECT * FROM _cf_KV") == "access to _cf_KV.key is prohibited: SQLITE_AUTH"


def test_the_capture_log_is_out_of_reach(transactions: Transactions) -> None:
    transactions.watch("t")
    transactions.run([Query("INSERT INTO t VALUES(1,2)")], inf)
    log = f"{transactions.connection.own_prefix}log"
    assert "prohibited" in reason(transactions, f"SELECT * FROM {log}")
    assert reason(transactions, f"DELETE FROM {log}") == "not authorized: SQLITE_AUTH"
    assert reason(transactions, f"DROP TRIGGER {log}_I") == f"no such trigger: {log}_I: SQLITE_ERROR"
    assert "prohibited" in reason(transactions, "SELECT * FROM sqlite_temp_schema")


def test_the_capture_log_is_not_listed(transactions: Transactions) -> None:
    before = answer(transactions, "PRAGMA table_list")
    transactions.watch("t")
    assert answer(transactions, "PRAGMA table_list") == before


def test_a_user_statement_cannot_reuse_an_own_prepared_one(transactions: Transactions) -> None:
    own = transactions.connection.commit_sql
    assert own != "COMMIT"
    assert reason(transactions, "COMMIT").startswith("To execute a transaction")


@pytest.mark.parametrize(
    "sql", ["ALTER TABLE t RENAME TO u", "ALTER TABLE t RENAME COLUMN a TO b", "ANALYZE", "REINDEX"]
)
def test_schema_work_is_allowed(transactions: Transactions, sql: str) -> None:
    assert answer(transactions, sql) == []


def test_full_text_search_works(transactions: Transactions) -> None:
    answer(transactions, "CREATE VIRTUAL TABLE f USING fts5(a)")
    answer(transactions, "INSERT INTO f VALUES('hello there')")
    assert answer(transactions, "SELECT highlight(f,0,'<','>') FROM f('hello')") == [("<hello> there",)]


def test_allowed_functions_are_lower_case() -> None:
    assert all(name == name.lower() for name in ALLOWED_FUNCTIONS)
