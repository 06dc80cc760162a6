from __future__ import annotations

import datetime as dt
import struct
from typing import Any

import pytest
import v8serialize
from hypothesis import given
from hypothesis import strategies as st

from workers.compat.proxies import JsException, JsMap, JsRangeError, JsTypeError, MemberList, PairList
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


def test_an_error_keeps_its_cause_and_its_properties():
    error = JsException("outer", name="Mine", cause=JsTypeError("inner"), code=3, detail={"a": [1]})
    found = deserialize(serialize({"error": error, "again": error})).error
    assert (found.name, found.message, found.properties) == ("Mine", "outer", {"code": 3, "detail": {"a": [1]}})
    assert isinstance(found.cause, JsTypeError)
    python = ValueError("v")
    python.__cause__ = KeyError("k")
    python.code = 4  # type: ignore[attr-defined]
    python.handle = open  # type: ignore[attr-defined]
    found = deserialize(serialize(python))
    assert (found.message, found.properties, found.cause.message) == ("v", {"code": 4}, "'k'")


def test_a_value_after_an_error_with_properties_is_still_found_by_reference():
    shared = {"n": 1}
    found = deserialize(serialize([JsException("e", code=1), shared, JsException("e"), shared]))
    assert found[1] is found[3]


def test_values_may_be_nested_deeper_than_python_recurses():
    value: Any = "end"
    for level in range(5000):
        value = [value] if level % 2 else {"in": value}
    found = deserialize(serialize(value))
    for level in reversed(range(5000)):
        found = found[0] if level % 2 else found["in"]
    assert found == "end"
    with pytest.raises(JsRangeError, match="Maximum call stack"):
        serialize(_nested(200_000))


def _nested(levels: int) -> Any:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (dt.datetime(2024, 1, 2, 3, 4, 5, 6999), dt.datetime(2024, 1, 2, 3, 4, 5, 6000)),
        (dt.datetime(2024, 1, 2, 3, 4, 5, 999_999), dt.datetime(2024, 1, 2, 3, 4, 5, 999_000)),
        (dt.datetime(1969, 12, 31, 23, 59, 59, 998_500), dt.datetime(1969, 12, 31, 23, 59, 59, 999_000)),
        (dt.datetime(9999, 12, 31, 23, 59, 59, 999_999), dt.datetime(9999, 12, 31, 23, 59, 59, 999_000)),
    ],
)
def test_the_part_of_a_date_below_a_millisecond_is_cut_off(written: dt.datetime, shown: dt.datetime):
    assert deserialize(serialize(written)) == shown


def test_sets_and_maps_of_objects_are_lists_that_stay_what_they_were():
    stored = bytes.fromhex("ff0f" + "27" + "6f2201614902" + "7b01" + "4904" + "2c02")
    members = deserialize(stored)
    assert isinstance(members, MemberList)
    assert members == [{"a": 1}, 2]
    assert serialize(members) == stored
    stored = bytes.fromhex("ff0f" + "3b" + "6f2201614902" + "7b01" + "4904" + "3a02")
    pairs = deserialize(stored)
    assert isinstance(pairs, PairList)
    assert pairs == [[{"a": 1}, 2]]
    assert serialize(pairs) == stored


@pytest.mark.parametrize("milliseconds", [float("nan"), 8.64e15, -8.64e15])
def test_a_date_that_python_cannot_express_says_so(milliseconds: float):
    with pytest.raises(ValueError, match="which Python cannot express"):
        deserialize(b"\xff\x0fD" + struct.pack("<d", milliseconds))


@pytest.mark.parametrize("value", [print, object(), {"x": [lambda: 1]}])
def test_what_cannot_be_cloned_says_so(value: object):
    with pytest.raises(DataCloneError, match="could not be cloned") as caught:
        serialize(value)
    assert caught.value.code == 25


@pytest.mark.parametrize("value", [(1,), bytearray(b"x")])
def test_what_the_sdk_refuses_is_refused(value: object):
    with pytest.raises(JsTypeError, match="cannot be sent over RPC"):
        serialize(value)
