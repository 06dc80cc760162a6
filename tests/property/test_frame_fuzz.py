"""The script behind `make fuzz-frames`: a short run of it, on every decoder."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_frames", Path(__file__).with_name("fuzz_frames.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("name", "count"), [("frames", 500), ("close", 100), ("offer", 200), ("json", 300)])
def test_decoders_fail_only_as_documented(fuzz: ModuleType, name: str, count: int) -> None:
    figures: Counter[str] = Counter()
    fuzz.fuzz(name, count, figures, shrink=True)
    assert len(figures) > 1
    assert sum(figures.values()) >= count * 0.5
