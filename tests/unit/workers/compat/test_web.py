from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from workers.compat.formdata import FormData
from workers.compat.proxies import JsException, JsRangeError, JsTypeError
from workers.compat.streams import ReadableStream
from workers.compat.web import Blob, Headers, Request, Response, URLSearchParams

USED = "Body has already been used. It can only be used once. Use tee() first if you need to read it twice."


async def chunks(*parts: object) -> AsyncIterator[object]:
    for part in parts:
        yield part


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("hello", "text/plain;charset=UTF-8"),
        ("", "text/plain;charset=UTF-8"),
        (5, "text/plain;charset=UTF-8"),
        (b"x", None),
        (None, None),
        (Blob(["x"], type="text/x"), "text/x"),
        (Blob(["x"]), None),
        (URLSearchParams({"a": "1 2"}), "application/x-www-form-urlencoded;charset=UTF-8"),
    ],
)
def test_the_content_type_follows_the_body(body: object, kind: str | None):
    assert Response(body).headers.get("content-type") == kind
    assert dict(Response(body).header_pairs()).get("content-type") == kind
    assert Response(body, headers={"Content-Type": "a/b"}).header_pairs() == [("content-type", "a/b")]


@pytest.mark.parametrize("status", [0, 100, 101, 103, 199, 600, "x"])
def test_statuses_outside_the_range_are_refused(status: object):
    with pytest.raises(JsRangeError, match="in the range 200 to 599, inclusive"):
        Response(None, status=status)


@pytest.mark.parametrize(("given", "status"), [("202", 202), (200.7, 200), (599, 599), (None, 200)])
def test_statuses_are_made_integers(given: object, status: int):
    assert Response("x", status=given).status == status


@pytest.mark.parametrize("status", [204, 205, 304])
def test_null_body_statuses_take_no_body_but_an_empty_text(status: int):
    with pytest.raises(JsTypeError, match=r"null body status \(101, 204, 205, or 304\) cannot have a body"):
        Response("x", status=status)
    assert Response("", status=status).raw_body is None


def test_a_websocket_needs_status_101_and_no_body():
    socket = object()
    assert Response(None, {"status": 101, "webSocket": socket}).webSocket is socket
    with pytest.raises(JsRangeError, match=r"Responses with a WebSocket must have status code 101\."):
        Response(None, webSocket=socket)
    with pytest.raises(JsTypeError, match="null body status"):
        Response("x", status=101, webSocket=socket)


@pytest.mark.parametrize(
    ("status", "text"), [(200, "OK"), (418, "I'm a teapot"), (499, "Client Error"), (599, "Server Error")]
)
def test_the_status_text_has_a_default(status: int, text: str):
    assert Response(None, status=status).statusText == text
    assert Response(None, status=status, statusText="Own").statusText == "Own"


async def test_json_on_the_class_makes_and_on_an_instance_reads():
    response = Response.json({"a": [1, None]}, {"status": 201, "headers": {"x-a": "1"}})
    assert (response.status, response.raw_body) == (201, b'{"a":[1,null]}')
    assert response.headers.items() == [("content-type", "application/json"), ("x-a", "1")]
    assert (await response.json()).a[1] is None
    other = Response.json({}, headers={"Content-Type": "application/vnd.api+json"})
    assert other.headers.get("content-type") == "application/vnd.api+json"


def test_a_redirect_has_a_normal_location():
    response = Response.redirect("https://e.com", 307)
    assert (response.status, response.header_pairs()) == (307, [("location", "https://e.com/")])
    with pytest.raises(JsRangeError, match=r"200 is not a redirect status code\. It must be one of: 301, 302, 303"):
        Response.redirect("https://e.com", 200)
    with pytest.raises(JsTypeError, match="Unable to parse URL: /x"):
        Response.redirect("/x")


async def test_a_body_is_read_once():
    response = Response("x")
    assert await response.text() == "x"
    assert response.bodyUsed
    with pytest.raises(JsTypeError) as caught:
        await response.text()
    assert caught.value.message == USED
    with pytest.raises(JsTypeError):
        _ = response.raw_body


async def test_a_null_body_can_be_read_again_and_an_empty_one_not():
    null, empty = Response(None), Response("")
    assert (await null.text(), await null.text(), null.bodyUsed, null.body) == ("", "", False, None)
    assert (await empty.text(), empty.bodyUsed, empty.body is None) == ("", True, False)


async def test_taking_a_body_to_send_it_counts_as_a_read():
    response = Response("x")
    assert response.raw_body == b"x"
    assert response.take_body() == b"x"
    with pytest.raises(JsTypeError, match="already been used"):
        response.take_body()


async def test_a_body_at_hand_stays_bytes_after_somebody_looked_at_its_stream():
    response = Response("abc")
    assert response.body is response.body
    assert response.raw_body == b"abc"
    assert Response(Response("abc").body).raw_body == b"abc"
    stream = ReadableStream.from_iterator(chunks(b"a", "b"))
    assert Response(stream).raw_body is stream


async def test_a_locked_body_cannot_be_read():
    response = Response("x")
    response.body.getReader()
    with pytest.raises(JsTypeError, match=r"^TypeError: This ReadableStream is currently locked to a reader\.$"):
        await response.text()


