"""Python <-> SQLite by D1's rules."""

from __future__ import annotations

import math
from array import array
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d1.errors import D1TypeError
from d1.values import bind_values, read_object, read_objects, read_row, well_formed
from workers.compat.buffers import ArrayBuffer
from workers.compat.proxies import JsMap, JsTypeError, jsnull
from workers.compat.typed_arrays import Float32Array, Int16Array


@pytest.mark.parametrize(
    ("value", "bound"),
    [
        (None, None),
        (jsnull, None),
        (True, 1.0),
        (5, 5.0),
        (2**53 - 1, 9007199254740991.0),
        (1.5, 1.5),
        (math.nan, None),
        (math.inf, None),
        (-math.inf, None),
        ("text", "text"),
        (b"\x00\xff", b"\x00\xff"),
        (b"", b""),
        (memoryview(b"ab"), b"ab"),
        (memoryview(array("f", [1.5, 2.0])), b"\x01\x02"),
        (memoryview(array("h", [1, 300])), b"\x01\x2c"),
        (Float32Array([1.5, math.nan, -1]), b"\x01\x00\xff"),
        (Int16Array([1, 300]), b"\x01\x2c"),
        (ArrayBuffer(b"ab"), b"ab"),
        ([1, 2, 255], b"\x01\x02\xff"),
        ([], b""),
        ([1.5, 255.9], b"\x01\xff"),
    ],
)
def test_values_are_bound_as_javascript_numbers_texts_and_bytes(value: object, bound: object) -> None:
    (found,) = bind_values((value,))
    assert found == bound
    assert isinstance(found, type(bound))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2**53, "Type 'bigint' not supported for value '9007199254740992'"),
        ({"a": 1}, "Type 'object' not supported for value '[object Object]'"),
        (JsMap(), "Type 'object' not supported for value '[object Map]'"),
        ({1}, "Type 'object' not supported for value '[object Set]'"),
        (object(), "Type 'object' not supported for value '[object Object]'"),
        ([256], "Type 'object' not supported for value '256'"),
        ([1, 2, 300], "Type 'object' not supported for value '1,2,300'"),
        ([1, [2, 3], None, {}, 1.5], "Type 'object' not supported for value '1,2,3,,[object Object],1.5'"),
        ([1e21, 1e-7, -0.0, math.nan], "Type 'object' not supported for value '1e+21,1e-7,0,NaN'"),
        ([b"ab", JsMap()], "Type 'object' not supported for value '97,98,[object Map]'"),
        ([math.nan], "Type 'object' not supported for value 'NaN'"),
        (ValueError("m"), "Type 'object' not supported for value 'Error: m'"),
        (JsTypeError("m"), "Type 'object' not supported for value 'TypeError: m'"),
        ([ValueError("m"), 1], "Type 'object' not supported for value 'Error: m,1'"),
        (["a"], "Type 'object' not supported for value 'a'"),
        ([True], "Type 'object' not supported for value 'true'"),
        ([None], "Type 'object' not supported for value ''"),
        ([[1, None]], "Type 'object' not supported for value '1,'"),
        (
            datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))),
            "Type 'object' not supported for value 'Thu Jan 01 1970 00:00:00 GMT+0000 (Coordinated Universal Time)'",
        ),
    ],
)
def test_what_sqlite_has_no_type_for_is_refused(value: object, text: str) -> None:
    with pytest.raises(D1TypeError) as caught:
        bind_values(("fine", value))
    assert caught.value.message == f"D1_TYPE_ERROR: {text}"
    assert str(caught.value.cause) == f"Error: {text}"


@pytest.mark.parametrize("value", [(1, 2), bytearray(b"x")])
def test_what_cannot_cross_to_javascript_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError, match=r"cannot be sent over RPC\."):
        bind_values((value,))


def test_a_function_is_refused() -> None:
    with pytest.raises(D1TypeError, match="Type 'function' not supported"):
        bind_values((datetime.now,))


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        (None, None),
        (5, 5),
        (3.0, 3),
        (-0.0, 0),
        (0.5, 0.5),
        (1e300, 1e300),
        (math.inf, None),
        (9223372036854775807, 9223372036854775808.0),
        (2**53 - 1, 2**53 - 1),
        (2**53, float(2**53)),
        ("é", "é"),
        (b"\x00\xff", [0, 255]),
        (b"", []),
    ],
)
def test_values_are_read_as_javascript_would_have_them(stored: Any, read: object) -> None:
    (found,) = read_row((stored,))
    assert (type(found), found) == (type(read), read)
    (row,) = read_objects(["v"], [(stored,)])
    assert (type(row["v"]), row["v"]) == (type(read), read)


def test_objects_are_read_by_key_and_by_attribute() -> None:
    (row,) = read_objects(["id", "name"], [(1, "a")])
    assert row["name"] == row.name == "a"


def test_the_last_of_equal_names_wins_at_the_place_of_the_first() -> None:
    (row,) = read_objects(["a", "a", "b"], [(1, 2, 3)])
    assert list(row.items()) == [("a", 2), ("b", 3)]


def test_names_like_array_indexes_come_first() -> None:
    (row,) = read_objects(["b", "10", "2", "02", "a", "4294967295"], [(1, 2, 3, 4, 5, 6)])
    assert list(row) == ["2", "10", "b", "02", "a", "4294967295"]
    assert list(read_object(["b", "1"], (1, 2.0)).items()) == [("1", 2), ("b", 1)]


@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(-(2**63), 2**63 - 1),
            st.text(max_size=3) | st.none(),
            st.floats() | st.binary(max_size=2),
            st.integers(-5, 5),
        ),
        max_size=20,
    )
)
def test_many_rows_are_read_as_each_of_them_is(rows: list[tuple[Any, ...]]) -> None:
    together = read_objects(["a", "b", "c", "d"], rows)
    assert [repr(row) for row in together] == [repr(read_object(["a", "b", "c", "d"], row)) for row in rows]


def test_no_rows_and_no_columns_are_fine() -> None:
    assert read_objects([], []) == []
    assert read_objects(["a"], []) == []


def test_lone_surrogates_become_replacement_characters_and_pairs_are_joined() -> None:
    assert well_formed("a\ud800b") == "a\ufffd\ufffd\ufffdb"
    assert well_formed("\ud83d\ude00") == "😀"


@given(st.text(), st.integers(-(2**53) + 1, 2**53 - 1), st.floats(allow_nan=False, allow_infinity=False), st.binary())
def test_what_is_bound_is_read_back(text: str, number: int, real: float, data: bytes) -> None:
    assert read_row(bind_values((text, number, real, data))) == [text, number, real, list(data)]


def test_naive_dates_count_as_local_time() -> None:
    moment = datetime(2024, 5, 6, 7, 8, 9)
    with pytest.raises(D1TypeError, match=moment.astimezone(UTC).strftime("%H:%M:%S")):
        bind_values((moment,))
