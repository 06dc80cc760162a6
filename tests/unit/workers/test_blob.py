from __future__ import annotations

from datetime import UTC, datetime

import pytest

from workers import Blob, BlobEnding, File
from workers.compat import blob as js


async def test_a_blob_is_made_of_text_bytes_and_blobs():
    blob = Blob(["test", b"!", memoryview(b"?"), Blob(["x"])], content_type="application/json")
    assert (await blob.text(), blob.size, blob.content_type) == ("test!?x", 7, "application/json")
    assert await blob.bytes() == b"test!?x"
    assert await blob.slice(1, 3, "a/b").text() == "es"
    assert await Blob("print(42)").text() == "print(42)"


def test_a_copy_inherits_its_type_and_a_part_does_not():
    source = Blob(["x"], content_type="a/b")
    assert Blob(source).content_type == "a/b"
    assert Blob(source, content_type="c/d").content_type == "c/d"
    assert Blob([source]).content_type == ""
    assert Blob(js.Blob(["x"], type="a/b")).content_type == "a/b"


async def test_line_ends_can_be_made_native():
    assert await Blob(["a\r\nb"], endings=BlobEnding.NATIVE).text() == "a\nb"
    assert await Blob(["a\r\nb"], endings="transparent").text() == "a\r\nb"


def test_a_file_has_a_name_and_a_date():
    changed = datetime(2024, 1, 2, tzinfo=UTC)
    file = File("my file", filename="test.txt", content_type="text/plain", last_modified=changed)
    assert (file.name, file.content_type, file.last_modified) == ("test.txt", "text/plain", changed)
    assert File(file.js_object).name == "test.txt"
    with pytest.raises(TypeError, match="filename"):
        File(["x"])
