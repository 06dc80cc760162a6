from __future__ import annotations

from http import HTTPMethod

import pytest

from workers import FormData, Request
from workers.compat import web as js


def test_a_request_is_built_from_a_url_and_options():
    request = Request("https://test.com", method=HTTPMethod.POST, headers={"aaaa": "test", "n": 123})
    assert request.method == "POST"
    assert request.method is HTTPMethod.POST
    assert repr(request) == "Request(method='POST', url='https://test.com/')"
    assert (request.headers["AAAA"], request.headers.get("n"), request.headers.get("none")) == ("test", "123", None)


def test_options_are_refused_with_a_javascript_request():
    with pytest.raises(ValueError, match=r"^Expected no options when constructing Request from a js\.Request$"):
        Request(js.Request("http://x"), method="POST")
    assert Request(js.Request("http://x")).url == "http://x/"


def test_repeated_headers_are_one_value_and_cookies_several():
    request = Request(
        "http://x",
        headers=[
            ("Accept-Encoding", "deflate"),
            ("accept-encoding", "gzip"),
            ("Set-Cookie", "a=b, c=d"),
            ("Set-Cookie", "e=f"),
        ],
    )
    assert request.headers.get_all("Accept-Encoding") == ["deflate, gzip"]
    assert request.headers.get_all("set-cookie") == ["a=b, c=d", "e=f"]


def test_an_unknown_method_of_a_javascript_request_is_a_key_error():
    with pytest.raises(KeyError):
        _ = Request(js.Request("http://x", method="PROPFIND")).method


async def test_a_body_is_read_in_every_form():
    def posted(body: object) -> Request:
        return Request("http://x", method="POST", body=body)

    assert await posted('{"a":1.5}').json(parse_float=str) == {"a": "1.5"}
    assert await posted(b"\x00x").bytes() == b"\x00x"
    assert (await posted("ab").buffer()).byteLength == 2
    assert await (await posted("ab").blob()).text() == "ab"
    assert (await posted(FormData({"k": "v"})).form_data())["k"] == "v"
    assert (await posted(js.FormData({"k": 1})).form_data())["k"] == "1"


async def test_a_used_body_is_an_os_error():
    request = Request("http://x", method="POST", body="q")
    assert not request.body_used
    assert await request.text() == "q"
    assert request.body_used
    for read in (request.text, request.bytes, request.json, request.blob, request.form_data, request.buffer):
        with pytest.raises(OSError, match=r"^Body already used$"):
            await read()
    with pytest.raises(OSError, match=r"^Body already used$"):
        request.clone()


async def test_a_request_can_be_made_of_another():
    first = Request("http://x", method="POST", body="q")
    second = Request(first, headers={"a": "b"})
    assert (second.method, second.headers["a"], await second.text()) == ("POST", "b", "q")


def test_what_the_edge_knows_is_readable_by_attribute():
    assert Request("http://x").cf is None
    assert Request(js.Request("http://x", {"cf": {"colo": "DFW"}})).cf.colo == "DFW"


def test_the_rarely_set_properties_have_their_values():
    request = Request(js.Request.incoming("http://x/", "GET", []))
    assert (request.redirect, request.keepalive, request.integrity, request.body) == ("manual", False, "", None)
    names = ("cache", "credentials", "destination", "is_history_navigation", "mode", "referrer", "referrer_policy")
    assert [getattr(request, name) for name in names] == [None] * 7


def test_a_python_dict_is_no_body():
    with pytest.raises(TypeError, match="Unsupported type in Request: dict"):
        Request("http://x", method="POST", body={"a": 1})
