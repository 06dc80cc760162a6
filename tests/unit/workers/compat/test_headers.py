from __future__ import annotations

import pytest

from workers.compat.headers import Headers
from workers.compat.proxies import JsTypeError


def test_iteration_sorts_names_joins_values_and_keeps_cookies_apart():
    headers = Headers([("Zeta", "1"), ("alpha", "2"), ("Set-Cookie", "a=1"), ("set-cookie", "b=2"), ("Alpha", "3")])
    assert [*headers] == [("alpha", "2, 3"), ("set-cookie", "a=1"), ("set-cookie", "b=2"), ("zeta", "1")]
    assert headers.get("SET-COOKIE") == "a=1, b=2"
    assert headers.getSetCookie() == headers.getAll("Set-Cookie") == ["a=1", "b=2"]


def test_the_wire_form_keeps_order_and_repeats():
    headers = Headers({"X-B": "1", "X-A": "2"})
    headers.append("x-b", "3")
    assert headers.pairs() == [("x-b", "1"), ("x-a", "2"), ("x-b", "3")]


def test_get_all_is_for_cookies_only():
    with pytest.raises(JsTypeError, match=r'getAll\(\) can only be used with the header name "Set-Cookie"\.'):
        Headers({"a": "1"}).getAll("a")


def test_set_replaces_in_place_and_delete_ignores_case_and_absence():
    headers = Headers([("a", "1"), ("b", "2"), ("A", "3")])
    headers.set("A", "9")
    assert headers.pairs() == [("a", "9"), ("b", "2")]
    headers.delete("B")
    headers.delete("nope")
    assert headers.pairs() == [("a", "9")]
    assert headers.get("nope") is None
    assert not headers.has("b")


@pytest.mark.parametrize(("given", "kept"), [("  b \t", "b"), ("", ""), (5, "5"), (None, "undefined"), (True, "true")])
def test_values_are_trimmed_and_made_text(given: object, kept: str):
    assert Headers({"x": given}).get("x") == kept


def test_bad_names_and_values_are_refused():
    with pytest.raises(JsTypeError, match=r"Invalid header name\."):
        Headers({"x a": "1"})
    with pytest.raises(JsTypeError, match=r"Invalid header value\."):
        Headers({"x": "a\nb"})


def test_headers_from_the_network_cannot_be_changed_but_copied():
    headers = Headers.of_wire([("Host", "x"), ("X-A", "1")])
    for change in (lambda: headers.set("a", "b"), lambda: headers.append("a", "b"), lambda: headers.delete("host")):
        with pytest.raises(JsTypeError, match=r"Can't modify immutable headers\."):
            change()
    copied = Headers(headers)
    copied.set("a", "b")
    assert copied.pairs() == [("host", "x"), ("x-a", "1"), ("a", "b")]


def test_other_sources_are_refused_with_a_reason():
    with pytest.raises(JsTypeError, match="int"):
        Headers(5)
    with pytest.raises(JsTypeError, match="pair"):
        Headers([("a", "b", "c")])
