from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.compat.json_text import js_json, parse_json
from workers.compat.proxies import JsSyntaxError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_what_is_written_reads_back(value: object):
    assert parse_json(js_json(value)) == value


def test_objects_are_readable_by_attribute_and_text_is_compact():
    assert parse_json('{"a":{"b":1}}').a.b == 1
    assert js_json({"a": ["é", None]}) == '{"a":["é",null]}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Unexpected end of JSON input"),
        ("{", "Expected property name or '}' in JSON at position 1 (line 1 column 2)"),
        ("nope", "Unexpected token 'o', \"nope\" is not valid JSON"),
        ("NaN", '"NaN" is not valid JSON'),
        ("[1 2]", "Expected ',' or ']' after array element in JSON at position 3 (line 1 column 4)"),
        ("01", "Unexpected number in JSON at position 1 (line 1 column 2)"),
        ('["\\x"]', "Bad escaped character in JSON at position 3 (line 1 column 4)"),
        ('{"a":1,\n}', "Expected double-quoted property name in JSON at position 8 (line 2 column 1)"),
        (
            '{"a":[1,2,3,4,5,6],"b":x,"c":[1]}',
            'Unexpected token \'x\', ...",5,6],"b":x,"c":[1]}" is not valid JSON',
        ),
        ('{"a":1}x', "Unexpected non-whitespace character after JSON at position 7 (line 1 column 8)"),
        ("[1", "Expected ',' or ']' after array element in JSON at position 2 (line 1 column 3)"),
        ('{"a":1', "Expected ',' or '}' after property value in JSON at position 6 (line 1 column 7)"),
        ('{"a"', "Expected ':' after property name in JSON at position 4 (line 1 column 5)"),
        ('["a', "Unterminated string in JSON at position 3 (line 1 column 4)"),
        ("[1,]", "Unexpected token ']', \"[1,]\" is not valid JSON"),
        ('{"a":1,}', "Expected double-quoted property name in JSON at position 7 (line 1 column 8)"),
    ],
)
def test_bad_json_is_reported_as_v8_does(text: str, message: str):
    with pytest.raises(JsSyntaxError) as caught:
        parse_json(text)
    assert (caught.value.name, caught.value.message) == ("SyntaxError", message)


@given(st.text(alphabet='{}[]":,0123-+.eE tfn\\', max_size=12))
def test_every_text_the_parser_refuses_gets_a_reason(text: str):
    try:
        json.loads(text)
    except ValueError:
        with pytest.raises(JsSyntaxError, match="JSON"):
            parse_json(text)
