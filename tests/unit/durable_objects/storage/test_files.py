from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from durable_objects.errors import StorageError


def test_the_file_has_the_form_that_miniflare_gives_it(bench: Any):
    bench.storage.kv.put("k", "v")
    bench.commit()
    other = sqlite3.connect(bench.file.path)
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert other.execute("PRAGMA page_size").fetchone() == (4096,)
    assert other.execute("SELECT key, hex(value) FROM _cf_KV").fetchall() == [("k", "FF0F220176")]
    other.close()


def test_commits_reach_the_disk_before_they_return(bench: Any):
    assert bench.file.connection.execute("PRAGMA data_version").fetchone() is not None
    assert bench.file.run("PRAGMA synchronous").fetchone() == (2,)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("ATTACH ':memory:' AS q", "not authorized: SQLITE_AUTH"),
        ("CREATE TEMP TABLE q(a)", "not authorized: SQLITE_AUTH"),
        ("CREATE TABLE _CF_x(a)", "not authorized: SQLITE_AUTH"),
        ("PRAGMA journal_mode", "not authorized: SQLITE_AUTH"),
        ("PRAGMA user_version", "not authorized: SQLITE_AUTH"),
        ("PRAGMA foreign_keys=maybe", "not authorized: SQLITE_AUTH"),
        ("PRAGMA table_info(_cf_KV)", "not authorized: SQLITE_AUTH"),
        ("SELECT * FROM _cf_KV", "access to _cf_KV.key is prohibited: SQLITE_AUTH"),
        ("SELECT load_extension('x')", "not authorized: SQLITE_ERROR"),
        ("SELECT sqlite_version()", "not authorized to use function: sqlite_version at offset 7: SQLITE_ERROR"),
    ],
)
def test_what_workers_may_not_do_is_refused(bench: Any, sql: str, message: str):
    bench.storage.kv.put("k", 1)
    with pytest.raises(StorageError) as caught:
        bench.storage.sql.exec(sql)
    assert caught.value.message == message


@pytest.mark.parametrize("sql", ["PRAGMA table_list", "PRAGMA foreign_keys", "PRAGMA defer_foreign_keys = ON"])
def test_harmless_pragmas_are_allowed(bench: Any, sql: str):
    bench.storage.sql.exec(sql).toArray()


def test_a_dead_handle_says_why(bench: Any):
    bench.file.close()
    bench.file.dead = StorageError("gone")
    with pytest.raises(StorageError, match="gone"):
        bench.storage.kv.put("k", 1)
