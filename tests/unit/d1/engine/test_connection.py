"""The connection's settings and own statements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from d1.engine.connection import Connection


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    with closing(Connection(tmp_path / "db.sqlite", must_stop=lambda: False)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("pragma", "value"), [("journal_mode", "wal"), ("foreign_keys", 1), ("synchronous", 1), ("busy_timeout", 0)]
)
def test_the_file_is_opened_as_a_server_needs_it(connection: Connection, pragma: str, value: object) -> None:
    assert connection.rows(f"PRAGMA {pragma}") == [(value,)]


def test_own_texts_differ_between_connections(tmp_path: Path, connection: Connection) -> None:
    with closing(Connection(tmp_path / "other.sqlite", must_stop=lambda: False)) as other:
        assert other.commit_sql != connection.commit_sql
        assert other.own_prefix != connection.own_prefix


def test_a_text_is_only_prepared_to_get_its_message(connection: Connection) -> None:
    connection.change("CREATE TABLE t(a)")
    assert connection.message_for("INSERT INTO t VALUES(1)") is None
    assert connection.message_for("SELECT nope") == "no such column: nope"
    assert connection.rows("SELECT count(*) FROM t") == [(0,)]


def test_invalid_text_is_replaced_in_own_results(connection: Connection) -> None:
    assert connection.rows("SELECT CAST(x'ff61' AS TEXT)") == [("\ufffda",)]
    assert connection.raw.text_factory is str


def test_limits_are_lifted_for_a_moment_only(connection: Connection) -> None:
    columns = ",".join(f"c{place}" for place in range(150))
    with connection.lifted_limits():
        connection.change(f"CREATE TEMP TABLE wide({columns})")
    with pytest.raises(Exception, match="too many columns"):
        connection.change(f"CREATE TEMP TABLE wider({columns})")
