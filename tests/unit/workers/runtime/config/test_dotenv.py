from __future__ import annotations

from workers.runtime.config.dotenv import parse


def test_plain_quoted_and_exported_values_are_read() -> None:
    text = "# secrets\nA=1\nexport B = two words # note\nC='it is #1'\nD=`x`\nE=\n"
    assert parse(text) == {"A": "1", "B": "two words", "C": "it is #1", "D": "x", "E": ""}


def test_double_quotes_know_escapes_and_quoted_values_span_lines() -> None:
    assert parse('KEY="a\\nb\\"c"\nPEM="one\ntwo"\nRAW=\'a\\nb\'\n') == {
        "KEY": 'a\nb"c',
        "PEM": "one\ntwo",
        "RAW": "a\\nb",
    }


def test_windows_line_ends_and_odd_lines_are_no_trouble() -> None:
    assert parse("A=1\r\nnot a variable\r\nB=2\r\n") == {"A": "1", "B": "2"}


def test_the_last_line_of_a_name_wins() -> None:
    assert parse("A=1\nA=2") == {"A": "2"}
