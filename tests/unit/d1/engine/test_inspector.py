"""The second look into the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from d1.engine.inspector import Inspector


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "db.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE Mixed(id INTEGER PRIMARY KEY AUTOINCREMENT, a)")
        connection.execute("CREATE TABLE _cf_KV(a)")
        connection.execute("CREATE VIRTUAL TABLE f USING fts5(a)")
        connection.execute("CREATE TABLE w(k PRIMARY KEY) WITHOUT ROWID")
    return path


@pytest.fixture
def inspector(path: Path) -> Iterator[Inspector]:
    with closing(Inspector(path)) as opened:
        yield opened


def test_only_the_users_tables_are_listed(inspector: Inspector) -> None:
    assert [name for name in inspector.tables() if not name.startswith("f_")] == ["Mixed", "w"]
    assert inspector.table_name("mIXED") == "Mixed"
    assert inspector.table_name("f") is None
    assert inspector.table_name("_cf_KV") is None


def test_rows_are_counted_exactly_in_small_tables_and_roughly_in_large_ones(
    inspector: Inspector, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("d1.engine.inspector._COUNTED_ROWS", 10)
    with closing(sqlite3.connect(path)) as connection:
        connection.executemany("INSERT INTO Mixed(id) VALUES(?)", [(i * 2,) for i in range(1, 5)])
        connection.commit()
        assert inspector.row_count("Mixed") == 4
        connection.executemany("INSERT INTO Mixed(a) VALUES(?)", [(i,) for i in range(20)])
        connection.executemany("INSERT INTO w VALUES(?)", [(i,) for i in range(20)])
        connection.commit()
    assert inspector.row_count("Mixed") == 28
    assert inspector.row_count("w") == 10


def test_a_changed_schema_is_noticed(inspector: Inspector, path: Path) -> None:
    assert inspector.rows("PRAGMA index_list(Mixed)") == []
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE INDEX i ON Mixed(a)")
    inspector.refresh()
    assert len(inspector.rows("PRAGMA index_list(Mixed)")) == 1


def test_the_file_is_never_written(inspector: Inspector) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        inspector.rows("DELETE FROM Mixed")
