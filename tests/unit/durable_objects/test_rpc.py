from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from durable_objects.methods import positional_limit, receiver
from durable_objects.rpc import TargetStub, clone, cross
from workers import DurableObject, Response
from workers.compat.proxies import JsException, JsTypeError
from workers.compat.structured_clone import DataCloneError


class Thing(DurableObject):
    constant = 1

    def method(self, a: int, b: int = 2) -> None: ...
    def _private_by_habit(self) -> None: ...
    def alarm(self) -> None: ...
    async def webSocketMessage(self, *args: Any) -> None: ...
    @property
    def value(self) -> int:
        return 3

    @staticmethod
    def helper() -> None: ...


def test_values_are_copied_and_keep_their_shape():
    source: dict[str, Any] = {"list": [1, {"x": None}], "set": {1}, "whole": 5.0, "blob": b"ab"}
    copied = clone(source)
    assert copied == {"list": [1, {"x": None}], "set": {1}, "whole": 5, "blob": b"ab"}
    assert copied.list is not source["list"]
    assert isinstance(copied.blob, memoryview)
    assert type(copied.whole) is int


def test_cycles_and_shared_parts_stay_so():
    shared: list[int] = []
    cycle: dict[str, Any] = {"a": shared, "b": shared}
    cycle["me"] = cycle
    copied = clone(cycle)
    assert copied["me"] is copied
    assert copied["a"] is copied["b"]


def test_deep_values_are_copied_and_bottomless_ones_refused():
    def nested(levels: int) -> Any:
        value: Any = "end"
        for level in range(levels):
            value = [value] if level % 2 else {"in": value}
        return value

    copied = clone(nested(3000))
    for level in reversed(range(3000)):
        copied = copied[0] if level % 2 else copied["in"]
    assert copied == "end"
    with pytest.raises(JsException, match="Maximum call stack size exceeded"):
        clone(nested(100_000))


def test_an_error_is_copied_with_its_cause_and_properties():
    error = JsException("outer", name="Mine", cause=ValueError("inner"), code=3, detail={"a": [1]})
    copied = clone({"error": error})["error"]
    assert (copied.name, copied.message, copied.code, copied.detail) == ("Mine", "outer", 3, {"a": [1]})
    assert copied.detail is not error.properties["detail"]
    assert isinstance(copied.cause, JsException)
    assert copied.cause.message == "inner"


def test_dates_are_naive_utc_with_milliseconds():
    moment = dt.datetime(2024, 1, 2, 3, 4, 5, 6789, tzinfo=dt.timezone(dt.timedelta(hours=1)))
    assert clone(moment) == dt.datetime(2024, 1, 2, 2, 4, 5, 6000)


@pytest.mark.parametrize("value", [(1,), bytearray(b"x"), [(1,)]])
def test_what_the_sdk_refuses_is_refused(value: object):
    with pytest.raises(JsTypeError, match="cannot be sent over RPC"):
        clone(value)


def test_an_instance_of_a_class_cannot_be_cloned():
    with pytest.raises(DataCloneError, match='object of type "object"'):
        clone({"x": object()})


def test_responses_pass_by_reference():
    response = Response("x")
    assert clone(response) is response


async def test_a_function_becomes_a_stub_that_copies():
    seen: list[object] = []
    stub = clone(lambda value: seen.append(value) or {"n": 1})
    assert isinstance(stub, TargetStub)
    given = {"a": 1}
    assert await stub(given) == {"n": 1}
    assert seen[0] == given
    assert seen[0] is not given


def test_a_python_error_crosses_as_itself_and_as_a_javascript_error():
    class Mine(ValueError):
        pass

    error = Mine("bad", 3)
    error.extra = {"a": 1}  # type: ignore[attr-defined]
    crossed = cross(error, remote=True)
    assert isinstance(crossed, Mine)
    assert isinstance(crossed, JsException)
    assert crossed.args == ("bad", 3)
    assert (crossed.remote, crossed.extra) == (True, {"a": 1})
    assert str(crossed) == str(error)


@pytest.mark.parametrize(
    "error", [AttributeError("a"), NameError("n"), OSError(2, "gone"), KeyError("k"), ImportError("i")]
)
def test_every_builtin_error_crosses_with_its_class(error: Exception):
    crossed = cross(error, remote=True)
    assert isinstance(crossed, type(error))
    assert str(crossed) == str(error)
    assert crossed.name == type(error).__name__  # type: ignore[attr-defined]


def test_methods_and_properties_of_the_class_are_reachable_and_nothing_else():
    assert receiver(Thing, "method") is None
    assert receiver(Thing, "_private_by_habit") is None
    assert isinstance(receiver(Thing, "value"), property)
    for name in ("helper", "constant", "missing", "__init__", "ctx"):
        with pytest.raises(JsTypeError, match="does not implement the method"):
            receiver(Thing, name)


def test_handlers_are_reserved():
    with pytest.raises(JsTypeError, match="'alarm' is a reserved method"):
        receiver(Thing, "alarm")


def test_a_plain_class_takes_no_rpc():
    with pytest.raises(JsTypeError, match="does not support RPC"):
        receiver(object, "anything")


def test_handlers_are_called_with_as_many_arguments_as_they_take():
    assert positional_limit(Thing, "alarm") == 0
    assert positional_limit(Thing, "webSocketMessage") == -1
    assert positional_limit(Thing, "webSocketClose") is None
    assert positional_limit(Thing, "method") == 2
