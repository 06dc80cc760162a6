"""The durable log of changes: what is told again, what is lost and how exactly that is said."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from d1 import D1Database, D1Error, Engine
from d1.changes import Commit, Gap, Replay
from d1.engine import LogBounds


@dataclass
class StoppedClock:
    at_ms: int = 1_000_000

    def now_ms(self) -> int:
        return self.at_ms


class Server:
    """One engine on a file at a time; `restart` ends it in an orderly way."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = StoppedClock()
        self.bounds = LogBounds()
        self.told: list[Commit] = []
        self.engine: Engine
        self.db: D1Database

    def start(self) -> None:
        self.engine = Engine.open(self.path, on_commit=self.told.append, clock=self.clock)
        self.engine.start_log(self.bounds)
        self.db = D1Database(self.engine)

    async def restart(self) -> None:
        await self.engine.close()
        self.start()

    async def run(self, *statements: str) -> None:
        for statement in statements:
            await self.db.prepare(statement).run()

    async def since(self, position: tuple[str, int], table: str = "t") -> Replay:
        return await self.engine.changes_since(*position, table)

    def elsewhere(self, *statements: str) -> None:
        """Write with another process."""
        program = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        program += "for sql in sys.argv[2:]: c.execute(sql)\nc.close()"
        subprocess.run([sys.executable, "-c", program, str(self.path), *statements], check=True)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(tmp_path / "db.sqlite")
    server.start()
    await server.run("CREATE TABLE t(id INTEGER PRIMARY KEY, a)", "CREATE TABLE other(x)")
    yield server
    await server.engine.close()


def rows(replay: Replay) -> list[tuple[str, Any]]:
    return [(row.type, (row.data or {}).get("a")) for commit in replay.commits for row in commit.changes]


async def test_what_came_after_a_position_is_told_again_exactly_as_it_was_told(server: Server) -> None:
    await server.engine.watch_async("t")
    start = server.engine.position()
    await server.run(
        "INSERT INTO t(a) VALUES(1.0),(x'00ff'),('é')", "UPDATE t SET a=9e999 WHERE id=1", "DELETE FROM t WHERE id=2"
    )
    replay = await server.since(start)
    assert replay == Replay(start[0], 5, tuple(server.told), None)
    assert [type(row.data["a"]) for row in replay.commits[0].changes if row.data] == [float, bytes, str]
    middle = (start[0], 3)
    assert (await server.since(middle)).commits == tuple(server.told[1:])
    assert (await server.since(server.engine.position())).commits == ()


async def test_only_the_changes_of_the_table_are_told(server: Server) -> None:
    await server.engine.watch_async("t")
    await server.engine.watch_async("Other")
    start = server.engine.position()
    await server.db.batch(
        [server.db.prepare("INSERT INTO t(a) VALUES(1)"), server.db.prepare("INSERT INTO other VALUES(2)")]
    )
    assert [row.data for commit in (await server.since(start, "OTHER")).commits for row in commit.changes] == [{"x": 2}]
    assert rows(await server.since(start, "T")) == [("INSERT", 1)]


async def test_a_failed_call_leaves_nothing_in_the_log(server: Server) -> None:
    await server.engine.watch_async("t")
    start = server.engine.position()
    await server.run("CREATE TABLE c(p REFERENCES t(id) DEFERRABLE INITIALLY DEFERRED)", "INSERT INTO t(a) VALUES(1)")
    with pytest.raises(D1Error):
        await server.db.batch([server.db.prepare("INSERT INTO t(a) VALUES(2)"), server.db.prepare("SELECT nope")])
    with pytest.raises(Exception, match="constraints were violated"):
        await server.db.batch([server.db.prepare("DELETE FROM t"), server.db.prepare("INSERT INTO c VALUES(1)")])
    await server.run("INSERT INTO t(a) VALUES(3)")
    replay = await server.since(start)
    assert rows(replay) == [("INSERT", 1), ("INSERT", 3)]
    assert [row.seq for commit in replay.commits for row in commit.changes] == [1, 2]


async def test_a_restart_keeps_positions_and_loses_nothing(server: Server) -> None:
    await server.engine.watch_async("t")
    start = server.engine.position()
    await server.run("INSERT INTO t(a) VALUES(1)")
    await server.restart()
    await server.run("INSERT INTO t(a) VALUES(2)")  # before anybody has come back
    await server.engine.watch_async("t")
    await server.run("INSERT INTO t(a) VALUES(3)")
    replay = await server.since(start)
    assert (rows(replay), replay.gap) == ([("INSERT", 1), ("INSERT", 2), ("INSERT", 3)], None)
    assert [commit.txn for commit in replay.commits] == [1, 2, 3]


