from __future__ import annotations

from workers.compat import clock
from workers.compat.blob import Blob, File


async def test_parts_are_joined_whatever_they_are():
    blob = Blob.new(["a", b"b", memoryview(b"c"), Blob(["d"]), 5], {"type": "Text/X"})
    assert (await blob.text(), blob.size, blob.type) == ("abcd5", 5, "text/x")


async def test_a_slice_counts_from_both_ends():
    blob = Blob("hello")
    assert await blob.slice(1, -1).text() == "ell"
    assert blob.slice(0, 1, "a/b").type == "a/b"


async def test_the_stream_of_a_blob_has_its_length():
    assert Blob(["abc"]).stream().length == 3


def test_native_line_ends_are_the_platforms():
    assert Blob(["a\r\nb"], endings="native").data == b"a\nb"
    assert Blob(["a\r\nb"]).data == b"a\r\nb"


def test_a_file_has_a_name_and_the_date_of_its_change():
    token = clock.source.set(lambda: 1234.9)
    try:
        assert File(["x"], "n").lastModified == 1234
    finally:
        clock.source.reset(token)
    assert File(["x"], "n", lastModified=7).lastModified == 7
