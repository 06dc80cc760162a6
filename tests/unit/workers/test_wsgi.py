from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context, ContextVar
from types import SimpleNamespace
from typing import Any

import pytest

from workers import Request, wsgi
from workers.compat import web as js
from workers.compat.streams import ReadableStream
from workers.compat.sync_bridge import run_sync

Start = Callable[..., Any]


async def test_the_application_sees_the_request():
    def app(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode()
        names = (
            "REQUEST_METHOD",
            "PATH_INFO",
            "QUERY_STRING",
            "SERVER_NAME",
            "SERVER_PORT",
            "HTTP_X_A",
            "CONTENT_TYPE",
        )
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps([*(environ[name] for name in names), body, environ["workers.env"]]).encode()]

    request = Request(
        "http://h:81/a%20b/%C3%A9?x=%20", method="POST", body="payload", headers=[("X-A", "1"), ("x-a", "2")]
    )
    response = await wsgi.fetch(app, request, "bindings")
    assert await response.json() == [
        "POST", "/a b/é".encode().decode("latin-1"), "x=%20", "h", "81", "1, 2", "text/plain;charset=UTF-8", "payload",
        "bindings",
    ]  # fmt: skip
    assert response.headers.get("content-type") == "application/json"


async def test_repeated_headers_and_the_reason_are_kept():
    def app(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        start_response("203 Own Words", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
        return [b"cookies"]

    response = await wsgi.fetch(app, js.Request("http://x"), {})
    assert (response.status, response.statusText) == (203, "Own Words")
    assert response.headers.getSetCookie() == ["a=1", "b=2"]


async def test_an_iterator_is_streamed_and_closed():
    closed: list[bool] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            yield b""
            yield b"one"
            yield b"two"

        def close(self) -> None:
            closed.append(True)

    def app(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [])(b"zero")
        return Body()

    response = await wsgi.fetch(app, js.Request("http://x"), {})
    assert isinstance(response.raw_body, ReadableStream)
    assert not closed
    assert await response.text() == "zeroonetwo"
    assert closed == [True]


async def test_an_application_waits_for_bindings_while_the_loop_goes_on():
    async def query() -> bytes:
        await asyncio.sleep(0)
        return b"row"

    def app(environ: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield run_sync(environ["workers.env"].query())
        yield run_sync(environ["workers.env"].query())

    response = await wsgi.fetch(app, js.Request("http://x"), SimpleNamespace(query=query))
    assert await response.text() == "rowrow"


async def test_a_client_that_leaves_closes_the_body():
    closed: list[bool] = []

    class Endless:
        def __iter__(self) -> Iterator[bytes]:
            return itertools.repeat(b"x")

        def close(self) -> None:
            closed.append(True)

    def app(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Endless()

    response = await wsgi.fetch(app, js.Request("http://x"), {})
    await response.body.cancel()
    assert closed == [True]


async def test_an_announced_length_is_kept():
    def app(environ: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "2")])
        yield b"a"
        yield b"b"

    response = await wsgi.fetch(app, js.Request("http://x"), {})
    assert response.body.length == 2


async def test_start_response_may_come_with_the_first_chunk():
    def app(environ: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        start_response("204 No Content", [])
        yield b""

    response = await wsgi.fetch(app, js.Request("http://x"), {})
    assert (response.status, response.raw_body) == (204, None)


async def test_an_application_that_starts_no_response_is_an_error():
    with pytest.raises(RuntimeError, match=r"did not call start_response\(\)"):
        await wsgi.fetch(lambda environ, start_response: [b"x"], js.Request("http://x"), {})


async def test_an_applications_exception_is_raised_and_an_error_page_may_replace_its_answer():
    def crash(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        raise RuntimeError("app crash")

    with pytest.raises(RuntimeError, match="app crash"):
        await wsgi.fetch(crash, js.Request("http://x"), {})

    def recovers(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [])
        try:
            raise ValueError("late")
        except ValueError as error:
            start_response("500 Oops", [], (type(error), error, error.__traceback__))
        return [b"sorry"]

    response = await wsgi.fetch(recovers, js.Request("http://x"), {})
    assert (response.status, await response.text()) == (500, "sorry")


async def test_a_streamed_body_is_made_as_the_worker_that_answered():
    variable: ContextVar[str] = ContextVar("variable", default="nobody")

    def app(environ: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        variable.set("the event")
        start_response("200 OK", [])
        yield b"first "
        yield variable.get().encode()

    response = await wsgi.fetch(app, js.Request("http://x"), {})
    assert await asyncio.get_running_loop().create_task(response.text(), context=Context()) == "first the event"
