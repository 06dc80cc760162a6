from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.compat.proxies import JsTypeError
from workers.compat.url import URL, URLSearchParams, normalise


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("http://x", "http://x/"),
        ("http://EXAMPLE.com:80/a/../b?x=1#frag", "http://example.com/b?x=1#frag"),
        ("https://e.com:443", "https://e.com/"),
        ("http://h/a%20b/../c%2Fd/", "http://h/c%2Fd/"),
        ("http://h/a b?q=ü&y='", "http://h/a%20b?q=%C3%BC&y=%27"),
        ("http://h/./a/%2e%2E/b/.", "http://h/b/"),
        ("http://h\\a\\b", "http://h/a/b"),
        ("  http://h/\t\n ", "http://h/"),
        ("http://user:p%40ss@h:8080/", "http://user:p%40ss@h:8080/"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("http://[::1]:3000/x", "http://[::1]:3000/x"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("mailto:a@b", "mailto:a@b"),
        ("data:text/plain,hi", "data:text/plain,hi"),
        ("ftp://x", "ftp://x/"),
        ("http:/h/x", "http://h/x"),
        ("http://h//a//b", "http://h//a//b"),
        ("http://h/?", "http://h/?"),
    ],
)
def test_urls_come_into_normal_form(given: str, normal: str):
    assert normalise(given) == normal
    assert URL(given).href == normal


@pytest.mark.parametrize(
    "bad", ["nope", "/path", "", "http://", "http://a b/", "http://h:99999/", "http://[::1/", "//h"]
)
def test_what_is_no_url_is_refused_with_its_text(bad: str):
    with pytest.raises(JsTypeError, match=r"TypeError: Invalid URL: "):
        URL(bad)
    assert not URL.canParse(bad)


@pytest.mark.parametrize(
    ("reference", "resolved"),
    [
        ("c", "http://h/a/c"),
        ("/c", "http://h/c"),
        ("../c?y#z", "http://h/c?y#z"),
        ("?y", "http://h/a/b?y"),
        ("#z", "http://h/a/b?x#z"),
        ("//other/c", "http://other/c"),
        ("https://k/", "https://k/"),
        ("", "http://h/a/b?x"),
    ],
)
def test_references_resolve_against_a_base(reference: str, resolved: str):
    assert URL(reference, "http://h/a/b?x").href == resolved


def test_the_parts_of_a_url():
    url = URL("https://u:p@Example.com:8443/a/b?x=1&y=2#top")
    assert (url.protocol, url.username, url.password) == ("https:", "u", "p")
    assert (url.host, url.hostname, url.port) == ("example.com:8443", "example.com", "8443")
    assert (url.pathname, url.search, url.hash) == ("/a/b", "?x=1&y=2", "#top")
    assert url.origin == "https://example.com:8443"


def test_changing_parts_and_search_params_changes_the_url():
    url = URL("http://h/a?x=1")
    url.searchParams.append("y", "2 3")
    assert url.href == "http://h/a?x=1&y=2+3"
    url.pathname, url.hash, url.port = "/n m", "t", "81"
    assert url.href == "http://h:81/n%20m?x=1&y=2+3#t"
    url.search = "?z=9"
    assert url.searchParams.get("z") == "9"


def test_search_params_keep_order_and_repeats():
    params = URLSearchParams("?a=1&b=2&a=3+x&c")
    assert [*params] == [("a", "1"), ("b", "2"), ("a", "3 x"), ("c", "")]
    assert (params.get("a"), params.getAll("a"), params.has("z"), params.get("z")) == ("1", ["1", "3 x"], False, None)
    params.set("a", "~*é")
    assert params.toString() == "a=%7E*%C3%A9&b=2&c="
    params.delete("b")
    params.sort()
    assert params.size == 2


@given(st.text(alphabet="abz09./?:#@%é \\[]-_~", max_size=30))
def test_normalising_is_idempotent_whatever_follows_the_host(rest: str):
    try:
        once = normalise(f"http://h/{rest}")
    except JsTypeError:
        return
    assert normalise(once) == once
    assert URL(once).href == once
