from __future__ import annotations

from typing import Any

import pytest

from workers import Response
from workers.compat.html_rewriter import HTMLRewriter
from workers.compat.proxies import JsTypeError, create_proxy


async def rewrite(document: str, *rules: tuple[str, Any], on_document: Any = None) -> str:
    rewriter = HTMLRewriter.new()
    for selector, handler in rules:
        rewriter.on(selector, handler if isinstance(handler, dict) else {"element": handler})
    if on_document is not None:
        rewriter.onDocument(on_document)
    return await rewriter.transform(Response(document)).text()


PAGE = """<!DOCTYPE html>
<html><head><title>A &amp; B</title><script>if (a < b) "</p>";</script></head>
<body class='x'><!-- note --><P Data-a="1" checked>Hi <b>there</b>&nbsp;you<br>now</P><img src=a.png/></body></html>"""


async def test_what_nobody_touches_comes_out_as_it_was():
    assert await rewrite(PAGE, ("p", lambda element: None), ("*", {"text": lambda text: None})) == PAGE


async def test_attributes_are_read_set_and_removed():
    def change(element: Any) -> None:
        assert (element.tagName, element.getAttribute("HREF"), element.hasAttribute("x")) == (
            "a",
            "http://old/?a&b",
            False,
        )
        assert [[*pair] for pair in element.attributes] == [["href", "http://old/?a&b"], ["class", "k"]]
        element.setAttribute("href", 'new"').removeAttribute("class")

    assert (
        await rewrite("<a href='http://old/?a&amp;b' class=k>x</a>", ("a[href]", change)) == '<a href="new&quot;">x</a>'
    )


async def test_content_goes_around_and_into_an_element():
    def change(element: Any) -> None:
        element.before("<1>").before("2", {"html": True}).after("<i>3</i>", html=True)
        element.prepend("4").append("5")

    assert await rewrite("<p>x</p>", ("p", change)) == "&lt;1&gt;2<p>4x5</p><i>3</i>"


@pytest.mark.parametrize(
    ("change", "result"),
    [
        (lambda element: element.setInnerContent("<new>"), "a<p>&lt;new&gt;</p>b"),
        (lambda element: element.replace("<u>n</u>", {"html": True}), "a<u>n</u>b"),
        (lambda element: element.remove(), "ab"),
        (lambda element: element.removeAndKeepContent(), "ax<b>y</b>b"),
        (lambda element: setattr(element, "tagName", "h1"), "a<h1>x<b>y</b></h1>b"),
    ],
)
async def test_an_element_is_replaced_emptied_or_unwrapped(change: Any, result: str):
    assert await rewrite("a<p>x<b>y</b></p>b", ("p", change)) == result


async def test_handlers_inside_of_removed_content_are_not_called():
    seen: list[str] = []
    out = await rewrite(
        "<p><b>x</b></p><b>y</b>",
        ("p", lambda element: element.remove()),
        ("b", lambda element: seen.append("b")),
    )
    assert (out, seen) == ("<b>y</b>", ["b"])


async def test_text_comments_and_the_document_have_handlers_of_their_own():
    class Handler:
        def __init__(self) -> None:
            self.seen: list[str] = []

        async def element(self, element: Any) -> None:
            element.onEndTag(lambda end: end.before("!"))

        def text(self, text: Any) -> None:
            self.seen.append(f"{text.text}{'|' if text.lastInTextNode else ''}")
            if text.text == "one":
                text.replace("two")

        def comments(self, comment: Any) -> None:
            comment.text = comment.text.upper()

    handler = Handler()
    document = {
        "doctype": lambda doctype: handler.seen.append(doctype.name),
        "end": lambda end: end.append("<!--end-->", html=True),
    }
    rewriter = HTMLRewriter.new().on("p", create_proxy(handler)).onDocument(document)
    out = await rewriter.transform(Response("<!doctype html><p>one<!--c--></p><i>three</i>").js_object).text()
    assert out == "<!doctype html><p>two<!--C-->!</p><i>three</i><!--end-->"
    assert handler.seen == ["html", "one", "|"]


async def test_an_element_without_content_has_no_end_tag():
    def change(element: Any) -> None:
        assert not element.canHaveContent
        element.after("x").before("y")
        with pytest.raises(JsTypeError, match="No end tag"):
            element.onEndTag(lambda end: None)

    assert await rewrite("<br><img/>", ("br", change)) == "y<br>x<img/>"


async def test_unclosed_elements_end_with_their_parent_and_the_document():
    assert await rewrite(
        "<ul><li>a<li>b</ul><p>c", ("p", lambda e: e.append("!")), ("ul", lambda e: e.append("?"))
    ) == ("<ul><li>a<li>b?</ul><p>c!")
    assert await rewrite("</b>x", ("b", lambda element: None)) == "</b>x"


async def test_the_response_keeps_its_status_and_headers_but_not_its_length():
    source = Response("<p>x</p>", status=201, headers={"content-type": "text/html", "content-length": "8"})
    rewritten = HTMLRewriter.new().transform(source)
    assert (rewritten.status, rewritten.headers.get("content-type")) == (201, "text/html")
    assert rewritten.headers.get("content-length") is None
    empty = Response(None)
    assert HTMLRewriter.new().transform(empty) is empty.js_object
