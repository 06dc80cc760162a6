from __future__ import annotations

import pytest

from workers.compat.buffers import ArrayBuffer, Uint8Array
from workers.compat.proxies import JsProxy, JsRangeError
from workers.compat.typed_arrays import (
    DataView,
    Float32Array,
    Int8Array,
    Int16Array,
    TypedArray,
    Uint8ClampedArray,
    Uint32Array,
)


def test_a_buffer_is_bytes_with_conversions():
    buffer = ArrayBuffer(b"abc")
    assert isinstance(buffer, JsProxy)
    assert (buffer.to_bytes(), type(buffer.to_bytes()), buffer.byteLength) == (b"abc", bytes, 3)
    assert buffer.to_py() == memoryview(b"abc")
    assert (buffer.slice(1, 2), buffer.constructor.name, buffer == b"abc") == (b"b", "ArrayBuffer", True)


def test_a_byte_array_is_made_of_a_length_numbers_or_a_part_of_a_buffer():
    assert Uint8Array.new(3) == b"\0\0\0"
    assert Uint8Array.new([1, 2]) == Uint8Array.of(1, 258) == b"\x01\x02"
    assert Uint8Array.new(ArrayBuffer(b"abcd"), 1, 2) == b"bc"
    assert Uint8Array(b"abc").subarray(1).buffer == b"bc"


@pytest.mark.parametrize(
    ("array", "numbers"),
    [
        (Int8Array.new([1, -1, 255]), [1, -1, -1]),
        (Int16Array.of("10", "24"), [10, 24]),
        (Uint32Array.new([-1]), [2**32 - 1]),
        (Float32Array.new([1.5, -2.25]), [1.5, -2.25]),
        (Uint8ClampedArray.new([300, -5, 1.6]), [255, 0, 2]),
        (Int16Array.new(2), [0, 0]),
        (Int16Array.new(b"\x01\x00\x02\x00", 2), [2]),
    ],
)
def test_views_hold_numbers_of_their_size(array: TypedArray, numbers: list[float]):
    assert [*array] == numbers
    assert array.to_py().tolist() == numbers
    assert array.byteLength == len(numbers) * array.BYTES_PER_ELEMENT


def test_views_can_be_written_and_cut():
    array = Int16Array.new([1, 2, 3])
    array[1] = 9
    array.set([7], 2)
    assert [*array.subarray(1)] == [9, 7]
    assert [*array.fill(4)] == [4, 4, 4]
    with pytest.raises(IndexError):
        array[3] = 1
    with pytest.raises(JsRangeError, match="multiple of 2"):
        Int16Array.new(b"abc")


def test_a_data_view_reads_any_number_at_any_place():
    view = DataView.new(ArrayBuffer(8))
    view.setInt16(1, -2)
    view.setFloat32(4, 1.5, True)
    assert (view.getInt16(1), view.getUint8(2), view.getFloat32(4, True)) == (-2, 254, 1.5)
    with pytest.raises(AttributeError):
        _ = view.getNothing
