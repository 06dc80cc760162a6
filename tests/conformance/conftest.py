"""`--golden DIR`: replay other recorded cases than the checked-in ones; a suite loads `<DIR>/<suite>.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

RECORDED = Path(__file__).parent.parent / "golden" / "recorded"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden",
        default=str(RECORDED),
        metavar="DIR",
        help="folder of recorded cases, one <suite>.json each (default: %(default)s)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize `case` with the cases of the suite that the test's module names in `SUITE`."""
    suite = getattr(metafunc.module, "SUITE", None)
    if suite is None or "case" not in metafunc.fixturenames:
        return
    file = Path(metafunc.config.getoption("--golden", default=str(RECORDED))) / f"{suite}.json"
    if not file.exists():
        metafunc.parametrize("case", [pytest.param(None, marks=pytest.mark.skip(reason=f"no {file.name} there"))])
        return
    cases: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["cases"]
    metafunc.parametrize("case", cases, ids=[case["name"] for case in cases])
