from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from d1.database import D1Database
from d1.engine import Engine
from d1.engine.dates import follow_clock

NOW = datetime(2031, 5, 17, 8, 9, 10, 250_000, tzinfo=UTC)


@pytest.fixture
def connection() -> Generator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        follow_clock(connection, lambda: int(NOW.timestamp() * 1000))
        yield connection


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("CURRENT_TIMESTAMP", "2031-05-17 08:09:10"),
        ("current_date", "2031-05-17"),
        ("CURRENT_TIME", "08:09:10"),
        ("datetime()", "2031-05-17 08:09:10"),
        ("datetime('now')", "2031-05-17 08:09:10"),
        ("datetime('NOW', '+1 day', 'start of month')", "2031-05-01 00:00:00"),
        ("date('now', 'weekday 0')", "2031-05-18"),
        ("time('now')", "08:09:10"),
        ("unixepoch()", int(NOW.timestamp())),
        ("unixepoch('now', '-1 hour')", int(NOW.timestamp()) - 3600),
        ("strftime('%Y %j')", "2031 137"),
        ("strftime('%f', 'now')", "10.250"),
        ("round((julianday('now') - 2440587.5) * 86400)", round(NOW.timestamp())),
        ("datetime('2020-02-30 12:00', '+0 days')", "2020-03-01 12:00:00"),
        ("datetime(0, 'unixepoch')", "1970-01-01 00:00:00"),
        ("date(NULL)", None),
        ("date('nonsense')", None),
    ],
)
def test_now_is_the_clocks_and_all_else_is_as_ever(connection: sqlite3.Connection, expression: str, value: object):
    assert connection.execute(f"SELECT {expression}").fetchone()[0] == value


def test_a_default_takes_the_clocks_date(connection: sqlite3.Connection):
    connection.execute("CREATE TABLE t (n, at TEXT DEFAULT CURRENT_TIMESTAMP, s INTEGER DEFAULT (unixepoch()))")
    connection.execute("INSERT INTO t (n) VALUES (1)")
    assert connection.execute("SELECT at, s FROM t").fetchone() == ("2031-05-17 08:09:10", int(NOW.timestamp()))


def test_dates_may_be_indexed_and_checked(connection: sqlite3.Connection):
    connection.execute("CREATE TABLE t (at TEXT CHECK (date(at) IS NOT NULL), day TEXT AS (date(at)) STORED)")
    connection.execute("CREATE INDEX i ON t (date(at))")
    connection.execute("INSERT INTO t (at) VALUES ('2020-01-02 03:04:05')")
    assert connection.execute("SELECT day FROM t WHERE date(at) = '2020-01-02'").fetchone() == ("2020-01-02",)
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute("INSERT INTO t (at) VALUES ('nonsense')")


async def test_a_database_with_a_clock_of_its_own_follows_it(tmp_path: Path):
    class Fixed:
        def now_ms(self) -> int:
            return int(NOW.timestamp() * 1000)

    engine = Engine.open(tmp_path / "x.sqlite", clock=Fixed())
    row = await D1Database(engine).prepare("SELECT CURRENT_TIMESTAMP AS at, unixepoch() AS s").first()
    assert (row["at"], row["s"]) == ("2031-05-17 08:09:10", int(NOW.timestamp()))
    await engine.close()
