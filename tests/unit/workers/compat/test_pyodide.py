from __future__ import annotations

import pytest

from workers.compat import ambient
from workers.compat.ambient import Ambient, Env
from workers.compat.proxies import JsException
from workers.compat.pyodide import create_once_callable, modules, pyfetch, relaxed_call
from workers.compat.web import Request, Response


async def network(request: Request) -> Response:
    if request.url.endswith("/down"):
        raise JsException("no route")
    return Response('{"a": 1}', status=404 if request.url.endswith("/missing") else 200, headers={"X-A": "1"})


def test_surplus_arguments_are_dropped():
    assert relaxed_call(lambda: 1, 2, 3) == 1
    assert relaxed_call(lambda a, b=5: (a, b), 2, 3, 4) == (2, 3)
    assert relaxed_call(lambda *args: args, 1, 2) == (1, 2)
    assert relaxed_call(lambda a, *, k: (a, k), 1, 2, k=3, z=4) == (1, 3)


async def test_pyfetch_gives_plain_values():
    with ambient.enter(Ambient(Env({}), lambda work: None, network)):
        response = await pyfetch("http://x", method="POST", body="b")
        assert (response.status, response.ok, response.headers["x-a"], response.url) == (200, True, "1", "http://x")
        assert await response.clone().json() == {"a": 1}
        assert await response.string() == '{"a": 1}'
        with pytest.raises(OSError, match="already used"):
            await response.bytes()
        with pytest.raises(OSError, match="404 Client Error"):
            (await pyfetch("http://x/missing")).raise_for_status()
        with pytest.raises(OSError, match="no route"):
            await pyfetch("http://x/down")


def test_a_once_callable_is_called_once():
    callback = create_once_callable(lambda: 1)
    assert callback() == 1
    with pytest.raises(JsException, match="destroyed"):
        callback()


def test_javascript_source_cannot_be_run():
    with pytest.raises(JsException, match="JavaScript code cannot be run here"):
        modules()["pyodide.code"].run_js("1 + 1")
