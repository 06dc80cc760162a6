"""What keeps the rooms apart: import contracts, purity of the core, size, and the list of official files."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("workers", "durable_objects", "d1")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
CORE = sorted((ROOT / "durable_objects/realtime/core").glob("*.py"))
OFFICIAL = {
    *("asgi", "blob", "entrypoints", "fetch", "formdata", "request"),
    *("response", "rpc", "types", "utils", "workflows", "wsgi"),
}
MAX_LINES = 500


def test_import_contracts_are_kept():
    # A process of its own: import-linter switches off the loggers of the process it runs in.
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_files_in_workers_are_official_modules():
    ours = {path.stem for path in (ROOT / "workers").glob("*.py") if not path.stem.startswith("__")}
    assert ours, "the package is empty"
    assert ours <= OFFICIAL


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.stem)
def test_core_never_awaits(path: Path):
    banned = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    assert not [node.lineno for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, banned)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_outgrows_its_limit(path: Path):
    assert len(path.read_text().splitlines()) <= MAX_LINES


def test_tests_are_not_packages():
    assert not list((ROOT / "tests").rglob("__init__.py"))


@pytest.mark.parametrize("heavy", ["sqlglot", "pydantic", "aiohttp", "click", "durable_objects", "d1"])
def test_importing_workers_loads_nothing_heavy(heavy: str):
    code = f"import sys, workers; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_importing_d1_does_not_load_sqlglot():
    code = "import sys, d1.engine, d1.database; sys.exit('sqlglot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
