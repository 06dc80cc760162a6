"""A project's own state folder, `.wrangler/state/v3`: its Worker finds there what miniflare left, and the reverse."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from workers.request import Request
from workers.runtime.app import App

CONFIGURATION = """
name = "interop"
main = "entry.py"
compatibility_date = "2026-07-01"
d1_databases = [{ binding = "DB", database_name = "shop", database_id = "interop-db" }]
durable_objects.bindings = [{ name = "KEEPER", class_name = "Keeper" }]
migrations = [{ tag = "v1", new_sqlite_classes = ["Keeper"] }]
"""
WORKER = """
from workers import DurableObject, Response, WorkerEntrypoint


class Keeper(DurableObject):
    async def visit(self):
        visits = await self.ctx.storage.get("visits") or []
        visits.append("flarelet")
        await self.ctx.storage.put("visits", visits)
        self.ctx.storage.sql.exec("INSERT INTO visits VALUES (?)", "flarelet")
        return visits


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        await self.env.DB.prepare("INSERT INTO visits VALUES (?)").bind("flarelet").run()
        rows = await self.env.DB.prepare("SELECT who FROM visits").all()
        kept = await self.env.KEEPER.getByName("book").visit()
        return Response.json({"database": [row["who"] for row in rows.results], "object": kept})
"""


async def test_a_worker_goes_on_with_the_state_that_miniflare_left(miniflare: Any, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "wrangler.toml").write_text(CONFIGURATION)
    (project / "entry.py").write_text(textwrap.dedent(WORKER))
    state = "project/.wrangler/state/v3"
    create, insert = "CREATE TABLE visits (who)", "INSERT INTO visits VALUES ('miniflare')"
    async with miniflare(state) as reference:
        await reference.database([["run", create], ["run", insert]])
        await reference.object("book", [["sql", create], ["sql", insert], ["put", "visits", ["miniflare"]]])
    both = ["miniflare", "flarelet"]
    async with App.open(project / "wrangler.toml") as app:
        answer = await app.handle(Request("http://localhost/"))
        assert await answer.json() == {"database": both, "object": both}
    async with miniflare(state) as reference:
        rows = "SELECT who FROM visits ORDER BY rowid"
        assert await reference.database([["raw", rows]]) == [{"ok": [[who] for who in both]}]
        told = await reference.object("book", [["sql", rows], ["get", "visits"]])
    assert told == [{"ok": [[who] for who in both]}, {"ok": both}]
