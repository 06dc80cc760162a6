"""Warnings near limits, and the highest figures."""

from __future__ import annotations

import logging

import pytest

from d1.errors import Failure
from d1.limits import PLANS
from d1.usage import Usage
from workers.compat.ambient import Invocation, invocation


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize(
    ("sql", "parameters", "text"),
    [
        ("SELECT " + ",".join("?" * 80), (1.0,) * 80, "80 of 100 parameters a query"),
        ("INSERT INTO t VALUES(?)", ("x" * 1_600_000,), "1,600,000 of 2,000,000 bytes a string, BLOB or row"),
        ("INSERT INTO t VALUES(?)", (b"x" * 2_100_000,), "2,100,000 of 2,000,000 bytes a string, BLOB or row"),
        ("INSERT INTO t VALUES(?)", ("é" * 900_000,), "1,800,000 of 2,000,000 bytes a string, BLOB or row"),
        (f"SELECT '{'x' * 80_000}'", (), "80,009 of 100,000 bytes a statement"),
        (f"SELECT * FROM t WHERE a LIKE '{'x' * 40}'", (), "40 of 50 bytes a LIKE or GLOB pattern"),
        ("SELECT * FROM t WHERE id = ? AND a LIKE ?", (1.0, "é" * 22), "44 of 50 bytes a LIKE or GLOB pattern"),
        ("SELECT * FROM t WHERE a GLOB :p AND b = :q", ("x" * 41, 1.0), "41 of 50 bytes a LIKE or GLOB pattern"),
        (f"SELECT max({','.join('1' * 26)})", (), "26 of 32 arguments a function call"),
        ("SELECT 1 UNION SELECT 2 UNION ALL SELECT 3 EXCEPT SELECT 4", (), "4 of 5 SELECTs joined by"),
        (
            f"CREATE TABLE t({','.join(f'c{n} INT' for n in range(85))}, PRIMARY KEY (c1, c2), UNIQUE (c3))",
            (),
            "85 of 100 columns a table",
        ),
    ],
)
def test_a_statement_near_a_limit_is_warned_about_once(
    caplog: pytest.LogCaptureFixture, sql: str, parameters: tuple[object, ...], text: str
) -> None:
    usage = Usage("DB")
    for _ in range(3):
        usage.before(sql, parameters)
    (message,) = warned(caplog)
    assert message.startswith(f"DB: near a limit of D1: {text}"), message
    assert "xxxxxxx" not in message or len(message) < 200


@pytest.mark.parametrize(
    ("sql", "parameters"),
    [
        (f"INSERT INTO t({','.join(f'c{n}' for n in range(60))}) VALUES({','.join('?' * 60)})", (1.0,) * 60),
        (f"SELECT * FROM t WHERE id IN ({','.join('?' * 60)})", (1.0,) * 60),
        (f"INSERT INTO t(a) VALUES {','.join(['(1)'] * 200)}", ()),
        (f"WITH c({','.join(f'c{n}' for n in range(40))}) AS (VALUES({','.join('1' * 40)})) SELECT * FROM c", ()),
        ("SELECT * FROM t WHERE b = ? AND a LIKE ?", ("x" * 200, "%y%")),
        ("SELECT 1 UNION SELECT 2 WHERE 1 IN (SELECT 3 UNION SELECT 4 UNION SELECT 5)", ()),
        (f"CREATE INDEX i ON t({','.join(f'c{n}' for n in range(40))})", ()),
        (f"SELECT {','.join('1' * 79)} FROM t ORDER BY 1", ()),
    ],
)
def test_what_is_far_from_every_limit_is_not_warned_about(
    caplog: pytest.LogCaptureFixture, sql: str, parameters: tuple[object, ...]
) -> None:
    usage = Usage("DB")
    usage.before(sql, parameters)
    usage.after(sql, 79, 23_000)
    assert warned(caplog) == []


def test_the_highest_figures_are_kept_with_their_statements() -> None:
    usage = Usage("DB")
    usage.before("SELECT ?, ?", (1.0, 2.0))
    usage.before("SELECT ?, ?, ?", (1.0, 2.0, "x" * 500_000))
    usage.before("SELECT ?, ?", ("a", "b"))
    usage.after("SELECT *  FROM\n wide", 17, 12_000)
    found = {name: (peak.value, peak.sql) for name, peak in usage.peaks.items()}
    assert found == {
        "statement_bytes": (14, "SELECT ?, ?, ?"),
        "bound_parameters": (3, "SELECT ?, ?, ?"),
        "value_bytes": (500_000, "SELECT ?, ?, ?"),
        "columns": (17, "SELECT * FROM wide"),
        "query_seconds": (12, "SELECT * FROM wide"),
    }


def test_calls_of_an_invocation_and_the_size_are_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    usage = Usage("DB", PLANS["free"])
    token = invocation.set(Invocation())
    for _ in range(50):
        usage.count_call()
    with pytest.raises(Failure, match="Too many API requests"):
        usage.count_call()
    invocation.reset(token)
    usage.see_size(399_999_999)
    usage.see_size(400_000_000)
    assert warned(caplog) == [
        "DB: near a limit of D1: 40 of 50 calls an invocation",
        "DB: near a limit of D1: 400,000,000 of 500,000,000 bytes a database",
    ]
    assert usage.peaks["queries"].value == 50


def test_no_parameter_appears_in_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    Usage("DB").before("SELECT 'x' LIKE ?", ("secret" * 8,))
    assert len(warned(caplog)) == 1
    assert "secret" not in caplog.text