async def test_a_position_of_another_history_is_told_so(server: Server) -> None:
    await server.engine.watch_async("t")
    await server.run("INSERT INTO t(a) VALUES(1)")
    assert (await server.since(("other", 7))).gap == Gap(0, 1, "epoch")
    epoch, _ = server.engine.position()
    assert (await server.since((epoch, 7))).gap == Gap(7, 7, "ahead")


async def test_a_table_that_was_not_watched_has_a_gap_until_it_was(server: Server) -> None:
    await server.engine.watch_async("other")
    start = server.engine.position()
    await server.run("INSERT INTO other VALUES(1)", "INSERT INTO t(a) VALUES('unseen')")
    await server.engine.watch_async("t")
    await server.run("INSERT INTO t(a) VALUES('seen')")
    replay = await server.since(start)
    assert (rows(replay), replay.gap) == ([("INSERT", "seen")], Gap(0, 1, "unwatched"))
    assert (await server.since(start, "nobody")).gap == Gap(0, 2, "unwatched")


async def test_a_table_left_a_moment_ago_goes_on_being_logged_and_then_no_more(server: Server) -> None:
    server.bounds = LogBounds(grace_s=0)
    await server.restart()
    await server.engine.watch_async("t")
    start = server.engine.position()
    server.engine.unwatch("t")
    await server.run("INSERT INTO t(a) VALUES('away')")
    await server.engine.watch_async("t")
    assert (rows(await server.since(start)), (await server.since(start)).gap) == ([("INSERT", "away")], None)
    server.engine.unwatch("t")
    passed = asyncio.Event()
    asyncio.get_running_loop().call_later(0, passed.set)  # timers ring in order
    await passed.wait()
    assert not server.engine.watches("t")
    await server.run("INSERT INTO t(a) VALUES('later')")
    assert (await server.since(start)).gap == Gap(0, 1, "unwatched")


async def test_the_oldest_entries_go_first_and_only_their_tables_have_a_gap(server: Server) -> None:
    server.bounds = LogBounds(rows=600)
    await server.restart()
    await server.engine.watch_async("t")
    await server.engine.watch_async("other")
    start = server.engine.position()
    await server.run("INSERT INTO t(a) VALUES('old')")
    position = server.engine.position()
    for number in range(1000):
        await server.db.prepare("INSERT INTO other VALUES(?)").bind(str(number)).run()
    assert (await server.since(position)).gap is None
    assert (await server.since(start)).gap == Gap(0, 1, "dropped")
    kept = await server.since(position, "other")
    assert kept.gap is not None
    assert kept.gap.after == 1
    assert [row.seq for commit in kept.commits for row in commit.changes] == list(range(kept.gap.until + 1, 1002))
    assert 500 < len(kept.commits) < 700


@pytest.mark.parametrize(("bounds", "late_ms"), [(LogBounds(bytes=20_000), 0), (LogBounds(age_s=10), 20_000)])
async def test_bytes_and_age_bound_the_log(server: Server, bounds: LogBounds, late_ms: int) -> None:
    server.bounds = bounds
    await server.restart()
    await server.engine.watch_async("t")
    start = server.engine.position()
    for _ in range(20):
        await server.run(f"INSERT INTO t(a) VALUES('{'x' * 3000}')")
    server.clock.at_ms += late_ms
    await server.run("INSERT INTO t(a) VALUES('last')")
    replay = await server.since(start)
    assert replay.gap is not None
    assert (replay.gap.after, replay.gap.reason) == (0, "dropped")
    assert [row.seq for commit in replay.commits for row in commit.changes] == list(range(replay.gap.until + 1, 22))
    assert len(rows(replay)) < 12


async def test_a_transaction_larger_than_the_log_leaves_its_end(server: Server) -> None:
    server.bounds = LogBounds(rows=100)
    await server.restart()
    await server.engine.watch_async("t")
    start = server.engine.position()
    await server.run("INSERT INTO t(a) SELECT value FROM json_each('[" + ",".join(map(str, range(300))) + "]')")
    replay = await server.since(start)
    assert replay.gap == Gap(0, 200, "dropped")
    assert [row.seq for commit in replay.commits for row in commit.changes] == list(range(201, 301))


async def test_a_write_of_another_process_is_in_the_log(server: Server) -> None:
    await server.engine.watch_async("t")
    start = server.engine.position()
    server.elsewhere("INSERT INTO t(a) VALUES('foreign')")
    await server.run("INSERT INTO t(a) VALUES('own')")
    assert rows(await server.since(start)) == [("RESYNC", None), ("INSERT", "own")]


async def test_a_write_of_another_process_while_nobody_serves_is_in_the_log(server: Server) -> None:
    await server.engine.watch_async("t")
    start = server.engine.position()
    await server.run("INSERT INTO t(a) VALUES(1)")
    await server.engine.close()
    server.elsewhere("INSERT INTO t(a) VALUES('foreign')")
    server.start()
    await server.run("INSERT INTO t(a) VALUES(2)")
    replay = await server.since(start)
    assert (rows(replay), replay.gap) == ([("INSERT", 1), ("RESYNC", None), ("INSERT", 2)], None)


