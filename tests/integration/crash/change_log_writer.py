"""Writes to a watched table without end and prints every position it was told; killed at a random moment."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from random import Random

from d1 import D1Database, Engine
from d1.engine import LogBounds


async def main(path: Path, seed: int) -> None:
    random = Random(seed)
    engine = Engine.open(path)
    engine.start_log(LogBounds(rows=100_000))
    db = D1Database(engine)
    await db.exec("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, a)\nCREATE TABLE IF NOT EXISTS quiet(a)")
    await engine.watch_async("t")
    print("ready", *engine.position(), flush=True)
    while True:
        key = random.randrange(50)
        one = db.prepare("INSERT INTO t VALUES(?,?) ON CONFLICT(id) DO UPDATE SET a=excluded.a").bind(key, "x")
        others = (db.prepare("DELETE FROM t WHERE id<?").bind(key), db.prepare("UPDATE t SET a=?").bind(str(key)))
        # a death in the microseconds after a commit that changed no watched table is told as a resync
        quiet = db.prepare("INSERT INTO quiet VALUES(?)").bind("x" * random.randrange(5000))
        if random.random() < 0.8:
            await random.choice((one, *others)).run()
        else:
            await db.batch([one, quiet, *others])
        sys.stdout.write(f"{engine.position()[1]}\n")
        sys.stdout.flush()
        await asyncio.sleep(0)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
