from __future__ import annotations

from collections.abc import Iterator
from http import HTTPMethod

import pytest

import workers.fetch
from workers import Request, fetch
from workers.compat import ambient
from workers.compat import web as js
from workers.compat.ambient import Ambient, Env
from workers.compat.proxies import JsException, JsTypeError


async def network(request: js.Request) -> js.Response:
    if request.url.endswith("/down"):
        raise JsException("connect ECONNREFUSED")
    text = f"{request.method} {request.url} {request.headers.get('a')} {request.redirect} {await request.text()}"
    return js.Response(text, status=203)


@pytest.fixture(autouse=True)
def worker() -> Iterator[None]:
    with ambient.enter(Ambient(Env({}), lambda work: None, network)):
        yield


async def test_a_request_goes_out_with_its_options():
    response = await fetch(
        "http://x/p", method=HTTPMethod.PUT, headers={"a": 1}, body="b", redirect="manual", foobarbaz=42
    )
    assert (response.status, await response.text()) == (203, "PUT http://x/p 1 manual b")
    assert await (await fetch(Request("http://x", headers={"a": "2"}))).text() == "GET http://x/ 2 follow "
    assert await (await fetch(js.Request("http://x"))).text() == "GET http://x/ None follow "


async def test_a_network_failure_is_an_os_error_and_a_mistake_is_not():
    with pytest.raises(OSError, match="ECONNREFUSED") as caught:
        await fetch("http://x/down")
    assert isinstance(caught.value.__cause__, JsException)
    with pytest.raises(JsTypeError, match="Invalid URL: /path"):
        await fetch("/path")


async def test_options_are_keywords_only():
    with pytest.raises(TypeError, match=r"fetch\(\) takes 1 positional argument but 2 were given"):
        await fetch("http://x", {"headers": {}})


def test_the_name_means_the_function_although_a_module_has_it_too():
    assert workers.fetch is fetch
    assert callable(fetch)
