from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_objects.realtime.core.codes import Malformed
from durable_objects.realtime.core.protocol import dumps, loads
from durable_objects.realtime.packing import packed, unpacked

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(alphabet=st.characters(codec="utf-8")), values))
def test_a_frame_is_the_same_both_ways(value: dict[str, Any]):
    text = dumps(value)
    data = packed(text)
    if isinstance(data, bytes):
        assert loads(unpacked(data, max_bytes=1_000_000)) == loads(text)


def test_a_text_is_packed_once_for_all_who_get_it():
    text = dumps({"type": "pong"})
    assert packed(text) is packed(text)


def test_what_messagepack_cannot_hold_is_sent_another_way():
    assert msgpack.unpackb(packed(f'{{"n":{2**70}}}')) == {"n": str(2**70)}  # type: ignore[arg-type]
    deep = "[" * 2_000 + "]" * 2_000
    assert packed(deep) is deep


@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_a_clear_refusal(data: bytes):
    codes = {"NOT_JSON", "TOO_BIG"}
    try:
        loads(unpacked(data, max_bytes=100))
    except Malformed as error:
        codes.remove(error.code.name)


async def test_a_client_that_asks_for_it_is_spoken_to_in_messagepack(world: Any):
    client = await world.connect(protocols="flarelet-v1.msgpack")
    assert client.response.headers["sec-websocket-protocol"] == "flarelet-v1.msgpack"
    assert msgpack.unpackb(await client.text())["type"] == "welcome"
    client.send(msgpack.packb({"type": "subscribe", "topic": "chat/x"}))
    subscribed = msgpack.unpackb(await client.text())
    assert (subscribed["type"], subscribed["topic"], subscribed["offset"]) == ("subscribed", "chat/x", 0)
    assert msgpack.unpackb(await client.text())["kind"] == "snapshot"
    client.send(b"\xc1")
    assert msgpack.unpackb(await client.text())["name"] == "NOT_JSON"


async def test_without_the_package_the_next_protocol_is_chosen(world: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("durable_objects.realtime.packing._found", False)
    client = await world.connect(protocols="flarelet-v1.msgpack, flarelet-v1")
    assert client.response.headers["sec-websocket-protocol"] == "flarelet-v1"
