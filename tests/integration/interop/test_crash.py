"""Files as a crash leaves them, with everything still in the write-ahead log, open on the other side too."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(("writer", "reader"), [("miniflare", "flarelet"), ("flarelet", "miniflare")])
async def test_what_was_answered_before_a_crash_is_there_on_the_other_side(
    writer: str, reader: str, miniflare: Any, flarelet: Any, tmp_path: Path
) -> None:
    sides = {"miniflare": miniflare, "flarelet": flarelet}
    at_ms = 4_000_000_000_000
    create, insert = "CREATE TABLE t (a)", "INSERT INTO t VALUES ('kept')"
    async with sides[writer]("live") as side:
        await side.object("one", [["put", "k", "kept"], ["sql", create], ["sql", insert], ["set_alarm", at_ms]])
        await side.database([["run", create], ["run", insert]])
        shutil.copytree(tmp_path / "live", tmp_path / "crashed")
    async with sides[reader]("crashed") as side:
        found = await side.object("one", [["get", "k"], ["sql", "SELECT a FROM t"], ["get_alarm"]])
        assert found == [{"ok": "kept"}, {"ok": [["kept"]]}, {"ok": at_ms}]
        assert await side.database([["raw", "SELECT a FROM t"]]) == [{"ok": [["kept"]]}]
