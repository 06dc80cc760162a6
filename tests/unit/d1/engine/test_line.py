"""Quick calls run on the loop, long ones off it, in order, and the loop never stands still."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from concurrent.futures import Executor, Future
from pathlib import Path
from time import thread_time
from typing import Any

import pytest

from d1 import D1Database, D1Error, Engine
from d1.changes import Commit
from d1.engine import InlineExecutor
from d1.engine.line import INLINE_BUDGET_S
from d1.errors import EngineClosed

COUNT = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<{}) SELECT count(*) n FROM c"
FILL = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<{}) INSERT INTO t(a) SELECT x FROM c"


class CountingExecutor(Executor):
    """Counts what leaves the loop."""

    def __init__(self) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self._pool = ThreadPoolExecutor(1)
        self.count = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.count += 1
        return self._pool.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._pool.shutdown(wait, cancel_futures=cancel_futures)


@pytest.fixture
def commits() -> list[Commit]:
    return []


@pytest.fixture
async def executor() -> AsyncIterator[CountingExecutor]:
    counting = CountingExecutor()
    yield counting
    counting.shutdown()


@pytest.fixture
async def engine(tmp_path: Path, commits: list[Commit], executor: CountingExecutor) -> AsyncIterator[Engine]:
    engine = Engine.open(tmp_path / "db.sqlite", on_commit=commits.append, executor=executor)
    await D1Database(engine).exec("CREATE TABLE t(id INTEGER PRIMARY KEY, a)")
    yield engine
    await engine.close()


@pytest.fixture
def db(engine: Engine) -> D1Database:
    return D1Database(engine)


def is_finished_at_once(answer: Awaitable[Any]) -> bool:
    """Run a coroutine up to its first real suspension."""
    coroutine: Any = answer
    try:
        coroutine.send(None)
    except StopIteration:
        return True
    coroutine.close()
    return False


async def longest_turn(work: Awaitable[Any]) -> float:
    """Return the longest processor time that one turn of the loop took during `work`.

    Not wall time: a busy machine stops the whole loop now and then.
    """
    worst, last = 0.0, thread_time()
    task: asyncio.Future[Any]
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)  # type: ignore[arg-type]
        while not task.done():
            await asyncio.sleep(0)
            worst, last = max(worst, thread_time() - last), thread_time()
    return worst


async def test_a_quick_call_never_suspends_its_caller(db: D1Database, executor: CountingExecutor) -> None:
    assert is_finished_at_once(db.prepare("INSERT INTO t(a) VALUES(?)").bind(1).run())
    assert is_finished_at_once(db.prepare("SELECT * FROM t").first())
    assert executor.count == 0


async def test_a_long_read_leaves_the_loop_free(db: D1Database, executor: CountingExecutor) -> None:
    turn = await longest_turn(db.prepare(COUNT.format(3_000_000)).first())
    assert executor.count == 1
    assert turn < 0.05  # the statement takes ten times that


async def test_a_long_write_happens_once(db: D1Database, executor: CountingExecutor) -> None:
    result = await db.prepare(FILL.format(100_000)).run()
    assert result.meta.changes == 100_000
    assert executor.count == 1
    assert (await db.prepare("SELECT count(*) n, max(id) m FROM t").first()) == {"n": 100_000, "m": 100_000}


async def test_a_long_captured_batch_is_told_once_and_before_its_caller_goes_on(
    engine: Engine, db: D1Database, commits: list[Commit]
) -> None:
    engine.watch("t")
    await db.batch([db.prepare("INSERT INTO t(a) VALUES('first')"), db.prepare(FILL.format(20_000))])
    assert [len(commit.changes) for commit in commits] == [20_001]


async def test_a_text_that_was_slow_goes_to_the_worker_directly(db: D1Database, executor: CountingExecutor) -> None:
    slow = db.prepare(COUNT.format(1_000_000))
    await slow.first()
    started = thread_time()
    assert not is_finished_at_once(slow.first())
    assert thread_time() - started < INLINE_BUDGET_S
    await db.prepare("SELECT 1").first()
    assert executor.count == 2


@pytest.mark.parametrize("sql", ["SELECT count(*) FROM t", "DELETE FROM t", "DROP TABLE t"])
async def test_a_bulk_statement_leaves_the_loop_when_the_database_is_large(
    db: D1Database, executor: CountingExecutor, sql: str
) -> None:
    await db.prepare("SELECT count(*) FROM t").run()
    assert executor.count == 0
    await db.prepare("INSERT INTO t(a) VALUES(zeroblob(2000000))").run()
    await db.prepare("INSERT INTO t(a) VALUES(zeroblob(2000000))").run()
    before = executor.count
    await db.prepare(sql).run()
    assert executor.count == before + 1


async def test_calls_keep_their_order_while_one_is_long(db: D1Database) -> None:
    done: list[str] = []

    async def call(name: str, sql: str) -> None:
        await db.prepare(sql).run()
        done.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(call("long", FILL.format(100_000)))
        group.create_task(call("quick", "UPDATE t SET a='seen' WHERE id=100000"))
        group.create_task(call("long too", FILL.format(100_000)))
        group.create_task(call("last", "SELECT 1"))
    assert done == ["long", "quick", "long too", "last"]
    assert await db.prepare("SELECT a FROM t WHERE id=100000").first("a") == "seen"


async def test_a_cancelled_call_that_waits_is_never_run(db: D1Database) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(db.prepare(FILL.format(100_000)).run())
        waiting = group.create_task(db.prepare("DELETE FROM t").run())
        await asyncio.sleep(0)
        waiting.cancel()
    assert await db.prepare("SELECT count(*) n FROM t").first("n") == 100_000


async def test_a_failure_on_the_worker_reaches_its_caller_only(db: D1Database) -> None:
    await db.prepare("INSERT INTO t(id) VALUES(100000)").run()
    with pytest.raises(D1Error, match=r"UNIQUE constraint failed: t\.id"):
        await db.prepare(FILL.format(100_000).replace("INSERT INTO t(a)", "INSERT INTO t(id)")).run()
    assert await db.prepare("SELECT count(*) n FROM t").first("n") == 1


async def test_a_query_beyond_production_s_time_is_ended(db: D1Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("d1.engine.line.QUERY_SECONDS", 0.05)
    with pytest.raises(D1Error, match="exceeded timeout"):
        await db.prepare(COUNT.format(10**9)).first()
    assert await db.prepare("SELECT 1 n").first("n") == 1


async def test_a_listener_that_fails_does_not_fail_the_write(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def listen(_commit: Commit) -> None:
        raise RuntimeError("listener")

    engine = Engine.open(tmp_path / "other.sqlite", on_commit=listen)
    db = D1Database(engine)
    await db.exec("CREATE TABLE t(a)")
    engine.watch("t")
    await db.prepare("INSERT INTO t VALUES(1)").run()
    assert await db.prepare("SELECT count(*) n FROM t").first("n") == 1
    assert "a listener failed on commit 1 of DB" in caplog.text
    await engine.close()


async def test_an_inline_executor_needs_no_thread(tmp_path: Path) -> None:
    engine = Engine.open(tmp_path / "other.sqlite", executor=InlineExecutor())
    db = D1Database(engine)
    assert await db.prepare(COUNT.format(1_000_000)).first("n") == 1_000_000
    await engine.close()


async def test_too_many_waiting_calls_are_refused(db: D1Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("d1.engine.line.MAX_WAITING", 1)
    async with asyncio.TaskGroup() as group:
        group.create_task(db.prepare(FILL.format(100_000)).run())
        group.create_task(db.prepare("SELECT 1").run())
        await asyncio.sleep(0)
        with pytest.raises(D1Error, match="overloaded"):
            await db.prepare("SELECT 2").run()


async def test_close_finishes_what_was_accepted(db: D1Database, engine: Engine) -> None:
    async with asyncio.TaskGroup() as group:
        long = group.create_task(db.prepare(FILL.format(100_000)).run())
        quick = group.create_task(db.prepare("SELECT count(*) n FROM t").first("n"))
        await asyncio.sleep(0)
        group.create_task(engine.close())
    with pytest.raises(EngineClosed):
        await db.prepare("SELECT 1").first()
    assert long.result().meta["changes"] == 100_000
    assert quick.result() == 100_000
