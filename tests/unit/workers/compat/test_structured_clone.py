from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import v8serialize
from hypothesis import given
from hypothesis import strategies as st

from workers.compat.proxies import JsException, JsMap, JsTypeError
from workers.compat.structured_clone import DataCloneError, deserialize, serialize

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False).filter(lambda x: not x.is_integer())
    | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(plain)
def test_plain_values_come_back_equal(value: Any):
    assert deserialize(serialize(value)) == value


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ("str", "ff0f2203737472"),
        (5, "ff0f490a"),
        ({"a": 1}, "ff0f6f22016149027b01"),
        (None, "ff0f30"),
        (-1, "ff0f4901"),
    ],
)
def test_the_bytes_are_those_of_v8(value: object, encoded: str):
    assert serialize(value).hex() == encoded


@given(plain)
def test_another_implementation_can_read_what_is_written(value: Any):
    v8serialize.loads(serialize(value))


@pytest.mark.parametrize("value", [{"a": 1, "b": [1, "☃", None, True, 1.5]}, [[]], "☃", 2**70, b"bytes"])
def test_what_another_implementation_writes_can_be_read(value: Any):
    found = deserialize(v8serialize.dumps(value))
    assert found == value


def test_kinds_beyond_json():
    moment = dt.datetime(2024, 5, 6, 7, 8, 9, 10000)
    value = {"set": {1, "a"}, "when": moment, "raw": b"\x00\x01", "map": JsMap({1: 2}), "whole": 5.0}
    found = deserialize(serialize(value))
    assert found == {"set": {1, "a"}, "when": moment, "raw": b"\x00\x01", "map": {1: 2}, "whole": 5}
    assert isinstance(found.raw, memoryview)
    assert type(found.whole) is int


def test_typed_arrays_keep_their_type():
    floats = memoryview(b"\x00\x00\xc0\x3f").cast("f")
    found = deserialize(serialize({"f": floats, "again": floats}))
    assert (found.f.format, found.f.tolist()) == ("f", [1.5])


def test_cycles_and_shared_parts_stay_so():
    shared = b"once"
    value: dict[str, Any] = {"a": shared, "b": shared, "list": []}
    value["me"] = value
    value["list"].append(value["list"])
    found = deserialize(serialize(value))
    assert found.me is found
    assert found.list[0] is found.list
    assert found.a is found.b


def test_errors_keep_their_class_and_message():
    found = deserialize(serialize([JsTypeError("t"), ValueError("v")]))
    assert [(error.name, error.message) for error in found] == [("TypeError", "t"), ("Error", "v")]
    assert isinstance(found[0], TypeError)
    assert isinstance(found[1], JsException)


@pytest.mark.parametrize("value", [print, object(), {"x": [lambda: 1]}])
def test_what_cannot_be_cloned_says_so(value: object):
    with pytest.raises(DataCloneError, match="could not be cloned") as caught:
        serialize(value)
    assert caught.value.code == 25


@pytest.mark.parametrize("value", [(1,), bytearray(b"x")])
def test_what_the_sdk_refuses_is_refused(value: object):
    with pytest.raises(JsTypeError, match="cannot be sent over RPC"):
        serialize(value)
