from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from d1.errors import Failure
from d1.file import DatabaseFile
from workers.runtime.cli import sql_input
from workers.runtime.cli.d1_target import CommandError, did_you_mean
from workers.runtime.cli.sql_input import Progress, Source, from_file, run_all


def clock_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Take stderr for a terminal and return the time, which the test may set."""
    now = [0.0]
    monkeypatch.setattr(sql_input, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    return now


@pytest.fixture
def file(tmp_path: Path) -> Iterator[DatabaseFile]:
    with DatabaseFile(tmp_path / "db.sqlite") as file:
        yield file


def test_progress_says_how_long_one_statement_is_running(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = clock_of_a_terminal(monkeypatch)
    progress = Progress("executed", 1000)
    clock[0] = 1
    progress.step(3, 500)
    clock[0] = 1.05
    progress.beat()
    clock[0] = 13.2
    progress.beat()
    progress.clear()
    lines = capsys.readouterr().err.replace("\x1b[K", "").split("\r")
    assert lines == [
        "",
        "executed 3 statements (50 %)",
        "executed 3 statements (50 %), the next one is running for 12 s",
        "",
    ]


def test_a_long_statement_lets_progress_speak(
    file: DatabaseFile, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = clock_of_a_terminal(monkeypatch)
    slow = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 3000) SELECT max(x) FROM c"
    source = Source(None, ["SELECT 1;", slow])
    for number, _ in enumerate(run_all(file, source, source.parts(), "executed"), 1):
        clock[0] += 60 * number
    assert "executed 1 statement, the next one is running for 60 s\x1b[K" in capsys.readouterr().err
    assert file.beat is None


@pytest.mark.parametrize(
    ("given", "names", "question"),
    [
        ("shopdb", ["DB", "shop-db"], 'did you mean "shop-db"? '),
        ("db", ["DB"], 'did you mean "DB"? '),
        ("orders", ["DB", "STATS"], ""),
        ("x", [], ""),
    ],
)
def test_the_nearest_name_is_asked_for(given: str, names: list[str], question: str) -> None:
    assert did_you_mean(given, names) == question


def test_a_missing_file_names_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "schema.sql").write_text("SELECT 1")
    with pytest.raises(CommandError, match=r'No such file or directory; did you mean "schema.sql"\?'):
        from_file(tmp_path / "shcema.sql")
    with pytest.raises(CommandError, match=r"No such file or directory$"):
        from_file(tmp_path / "other.txt")


def test_a_failure_says_statement_line_and_what_helps(file: DatabaseFile) -> None:
    source = Source("dump.sql", ["CREATE TABLE t(a);\n\nCREATE TABLE t(a);"])
    with pytest.raises(CommandError) as caught:
        list(run_all(file, source, source.parts(), "imported"))
    text = str(caught.value)
    assert text.startswith("dump.sql:3: statement 2: table t already exists at offset 13: SQLITE_ERROR (import into an")
    assert text.endswith("\n  CREATE TABLE t(a)\nNothing was changed.")
    assert isinstance(caught.value.__cause__, Failure)
