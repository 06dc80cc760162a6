from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d1.script import Part, ScriptError, read, split, without_comments, without_transaction

TRIGGER = "CREATE TRIGGER a AFTER INSERT ON t BEGIN UPDATE t SET x = CASE WHEN 1 THEN ';' END; DELETE FROM u; END"

TEMP_TRIGGER = TRIGGER.replace("CREATE", "CREATE /* x */ TEMP")


def texts(sql: str) -> list[str]:
    return [part.sql for part in split(sql)]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1; SELECT 2;", ["SELECT 1", "SELECT 2"]),
        ("SELECT ';'; SELECT `c;`; SELECT [d;]", ["SELECT ';'", "SELECT `c;`", "SELECT [d;]"]),
        ('SELECT "a;b"; SELECT 2', ['SELECT "a;b"', "SELECT 2"]),
        ("SELECT 'it''s; ok'; SELECT 2", ["SELECT 'it''s; ok'", "SELECT 2"]),
        ("SELECT 1; -- a; b\nSELECT 2 /* ; */;", ["SELECT 1", "SELECT 2 /* ; */"]),
        ("-- only a comment\n/* and another; */ ;;\n", []),
        ("SELECT $$a;b$$; SELECT $tag$;$$;$tag$", ["SELECT $$a;b$$", "SELECT $tag$;$$;$tag$"]),
        ("SELECT $a; SELECT 1 - 2 / 3", ["SELECT $a", "SELECT 1 - 2 / 3"]),
        (f"{TRIGGER}; SELECT 1", [TRIGGER, "SELECT 1"]),
        (f"{TRIGGER.lower()} ; SELECT 1", [TRIGGER.lower(), "SELECT 1"]),
        (f"-- first\n{TEMP_TRIGGER};", [TEMP_TRIGGER]),
        ("CREATE TABLE triggers(begin_at, end_at); SELECT 2", ["CREATE TABLE triggers(begin_at, end_at)", "SELECT 2"]),
        ("SELECT CASE WHEN 1 THEN 2 END; SELECT 3", ["SELECT CASE WHEN 1 THEN 2 END", "SELECT 3"]),
        ("SELECT 'never closed; SELECT 2", ["SELECT 'never closed; SELECT 2"]),
        ("SELECT 1;\r\nSELECT 2;\r\n", ["SELECT 1", "SELECT 2"]),
    ],
)
def test_a_semicolon_ends_a_statement_only_where_sqlite_says_so(sql: str, expected: list[str]):
    assert texts(sql) == expected


def test_every_statement_knows_its_line():
    parts = split("-- head\n\nSELECT 1;\n/* two\nlines */ SELECT\n2; SELECT 3;\n\n\nSELECT 4")
    assert [part.sql for part in parts] == ["SELECT 1", "SELECT\n2", "SELECT 3", "SELECT 4"]
    assert [part.line for part in parts] == [3, 5, 6, 9]


PIECES = st.sampled_from(
    [*";'\"`[] -/\n", "SELECT 1", "--", "/*", "*/", "$$", "CREATE TRIGGER x ", "BEGIN", "END"],
)


@given(st.lists(PIECES, max_size=30), st.data())
def test_a_text_read_in_chunks_has_the_same_statements(pieces: list[str], data: st.DataObject):
    sql = "".join(pieces).replace("$$", "$ $")  # an open dollar quote is not waited for
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sql)), max_size=6)))
    chunks = [sql[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(sql)], strict=True)]
    assert list(read(chunks)) == split(sql)


def test_comments_are_taken_out_of_statements_and_not_out_of_quotes():
    assert (
        without_comments("SELECT '--a', \"/*b*/\" -- c\n, [--d] /* e */ FROM t")
        == "SELECT '--a', \"/*b*/\" \n, [--d]   FROM t"
    )
    assert without_comments("/* nothing */ -- here") == ""


@pytest.mark.parametrize("words", ["BEGIN TRANSACTION", "begin", "BEGIN IMMEDIATE TRANSACTION"])
def test_the_transaction_around_a_dump_is_left_out(words: str):
    parts = split(f"PRAGMA foreign_keys=OFF;\n{words};\nSELECT 1;\nCOMMIT;")
    assert [part.sql for part in without_transaction(parts)] == ["PRAGMA foreign_keys=OFF", "SELECT 1"]


def test_several_transactions_are_refused_with_their_line():
    with pytest.raises(ScriptError, match="several transactions") as caught:
        list(without_transaction(split("BEGIN;\nSELECT 1;\nCOMMIT;\nBEGIN;\nSELECT 2;\nCOMMIT;")))
    assert caught.value.line == 4


def test_a_commit_without_a_begin_is_kept_for_the_database_to_refuse():
    assert list(without_transaction([Part("COMMIT", 1)])) == [Part("COMMIT", 1)]
