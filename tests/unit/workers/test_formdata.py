from __future__ import annotations

import pytest

from workers import Blob, File, FormData
from workers.compat import formdata as js


def test_a_javascript_form_is_taken_over():
    source = js.FormData([("n", 123), ("key", "a"), ("key", "b")])
    form = FormData(source)
    assert (form["n"], form["key"], form.get_all("key"), form.js_object) == ("123", "a", ["a", "b"], source)
    assert "key" in form
    assert "other" not in form
    with pytest.raises(KeyError):
        _ = form["other"]


def test_iteration_shows_repeated_names():
    form = FormData({"key": "foobar"})
    form.append("key", "another")
    form.append("key2", "foobar2")
    assert [*form.items()] == [("key", "foobar"), ("key", "another"), ("key2", "foobar2")]
    assert [*form.keys()] == ["key", "key", "key2"]
    assert [*form.values()] == ["foobar", "another", "foobar2"]
    assert len(form) == 3


def test_values_are_set_and_removed():
    form = FormData([("a", "1"), ("a", "2")])
    form["a"] = "3"
    assert form.get_all("a") == ["3"]
    form.delete("nothing")
    del form["a"]
    with pytest.raises(KeyError):
        del form["a"]


async def test_blobs_read_back_as_files():
    form = FormData()
    form["test"] = Blob(["some"])
    form.append("js", Blob(["x"]).js_object, "n.txt")
    assert isinstance(form["test"], File)
    assert await form["test"].text() == "some"
    assert form["js"].name == "n.txt"
