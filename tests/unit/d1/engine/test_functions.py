"""SQL functions of a newer SQLite, as its documentation describes them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from d1.engine.functions import MISSING_FUNCTIONS, define, define_missing_functions
from d1.engine.jsonb import define_jsonb, encode


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """A connection on which our implementations are in force whatever this SQLite has."""
    with closing(sqlite3.connect(":memory:")) as opened:
        for name, (arguments, function) in MISSING_FUNCTIONS.items():
            define(opened, name, arguments, function)
        define_jsonb(opened)
        define_missing_functions(opened)
        yield opened


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("octet_length('é')", 2),
        ("octet_length(x'0102')", 2),
        ("octet_length(NULL)", None),
        ("octet_length(12.5)", 4),
        ("concat('a',NULL,1)", "a1"),
        ("concat_ws('-',1,NULL,2)", "1-2"),
        ("concat_ws(NULL,1)", None),
        ("unhex('4142')", b"AB"),
        ("unhex('41-42','-')", b"AB"),
        ("unhex('4')", None),
        ("unhex('xx')", None),
        ("unhex(NULL)", None),
        ("timediff('2024-01-02','2024-01-01')", "+0000-00-01 00:00:00.000"),
        ("timediff('2023-02-15','2023-03-15')", "-0000-01-00 00:00:00.000"),
        ("timediff('2024-03-01 12:30:00.250','2023-01-31')", "+0001-00-30 12:30:00.250"),
        ("timediff('2023-01-31','2023-03-01')", "-0000-01-01 00:00:00.000"),
        ("timediff('nonsense','2023-03-15')", None),
        ("jsonb('{\"a\":1}')", bytes([0x4C, 0x17, ord("a"), 0x13, ord("1")])),
        ("jsonb(NULL)", None),
        ("jsonb_array(1,'x')", bytes([0x4B, 0x13, ord("1"), 0x17, ord("x")])),
        ("jsonb_extract('{\"a\":\"5\"}','$.a')", "5"),
        ("jsonb_extract('{\"a\":[]}','$.a')", bytes([0x0B])),
    ],
)
def test_newer_functions(connection: sqlite3.Connection, expression: str, value: object) -> None:
    assert connection.execute(f"SELECT {expression}").fetchone()[0] == value


@pytest.mark.parametrize("call", ["concat()", "concat_ws(',')", "unhex()", "timediff('2024-01-01')"])
def test_a_wrong_number_of_arguments_is_refused_by_sqlite(connection: sqlite3.Connection, call: str) -> None:
    with pytest.raises(sqlite3.OperationalError, match="wrong number of arguments to function"):
        connection.execute(f"SELECT {call}")


def test_string_agg(connection: sqlite3.Connection) -> None:
    rows = "(SELECT 'a' v UNION ALL SELECT NULL UNION ALL SELECT 'b')"
    assert connection.execute(f"SELECT string_agg(v,', ') FROM {rows}").fetchone()[0] == "a, b"


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("null", "00"),
        ("true", "01"),
        ("false", "02"),
        ("1.50", "45312e3530"),
        ('"a\\nb"', "48615c6e62"),
        ("[" + '"' + "x" * 12 + '"' + "]", "cb0e" + "c70c" + "78" * 12),
        ('"' + "x" * 300 + '"', "d7012c" + "78" * 300),
    ],
)
def test_jsonb_follows_the_format(text: str, encoded: str) -> None:
    assert encode(text).hex() == encoded
