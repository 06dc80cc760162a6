"""Splitting, classifying and naming, without SQLite."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d1.sql import Kind, is_only_comment, parameter_count, parse, quote_name, tables, tokens

TRIGGER = "CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT CASE WHEN 1 THEN ';' END; INSERT INTO a VALUES(1); END;"
TEMP_TRIGGER = "CREATE TEMP TRIGGER x BEFORE DELETE ON t BEGIN SELECT 1; END"


@pytest.mark.parametrize(
    ("sql", "parts"),
    [
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1;", ["SELECT 1;"]),
        ("SELECT 1; \n", ["SELECT 1;"]),
        ("SELECT 1; SELECT 2", ["SELECT 1;", "SELECT 2"]),
        ("SELECT ';' || \";\" || `;` || [;]", ["SELECT ';' || \";\" || `;` || [;]"]),
        ("SELECT 1 -- ;\n+ 2; /* ; */ SELECT 3", ["SELECT 1 -- ;\n+ 2;", "/* ; */ SELECT 3"]),
        (TRIGGER + " SELECT 2", [TRIGGER, "SELECT 2"]),
        (TEMP_TRIGGER, [TEMP_TRIGGER]),
        ("CREATE TABLE trigger(a); SELECT 2", ["CREATE TABLE trigger(a);", "SELECT 2"]),
        ("SELECT trigger; SELECT 2;", ["SELECT trigger;", "SELECT 2;"]),
        ("SELECT 1; -- end", ["SELECT 1;", "-- end"]),
        ("TRIGGER x; SELECT 1", ["TRIGGER x;", "SELECT 1"]),
        ("CREATE TEMP TRIGGER x BEGIN a; END; b", ["CREATE TEMP TRIGGER x BEGIN a; END;", "b"]),
        ("CREATE TABLE TRIGGER(a); b", ["CREATE TABLE TRIGGER(a);", "b"]),
        (";;", [";;"]),
        (";; SELECT 1;;SELECT 2", [";; SELECT 1;", ";SELECT 2"]),
    ],
)
def test_texts_are_split_where_sqlite_ends_a_statement(sql: str, parts: list[str]) -> None:
    assert [statement.text for statement in parse(sql).statements] == parts


@pytest.mark.parametrize(
    ("sql", "verb", "kind"),
    [
        ("select 1", "SELECT", Kind.READ),
        ("VALUES(1)", "VALUES", Kind.READ),
        ("EXPLAIN DELETE FROM t", "EXPLAIN", Kind.READ),
        ("-- c\n /* d */ insert into t values(1)", "INSERT", Kind.WRITE),
        ("REPLACE INTO t VALUES(1)", "REPLACE", Kind.WRITE),
        ("WITH x AS (SELECT 1), y(a) AS (VALUES(2)) SELECT * FROM x", "SELECT", Kind.READ),
        ("WITH x AS (DELETE) UPDATE t SET a=(SELECT 1)", "UPDATE", Kind.WRITE),
        ("CREATE TABLE t(a)", "CREATE", Kind.DDL),
        ("ALTER TABLE t ADD b", "ALTER", Kind.DDL),
        ("PRAGMA foreign_keys", "PRAGMA", Kind.PRAGMA),
        ("VACUUM", "VACUUM", Kind.OTHER),
        ("SELEC 1", "SELEC", Kind.OTHER),
        ("(SELECT 1)", "", Kind.OTHER),
        ("", "", Kind.EMPTY),
        (" -- only\n", "", Kind.EMPTY),
        ("/* only */", "", Kind.EMPTY),
        (";", "", Kind.EMPTY),
        ("SELECT 1\0", "", Kind.EMPTY),
    ],
)
def test_statements_are_told_by_their_leading_keyword(sql: str, verb: str, kind: Kind) -> None:
    statement = parse(sql).statements[0]
    assert (statement.verb, statement.kind) == (verb, kind)


@pytest.mark.parametrize("word", ["OR FAIL", "OR ROLLBACK"])
def test_what_may_keep_a_part_of_a_statement_is_not_plain(word: str) -> None:
    assert parse("INSERT OR IGNORE INTO t VALUES(1)").plain is not None
    assert parse(f"INSERT {word} INTO t VALUES(1)").plain is None
    assert parse("DELETE FROM t RETURNING *").plain is None
    assert parse("SELECT :name").plain is None


@pytest.mark.parametrize(
    "sql", ["DELETE FROM t", "SELECT count(*) FROM t", "CREATE INDEX i ON t(a)", "PRAGMA quick_check", "REINDEX"]
)
def test_statements_with_a_step_of_any_length_are_bulk(sql: str) -> None:
    assert parse(sql).is_bulk
    assert not parse("DELETE FROM t WHERE id=1").is_bulk


def test_what_can_replace_or_update_is_known() -> None:
    statement = parse("INSERT INTO t VALUES(1) ON CONFLICT DO UPDATE SET a=replace(a,'x','y')").statements[0]
    assert (statement.can_replace, statement.can_update) == (True, True)


@pytest.mark.parametrize(
    ("sql", "is_dropped"),
    [
        ("", True),
        ("  \n", True),
        ("  -- x", True),
        (" -- x\n  -- y", True),
        ("-- x", False),
        ("/* x */", False),
        (" SELECT 1", False),
    ],
)
def test_indented_comments_are_dropped_and_others_are_not(sql: str, is_dropped: bool) -> None:
    assert is_only_comment(sql) is is_dropped


@pytest.mark.parametrize(
    ("sql", "count"), [("SELECT 1", 0), ("SELECT ?, ?", 2), ("SELECT ?3, ?", 4), ("SELECT :a, $b, :a, '?'", 2)]
)
def test_parameters_are_counted_as_sqlite_counts_them(sql: str, count: int) -> None:
    assert parameter_count(sql) == count


@pytest.mark.parametrize(
    ("sql", "read", "written"),
    [
        ("SELECT * FROM a JOIN b ON a.x=b.x WHERE y IN (SELECT z FROM c)", {"a", "b", "c"}, set()),
        ("REPLACE INTO t VALUES(?1, ?2)", set(), {"t"}),
        ("UPDATE OR IGNORE t SET a=?2 WHERE b=?1", set(), {"t"}),
        ("INSERT INTO t SELECT * FROM s", {"s"}, {"t"}),
        ("INSERT INTO t SELECT * FROM t", {"t"}, {"t"}),
        ("UPDATE t SET a=s.v FROM s", {"s"}, {"t"}),
        ("DELETE FROM t WHERE a IN (SELECT b FROM c)", {"c"}, {"t"}),
        ("WITH x AS (SELECT 1 FROM q) INSERT INTO t SELECT * FROM x", {"q"}, {"t"}),
        ("SELECT 1", set(), set()),
    ],
)
def test_tables_are_named(sql: str, read: set[str], written: set[str]) -> None:
    found = tables(sql)
    assert found is not None
    assert (found.read, found.written) == (read, written)


@pytest.mark.parametrize("sql", ["CREATE TABLE t(a)", "PRAGMA x", "SELECT FROM WHERE", "SELECT 1 FROM"])
def test_what_cannot_be_told_is_none(sql: str) -> None:
    assert tables(sql) is None


def test_names_are_quoted() -> None:
    assert quote_name('a"b') == '"a""b"'


@given(st.text("SELECT'\"-/*;?:@$[]`x1 \n(),=", max_size=60))
def test_tokens_cover_every_character_but_space(sql: str) -> None:
    covered = 0
    for token in tokens(sql):
        assert sql[covered : token.offset].strip() == ""
        assert sql.startswith(token.text, token.offset)
        covered = token.offset + len(token.text)
    assert sql[covered:].strip() == ""


@given(st.text("SELECT'\"-/*;? \nx", max_size=60))
def test_splitting_loses_nothing_but_space(sql: str) -> None:
    def squeezed(text: str) -> str:
        return "".join(text.split())

    assert squeezed("".join(statement.text for statement in parse(sql).statements)) == squeezed(sql)
