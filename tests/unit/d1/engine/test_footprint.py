"""Whether a file is as it was left: notes against what other connections and crashes do to it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from d1.engine.footprint import Footprint, Since, WalIndex


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "db.sqlite"


def opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    for sql in ("PRAGMA journal_mode=WAL", "PRAGMA wal_autocheckpoint=0", "CREATE TABLE IF NOT EXISTS t(a)"):
        connection.execute(sql).fetchall()
    return connection


def state_of(path: Path) -> bytes:
    index = WalIndex.open(path)
    assert index is not None
    return index.state()  # its descriptor stays open: the connection is too


def test_the_state_changes_with_every_commit_of_anybody_and_with_nothing_else(path: Path) -> None:
    connection = opened(path)
    index = WalIndex.open(path)
    assert index is not None
    before, commits = index.state(), index.commits()
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("ROLLBACK")
    connection.execute("SELECT * FROM t").fetchall()
    connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    assert index.state() == before
    connection.execute("INSERT INTO t VALUES(1)")  # begins the WAL anew
    assert index.state() != before
    assert index.commits() == commits + 1
    program = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
    program += "c.execute('INSERT INTO t VALUES(2)')"
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)
    assert index.commits() == commits + 2
    connection.close()
    index.close()


def test_a_database_in_memory_has_no_index() -> None:
    assert WalIndex.open(Path(":memory:")) is None


def test_reading_the_index_keeps_the_locks_of_this_process(path: Path) -> None:
    connection = opened(path)
    index = WalIndex.open(path)
    connection.execute("BEGIN IMMEDIATE")
    program = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=0)\n"
    program += "try: c.execute('BEGIN IMMEDIATE')\nexcept sqlite3.OperationalError: print('locked')"
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=True, capture_output=True, text=True)
    assert done.stdout == "locked\n"
    connection.close()
    assert index is not None
    index.close()


def test_a_note_survives_and_compares(path: Path) -> None:
    connection = opened(path)
    footprint = Footprint(path)
    footprint.start(1, state_of(path))
    connection.execute("INSERT INTO t VALUES(1)")
    footprint.intend(2)
    footprint.committed(2, state_of(path))
    # as if the process had died here: nothing is closed
    index = WalIndex.open(path)
    assert Footprint(path).compare(index, 2) is Since.NOTHING
    assert Footprint(path).compare(index, 1) is Since.REPLACED
    assert Footprint(path).compare(index, 3) is Since.REPLACED
    connection.execute("INSERT INTO t VALUES(2)")
    assert Footprint(path).compare(index, 2) is Since.WRITTEN
    connection.close()


@pytest.mark.parametrize(("commits", "since"), [(1, Since.NOTHING), (2, Since.WRITTEN)])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_death_between_commit_and_note_is_told_from_a_foreign_commit(
    path: Path, commits: int, since: Since, restarts: bool
) -> None:
    connection = opened(path)
    footprint = Footprint(path)
    footprint.start(1, state_of(path))
    footprint.intend(2)
    if restarts:
        connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    for _ in range(commits):
        connection.execute("INSERT INTO t VALUES(zeroblob(20000))")
    assert Footprint(path).compare(WalIndex.open(path), 2) is since
    connection.close()


def test_a_clean_end_is_compared_by_the_file_itself(path: Path) -> None:
    connection = opened(path)
    footprint = Footprint(path)
    footprint.start(1, state_of(path))
    connection.close()
    footprint.close()

    def after() -> Since:
        footprint = Footprint(path)
        connection = sqlite3.connect(path)
        connection.execute("SELECT * FROM t").fetchall()
        result = footprint.compare(WalIndex.open(path), 1)
        connection.close()
        return result

    assert after() is Since.NOTHING
    assert after() is Since.NOTHING
    with sqlite3.connect(path) as other:
        other.execute("INSERT INTO t VALUES(1)")
    other.close()
    assert after() is Since.WRITTEN
    path.rename(path.with_name("old"))
    path.write_bytes(path.with_name("old").read_bytes())
    assert after() is Since.REPLACED


@pytest.mark.parametrize("note", [b"", b"x" * 72, b"y" * 500])
def test_a_note_that_cannot_be_read_is_no_note(path: Path, note: bytes) -> None:
    connection = opened(path)
    path.with_name("db.sqlite-flarelet").write_bytes(note)
    assert Footprint(path).compare(WalIndex.open(path), 0) is Since.REPLACED
    connection.close()


def test_a_stopped_note_is_gone(path: Path) -> None:
    connection = opened(path)
    footprint = Footprint(path)
    footprint.start(1, state_of(path))
    footprint.stop()
    footprint.stop()
    footprint.intend(5)
    footprint.close()
    assert Footprint(path).compare(WalIndex.open(path), 1) is Since.REPLACED
    connection.close()
