"""Statements and their results."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from d1 import D1Database, D1Error, D1PreparedStatement, Engine
from workers.compat.proxies import JsDict

META = ["served_by", "duration", "changes", "last_row_id", "changed_db", "size_after", "rows_read", "rows_written"]


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[D1Database]:
    engine = Engine.open(tmp_path / "db.sqlite")
    db = D1Database(engine)
    await db.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, b BLOB)\nINSERT INTO t VALUES(1,'one',x'0102')")
    yield db
    await engine.close()


async def test_results_are_read_by_key_and_by_attribute(db: D1Database) -> None:
    result = await db.prepare("SELECT * FROM t").all()
    assert result.results[0].name == result["results"][0]["name"] == "one"
    assert result.success is True
    assert result.meta.changes == result["meta"]["changes"] == 0


async def test_a_result_is_a_complete_dict_however_it_is_looked_at(db: D1Database) -> None:
    async def fresh() -> JsDict:
        return await db.prepare("INSERT INTO t(name) VALUES('x') RETURNING name").run()

    assert list(await fresh()) == ["success", "meta", "results"]
    assert len(await fresh()) == 3
    assert "results" in await fresh()
    assert (await fresh()).get("results") == [{"name": "x"}]
    assert list(dict(await fresh())) == list({**await fresh()}) == ["success", "meta", "results"]
    assert json.loads(json.dumps(await fresh()))["results"] == [{"name": "x"}]
    assert (await fresh()).pop("results") == [{"name": "x"}]
    assert copy.deepcopy(await fresh())["results"] == [{"name": "x"}]
    assert pickle.loads(pickle.dumps(await fresh()))["results"] == [{"name": "x"}]
    assert (await fresh()).copy()["results"] == (await fresh()).to_py()["results"] == [{"name": "x"}]
    assert "results" in repr(await fresh())
    match await fresh():
        case {"results": [row]}:
            assert row == {"name": "x"}
        case other:
            pytest.fail(f"{other} does not match")


async def test_meta_has_production_s_figures_in_their_order(db: D1Database) -> None:
    meta = (await db.prepare("INSERT INTO t(name) VALUES('two')").run()).meta
    assert list(meta) == META
    assert (meta.changes, meta.last_row_id, meta.changed_db, meta.rows_written) == (1, 2, True, 1)
    assert meta.size_after % 4096 == 0
    with pytest.raises(AttributeError):
        _ = meta.nothing
    with pytest.raises(KeyError):
        _ = meta["nothing"]


async def test_bind_returns_a_new_statement(db: D1Database) -> None:
    one = db.prepare("SELECT ? AS v")
    two, three = one.bind(2), one.bind(3)
    assert await three.first("v") == 3
    assert await two.first("v") == 2
    assert await two.bind("again").first("v") == "again"
    with pytest.raises(D1Error, match="Wrong number of parameter bindings"):
        await one.first()


async def test_first_gives_the_row_the_value_or_none(db: D1Database) -> None:
    statement = db.prepare("SELECT * FROM t")
    assert await statement.first() == {"id": 1, "name": "one", "b": [1, 2]}
    assert await statement.first("name") == "one"
    assert await db.prepare("SELECT * FROM t WHERE id=9").first() is None
    assert await db.prepare("SELECT * FROM t WHERE id=9").first("nope") is None
    with pytest.raises(D1Error, match=r"D1_COLUMN_NOTFOUND: Column not found \(nope\)"):
        await statement.first("nope")


async def test_raw_gives_lists_and_the_column_names_on_request(db: D1Database) -> None:
    statement = db.prepare("SELECT id, name AS id FROM t")
    assert await statement.raw() == [[1, "one"]]
    for rows in (
        await statement.raw(columnNames=True),
        await statement.raw({"columnNames": True}),
        await statement.raw(JsDict(columnNames=True)),
    ):
        assert rows == [["id", "id"], [1, "one"]]
    assert await statement.raw(None) == [[1, "one"]]
    assert await db.prepare("INSERT INTO t(name) VALUES('x')").raw(columnNames=True) == [[]]


async def test_text_that_is_not_unicode_is_replaced(db: D1Database) -> None:
    assert await db.prepare("SELECT CAST(x'ff61' AS TEXT) v").first("v") == "\ufffda"
    assert await db.prepare("SELECT ? v").bind("a\ud800").first("v") == "a\ufffd\ufffd\ufffd"
    inserted = db.prepare("INSERT INTO t(name) VALUES(CAST(x'ff' AS TEXT)) RETURNING name")
    assert await inserted.first("name") == "\ufffd"
    assert await db.prepare("SELECT count(*) n FROM t").first("n") == 2


@pytest.mark.parametrize(("sql", "received"), [(5, "number"), (None, "null"), ([], "array"), ({}, "object")])
async def test_what_is_no_text_fails_when_it_runs(db: D1Database, sql: object, received: str) -> None:
    statement: D1PreparedStatement = db.prepare(sql)  # type: ignore[arg-type]
    with pytest.raises(D1Error, match=f"Expected string, received {received}"):
        await statement.run()


async def test_several_statements_run_together_and_the_last_one_answers(db: D1Database) -> None:
    result = await db.prepare("INSERT INTO t(name) VALUES('a'); SELECT count(*) n FROM t WHERE id>=?").bind(1).all()
    assert result.results == [{"n": 2}]
    assert result.meta.changes == 1
    with pytest.raises(D1Error):
        await db.prepare("DELETE FROM t; SELECT nope").run()
    assert await db.prepare("SELECT count(*) n FROM t").first("n") == 2
