from __future__ import annotations

import pytest

from workers.compat.structured_clone import serialize
from workers.compat.v8_reader import deserialize


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x00\x0f0", b"plain text"])
def test_other_data_is_refused(data: bytes):
    with pytest.raises(ValueError, match="not a V8 serialization"):
        deserialize(data)


def test_a_value_cut_short_is_refused_wherever_it_is_cut():
    whole = serialize({"key": ["text", 1.5, {"deep": b"bytes"}]})
    for length in range(2, len(whole)):
        with pytest.raises(ValueError, match=r"V8 serialization|cut short"):
            deserialize(whole[:length])


def test_a_sparse_array_is_read_by_the_library():
    sparse = b"\xff\x0fa\x03I\x00I\x02I\x04I\x06@\x02\x03"  # [1, <hole>, 3]
    assert len(deserialize(sparse)) == 3


def test_undefined_and_holes_of_dense_arrays_are_none():
    assert deserialize(b"\xff\x0fA\x02_0$\x00\x02") == [None, None]
