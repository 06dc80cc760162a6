"""`flarelet d1 import` beside a running server."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from workers.runtime.testing import DevProcess

ROOT = Path(__file__).resolve().parents[3]
CONFIG = """
[[d1_databases]]
binding = "DB"
"""
WORKER = """
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        await self.env.DB.prepare("CREATE TABLE IF NOT EXISTS seen(id INTEGER PRIMARY KEY)").run()
        await self.env.DB.prepare("INSERT INTO seen DEFAULT VALUES").run()
        seen = await self.env.DB.prepare("SELECT count(*) n FROM seen").first("n")
        made = await self.env.DB.prepare("SELECT name FROM sqlite_schema WHERE name='big'").first()
        last = await self.env.DB.prepare("SELECT max(id) n FROM big").first("n") if made else None
        return Response.json([seen, last])
"""
ROWS = 200_000


@pytest.fixture
def project(write: Callable[..., Path]) -> Path:
    return write(WORKER, CONFIG).parent


def write_dump(project: Path, count: int, last: str = "") -> None:
    lines = [
        "PRAGMA foreign_keys=OFF;",
        "BEGIN TRANSACTION;",
        "CREATE TABLE big(id INTEGER PRIMARY KEY, a, b UNIQUE);",
        *(f"INSERT INTO big VALUES({n},'row {n}','{n}');" for n in range(count)),
        last,
        "COMMIT;",
    ]
    (project / "dump.sql").write_text("\n".join(lines))


async def run_import(project: Path, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "workers", "d1", "import", "DB", "dump.sql", "--persist-to", "state", *arguments),
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_a_big_import_lets_the_writes_of_a_running_server_through(project: Path, client: aiohttp.ClientSession):
    write_dump(project, ROWS)
    answers: list[tuple[int, int | None]] = []
    async with DevProcess(project / "wrangler.toml", project / "state") as dev, asyncio.TaskGroup() as group:
        importing = group.create_task(run_import(project))
        while not importing.done():
            async with client.get(dev.url) as answer:
                assert answer.status == 200, await answer.text()
                answers.append(await answer.json())
    status, output = importing.result()
    assert (status, f"{ROWS:,} rows changed" in output) == (0, True), output
    assert [seen for seen, _ in answers] == list(range(1, len(answers) + 1))
    assert len({last for _, last in answers}) > 2, "the server wrote before and after the import only"


async def test_a_failure_in_slices_says_what_is_stored(project: Path):
    write_dump(project, ROWS, "INSERT INTO big VALUES(0,'again','again');")
    status, output = await run_import(project, "--slices")
    assert status == 1
    assert f"dump.sql:{ROWS + 4}: statement {ROWS + 3}: UNIQUE constraint failed: big.id" in output
    assert "statements were stored before (the last one begins on line " in output
    status, output = await run_import(project, "--whole", "--json")
    assert (status, "table big already exists" in json.loads(output)["error"]["text"]) == (1, True)


async def test_without_a_server_an_import_is_all_or_nothing(project: Path):
    write_dump(project, 1000, "INSERT INTO big VALUES(0,'again','again');")
    status, output = await run_import(project)
    assert (status, "Nothing was changed." in output) == (1, True)
    write_dump(project, 1000)
    assert (await run_import(project))[0] == 0


async def test_slices_check_foreign_keys_at_the_end(project: Path):
    (project / "dump.sql").write_text(
        "CREATE TABLE c(p REFERENCES p(id)); INSERT INTO c VALUES(1);"
        "CREATE TABLE p(id INTEGER PRIMARY KEY); INSERT INTO p VALUES(1);"
    )
    assert (await run_import(project, "--slices"))[0] == 0
    (project / "dump.sql").write_text("INSERT INTO c VALUES(7)")
    status, output = await run_import(project, "--slices")
    assert (status, "c rowid 2 refers to no row of p" in output) == (1, True)
