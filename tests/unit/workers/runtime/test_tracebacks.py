from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from workers.compat import web
from workers.runtime.error_page import error_page, wants_page
from workers.runtime.tracebacks import Report, make_report


def raised(path: Path, source: str, call: str = "run") -> BaseException:
    path.write_text(source)
    names: dict[str, Callable[[], object]] = {"json": json}  # type: ignore[dict-item]
    try:
        exec(compile(source, str(path), "exec"), names)
        names[call]()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def report(error: BaseException, folder: Path) -> Report:
    def shown(path: str) -> str:
        return Path(path).relative_to(folder).as_posix()

    return make_report(error, lambda path: path.startswith(str(folder)), shown)


def test_the_workers_own_line_comes_first_with_a_caret_below_what_failed(tmp_path: Path) -> None:
    source = "def run():\n    inner()\n\ndef inner():\n    x = {}\n    return 1 + x['a']['b']\n"
    found = report(raised(tmp_path / "entry.py", source), tmp_path)
    assert found.text().splitlines() == [
        "KeyError: 'a'",
        "",
        "at entry.py:6 in inner",
        "     6 | return 1 + x['a']['b']",
        "       |            ^^^^^^",
        "called from entry.py:2 in run",
        "     2 | inner()",
        "       | ^^^^^^^",
    ]


def test_frames_of_a_library_are_folded_but_the_one_that_raised(tmp_path: Path) -> None:
    found = report(raised(tmp_path / "entry.py", "def run():\n    json.loads('{')\n"), tmp_path)
    lines = found.text().splitlines()
    assert lines[2] == "at entry.py:2 in run"
    assert lines[5].startswith("raised in json/decoder.py:")
    assert lines[6] == "(2 frames of libraries and the runtime not shown)"


def test_a_syntax_error_is_its_own_line(tmp_path: Path) -> None:
    found = report(raised(tmp_path / "entry.py", "x = 1\ndef f(:\n    pass\n"), tmp_path)
    assert (found.own is not None and found.own.where, found.headline) == ("entry.py:2", "SyntaxError: invalid syntax")
    assert found.details().splitlines()[1:3] == ["     2 | def f(:", "       |       ^"]


def test_causes_notes_and_groups_are_told(tmp_path: Path) -> None:
    source = (
        "def run():\n    try:\n        1 / 0\n    except ZeroDivisionError as error:\n"
        "        late = ValueError('late')\n        late.add_note('look at the moon')\n        raise late from error\n"
    )
    text = report(raised(tmp_path / "entry.py", source), tmp_path).text()
    assert "  look at the moon\n" in text
    assert "caused by ZeroDivisionError: division by zero\nat entry.py:3 in run\n" in text
    group = "def run():\n    raise ExceptionGroup('two', [ValueError('a'), KeyError('b')])\n"
    text = report(raised(tmp_path / "entry.py", group), tmp_path).text()
    assert "1 of 2: ValueError: a\n2 of 2: KeyError: 'b'\n" in text


def test_an_endless_recursion_is_told_in_a_few_lines(tmp_path: Path) -> None:
    text = report(raised(tmp_path / "entry.py", "def run():\n    run()\n"), tmp_path).text()
    assert text.startswith("RecursionError: ")
    assert " more calls in the Worker\n" in text
    assert text.count("\n") < 60


def test_wide_characters_before_the_fault_do_not_move_the_caret(tmp_path: Path) -> None:
    found = report(raised(tmp_path / "entry.py", "def run():\n    return 'äöü' + 1\n"), tmp_path)
    assert found.own is not None
    assert found.own.excerpt().splitlines()[1] == "       |        ^^^^^^^^^"


def test_the_page_shows_the_source_escaped_and_runs_nothing(tmp_path: Path) -> None:
    source = "def run():\n    x = '<script>alert(1)</script>'\n    raise ValueError(x)\n"
    page = error_page(report(raised(tmp_path / "entry.py", source), tmp_path), "GET", "http://x/?<b>")
    body = page.take_body()
    assert isinstance(body, bytes)
    text = body.decode()
    assert (page.status, page.headers["content-type"]) == (500, "text/html;charset=UTF-8")
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "http://x/?&lt;b&gt;" in text
    assert "<b>    3      raise ValueError(x)</b>" in text
    assert "default-src 'none'" in str(page.headers["content-security-policy"])


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [("text/html,application/xhtml+xml;q=0.9", True), ("*/*", False), ("application/json", False), (None, False)],
)
def test_only_a_browser_is_shown_a_page(accept: str | None, wanted: bool) -> None:
    headers = {"accept": accept} if accept else {}
    assert wants_page(web.Request("http://x/", headers=headers)) is wanted
