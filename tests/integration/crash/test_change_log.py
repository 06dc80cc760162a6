"""A server that is killed at random moments: who resumes by position misses nothing and is told nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from d1 import Engine
from d1.changes import Replay
from d1.engine import LogBounds

WRITER = Path(__file__).with_name("change_log_writer.py")
KILLS = 12


async def killed_writer(path: Path, seed: int, after_lines: int) -> tuple[str, int]:
    """Start a writer, kill it after it has acknowledged some writes; return its epoch and last acknowledged offset."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(WRITER), str(path), str(seed), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    _, epoch, _ = (await process.stdout.readline()).decode().split()
    for _ in range(after_lines):
        await process.stdout.readline()
    process.kill()
    rest = (await process.stdout.read()).decode()
    await process.wait()
    lines = rest.splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    return epoch, int(whole[-1]) if whole else 0


def image(path: Path) -> Counter[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return Counter(connection.execute("SELECT id, a FROM t"))


async def replayed(path: Path, epoch: str, offset: int) -> Replay:
    """Resume as a server does that starts after a kill."""
    engine = Engine.open(path)
    engine.start_log(LogBounds(rows=100_000))
    try:
        await engine.watch_async("t")
        return await engine.changes_since(epoch, offset, "t")
    finally:
        await engine.close()


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_subscriber_resumes_after_kills_with_no_gap_and_no_duplicate(tmp_path: Path, seed: int) -> None:
    path, random = tmp_path / "db.sqlite", Random(seed)
    state: Counter[tuple[Any, ...]] = Counter()
    epoch, offset = "", 0
    for kill in range(KILLS):
        started, acknowledged = await killed_writer(path, seed * 1000 + kill, random.randrange(0, 120))
        assert epoch in ("", started)
        epoch = started
        replay = await replayed(path, epoch, offset)
        assert replay.gap is None
        assert replay.offset >= acknowledged
        for commit in replay.commits:
            for change in commit.changes:
                assert change.type in ("INSERT", "UPDATE", "DELETE")
                assert change.seq > offset
                offset = change.seq
                if change.old is not None:
                    old = tuple(change.old.values())
                    assert state[old] > 0
                    state[old] -= 1
                if change.data is not None:
                    state[tuple(change.data.values())] += 1
        offset = replay.offset
        assert +state == image(path)


async def test_a_write_of_another_process_after_a_kill_is_a_resync(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite"
    epoch, _ = await killed_writer(path, 1, 30)
    before = await replayed(path, epoch, 0)
    again, _ = await killed_writer(path, 2, 30)
    program = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('UPDATE t SET a=0'); c.commit(); c.close()"
    )
    writer = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(path))
    assert await writer.wait() == 0
    replay = await replayed(path, epoch, before.offset)
    assert again == epoch
    assert replay.gap is None
    kinds = [change.type for commit in replay.commits for change in commit.changes]
    assert kinds[-1] == "RESYNC"
    assert kinds.count("RESYNC") == 1
