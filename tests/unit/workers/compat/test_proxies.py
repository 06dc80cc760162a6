from __future__ import annotations

import copy
import pickle

import pytest

from workers.compat.proxies import (
    JsDict,
    JsException,
    JsMap,
    JsProxy,
    JsRangeError,
    JsTypeError,
    create_proxy,
    error_parts,
    jsnull,
    to_js,
    to_py,
)
from workers.compat.web import Headers


def test_an_exception_reads_as_name_and_message():
    error = JsException("D1_ERROR: no such table", remote=True)
    assert str(error) == "Error: D1_ERROR: no such table"
    assert (error.name, error.message, error.remote) == ("Error", "D1_ERROR: no such table", True)


def test_javascript_type_and_range_errors_are_python_ones_too():
    with pytest.raises(TypeError, match=r"^TypeError: bad$"):
        raise JsTypeError("bad")
    with pytest.raises(ValueError, match="RangeError: far"):
        raise JsRangeError("far")


def test_an_exception_survives_pickling_with_its_properties():
    again = pickle.loads(pickle.dumps(JsRangeError("far", retryable=True)))
    assert (again.name, again.message, again.retryable) == ("RangeError", "far", True)


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (JsTypeError("x"), ("TypeError", "x")),
        (JsException("x", name="DataCloneError"), ("DataCloneError", "x")),
        (Exception("boom"), ("Error", "boom")),
        (ValueError("v"), ("ValueError", "v")),
    ],
)
def test_error_parts_keep_the_name_that_javascript_would_show(error: Exception, parts: tuple[str, str]):
    assert error_parts(error) == parts


def test_an_attribute_dict_reads_writes_and_deletes_keys_by_attribute():
    value = JsDict.wrap({"a": {"b": [{"c": 1}]}, "items": 2})
    assert value.a.b[0].c == 1
    value.d = 4
    assert value["d"] == 4
    del value.d
    assert "d" not in value
    with pytest.raises(AttributeError):
        _ = value.missing
    assert value["items"] == 2
    assert [*value.items()][1] == ("items", 2)


def test_attribute_dicts_and_maps_count_as_proxies_but_plain_dicts_do_not():
    assert isinstance(JsDict(), JsProxy)
    assert isinstance(JsMap(), JsProxy)
    assert not isinstance({}, JsProxy)
    assert JsDict(new=1, old=2).new == 1


def test_null_is_falsy_and_one_of_a_kind():
    assert not jsnull
    assert copy.deepcopy(jsnull) is jsnull
    assert to_py(jsnull) is None
    assert to_py([jsnull, {"a": jsnull}]) == [None, {"a": None}]


def test_to_js_makes_a_map_of_a_dict_unless_a_converter_is_given():
    assert type(to_js({"a": 1})) is JsMap
    assert to_js({"a": {"b": (1, 2)}}, dict_converter=JsDict) == {"a": {"b": [1, 2]}}
    assert to_js(b"x") == b"x"
    headers = Headers()
    assert to_js(headers) is headers


def test_to_js_stops_at_the_given_depth():
    inner = {"b": 1}
    assert to_js({"a": inner}, depth=1)["a"] is inner


def test_a_destroyed_proxy_cannot_be_called():
    proxy = create_proxy(lambda value: value + 1)
    assert proxy(1) == 2
    proxy.destroy()
    with pytest.raises(JsException, match="destroyed"):
        proxy(1)


def test_a_proxy_knows_its_class_name():
    assert Headers().constructor.name == "Headers"
