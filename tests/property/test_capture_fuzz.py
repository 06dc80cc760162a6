"""The script behind `make fuzz-capture`: a short run is clean, and it notices every kind of wrong event."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from d1.capture import Capture


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_capture", Path(__file__).with_name("fuzz_capture.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fuzz_capture", module)
    spec.loader.exec_module(module)
    return module


def run(fuzz: ModuleType, cases: int) -> Any:
    figures = fuzz.Figures()
    for seed in range(1, cases + 1):
        fuzz.run_case(seed, figures, 25)
    return figures


def test_random_statements_give_no_wrong_event(fuzz: ModuleType) -> None:
    figures = run(fuzz, 40)
    assert figures.wrong == 0
    assert figures.visible_differences == 0
    assert figures.events > 500
    assert figures.session_comparisons > 100


@pytest.mark.parametrize(
    ("kind", "tamper"),
    [
        ("missed", lambda rows: [row for row in rows if row.type != "INSERT"]),
        ("phantom", lambda rows: [row for row in rows if row.type != "DELETE"]),
        ("phantom", lambda rows: [*rows, *(row for row in rows if row.type == "INSERT")]),
        ("out_of_order", lambda rows: rows[::-1]),
        ("session_differences", lambda rows: [row._replace(old=row.data) for row in rows]),
    ],
)
def test_a_wrong_event_is_noticed(fuzz: ModuleType, monkeypatch: pytest.MonkeyPatch, kind: str, tamper: Any) -> None:
    collect = Capture.collect
    monkeypatch.setattr(Capture, "collect", lambda self, after: tamper(collect(self, after)))
    assert getattr(run(fuzz, 20), kind) > 0
