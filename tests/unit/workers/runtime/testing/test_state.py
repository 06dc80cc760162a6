from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

from workers.runtime.testing.state import StateTemplate


def prepared(root: Path) -> StateTemplate:
    template = StateTemplate(root)
    folder = template.folder / "v3" / "d1"
    folder.mkdir(parents=True)
    (folder / "blob").write_bytes(b"kept")
    with closing(sqlite3.connect(folder / "x.sqlite", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (n INTEGER, filler BLOB)")
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) "
            "INSERT INTO t SELECT i, zeroblob(500) FROM n"
        )
    return template


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM t").fetchone()[0]


def test_what_is_written_in_a_clone_is_seen_there_and_gone_afterwards(tmp_path: Path):
    template = prepared(tmp_path)
    before = digest(template.folder)
    for _ in range(3):
        with template.clone() as folder:
            path = folder / "v3" / "d1" / "x.sqlite"
            assert count(path) == 1000
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute("UPDATE t SET filler = zeroblob(600)")
                connection.execute("DELETE FROM t WHERE n > 10")
            assert count(path) == 10
        assert not folder.exists()
        assert digest(template.folder) == before


def test_no_checkpoint_reaches_the_template_even_when_asked_for(tmp_path: Path):
    template = prepared(tmp_path)
    before = digest(template.folder)
    with template.clone() as folder:
        path = folder / "v3" / "d1" / "x.sqlite"
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
            connection.execute("PRAGMA wal_autocheckpoint=1")
            for number in range(50):
                connection.execute("INSERT INTO t VALUES (?, zeroblob(5000))", (number,))
            for mode in ("PASSIVE", "FULL", "RESTART", "TRUNCATE"):
                connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
    assert digest(template.folder) == before


def test_two_clones_at_a_time_do_not_see_each_other(tmp_path: Path):
    template = prepared(tmp_path)
    with template.clone() as first, template.clone() as second:
        with closing(sqlite3.connect(first / "v3" / "d1" / "x.sqlite", isolation_level=None)) as connection:
            connection.execute("DELETE FROM t")
        assert count(first / "v3" / "d1" / "x.sqlite") == 0
        assert count(second / "v3" / "d1" / "x.sqlite") == 1000


def test_new_files_of_a_clone_are_its_own(tmp_path: Path):
    template = prepared(tmp_path)
    with template.clone() as folder:
        assert (folder / "v3" / "d1" / "blob").read_bytes() == b"kept"
        (folder / "v3" / "d1" / "more").write_bytes(b"new")
    assert sorted(digest(template.folder)) == ["v3/d1/blob", "v3/d1/x.sqlite"]
