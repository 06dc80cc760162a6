from __future__ import annotations

from datetime import UTC, datetime

import pytest

from workers.compat import clock
from workers.compat.js_values import JSON, Array, Date, Map, Number, Object, Set, TextDecoder, TextEncoder
from workers.compat.proxies import JsDict, JsMap, JsProxy, JsRangeError, JsTypeError, jsnull, to_js


def test_objects_are_made_and_taken_apart():
    made = to_js({"a": {"b": 1}}, dict_converter=Object.fromEntries)
    assert isinstance(made, JsDict)
    assert made.a.b == 1
    assert Object.keys(made) == ["a"]
    assert Object.entries({"x": 1}) == [["x", 1]]
    assert Object.values(to_js([5])) == [5]
    assert Object.assign(Object.new(a=1), {"b": 2}) == {"a": 1, "b": 2}
    with pytest.raises(JsTypeError, match="int is not an object"):
        Object.keys(5)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1.0, 2.5, float("nan"), jsnull, None]}, '{"a":[1,2.5,null,null,null]}'),
        ({"f": print, "d": datetime(2024, 1, 2, tzinfo=UTC)}, '{"d":"2024-01-02T00:00:00.000Z"}'),
        (Map.new([("a", 1)]), "{}"),
        ("é", '"é"'),
        (Date.new(0), '"1970-01-01T00:00:00.000Z"'),
    ],
)
def test_json_is_written_as_javascript_writes_it(value: object, text: str):
    assert JSON.stringify(value) == text


def test_json_details():
    assert JSON.stringify(None) is None
    assert JSON.stringify({"a": 1}, None, 2) == '{\n  "a": 1\n}'
    assert JSON.parse('{"a":[1]}').a == [1]


def test_arrays_maps_sets_and_numbers():
    array = Array.new(1, 2)
    assert (array.push(3), array.length, array.to_py()) == (3, 3, [1, 2, 3])
    assert (Array.new(2), Array.of(7), Array.from_("ab", lambda item, place: item * place)) == (
        [None, None],
        [7],
        ["", "b"],
    )
    assert getattr(Array, "from")((1,)) == [1]
    assert Array.isArray(to_js((1,)))
    items = Map.new([[1, "one"]])
    assert (items.set("k", 2).has("k"), items.size, items.delete(1), items.to_py()) == (True, 2, True, {"k": 2})
    assert (Set.new([1, 1]).size, Set.new().has(1)) == (1, False)
    assert (Number.new("1234").to_py(), Number.new("x") != Number.new("x"), Number.isInteger(5.0)) == (1234, True, True)
    assert all(isinstance(value, JsProxy) for value in (array, items, Number.new(1), Date.new(0), JsMap()))


def test_dates_count_milliseconds_in_utc():
    assert Date.new(1704164645678).toISOString() == "2024-01-02T03:04:05.678Z"
    assert Date.new("2024-01-02T03:04:05.678Z").getTime() == 1704164645678
    assert Date.new("2024-01-02").getTime() == Date.new(2024, 0, 2).getTime() == 1704153600000
    assert Date.new(2024, 13, 1, 0, 0, 0, 5).toJSON() == "2025-02-01T00:00:00.005Z"
    date = Date.new(datetime(2024, 1, 7, 9, tzinfo=UTC))
    assert (date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate(), date.getUTCDay(), date.getHours()) == (
        2024, 0, 7, 0, 9,
    )  # fmt: skip
    assert type(date.to_py()) is datetime
    with pytest.raises(JsRangeError, match="Invalid time value"):
        Date.new("nonsense")


def test_now_is_the_contexts_clock():
    token = clock.source.set(lambda: 1500.7)
    try:
        assert Date.now() == Date.new().getTime() == 1500
    finally:
        clock.source.reset(token)


def test_text_is_encoded_and_decoded_in_pieces():
    data = TextEncoder.new().encode("é☃")
    decoder = TextDecoder.new()
    pieces = [decoder.decode(data[:3], {"stream": True}), decoder.decode(data[3:], stream=True), decoder.decode()]
    assert "".join(pieces) == "é☃"
    assert TextDecoder.new().decode(b"\xef\xbb\xbfa\xff") == "a\ufffd"
    assert TextDecoder.new("utf-8", ignoreBOM=True).decode(b"\xef\xbb\xbf") == "\ufeff"
    with pytest.raises(JsTypeError, match="not valid for encoding"):
        TextDecoder.new("utf-8", {"fatal": True}).decode(b"\xff")
    with pytest.raises(JsRangeError, match="not a valid encoding"):
        TextDecoder.new("klingon")
