from __future__ import annotations

import json

import pytest

from workers.runtime.config.jsonc import parse


def test_comments_and_trailing_commas_are_allowed() -> None:
    text = """
    // the Worker
    { "name": "demo", /* inline */ "vars": { "A": [1, 2, ], }, }
    """
    assert parse(text) == {"name": "demo", "vars": {"A": [1, 2]}}


def test_what_looks_like_a_comment_or_a_comma_inside_a_string_stays() -> None:
    assert parse('{"url": "http://x/*y*/", "list": ",]", "quote": "\\"//,}"}') == {
        "url": "http://x/*y*/",
        "list": ",]",
        "quote": '"//,}',
    }


def test_errors_name_the_line_and_column_of_the_text_as_written() -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        parse('{\n  // a comment\n  "a": 1\n  "b": 2\n}')
    assert (caught.value.lineno, caught.value.colno) == (4, 3)


def test_a_byte_order_mark_is_ignored() -> None:
    assert parse("\ufeff{}") == {}
