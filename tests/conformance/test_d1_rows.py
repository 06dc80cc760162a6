"""`meta.rows_read` and `meta.rows_written` against production's counters, and the table of it in the documentation.

Stock SQLite has no such counters, so the figures are estimates; how far they are off is asserted here and documented.
Query plans differ between releases of SQLite, so the documented figures are those of the release that the table names.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from d1 import D1Database, Engine
from workers.compat.proxies import JsException

RECORDED = Path(__file__).parent.parent / "golden" / "recorded"
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "d1.md"
BEGIN, END = "<!-- rows: written by tests/conformance/test_d1_rows.py -->\n", "<!-- end of rows -->\n"
KINDS = ("SELECT", "INSERT", "UPDATE", "DELETE", "schema and others")


@dataclass
class Figures:
    """Pairs of (recorded, estimated)."""

    read: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    written: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])


def deviation(recorded: int, estimated: int) -> float:
    return abs(recorded - estimated) / max(1, recorded)


def kind_of(sql: str) -> str:
    word = sql.split(None, 1)[0].upper()
    word = {"WITH": "SELECT", "VALUES": "SELECT", "REPLACE": "INSERT"}.get(word, word)
    return word if word in KINDS else KINDS[-1]


async def measure(tmp_path: Path) -> dict[str, Figures]:
    """Run every recorded case and collect what both sides counted."""
    figures: dict[str, Figures] = defaultdict(Figures)
    for number, (setup, sql, parameters, recorded) in enumerate(recorded_cases()):
        engine = Engine.open(tmp_path / f"{number}.sqlite")
        db = D1Database(engine)
        try:
            await db.batch([db.prepare(text) for text in setup]) if setup else None
            statement = db.prepare(sql)
            meta = (await (statement.bind(*parameters) if parameters is not None else statement).run()).meta
        except JsException:
            continue  # needs a newer SQLite
        finally:
            await engine.close()
        found = figures[kind_of(sql)]
        found.read.append((recorded[0], meta.rows_read))
        found.written.append((recorded[1], meta.rows_written))
    return figures


def recorded_cases() -> list[tuple[list[str], str, list[Any] | None, tuple[int, int]]]:
    rows = json.loads((RECORDED / "d1-rows.json").read_text(encoding="utf-8"))
    found: list[tuple[list[str], str, list[Any] | None, tuple[int, int]]] = [
        (rows["setups"][case["setup"]], case["sql"], case.get("params"), (case["read"], case["written"]))
        for case in rows["cases"]
    ]
    for case in json.loads((RECORDED / "d1.json").read_text(encoding="utf-8"))["cases"]:
        answer: Any = case["expect"].get("ok")
        meta: dict[str, int] = answer.get("meta", {}) if isinstance(answer, dict) else {}
        args = case["args"]
        simple = isinstance(args.get("sql"), str) and "params" not in args and ";" not in args["sql"]
        if case["op"] in ("run", "all") and meta and simple:
            found.append((case.get("setup", []), args["sql"], None, (meta["rows_read"], meta["rows_written"])))
    return found


def table(figures: dict[str, Figures]) -> str:
    lines = [
        f"Against {sum(len(one.read) for one in figures.values())} recorded statements, with SQLite "
        f"{sqlite3.sqlite_version}:\n\n",
        "| Statements | Figure | Recorded | Equal | Off by up to 10 % | Up to 50 % | More | Furthest off |\n",
        "| --- | --- | --- | --- | --- | --- | --- | --- |\n",
    ]
    for kind in KINDS:
        for name in ("read", "written"):
            pairs: list[tuple[int, int]] = getattr(figures[kind], name)
            if name == "written" and kind == "SELECT":
                continue
            off = [deviation(*pair) for pair in pairs]
            counts = [
                sum(low < one <= high for one in off) for low, high in ((-1, 0), (0, 0.1), (0.1, 0.5), (0.5, 9e9))
            ]
            furthest = max(pairs, key=lambda pair: deviation(*pair))
            lines.append(
                f"| {kind} | `rows_{name}` | {len(pairs)} | {' | '.join(map(str, counts))} | "
                f"{'none' if furthest[0] == furthest[1] else f'{furthest[1]} for {furthest[0]}'} |\n"
            )
    return "".join(lines)


async def test_estimates_are_as_near_to_the_recorded_figures_as_documented(tmp_path: Path) -> None:
    figures = await measure(tmp_path)
    reads = [pair for one in figures.values() for pair in one.read]
    writes = [pair for one in figures.values() for pair in one.written]
    assert len(reads) > 280
    assert sum(recorded == estimated for recorded, estimated in reads) > 0.8 * len(reads)
    assert sum(deviation(*pair) <= 0.5 for pair in reads) > 0.93 * len(reads)
    assert sum(recorded == estimated for recorded, estimated in writes) > 0.93 * len(writes)
    assert [pair for pair in [*reads, *writes] if pair[0] and not pair[1]] == [], "0 where production counts something"
    page = PAGE.read_text(encoding="utf-8")
    documented = page.partition(BEGIN)[2].partition(END)[0].strip()
    if f"with SQLite {sqlite3.sqlite_version}:" not in documented:
        pytest.skip(f"the figures are documented for another SQLite than {sqlite3.sqlite_version}")
    assert documented == table(figures).strip(), f"put this into {PAGE.name}:\n{table(figures)}"
