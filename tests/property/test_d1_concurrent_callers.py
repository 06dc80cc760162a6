"""Callers at random, quick, long and failing ones: they finish in the order they came, and the events replay."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from d1 import D1Database, D1Error, Engine
from d1.changes import Commit, SqlValue

FILL = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<{}) INSERT INTO t(a) SELECT 'n'||x FROM c"


async def call(db: D1Database, random: Random, number: int) -> None:
    choice = random.random()
    if choice < 0.08:
        await db.prepare(FILL.format(random.randint(5, 15_000))).run()
    elif choice < 0.2:
        update = db.prepare("UPDATE t SET a=? WHERE id=?").bind(f"u{number}", random.randint(1, 50))
        with pytest.raises(D1Error, match="no such table: nope"):
            await db.batch([update, db.prepare("INSERT INTO nope VALUES(1)")])
    elif choice < 0.3:
        await db.prepare("DELETE FROM t WHERE id%?=0").bind(random.randint(2, 9)).run()
    elif choice < 0.35:
        await db.prepare("UPDATE t SET a=a||'x' WHERE id<?").bind(random.randint(1, 5000)).run()
    else:
        await db.prepare("INSERT INTO t(a) VALUES(?)").bind(f"i{number}").run()


def replayed(commits: list[Commit]) -> dict[SqlValue, SqlValue]:
    image: dict[SqlValue, SqlValue] = {}
    for number, commit in enumerate(commits, 1):
        assert commit.txn == number
        for change in commit.changes:
            if change.old is not None:
                assert image.pop(change.old["id"]) == change.old["a"]
            if change.data is not None:
                assert change.data["id"] not in image
                image[change.data["id"]] = change.data["a"]
    return image


@pytest.mark.parametrize("seed", range(3))
async def test_callers_finish_in_order_and_their_events_replay(seed: int, tmp_path: Path) -> None:
    random, commits = Random(seed), list[Commit]()
    engine = Engine.open(tmp_path / "db.sqlite", on_commit=commits.append)
    db = D1Database(engine)
    await db.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, a)")
    engine.watch("t")
    begun, finished = list[int](), list[int]()

    async def one(number: int) -> None:
        begun.append(number)
        await call(db, random, number)
        finished.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(100):
            group.create_task(one(number))
            if random.random() < 0.3:
                await asyncio.sleep(random.random() / 200)
    assert finished == begun
    assert replayed(commits) == dict(await db.prepare("SELECT id, a FROM t").raw())
    await engine.close()
