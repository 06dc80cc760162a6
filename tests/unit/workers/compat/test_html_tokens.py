from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.compat.html_tokens import tokens


@given(st.text(alphabet="<>/!-= \"'apscript", max_size=40))
def test_the_sources_of_the_tokens_are_the_document(document: str):
    assert "".join(token.source for token in tokens(document)) == document


@pytest.mark.parametrize(
    ("tag", "attributes"),
    [
        ("<a>", []),
        ("<a href=x b>", [("href", "x"), ("b", "")]),
        ("<A HREF='x>y' c=\"&lt;\">", [("href", "x>y"), ("c", "<")]),
        ("<a  x = 'y'/>", [("x", "y")]),
        ("<img src=a.png/>", [("src", "a.png/")]),
    ],
)
def test_attributes_of_a_start_tag(tag: str, attributes: list[tuple[str, str]]):
    (token,) = tokens(tag)
    assert token.kind == "start"
    assert token.attributes == attributes


def test_script_text_is_not_markup():
    kinds = [(token.kind, token.source) for token in tokens("<script>a</b><!--</script>x")]
    assert kinds == [("start", "<script>"), ("text", "a</b><!--"), ("end", "</script>"), ("text", "x")]


def test_comments_declarations_and_stray_signs():
    kinds = [token.kind for token in tokens("<!DOCTYPE html><!--a>b--><?x?>1 < 2</p>")]
    assert kinds == ["doctype", "comment", "other", "text", "text", "end"] or kinds == [
        "doctype", "comment", "other", "text", "end",
    ]  # fmt: skip
