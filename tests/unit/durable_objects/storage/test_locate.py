from __future__ import annotations

import sqlite3

import pytest

from durable_objects.storage.locate import error_offset, split_statements


@pytest.mark.parametrize(
    ("sql", "offset"),
    [
        ("SELEC 1", 0),
        ("SELECT 1 FRM t", 13),
        ("SELECT (1", None),
        ("SELECT 'é', nope", 13),
        ("SELECT frob(1)", 7),
        ("SELECT 'it', \"a;\" FROM FROM", 23),
        ("SELECT abs(1, 2)", 7),
    ],
)
def test_the_place_of_an_error_is_found_again(sql: str, offset: int | None):
    connection = sqlite3.connect(":memory:")
    with pytest.raises(sqlite3.Error) as caught:
        connection.execute(sql)
    assert error_offset(connection, sql, str(caught.value)) == offset
    connection.close()


@pytest.mark.parametrize(
    ("sql", "pieces"),
    [
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1; SELECT ';' ;", ["SELECT 1;", " SELECT ';' ;"]),
        ("SELECT 1; -- end", ["SELECT 1;", " -- end"]),
        ("SELECT 1;\n ", ["SELECT 1;"]),
        ("", []),
        ('/* ; */ SELECT 1; SELECT "a;b"', ["/* ; */ SELECT 1;", ' SELECT "a;b"']),
    ],
)
def test_statements_end_at_their_own_semicolons(sql: str, pieces: list[str]):
    assert split_statements(sql) == pieces


def test_a_trigger_keeps_its_body():
    sql = "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; SELECT 2; END; SELECT 3"
    assert len(split_statements(sql)) == 2
