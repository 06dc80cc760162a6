from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.runtime.cli.table import cell, draw


def test_columns_are_as_wide_as_their_widest_text() -> None:
    assert draw(["id", "name"], [["1", "x"], ["200", "日本"]]) == (
        "┌─────┬──────┐\n│ id  │ name │\n├─────┼──────┤\n│ 1   │ x    │\n│ 200 │ 日本 │\n└─────┴──────┘"
    )


def test_the_widest_columns_are_cut_to_fit_the_terminal() -> None:
    lines = draw(["id", "a", "b"], [["1", "a" * 100, "日" * 50]], 40).splitlines()
    assert [len(line) for line in lines[:3]] == [40, 40, 40]
    assert lines[3] == "│ 1  │ aaaaaaaaaaaaa… │ 日日日日日日…  │"


@given(st.lists(st.text("abc", max_size=300), min_size=1, max_size=5), st.integers(1, 200))
def test_drawing_ends_and_fits_where_there_is_room(cells: list[str], width: int) -> None:
    drawn = draw(["column"] * len(cells), [cells], width).splitlines()
    assert len({len(line) for line in drawn}) == 1
    assert len(drawn[0]) <= max(width, 11 * len(cells) + 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        ("a\nb\t\x1b[31m", "a\\nb\\t\\x1b[31m"),
        ([1, 2], "[1, 2]"),
        (list(range(17)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, … 17 bytes]"),
    ],
)
def test_a_cell_is_one_printable_line(value: object, text: str) -> None:
    assert cell(value) == text
