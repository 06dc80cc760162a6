from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from d1.database import D1Database
from d1.engine import Engine
from d1.errors import D1Error
from d1.file import DatabaseFile
from d1.migrations import (
    Migration,
    MigrationError,
    MigrationFailed,
    applied,
    apply_d1_migrations,
    create,
    migrate,
    names,
    read_d1_migrations,
)

FIRST = Migration("0001_first.sql", ("CREATE TABLE t(a)", "INSERT INTO t VALUES(1)"))
SECOND = Migration("0002_second.sql", ("INSERT INTO t VALUES(2)",))
BROKEN = Migration("0003_broken.sql", ("INSERT INTO t VALUES(3)", "INSERT INTO nope VALUES(3)"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "migrations"
    folder.mkdir()
    return folder


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[D1Database]:
    engine = Engine.open(tmp_path / "db.sqlite")
    yield D1Database(engine)
    await engine.close()


async def column(db: D1Database, sql: str) -> list[Any]:
    return [row[0] for row in await db.prepare(sql).raw()]


# files


def test_migrations_come_in_the_order_of_their_numbers(folder: Path):
    for name in ("10_ten.sql", "9_nine.sql", "0100_hundred.sql", "notes.txt", "README.sql", "0009_b.sql"):
        (folder / name).write_text("SELECT 1;")
    assert names(folder) == ["0009_b.sql", "9_nine.sql", "10_ten.sql", "0100_hundred.sql", "README.sql"]


def test_a_file_is_split_into_statements_without_comments_and_transaction(folder: Path):
    (folder / "0001_a.sql").write_text(
        "\ufeff-- Migration number: 0001\nBEGIN TRANSACTION;\nCREATE TABLE t(a, -- ; first\n b);\n"
        "CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT CASE WHEN 1 THEN 2 END; END;\nCOMMIT;\n",
        encoding="utf-8",
    )
    (migration,) = read_d1_migrations(str(folder))
    assert migration.name == "0001_a.sql"
    assert migration.queries == (
        "CREATE TABLE t(a, \n b)",
        "CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT CASE WHEN 1 THEN 2 END; END",
    )


def test_a_pattern_finds_nested_files_named_from_the_folder(folder: Path):
    for name in ("20260102_two", "20260101_one"):
        (folder / name).mkdir()
        (folder / name / "migration.sql").write_text("SELECT 1")
    (folder / "0001_other.sql").write_text("SELECT 1")
    found = [migration.name for migration in read_d1_migrations(folder, "*/migration.sql")]
    assert found == ["20260101_one/migration.sql", "20260102_two/migration.sql"]


def test_folders_and_files_that_cannot_be_read_are_named(folder: Path):
    with pytest.raises(MigrationError, match="there is no migrations folder"):
        read_d1_migrations(folder / "nowhere")
    (folder / "0001_a.sql").write_bytes(b"SELECT '\xff'")
    with pytest.raises(MigrationError, match=r"0001_a\.sql cannot be read"):
        read_d1_migrations(folder)
    (folder / "0001_a.sql").write_text("BEGIN;\nCOMMIT;\n\nBEGIN;COMMIT;")
    with pytest.raises(MigrationError, match=r"0001_a\.sql:4: the file holds several transactions"):
        read_d1_migrations(folder)
    with pytest.raises(TypeError, match="Failed to execute 'readD1Migrations': parameter 1 is not of type 'string'"):
        read_d1_migrations(cast(Any, 5))


def test_a_new_migration_gets_the_next_number(folder: Path):
    now = datetime(2026, 8, 27, 12, tzinfo=UTC)
    first = create(folder / "new", "add posts", now=now)
    assert first.name == "0001_add_posts.sql"
    assert first.read_text() == "-- Migration number: 0001 \t 2026-08-27T12:00:00.000Z\n"
    (folder / "new" / "0041_x.sql").touch()
    assert create(folder / "new", "again").name == "0042_again.sql"


@pytest.mark.parametrize("message", ["a/b", "..\\b", "", "  "])
def test_a_message_that_is_no_file_name_is_refused(folder: Path, message: str):
    with pytest.raises(MigrationError, match="cannot be part of a file name"):
        create(folder, message)
    assert list(folder.iterdir()) == []


def test_a_migration_that_the_pattern_would_miss_is_not_created(folder: Path):
    with pytest.raises(MigrationError, match="would not be found by migrations_pattern"):
        create(folder, "x", pattern="*/migration.sql")
    assert create(folder, "x", pattern="*.sql").exists()
    assert create(folder, "x", pattern="**/*.sql").name == "0002_x.sql"


# through a binding


async def test_migrations_are_applied_once_in_order(db: D1Database):
    await apply_d1_migrations(db, [FIRST])
    await apply_d1_migrations(db, [FIRST, SECOND])
    await apply_d1_migrations(db, [{"name": SECOND.name, "queries": ["INSERT INTO t VALUES(9)"]}])
    assert await column(db, "SELECT a FROM t") == [1, 2]
    assert await column(db, "SELECT name FROM d1_migrations ORDER BY id") == [FIRST.name, SECOND.name]
    assert await column(db, "SELECT applied_at LIKE '____-__-__ __:__:__' FROM d1_migrations") == [1, 1]


async def test_a_migration_that_fails_leaves_nothing_of_itself(db: D1Database):
    with pytest.raises(D1Error, match="no such table: nope"):
        await apply_d1_migrations(db, [FIRST, BROKEN, SECOND], 'my "table"')
    assert await column(db, "SELECT a FROM t") == [1]
    assert await column(db, 'SELECT name FROM "my ""table"""') == [FIRST.name]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, []), "parameter 1 is not of type 'D1Database'"),
        (("db", [{"name": "x"}]), "parameter 2 is not of type 'D1Migration[]'"),
        (("db", [{"name": "x", "queries": [1]}]), "parameter 2 is not of type 'D1Migration[]'"),
        (("db", "0001"), "parameter 2 is not of type 'D1Migration[]'"),
        (("db", [], 5), "parameter 3 is not of type 'string'"),
    ],
)
async def test_wrong_parameters_are_type_errors(db: D1Database, arguments: tuple[Any, ...], message: str):
    given = [db if argument == "db" else argument for argument in arguments]
    with pytest.raises(TypeError) as caught:
        await apply_d1_migrations(*given)
    assert str(caught.value) == f"Failed to execute 'applyD1Migrations': {message}."


