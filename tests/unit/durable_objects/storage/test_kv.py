from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durable_objects.storage.kv import ListOptions, key_text
from workers.compat.proxies import JsException, JsTypeError
from workers.compat.structured_clone import DataCloneError


def test_keys_are_ordered_by_their_utf8_bytes(bench: Any):
    keys = ["10", "9", "B", "_", "a", "ÿ", "\uffff", "\U0001f600"]
    for key in reversed(keys):
        bench.storage.kv.put(key, key)
    assert [key for key, _ in bench.storage.kv.list()] == keys


keys = st.text(st.sampled_from("abé\uffff\U0010ffff"), max_size=3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stored=st.sets(keys),
    start=st.none() | keys,
    end=st.none() | keys,
    prefix=st.none() | keys,
    reverse=st.booleans(),
    limit=st.none() | st.integers(1, 4),
)
def test_list_agrees_with_a_sorted_dict(
    bench: Any, stored: set[str], start: Any, end: Any, prefix: Any, reverse: bool, limit: Any
):
    bench.storage.kv.put("x", 0)
    bench.storage.delete([key for key, _ in bench.storage.kv.list()])
    for key in stored:
        bench.storage.kv.put(key, len(key))
    wanted = sorted(stored, key=str.encode, reverse=reverse)
    wanted = [key for key in wanted if start is None or key.encode() >= start.encode()]
    wanted = [key for key in wanted if end is None or key.encode() < end.encode()]
    wanted = [key for key in wanted if prefix is None or key.startswith(prefix)][:limit]
    options = {"start": start, "end": end, "prefix": prefix, "reverse": reverse, "limit": limit}
    assert [key for key, _ in bench.storage.kv.list(options)] == wanted


def test_lone_surrogates_become_replacement_characters():
    assert key_text("\ud800") == "\ufffd" * 3
    assert key_text(None) == "null"
    assert key_text(5) == "5"


@pytest.mark.parametrize("limit", [0, -1, "x", float("nan"), float("inf")])
def test_a_limit_must_be_positive(limit: object):
    with pytest.raises(JsTypeError, match="List limit must be positive"):
        ListOptions.parse({"limit": limit}, {})


def test_start_and_start_after_exclude_each_other():
    with pytest.raises(JsTypeError, match="both start and startAfter"):
        ListOptions.parse({"start": "a", "startAfter": "b"}, {})


def test_options_may_be_keywords(bench: Any):
    for key in "abc":
        bench.storage.kv.put(key, 1)
    assert [key for key, _ in bench.storage.kv.list(startAfter="a", reverse=True)] == ["c", "b"]


def test_a_new_list_ends_the_old_iterator(bench: Any):
    bench.storage.kv.put("a", 1)
    old = bench.storage.kv.list()
    bench.storage.kv.list()
    with pytest.raises(JsException, match="iterator was invalidated"):
        old.next()


def test_a_function_cannot_be_stored_and_nothing_is(bench: Any):
    with pytest.raises(DataCloneError):
        bench.storage.put({"good": 1, "bad": print})
    assert bench.storage.kv.get("good") is None


async def test_a_value_that_cannot_be_read_names_its_key(bench: Any):
    bench.storage.put({"good": 1, "when": 2})
    invalid = b"\xff\x0fD" + struct.pack("<d", float("nan"))
    bench.file.run("UPDATE _cf_KV SET value = ? WHERE key = 'when'", (invalid,))
    for read in (
        lambda: bench.storage.get("when"),
        lambda: bench.storage.get(["good", "when"]),
        bench.storage.list,
        lambda: list(bench.storage.kv.list()),
    ):
        with pytest.raises(JsException, match='the key "when" cannot be read: stored value holds an invalid Date'):
            read()
    assert await bench.storage.get("good") == 1
    assert await bench.storage.delete("when")
