from __future__ import annotations

from http import HTTPStatus

import pytest

from workers import Blob, FormData, Response
from workers.compat import web as js
from workers.compat.buffers import Uint8Array
from workers.compat.proxies import JsDict, JsTypeError
from workers.compat.websocket import WebSocketPair


def test_the_shown_form_names_status_and_type():
    assert repr(Response.json([1])) == "Response(status=200, status_text='OK', content_type='application/json')"
    assert repr(Response()) == "Response(status=200, status_text='OK')"


async def test_json_is_written_as_python_writes_it_and_read_from_an_instance():
    response = Response.json({"field": [1, 2]}, status=HTTPStatus.NOT_FOUND, headers={"x-a": "1"})
    assert (response.status, await response.text()) == (404, '{"field": [1, 2]}')
    assert response.headers.items() == [("content-type", "application/json"), ("x-a", "1")]
    assert Response.from_json(1, headers={"Content-Type": "42"}).headers["content-type"] == "42"
    assert await Response("[1, 2]").json() == [1, 2]
    assert await Response.json(JsDict(a=[1, None])).text() == '{"a":[1,null]}'
    with pytest.raises(TypeError, match="Object of type set is not JSON serializable"):
        Response.json({1, 2})


@pytest.mark.parametrize("body", [5, {"a": 1}, [1], (1,), Blob(["x"]), object(), Response("x")])
def test_bodies_that_are_no_bodies_are_refused_by_type(body: object):
    with pytest.raises(TypeError, match=f"^Unsupported type in Response: {type(body).__name__}$"):
        Response(body)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("é", "é"),
        (b"x", "x"),
        (bytearray(b"x"), "x"),
        (memoryview(b"x"), "x"),
        (None, ""),
        (Blob(["b"]).js_object, "b"),
        (js.Blob(["b"]).stream(), "b"),
        (js.URLSearchParams({"a": "1 2"}), "a=1+2"),
        (Uint8Array(b"u"), "u"),
    ],
)
async def test_bodies_of_many_types_are_accepted(body: object, text: str):
    assert await Response(body).text() == text


async def test_a_form_is_sent_as_multipart():
    response = Response(FormData({"k": "v"}))
    assert response.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert (await response.form_data())["k"] == "v"


def test_a_javascript_response_is_taken_over_but_not_with_options():
    source = js.Response("x", status=201)
    assert Response(source).js_object is source
    with pytest.raises(ValueError, match=r"^Expected no options when constructing Response from a js\.Response$"):
        Response(source, status=202)


def test_false_options_count_as_not_given():
    assert Response("x", status=0).status == 200
    assert Response("x", headers={}).headers.get("content-type") == "text/plain;charset=UTF-8"


@pytest.mark.parametrize("headers", ["a: b", 5, (("a", "b"),)])
def test_headers_of_other_types_are_refused(headers: object):
    with pytest.raises(TypeError, match=r"^Received unexpected type for headers argument$"):
        Response("x", headers=headers)


def test_headers_may_be_a_dict_pairs_javascript_headers_or_another_responses():
    for headers in ({"x-a": "1"}, [("x-a", "1")], js.Headers({"x-a": "1"}), Response("", headers={"x-a": "1"}).headers):
        assert Response(None, headers=headers).headers["X-A"] == "1"
    cookies = Response(None, headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    assert cookies.headers.get_all("set-cookie") == ["a=1", "b=2"]


def test_a_redirect_is_a_javascript_response_and_checks_its_status():
    assert isinstance(Response.redirect("https://e.com"), js.Response)
    with pytest.raises(ValueError, match="502 is not a redirect status code"):
        Response.redirect("https://e.com", HTTPStatus.BAD_GATEWAY)


def test_a_socket_rides_on_status_101():
    client, _ = WebSocketPair()
    response = Response(None, status=101, web_socket=client, headers={"sec-websocket-protocol": "v1"})
    assert response.web_socket is client
    assert response.js_object.webSocket is client
    assert response.headers["sec-websocket-protocol"] == "v1"
    with pytest.raises(ValueError, match=r"Responses with a WebSocket must have status code 101\."):
        Response(None, web_socket=client)


async def test_the_body_can_be_replaced_and_copied():
    response = Response("test", status=201, status_text="Made", headers={"a": "b"})
    other = response.replace_body("other")
    assert (other.status, other.status_text, other.headers["a"], await other.text()) == (201, "Made", "b", "other")
    copied = response.clone()
    assert (await response.text(), await copied.text()) == ("test", "test")
    with pytest.raises(OSError, match=r"^Body already used$"):
        response.clone()


async def test_a_used_body_is_an_os_error():
    response = Response("x")
    await response.bytes()
    for read in (response.text, response.json, response.blob, response.buffer, response.form_data, response.string):
        with pytest.raises(OSError, match=r"^Body already used$"):
            await read()


def test_an_error_status_can_be_raised():
    Response("x").raise_for_status()
    with pytest.raises(OSError, match="404 Client Error: Not Found"):
        Response("x", status=404).raise_for_status()


def test_a_body_with_a_null_body_status_is_refused():
    with pytest.raises(JsTypeError, match="null body status"):
        Response("x", status=204)
