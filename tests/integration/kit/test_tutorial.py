"""The testing page's own files make a project whose tests pass, and every helper it names exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from workers.runtime import testing

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
FILE = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```\n", re.DOTALL)


def test_the_code_of_the_page_is_a_project_whose_tests_pass(tmp_path: Path):
    files = dict(FILE.findall(PAGE))
    assert len(files) > 10
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    python_path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": python_path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d\d passed", done.stdout)


def test_every_helper_the_page_names_exists():
    table = PAGE.partition("| `cloudflare:test` | Here |")[2]
    names = set(re.findall(r"`([a-z]+(?:_[a-z0-9]+)+)`", table))
    assert len(names) > 10
    assert {name for name in names if not hasattr(testing, name)} == set()