# on a file


def write(folder: Path, *migrations: Migration) -> list[str]:
    for migration in migrations:
        (folder / migration.name).write_text("-- head\n" + ";\n".join(migration.queries))
    return names(folder)


def test_a_file_is_migrated_one_transaction_each(folder: Path, tmp_path: Path):
    pending = write(folder, FIRST, SECOND, BROKEN)
    done: list[str] = []
    with DatabaseFile(tmp_path / "db.sqlite") as file:
        assert applied(file) == []
        with pytest.raises(MigrationFailed, match=r"0003_broken\.sql failed at line 3, statement 2: no such") as caught:
            done.extend(migrate(file, folder, pending))
        assert (caught.value.name, caught.value.number) == (BROKEN.name, 2)
        assert done == [FIRST.name, SECOND.name]
        assert [entry[:2] for entry in applied(file)] == [(1, FIRST.name), (2, SECOND.name)]
        assert file.own_rows("SELECT a FROM t") == [(1,), (2,)]


def test_what_somebody_else_applied_meanwhile_is_skipped(folder: Path, tmp_path: Path):
    pending = write(folder, FIRST)
    with DatabaseFile(tmp_path / "db.sqlite") as file:
        assert list(migrate(file, folder, pending)) == [FIRST.name]
        assert list(migrate(file, folder, pending)) == []
        assert file.own_rows("SELECT a FROM t") == [(1,)]


async def test_tool_and_binding_share_the_table(folder: Path, tmp_path: Path):
    write(folder, FIRST, SECOND)
    path = tmp_path / "db.sqlite"
    with DatabaseFile(path) as file:
        list(migrate(file, folder, [FIRST.name]))
    engine = Engine.open(path)
    database = D1Database(engine)
    await apply_d1_migrations(database, read_d1_migrations(folder))
    assert await column(database, "SELECT a FROM t") == [1, 2]
    await engine.close()


def test_foreign_keys_violated_at_the_end_are_the_migration_s_failure(folder: Path, tmp_path: Path):
    (folder / "1_fk.sql").write_text(
        "PRAGMA defer_foreign_keys=ON;CREATE TABLE p(id INTEGER PRIMARY KEY);"
        "CREATE TABLE c(p REFERENCES p); INSERT INTO c VALUES(4);"
    )
    with DatabaseFile(tmp_path / "db.sqlite") as file:
        with pytest.raises(MigrationFailed, match=r"1_fk\.sql failed at its end: FOREIGN KEY constraint failed"):
            list(migrate(file, folder, ["1_fk.sql"]))
        assert applied(file) == []


def test_the_two_functions_for_test_suites_are_offered_by_the_package() -> None:
    import d1

    assert d1.read_d1_migrations is read_d1_migrations
    assert d1.apply_d1_migrations is apply_d1_migrations
