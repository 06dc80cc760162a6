"""Every place that behaves otherwise than Cloudflare says so, and the reference tells of it: both or neither."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("workers", "durable_objects", "d1")
PAGE = ROOT / "docs/reference/differences.md"
MARK = re.compile(r"DIFFERS(?:\(([a-z0-9-]*)\))?")


def _marks() -> dict[str, list[str]]:
    """Return the ids in the code and where they are; a mark without one has the id ""."""
    found: dict[str, list[str]] = {}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                for mark in MARK.finditer(line):
                    found.setdefault(mark[1] or "", []).append(f"{path.relative_to(ROOT)}:{number}")
    return found


def _rows() -> list[str]:
    return re.findall(r"^\| ([a-z0-9-]+) \| (?!---)", PAGE.read_text(), flags=re.MULTILINE)


def test_every_mark_in_the_code_has_an_id():
    assert _marks().get("", []) == []


def test_marks_and_rows_are_the_same():
    rows = _rows()
    assert len(rows) == len(set(rows))
    marks = {name: places for name, places in _marks().items() if name}
    assert {name: places for name, places in marks.items() if name not in rows} == {}
    assert [name for name in rows if name not in marks] == []
