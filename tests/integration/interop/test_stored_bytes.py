"""Bytes that miniflare has left in `_cf_KV`, and what Python reads; needs no Node."""

from __future__ import annotations

import datetime as dt
from array import array
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from workers.compat.proxies import JsException, JsRangeError, JsTypeError
from workers.compat.structured_clone import deserialize, serialize

READ = {
    "an array with a hole": ("610349002201614904220163400203", ["a", None, "c"]),
    "an array of nothing but length": ("6103400003", [None, None, None]),
    "an array with a property": ("41024902490422056578747261220178240102", [1, 2]),
    "kinds beside a hole": (
        "610849002201614904220163490644000000000000144049083b22016b49023a02490a2749042c01490c"
        "6f22017849022201795f7b02490e5a100900000000000000400708",
        ["a", None, "c", dt.datetime(1970, 1, 1, 0, 0, 0, 5000), {"k": 1}, {2}, {"x": 1, "y": None}, 9],
    ),
    "a resizable buffer": ("7e041001020304", b"\1\2\3\4"),
    "a view to the end of a resizable buffer": ("7e0410010203045642010003", b"\2\3\4"),
    "a wrapped number": ("6e0000000000001440", 5),
    "a wrapped string": ("732203626f78", "box"),
    "a wrapped bigint": ("7a100700000000000000", 7),
    "a wrapped boolean": ("78", False),
}


@pytest.mark.parametrize(("stored", "wanted"), READ.values(), ids=READ)
def test_a_stored_value_reads_as_python_sees_it(stored: str, wanted: Any) -> None:
    assert deserialize(bytes.fromhex("ff0f" + stored)) == wanted


def test_several_views_of_one_buffer_are_all_read() -> None:
    stored = (
        "ff0f6f220577686f6c6542100102030405060708090a0b0c0d0e0f10220566697273745e0156420004002206"
        "7365636f6e645e0156570404007b03"
    )
    value = deserialize(bytes.fromhex(stored))
    assert value.whole == bytes(range(1, 17))
    assert value.first == b"\1\2\3\4"
    assert (value.second.format, value.second.tobytes()) == ("H", b"\5\6\7\x08")


def test_an_error_in_the_form_of_workerd_is_read_with_its_cause_and_properties() -> None:
    stored = (
        "ff0f5c0a0222036261646f2205737461636b22017322056361757365" + "5c0a032205696e6e65726f7b00" + "2204636f64654954"
    )
    error = deserialize(bytes.fromhex(stored + "7b03"))
    assert isinstance(error, JsTypeError)
    assert str(error) == "TypeError: bad"
    assert error.properties == {"code": 42}
    assert isinstance(error.cause, JsRangeError)
    assert error.cause.message == "inner"


def test_an_error_with_a_name_of_its_own_keeps_it() -> None:
    error = deserialize(bytes.fromhex("ff0f5c0a00" + "2204" + b"Mine".hex() + "2203626164" + "6f7b00"))
    assert type(error) is JsException
    assert (error.name, error.message) == ("Mine", "bad")


@pytest.mark.parametrize("stored", ["ff0f5c0200", "ff0f75", "ff0f6f2201", "ff0f", "0f"])
def test_what_cannot_be_read_is_a_clear_error(stored: str) -> None:
    with pytest.raises(ValueError, match="stored value"):
        deserialize(bytes.fromhex(stored))


def test_equal_sized_buffers_do_not_become_one() -> None:
    values = [memoryview(b"aaaa"), memoryview(b"bbbb"), memoryview(array("H", [1, 2])), memoryview(array("H", [3, 4]))]
    assert [bytes(view) for view in deserialize(serialize(values))] == [bytes(view) for view in values]


def test_values_that_live_only_while_they_are_written_do_not_become_one() -> None:
    class Fresh(Mapping[str, list[str]]):
        def __getitem__(self, key: str) -> list[str]:
            return [key]

        def __iter__(self) -> Iterator[str]:
            return iter("abc")

        def __len__(self) -> int:
            return 3

    assert deserialize(serialize(Fresh())) == {"a": ["a"], "b": ["b"], "c": ["c"]}


def test_the_same_object_twice_stays_one() -> None:
    view, items = memoryview(array("d", [1.5])), [1]
    first, second, third, fourth = deserialize(serialize([view, view, items, items]))
    assert first is second
    assert first.tolist() == [1.5]
    assert third is fourth
