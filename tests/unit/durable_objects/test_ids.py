from __future__ import annotations

from random import Random

import pytest

from durable_objects.ids import DurableObjectId, IdFactory
from workers.compat.proxies import JsTypeError


def test_a_name_gives_the_id_that_miniflare_gives():
    assert str(IdFactory("w-O").from_name("bob")) == "17da8c546dc31ad5987ab5d3fe7a110e4537f4ede25774ae3ff4e8cc4ae8910b"


def test_half_a_surrogate_pair_is_part_of_the_name():
    ids = IdFactory("w-O")
    assert len({str(ids.from_name(name)) for name in ("\ud800", "\ud801", "?", "\ufffd")}) == 4


def test_an_id_survives_printing_and_parsing_without_its_name():
    ids = IdFactory("w-O")
    parsed = ids.from_string(str(ids.from_name("bob")).upper())
    assert parsed == ids.from_name("bob")
    assert parsed.name is None


def test_unique_ids_are_valid_in_their_namespace_only():
    unique = IdFactory("w-O").unique(Random(1).randbytes)
    assert IdFactory("w-O").from_string(str(unique)) == unique
    with pytest.raises(JsTypeError, match="not valid for this namespace"):
        IdFactory("w-P").from_string(str(unique))


@pytest.mark.parametrize("text", ["", "ab", "g" * 64, "0" * 63, "é" * 64])
def test_text_that_is_no_id_is_refused(text: str):
    with pytest.raises(JsTypeError, match="must be 64 hex digits"):
        IdFactory("w-O").from_string(text)


def test_equality_looks_at_the_bytes_and_not_at_the_name():
    assert DurableObjectId("00", "a") == DurableObjectId("00", "b")
    assert not DurableObjectId("00").equals("00")
    assert len({DurableObjectId("00", "a"), DurableObjectId("00")}) == 1
