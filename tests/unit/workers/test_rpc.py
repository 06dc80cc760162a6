from __future__ import annotations

from datetime import UTC, datetime

import pytest

from workers import Blob, FormData, Request, Response, python_from_rpc, python_to_rpc
from workers.compat import web as js
from workers.compat.proxies import JsDict, JsException, JsMap, jsnull
from workers.compat.streams import ReadableStream


@pytest.mark.parametrize(
    ("value", "python"),
    [
        (None, None),
        (jsnull, None),
        (True, True),
        ("s", "s"),
        (5.0, 5),
        (5.5, 5.5),
        (2.0**60, 2.0**60),
        (2**60, 2**60),
        ({"a": {"b": [jsnull, 1.0]}}, {"a": {"b": [None, 1]}}),
        (JsMap({1: "one"}), {"1": "one"}),
        ((1, 2), [1, 2]),
        ({1, 2}, {1, 2}),
    ],
)
def test_values_come_in_as_python(value: object, python: object):
    got = python_from_rpc(value)
    assert got == python
    assert type(got) is type(python) or isinstance(got, JsDict)


def test_objects_come_in_readable_by_attribute_however_deep():
    assert python_from_rpc({"a": [{"b": 1}]}).a[0].b == 1


def test_bytes_dates_and_errors_come_in_as_the_sdk_gives_them():
    assert isinstance(python_from_rpc(b"x"), memoryview)
    assert python_from_rpc(datetime(2024, 1, 2, 3, tzinfo=UTC)) == datetime(2024, 1, 2, 3)
    error = python_from_rpc(JsException("boom", name="RangeError"))
    assert type(error) is Exception
    assert str(error) == "RangeError: boom"


def test_web_objects_come_in_as_their_python_faces_and_go_out_as_javascript():
    for face, inner in (
        (Response, js.Response("x")),
        (Request, js.Request("http://x")),
        (Blob, js.Blob(["x"])),
        (FormData, js.FormData()),
    ):
        wrapped = python_from_rpc(inner)
        assert type(wrapped) is face
        assert python_to_rpc(wrapped) is inner
    stream = ReadableStream.from_bytes(b"x")
    assert python_from_rpc(stream) is stream


def test_python_values_go_out():
    sent = python_to_rpc({"a": None, 1: [b"x", {2}], "e": ValueError("v")})
    assert (sent.a, sent["1"], str(sent.e)) == (None, [b"x", {2}], "Error: v")
    assert python_to_rpc(memoryview(b"x")) == b"x"
    assert python_to_rpc(datetime(2024, 1, 2, 3, 4, 5, 678999, tzinfo=UTC)).microsecond == 678000


def test_a_value_that_contains_itself_keeps_its_shape():
    loop: dict[str, object] = {}
    loop["self"] = loop
    sent = python_to_rpc(loop)
    assert sent.self is sent
    assert python_from_rpc(sent).self.self.self is not None


async def test_functions_arrive_as_awaitable_callables():
    async def add(values: dict[str, int]) -> dict[str, int]:
        return {"sum": values["a"] + values["b"]}

    remote = python_from_rpc(python_to_rpc(add))
    assert (await remote({"a": 1, "b": 2})).sum == 3
    assert await python_from_rpc(python_to_rpc(lambda: "test"))() == "test"


@pytest.mark.parametrize("value", [(1, 2), [(1,)], {"t": (1,)}, bytearray(b"x")])
def test_tuples_and_bytearrays_cannot_be_sent(value: object):
    with pytest.raises(TypeError, match=r"^<class '(tuple|bytearray)'> cannot be sent over RPC\.$"):
        python_to_rpc(value)


async def test_awaitables_cannot_be_sent():
    async def work() -> None: ...

    coroutine = work()
    with pytest.raises(TypeError, match=r"Awaitable .* cannot be sent over RPC"):
        python_to_rpc(coroutine)
    await coroutine


@pytest.mark.parametrize("value", [object(), 1j, range(3), int])
def test_other_instances_cannot_be_cloned(value: object):
    with pytest.raises(JsException, match=r"^DataCloneError: "):
        python_to_rpc(value)