async def test_a_clone_has_a_body_of_its_own():
    response = Response(ReadableStream.from_iterator(chunks(b"a", "b")), status=201, headers={"a": "b"})
    copied = response.clone()
    assert (await response.text(), await copied.text()) == ("ab", "ab")
    assert (copied.status, copied.headers.get("a")) == (201, "b")
    with pytest.raises(JsTypeError, match=r"This ReadableStream is currently locked to a reader,$"):
        response.clone()


async def test_text_drops_a_byte_order_mark_and_replaces_bad_bytes():
    assert await Response(b"\xef\xbb\xbfa\xff").text() == "a\ufffd"


async def test_forms_are_parsed_by_content_type():
    form = await Request(
        "http://x", method="POST", body="a=1&b=2&a=3+x", headers={"content-type": "application/x-www-form-urlencoded"}
    ).formData()
    assert [*form] == [("a", "1"), ("b", "2"), ("a", "3 x")]
    sent = FormData({"t": "v", "f": Blob(["hi"], type="text/x")})
    again = await Response(sent).formData()
    assert (again.get("t"), again.get("f").name, again.get("f").type) == ("v", "blob", "text/x")
    with pytest.raises(JsTypeError, match="FormData can only parse the following MIME types: multipart/form-data"):
        await Response("a=1").formData()
    with pytest.raises(JsTypeError, match=r"Parsing a Body as FormData requires a Content-Type header\."):
        await Response(b"a=1").formData()


async def test_blob_and_buffers_of_a_body():
    response = Response("abc", headers={"content-type": "text/x"})
    blob = await response.clone().blob()
    assert (blob.type, blob.size) == ("text/x", 3)
    assert (await response.clone().arrayBuffer()).byteLength == 3
    assert [*await response.bytes()] == [97, 98, 99]


def test_request_methods_are_normalised_and_unknown_ones_refused():
    assert Request("http://x", method="post").method == "POST"
    assert Request("http://x", method="PROPFIND").method == "PROPFIND"
    for bad in ("B AD", "foo", "propfind"):
        with pytest.raises(JsTypeError, match=f"Invalid HTTP method string: {bad}"):
            Request("http://x", method=bad)


def test_get_and_head_take_no_body():
    for method in (None, "HEAD"):
        with pytest.raises(JsTypeError, match=r"Request with a GET or HEAD method cannot have a body\."):
            Request("http://x/", {"method": method, "body": "q"})


def test_a_request_needs_a_url_and_a_known_redirect_mode():
    with pytest.raises(JsTypeError, match="Invalid URL: nope"):
        Request("nope")
    with pytest.raises(JsTypeError, match='must be one of "follow" or "manual"'):
        Request("http://x", redirect="error")


async def test_a_request_made_of_a_request_takes_its_body():
    first = Request("http://x/", method="POST", body="q", headers={"a": "b"})
    second = Request(first)
    assert (first.bodyUsed, await second.text(), second.headers.get("a")) == (True, "q", "b")
    with pytest.raises(JsTypeError, match=r"Cannot reconstruct a Request with a used body\."):
        Request(first)
    assert Request(second, method="PUT", body="z").method == "PUT"


async def test_a_used_request_cannot_be_cloned():
    request = Request("http://x/", method="POST", body="q")
    copied = request.clone()
    assert (await request.text(), await copied.text()) == ("q", "q")
    with pytest.raises(JsTypeError, match="locked to a reader,"):
        request.clone()


def test_an_incoming_request_is_normalised_when_read_and_its_headers_are_immutable():
    request = Request.incoming("http://h:8787/a%20b/../c%2Fd/?x=1", "GET", [("Host", "h"), ("X-A", "1"), ("x-a", "2")])
    assert request.url == "http://h:8787/c%2Fd/?x=1"
    assert (request.headers.get("x-a"), request.redirect, request.keepalive, request.cache) == (
        "1, 2", "manual", False, None,
    )  # fmt: skip
    assert request.header_pairs() == [("host", "h"), ("x-a", "1"), ("x-a", "2"), ("accept-encoding", "br, gzip")]
    with pytest.raises(JsTypeError, match=r"Can't modify immutable headers\."):
        request.headers.set("a", "b")
    assert request.body is None
    assert Request.incoming("http://h/", "POST", [], b"").body is not None


async def test_a_fetched_response_is_immutable_until_copied():
    origin = Response("x", status=202, headers={"a": "1"})
    fetched = origin.seen_as_fetched("http://s/x", redirected=True)
    assert (fetched.url, fetched.redirected, fetched.status, fetched.statusText) == (
        "http://s/x",
        True,
        202,
        "Accepted",
    )
    with pytest.raises(JsTypeError, match="immutable"):
        fetched.headers.set("a", "b")
    copied = Response(fetched.body, fetched)
    copied.headers.set("a", "b")
    assert (copied.headers.get("a"), copied.status, await copied.text()) == ("b", 202, "x")


def test_a_disturbed_or_locked_stream_is_no_body():
    stream = ReadableStream.from_bytes(b"x")
    stream.getReader()
    with pytest.raises(JsTypeError, match="locked"):
        Response(stream)


def test_options_may_be_a_dict_or_keywords_and_nothing_else():
    assert Response.new("x", status=201).status == Response.new("x", {"status": 201}).status == 201
    assert Request.new("http://x", {"headers": Headers({"a": "b"})}).headers.get("a") == "b"
    with pytest.raises(JsException, match="int is not an object"):
        Response("x", 201)
