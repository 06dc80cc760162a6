"""Killing the process while it commits the turns of many objects together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

from durable_objects import Host, ObjectClass
from workers import DurableObject

OBJECTS = 24
WRITER = """
import asyncio, sys
from pathlib import Path
from durable_objects import Host, ObjectClass
from durable_objects.storage import commits
from workers import DurableObject

commits._SLOW_S = -1.0  # on threads, whatever the disk


class Page(DurableObject):
    async def write(self, number):
        self.ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS line(n INTEGER PRIMARY KEY, pad TEXT)")
        self.ctx.storage.sql.exec("INSERT INTO line VALUES (?, ?)", number, "x" * 2000)
        await self.ctx.storage.put("last", number)
        return number


async def main():
    namespace = Host(Path(sys.argv[1])).namespace(ObjectClass("w-Page", Page, None))
    stubs = [namespace.getByName(str(name)) for name in range(int(sys.argv[3]))]
    number = int(sys.argv[2])
    while True:
        calls = [stub.write(number) for stub in stubs]
        for name, call in enumerate(calls):
            sys.stdout.write(f"{name} {await call}\\n")
            sys.stdout.flush()
        number += 1


asyncio.run(main())
"""


class Page(DurableObject):
    async def read(self) -> Any:
        if await self.ctx.storage.get("last") is None:
            return [-1, []]
        rows = self.ctx.storage.sql.exec("SELECT n FROM line ORDER BY n")
        return [await self.ctx.storage.get("last"), [row.n for row in rows]]


def _write_until_killed(root: Path, first: int, acknowledgements: int) -> dict[int, int]:
    """Let a process write until it has acknowledged so many turns; return the last one of each object."""
    command = [sys.executable, "-c", WRITER, str(root), str(first), str(OBJECTS)]
    told: dict[int, int] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for count, line in enumerate(writer.stdout):
            if count == acknowledgements:
                writer.kill()
            if line.endswith("\n"):
                name, number = map(int, line.split())
                told[name] = number
    return told


async def test_each_object_holds_whole_turns_and_all_that_were_acknowledged(tmp_path: Path):
    random = Random(9)
    first = 0
    for _ in range(6):
        told = _write_until_killed(tmp_path, first, random.randint(1, 12 * OBJECTS))
        assert told
        host = Host(tmp_path)
        namespace = host.namespace(ObjectClass("w-Page", Page, None))
        for name in range(OBJECTS):
            last, lines = await namespace.getByName(str(name)).read()
            assert told.get(name, -1) <= last
            assert (lines[-1] if lines else -1) == last
            first = max(first, last + 1)
        await host.close()