async def test_a_reader_of_another_process_is_no_resync(server: Server) -> None:
    await server.engine.watch_async("t")
    start = server.engine.position()
    await server.run("INSERT INTO t(a) VALUES(1)")
    server.elsewhere("SELECT * FROM t")
    await server.engine.close()
    server.elsewhere("SELECT * FROM t")
    server.start()
    assert rows(await server.since(start)) == [("INSERT", 1)]


async def test_another_process_that_stays_connected_over_the_restart_is_noticed(server: Server) -> None:
    await server.engine.watch_async("t")
    start = server.engine.position()
    with closing(sqlite3.connect(server.path, isolation_level=None)) as other:
        await server.run("INSERT INTO t(a) VALUES(1)")
        await server.restart()
        assert rows(await server.since(start)) == [("INSERT", 1)]
        await server.engine.close()
        other.execute("INSERT INTO t(a) VALUES('foreign')")
        server.start()
    assert rows(await server.since(start)) == [("INSERT", 1), ("RESYNC", None)]


async def test_an_older_copy_of_the_file_is_another_history(server: Server, tmp_path: Path) -> None:
    await server.engine.watch_async("t")
    await server.run("INSERT INTO t(a) VALUES(1)")
    await server.engine.close()
    backup = server.path.read_bytes()
    server.start()
    await server.run("INSERT INTO t(a) VALUES(2)")
    position = server.engine.position()
    await server.engine.close()
    server.path.write_bytes(backup)
    server.start()
    await server.run("INSERT INTO t(a) VALUES(3)")
    replay = await server.since(position)
    assert replay.gap is not None
    assert replay.gap.reason == "epoch"
    assert replay.epoch != position[0]


async def test_a_file_without_its_note_is_another_history(server: Server) -> None:
    await server.engine.watch_async("t")
    position = server.engine.position()
    await server.engine.close()
    server.path.with_name("db.sqlite-flarelet").unlink()
    server.start()
    assert server.engine.position()[0] != position[0]


async def test_the_log_is_not_the_user_s(server: Server) -> None:
    await server.engine.watch_async("t")
    await server.run("INSERT INTO t(a) VALUES(1)")
    assert server.engine.tables() == ["t", "other"]
    with pytest.raises(D1Error, match=r"prohibited|not authorized"):
        await server.run("SELECT * FROM _cf_changes")


@pytest.mark.parametrize(
    ("statements", "changes"),
    [
        (["INSERT INTO t(a) VALUES(1),(2),(3)"], 3),
        (["INSERT INTO t(a) VALUES(1)"], 1),
        (["INSERT INTO t(a) VALUES(1),(2)", "UPDATE t SET a=9 WHERE id=77"], 0),
        (["INSERT INTO t(a) VALUES(1),(2)", "SELECT 1", "INSERT INTO other VALUES(1),(2),(3),(4)"], 4),
    ],
)
async def test_changes_and_last_insert_rowid_are_the_user_s(
    server: Server, statements: list[str], changes: int
) -> None:
    await server.engine.watch_async("t")
    counters = "SELECT changes() AS c, last_insert_rowid() AS r, total_changes() AS total"
    for as_batch in (False, True):
        await server.run("DELETE FROM t", "DELETE FROM other")
        before = await server.db.prepare(counters).first()
        if as_batch:
            await server.db.batch([server.db.prepare(statement) for statement in statements])
        else:
            await server.run(*statements)
        first = await server.db.prepare(counters).first()
        again = await server.db.prepare(counters).first()
        assert first == again
        written = sum(statement.count("(", statement.find("VALUES")) for statement in statements if "INS" in statement)
        assert (first["c"], first["total"] - before["total"]) == (changes, written)
        last = 4 if "other" in statements[-1] else (await server.db.prepare("SELECT max(id) m FROM t").first("m"))
        assert first["r"] == last


async def test_a_large_row_fits_into_the_log(server: Server) -> None:
    await server.engine.watch_async("t")
    start = server.engine.position()
    big = bytes(2_000_000)
    await server.db.prepare("INSERT INTO t(a) VALUES(?)").bind(list(big)).run()
    await server.run("UPDATE t SET id=id+1")
    (_, update) = (await server.since(start)).commits
    assert update.changes[0].old == {"id": 1, "a": big}


async def test_a_long_replay_lets_others_run(server: Server) -> None:
    await server.engine.watch_async("t")
    start = server.engine.position()
    await server.run("INSERT INTO t(a) SELECT value FROM json_each('[" + ",".join(map(str, range(2000))) + "]')")
    turns = 0
    async with asyncio.TaskGroup() as group:
        replaying = group.create_task(server.since(start))
        while not replaying.done():
            turns += 1
            await asyncio.sleep(0)
    assert len(rows(replaying.result())) == 2000
    assert turns > 4
