"""The binding: batch, exec, sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from d1 import D1Database, D1DatabaseSession, D1Error, Engine
from d1.errors import D1ExecError, D1ObjectError, D1UsageError


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[D1Database]:
    engine = Engine.open(tmp_path / "db.sqlite")
    db = D1Database(engine)
    await db.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT)")
    yield db
    await engine.close()


async def count(db: D1Database) -> int:
    return await db.prepare("SELECT count(*) n FROM t").first("n")


async def test_a_batch_is_one_transaction(db: D1Database) -> None:
    insert = db.prepare("INSERT INTO t(name) VALUES(?)")
    results = await db.batch([insert.bind("a"), insert.bind("b"), db.prepare("SELECT name FROM t")])
    assert [row.name for row in results[2].results] == ["a", "b"]
    with pytest.raises(D1Error, match="UNIQUE"):
        await db.batch([insert.bind("c"), db.prepare("INSERT INTO t(id) VALUES(1)")])
    assert await count(db) == 2


async def test_a_batch_takes_any_iterable_and_refuses_an_empty_one(db: D1Database) -> None:
    assert len(await db.batch(db.prepare("SELECT 1") for _ in range(3))) == 3
    with pytest.raises(D1Error, match="No SQL statements detected"):
        await db.batch([])


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (["SELECT 1; -- x"], "SQL code did not contain a statement."),
        (["SELECT 1", "SELECT 2;\n  -- y"], "SQL code did not contain a statement."),
        (["-- x"], "SQL code did not contain a statement."),
        (["  -- x"], "No SQL statements detected."),
    ],
)
async def test_a_batch_tells_no_statement_from_no_statements(db: D1Database, texts: list[str], reason: str) -> None:
    with pytest.raises(D1Error) as caught:
        await db.batch([db.prepare(text) for text in texts])
    assert caught.value.message == f"D1_ERROR: {reason}"


async def test_a_batch_drops_members_that_are_indented_comments(db: D1Database) -> None:
    results = await db.batch([db.prepare("  -- x"), db.prepare("SELECT 1 AS one"), db.prepare("")])
    assert [result.results for result in results] == [[{"one": 1}]]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("SELECT 1;;SELECT 2", 1),
        (";;SELECT 1\n  \t\nSELECT 2;", 2),
        ("\ufeffSELECT 1;\u00a0", 1),
        ("CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; SELECT 2; END;", 1),
    ],
)
async def test_exec_skips_what_is_empty(db: D1Database, text: str, count: int) -> None:
    assert (await db.exec(text)).count == count


async def test_an_empty_statement_belongs_to_the_one_after_it(db: D1Database) -> None:
    assert await db.prepare(" ; ; SELECT 1 AS one").first("one") == 1
    for text, reason in {
        "SELECT 1;;": "SQL code did not contain a statement.",
        "SELECT 1;\u00a0": 'near "\u00a0": syntax error at offset 0: SQLITE_ERROR',
        "; SELECT nope": "no such column: nope at offset 9: SQLITE_ERROR",
    }.items():
        with pytest.raises(D1Error) as caught:
            await db.prepare(text).run()
        assert caught.value.message == f"D1_ERROR: {reason}"


async def test_exec_runs_line_by_line(db: D1Database) -> None:
    done = await db.exec("INSERT INTO t(name) VALUES('a');\r\n\n  -- note\nINSERT INTO t(name) VALUES('b')")
    assert (done["count"], type(done.duration)) == (2, float)
    assert await count(db) == 2


async def test_a_failing_exec_stores_nothing_and_quotes_the_first_line(db: D1Database) -> None:
    with pytest.raises(D1ExecError) as caught:
        await db.exec("INSERT INTO t(name) VALUES('a')\nINSERT INTO nope VALUES(1)")
    assert caught.value.message == (
        "D1_EXEC_ERROR: Error in line 1: INSERT INTO t(name) VALUES('a'): no such table: nope: SQLITE_ERROR"
    )
    assert await count(db) == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "Cannot read properties of undefined (reading 'trim')"),
        ((None,), "Cannot read properties of null (reading 'trim')"),
        ((5,), "query.trim is not a function"),
    ],
)
async def test_exec_of_what_is_no_text(db: D1Database, arguments: tuple[object, ...], text: str) -> None:
    with pytest.raises(D1UsageError) as caught:
        await db.exec(*arguments)
    assert str(caught.value) == f"TypeError: {text}"


async def test_a_violated_deferred_constraint_resets_the_object(db: D1Database) -> None:
    await db.exec("CREATE TABLE c(t REFERENCES t(id) DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(D1ObjectError, match="left the database in a state where constraints were violated"):
        await db.prepare("INSERT INTO c VALUES(9)").run()
    assert await db.prepare("SELECT count(*) n FROM c").first("n") == 0
    await db.batch([db.prepare("INSERT INTO c VALUES(9)"), db.prepare("INSERT INTO t(id) VALUES(9)")])


async def test_a_rollback_inside_a_statement_fails_the_whole_call(db: D1Database) -> None:
    await db.prepare("INSERT INTO t(id) VALUES(1)").run()
    with pytest.raises(D1ObjectError, match=r"internal error; reference = [a-z0-9]+"):
        await db.batch(
            [db.prepare("INSERT INTO t(id) VALUES(2)"), db.prepare("INSERT OR ROLLBACK INTO t(id) VALUES(1)")]
        )
    assert await count(db) == 1


async def test_or_fail_keeps_nothing(db: D1Database) -> None:
    with pytest.raises(D1Error):
        await db.prepare("INSERT OR FAIL INTO t(id) VALUES(1),(2),(1)").run()
    assert await count(db) == 0


async def test_foreign_keys_are_always_enforced(db: D1Database) -> None:
    await db.exec("CREATE TABLE c(t REFERENCES t(id))\nPRAGMA foreign_keys=OFF")
    with pytest.raises(D1Error, match="FOREIGN KEY constraint failed"):
        await db.prepare("INSERT INTO c VALUES(9)").run()


async def test_dump_fails_as_in_production(db: D1Database) -> None:
    with pytest.raises(D1Error, match=r"D1_DUMP_ERROR: Status \+ 404"):
        await db.dump()


# sessions


@pytest.mark.parametrize("constraint", [None, "", "  ", "first-unconstrained", "first-primary"])
async def test_a_session_has_no_bookmark_before_its_first_call(db: D1Database, constraint: str | None) -> None:
    session = db.withSession(constraint)
    assert session.getBookmark() is None
    await session.prepare("SELECT 1").first()
    assert session.getBookmark() is not None


def counted(session: D1DatabaseSession) -> int:
    bookmark = session.getBookmark() or ""
    assert (bookmark[:9], bookmark[17:]) == ("00000000-", "-00000000-" + 32 * "0")
    return int(bookmark[9:17], 16)


async def test_bookmarks_count_every_call_that_was_answered(db: D1Database) -> None:
    session = db.withSession("first-primary")
    await session.prepare("SELECT 1").run()
    start = counted(session)
    await session.prepare("INSERT INTO t(name) VALUES('a')").run()
    await db.prepare("SELECT 1").first()  # another caller's
    await db.batch([db.prepare("SELECT 1"), db.prepare("SELECT 2")])
    await session.prepare("SELECT 1").raw()
    assert counted(session) == start + 4
    with pytest.raises(D1Error):
        await session.prepare("SELECT * FROM nope").run()
    assert counted(session) == start + 4
    await session.batch([session.prepare("SELECT 1"), session.prepare("SELECT 2")])
    assert counted(session) == start + 5


@pytest.mark.parametrize(
    ("given", "stays"),
    [
        ("zzzz", True),
        ("x", True),
        ("00000000-ffffffff", True),
        ("_", False),
        ("00000000_00000009", False),
        ("!", False),
    ],
)
async def test_a_bookmark_only_moves_forward_in_the_order_of_texts(db: D1Database, given: str, stays: bool) -> None:
    session = db.withSession(given)
    assert session.getBookmark() == given
    await session.prepare("SELECT 1").run()
    assert (session.getBookmark() == given) is stays


async def test_a_session_can_go_on_from_a_bookmark(db: D1Database) -> None:
    first = db.withSession()
    await first.prepare("INSERT INTO t(name) VALUES('a')").run()
    second = db.with_session(first.get_bookmark())
    assert second.getBookmark() == first.getBookmark()
    assert await second.prepare("SELECT count(*) n FROM t").first("n") == 1


async def test_a_session_is_no_database(db: D1Database) -> None:
    assert not hasattr(db.withSession(), "exec")
    assert not hasattr(db.withSession(), "dump")


async def test_changes_of_a_full_text_index_are_counted_before_it_commits(db: D1Database) -> None:
    await db.exec("CREATE VIRTUAL TABLE docs USING fts5(title)\nINSERT INTO docs VALUES('x'), ('y')")
    alone = await db.prepare("INSERT INTO docs VALUES('z')").run()
    (batched,) = await db.batch([db.prepare("INSERT INTO docs VALUES('z')")])
    assert (alone.meta.changes, batched.meta.changes) == (3, 3)


@pytest.mark.parametrize("sql", ["PRAGMA FOREIGN_KEYS", "PRAGMA Table_Info(t)", "pragma main.TABLE_INFO(t)"])
async def test_names_of_pragmas_are_lower_case(db: D1Database, sql: str) -> None:
    with pytest.raises(D1Error, match="not authorized: SQLITE_AUTH"):
        await db.prepare(sql).run()
    assert (await db.prepare(sql.lower()).run()).results
    assert await db.prepare("SELECT count(*) n FROM pragma_TABLE_INFO('t')").first("n") == 2
