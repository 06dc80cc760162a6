from __future__ import annotations

import pytest

from workers.compat.html_selectors import Node, Selector
from workers.compat.proxies import JsTypeError

ROOT = Node("", {}, None)
BODY = ROOT.child("body", {"id": "top", "lang": "en-US"})
FIRST = BODY.child("p", {"class": "a b", "data-x": "Hello World"})
SECOND = BODY.child("div", {})
THIRD = BODY.child("p", {})
INNER = SECOND.child("b", {"href": "https://e.com/x.png"})


@pytest.mark.parametrize(
    ("selector", "node"),
    [
        ("*", FIRST),
        ("P", FIRST),
        (".a.b", FIRST),
        ("p.b", FIRST),
        ("#top", BODY),
        ("[class]", FIRST),
        ("[data-x='Hello World']", FIRST),
        ('[data-x="hello world" i]', FIRST),
        ("[data-x~=World]", FIRST),
        ("[lang|=en]", BODY),
        ("[href^='https:']", INNER),
        ("[href$='.png']", INNER),
        ("[href*=e.com]", INNER),
        ("body b", INNER),
        ("body > div > b", INNER),
        ("body>div b", INNER),
        ("i, b", INNER),
        ("p:first-child", FIRST),
        ("p:nth-child(3)", THIRD),
        ("p:nth-child(odd)", THIRD),
        ("p:nth-of-type(2n)", THIRD),
        ("div:first-of-type", SECOND),
        ("p:not(.a)", THIRD),
        ("[data-x='a,b'], p", FIRST),
    ],
)
def test_a_selector_matches(selector: str, node: Node):
    assert Selector(selector).matches(node)


@pytest.mark.parametrize(
    ("selector", "node"),
    [
        ("b", FIRST),
        (".c", FIRST),
        ("body > b", INNER),
        ("p b", INNER),
        ("[href^='']", INNER),
        ("[data-x=hello]", FIRST),
        ("p:nth-child(2n)", THIRD),
        ("p:not(.a)", FIRST),
        ("p:nth-child(-n+2)", THIRD),
    ],
)
def test_a_selector_does_not_match(selector: str, node: Node):
    assert not Selector(selector).matches(node)


@pytest.mark.parametrize("text", ["", ">", "p >", "p:hover", "p::before", "p + q", "p:nth-child(x)", "[=a]"])
def test_other_selectors_are_refused(text: str):
    with pytest.raises(JsTypeError):
        Selector(text)
