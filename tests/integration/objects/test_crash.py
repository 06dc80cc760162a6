"""Killing the process in the middle of writing: an object shows whole turns only, and all that were acknowledged."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

from durable_objects import Host, NullObserver, ObjectClass
from workers import DurableObject

WRITER = """
import asyncio, sys
from pathlib import Path
from durable_objects import Host, ObjectClass
from workers import DurableObject


class Ledger(DurableObject):
    async def record(self, number):
        sql = self.ctx.storage.sql
        sql.exec("CREATE TABLE IF NOT EXISTS debit(n INTEGER PRIMARY KEY)")
        sql.exec("CREATE TABLE IF NOT EXISTS credit(n INTEGER PRIMARY KEY, pad TEXT)")
        sql.exec("INSERT INTO debit VALUES (?)", number)
        await self.ctx.storage.put("last", number)
        sql.exec("INSERT INTO credit VALUES (?, ?)", number, "x" * 3000)
        await self.ctx.storage.setAlarm(4102444800000 + number)
        return number

    def alarm(self):
        pass


async def main():
    host = Host(Path(sys.argv[1]))
    stub = host.namespace(ObjectClass("w-Ledger", Ledger, None)).getByName("ledger")
    number = int(sys.argv[2])
    while True:
        calls = [stub.record(number + step) for step in range(3)]
        number += 3
        for call in calls:
            sys.stdout.write(f"{await call}\\n")
        sys.stdout.flush()


asyncio.run(main())
"""


class Ledger(DurableObject):
    async def read(self) -> dict[str, Any]:
        sql = self.ctx.storage.sql
        return {
            "debit": [row.n for row in sql.exec("SELECT n FROM debit ORDER BY n")],
            "credit": [row.n for row in sql.exec("SELECT n FROM credit ORDER BY n")],
            "last": await self.ctx.storage.get("last"),
            "alarm": await self.ctx.storage.getAlarm(),
        }

    def alarm(self) -> None: ...


async def test_two_thousand_turns_and_many_kills_leave_whole_turns_and_every_acknowledged_one(tmp_path: Path):
    random = Random(4)
    number = kills = 0
    while number < 2000 or kills < 8:
        acknowledged = _write_until_killed(tmp_path, number, random.randint(1, 480))
        kills += 1
        host = Host(tmp_path)
        found = await host.namespace(ObjectClass("w-Ledger", Ledger, None)).getByName("ledger").read()
        await host.close()
        assert found["debit"] == found["credit"] == list(range(found["last"] + 1))
        assert found["alarm"] == 4102444800000 + found["last"]
        assert acknowledged <= found["last"]
        number = found["last"] + 1


def _write_until_killed(root: Path, first: int, acknowledgements: int) -> int:
    """Let a process write until it has acknowledged so many turns, kill it, and return the last one acknowledged."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root), str(first)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        last = -1
        for _ in range(acknowledgements):
            last = int(writer.stdout.readline())
        writer.kill()
        for line in writer.stdout:
            if line.endswith("\n"):
                last = int(line)
    return last


async def test_an_alarm_whose_object_never_committed_it_does_nothing(tmp_path: Path):
    """A crash between the two files leaves a row in metadata.sqlite alone."""
    fired: list[int] = []

    class Quiet(DurableObject):
        async def touch(self) -> None:
            await self.ctx.storage.put("k", 1)

        def alarm(self) -> None:
            fired.append(1)

    spec = ObjectClass("w-Quiet", Quiet, None)
    host = Host(tmp_path)
    stub = host.namespace(spec).getByName("a")
    await stub.touch()
    (actor,) = host.actors("w-Quiet")
    actor.alarms.prepare(str(stub.id), "a", 1)
    await host.close()

    looked = asyncio.Event()

    class Watcher(NullObserver):
        def event_finished(self, unique_key: str, kind: str, failed: bool) -> None:
            looked.set()

    host = Host(tmp_path, observer=Watcher())
    host.namespace(spec)
    await host.start()
    await asyncio.wait_for(looked.wait(), 5)
    assert fired == []
    await host.close()
    host = Host(tmp_path)
    host.namespace(spec)
    await host.start()
    assert host.actors("w-Quiet") == []
    await host.close()
