"""D1 databases move between miniflare and flarelet, both ways."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

BYTES = {"$t": "bytes", "as": "Uint8Array", "hex": "00017fff"}
VALUES = ["text", "", "Grüße 🙂 Ω", 0, 7, -1.5, 2**53 - 1, 1e300, True, False, None, BYTES, {"$t": "bytes", "hex": ""}]
SCHEMA = [
    "CREATE TABLE people (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, loud AS (upper(name)))",
    "CREATE TABLE kinds (id INTEGER PRIMARY KEY, bare, i INTEGER, t TEXT, r REAL, b BLOB)",
    "CREATE TABLE pets (owner INTEGER REFERENCES people (id) ON DELETE CASCADE, name TEXT, PRIMARY KEY (owner, name))"
    " WITHOUT ROWID, STRICT",
    "CREATE INDEX pets_by_name ON pets (name) WHERE name > 'b'",
    "CREATE VIRTUAL TABLE words USING fts5 (word)",
    "CREATE VIEW owners AS SELECT people.name AS person, pets.name AS pet FROM people JOIN pets ON owner = id",
    "CREATE TRIGGER index_people AFTER INSERT ON people BEGIN INSERT INTO words VALUES (new.name); END",
    "CREATE TABLE d1_migrations (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, "
    "applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)",
]
ROWS = [
    *[["run", "INSERT INTO kinds (bare, i, t, r, b) VALUES (?1, ?1, ?1, ?1, ?1)", [value]] for value in VALUES],
    ["run", "INSERT INTO kinds (bare, i) VALUES (9007199254740993, 9223372036854775807), (1e999, -1e999)"],
    [
        "batch",
        [
            ["INSERT INTO people (name) VALUES (?), (?)", ["anna", "bertil"]],
            ["INSERT INTO pets VALUES (?, ?), (?, ?)", [1, "rex", 2, "zoë"]],
        ],
    ],
    ["run", "DELETE FROM people WHERE name = 'bertil'"],
    ["run", "INSERT INTO d1_migrations (name) VALUES ('0001_first.sql')"],
]
LOOKS = [
    *[["raw", f"SELECT id, {c}, typeof({c}) FROM kinds ORDER BY id", None, True] for c in ("bare", "i", "t", "r", "b")],
    ["all", "SELECT * FROM people"],
    ["all", "SELECT * FROM owners"],
    ["raw", "SELECT word FROM words WHERE words MATCH 'bert*'"],
    ["raw", "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE '_cf_%' ORDER BY type, name"],
    ["raw", "PRAGMA table_xinfo(people)"],
    ["raw", "SELECT id, name FROM d1_migrations"],
    ["run", "INSERT INTO pets VALUES (99, 'nobody''s')"],
    ["run", "INSERT INTO people (name) VALUES ('anna')"],
    ["raw", "INSERT INTO people (name) VALUES ('cecilia') RETURNING id, loud", None, True],
    ["raw", "PRAGMA quick_check"],
]


@pytest.mark.parametrize("writer", ["miniflare", "flarelet"])
async def test_a_database_that_one_side_wrote_is_the_same_on_both(
    writer: str, miniflare: Any, flarelet: Any, values: SimpleNamespace, tmp_path: Any
) -> None:
    sides = {"miniflare": miniflare, "flarelet": flarelet}
    for folder in ("first", "second"):  # twice: looking writes, too
        async with sides[writer](folder) as side:
            written = await side.database([["run", sql] for sql in SCHEMA] + ROWS)
        assert [answer for answer in written if "ok" not in answer] == []
    async with miniflare("first") as reference:
        told = await reference.database(LOOKS)
    async with flarelet("second") as side:
        found = await side.database(LOOKS)
    wanted = values.as_python(told)
    assert values.difference(wanted, found) is None
    assert [list(answer) for answer in wanted[-5:]] == [["ok"], ["error"], ["error"], ["ok"], ["ok"]]
    files = [{file.name for file in (tmp_path / name / "d1").rglob("*.sqlite")} for name in ("first", "second")]
    assert files[0] - {"metadata.sqlite"} == files[1] - {"metadata.sqlite"}
    assert len(files[0] - {"metadata.sqlite"}) == 1


async def test_both_sides_take_turns_on_one_database(miniflare: Any, flarelet: Any) -> None:
    insert = ["first", "INSERT INTO turns DEFAULT VALUES RETURNING id", None, "id"]
    async with miniflare() as side:
        await side.database([["exec", "CREATE TABLE turns (id INTEGER PRIMARY KEY)"]])
    for turn, start in enumerate([flarelet, miniflare, flarelet, miniflare]):
        async with start() as side:
            assert await side.database([insert, insert]) == [{"ok": 2 * turn + 1}, {"ok": 2 * turn + 2}]
