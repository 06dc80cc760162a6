"""Whatever comes as a token, a key set, a filter or an event's id is understood or refused by a documented error."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from durable_objects.realtime.core.codes import Code, RealtimeError
from durable_objects.realtime.core.row_filter import read_filter
from durable_objects.realtime.core.row_lens import lens_of
from durable_objects.realtime.core.settings import JwtSettings
from durable_objects.realtime.core.tokens import keys_of_jwks, keys_of_secret, verify
from durable_objects.realtime.sse import _places

SECRET, NOW = "s" * 32, 1_700_000_000
SETTINGS = JwtSettings(secrets=(SECRET,), require_exp=False)
KEY = ec.generate_private_key(ec.SECP256R1())
KEYS = [
    *keys_of_secret(SECRET),
    *keys_of_jwks(json.dumps({"keys": [json.loads(jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key()))]})),
]
GOOD = [jwt.encode({"sub": "ann"}, SECRET, "HS256"), jwt.encode({"sub": "ann"}, KEY, "ES256")]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
words = st.sampled_from(["a", "and", "or", "not", "columns", "eq", "ne", "lt", "in", "nin", "null", "gt"])
filters = st.recursive(
    values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3), max_leaves=10
)
MANY = settings(max_examples=500, deadline=None)


def or_refusal(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except RealtimeError as error:
        return error


@MANY
@given(st.text() | st.tuples(st.text(), st.text(), st.text()).map(".".join))
def test_no_text_is_a_token_by_chance(text: str):
    with pytest.raises(RealtimeError) as caught:
        verify(text, KEYS, SETTINGS, NOW)
    assert caught.value.code is Code.TOKEN_NOT_VERIFIED


@MANY
@given(st.sampled_from(GOOD), st.integers(0), st.sampled_from("abcXYZ019-_."))
def test_a_token_that_was_changed_is_refused_or_means_the_same(good: str, place: int, other: str):
    place %= len(good)
    changed = good[:place] + other + good[place + 1 :]
    found = or_refusal(lambda: verify(changed, KEYS, SETTINGS, NOW).claims)
    # The last character's unused bits mean nothing.
    assert found == {"sub": "ann"} or found.code is Code.TOKEN_NOT_VERIFIED


@MANY
@given(values.map(lambda value: json.dumps(value)) | st.lists(values).map(lambda keys: json.dumps({"keys": keys})))
def test_no_key_set_stops_the_server(text: str):
    with suppress(ValueError):
        keys_of_jwks(text)


@MANY
@given(filters, st.dictionaries(words, st.none() | st.integers() | st.text(max_size=2), max_size=3))
def test_every_filter_is_read_or_refused_and_then_decides(wanted: Any, row: dict[str, Any]):
    found = or_refusal(lambda: read_filter(wanted))
    if isinstance(found, RealtimeError):
        assert found.code is Code.BAD_FILTER
        assert found.field is not None
        return
    assert found.matches(row) in (True, False)
    assert found.sql.count("?") >= len(found.parameters)
    lens = lens_of({"filter": wanted})
    assert lens is not None
    assert lens.matches(row) == found.matches(row)


@MANY
@given(st.text() | st.from_regex(r"[a-z0-9:,-]*", fullmatch=True), st.integers(1, 4))
def test_every_event_id_is_a_position_or_none(text: str, count: int):
    places = _places(text, count)
    assert len(places) == count
    assert all(place is None or (place[0] and place[1] >= 0) for place in places)
