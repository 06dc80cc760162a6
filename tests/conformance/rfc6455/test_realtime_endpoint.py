"""The realtime endpoint keeps the same rules: its JSON ping takes the place of the echo."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import pytest

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
ASKED, ANSWER = b'{"type":"ping"}', {"type": "pong"}


def told(wire: Any) -> dict[str, Any]:
    first, opcode, payload = wire.read()
    assert opcode == TEXT
    return json.loads(zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff") if first & 0x40 else payload)


@pytest.mark.parametrize("chop", [0, 7, 1])
def test_frames_however_they_are_cut(realtime: Any, chop: int) -> None:
    realtime.send(realtime.frame(TEXT, ASKED), chop=chop)
    assert told(realtime) == ANSWER
    realtime.send(realtime.frame(TEXT, ASKED[:5], final=False) + realtime.frame(PING, b"x"), chop=chop)
    realtime.send(realtime.frame(0, ASKED[5:]), chop=chop)
    realtime.expect((PONG, b"x"))
    assert told(realtime) == ANSWER


@pytest.mark.parametrize(
    ("opcode", "options", "payload", "code"),
    [
        (TEXT, {"rsv": 4}, b"x", 1002),
        (3, {}, b"", 1002),
        (0, {}, b"", 1002),
        (PING, {}, b"x" * 126, 1002),
        (PING, {"final": False}, b"", 1002),
        (TEXT, {}, b"\xff", 1007),
        (CLOSE, {}, b"x", 1002),
        (CLOSE, {}, struct.pack("!H", 1005), 1002),
    ],
)
def test_violations_close_with_the_code_of_the_rfc(
    realtime: Any, opcode: int, options: dict[str, Any], payload: bytes, code: int
) -> None:
    realtime.send(realtime.frame(opcode, payload, **options))
    realtime.expect_close(code)


@pytest.mark.parametrize("payload", [b"", struct.pack("!H", 1000), struct.pack("!H", 4000) + b"bye"])
def test_a_close_is_answered(realtime: Any, payload: bytes) -> None:
    realtime.send(realtime.frame(CLOSE, payload))
    found = realtime.read()
    assert found[1] == CLOSE
    assert realtime.read() is None


def test_a_big_event_is_compressed_for_those_who_can(connect: Any) -> None:
    path = "/api/realtime?projectId=p1"
    plain, packed = connect(path), connect(path, offer="permessage-deflate; client_max_window_bits")
    for wire in (plain, packed):
        wire.send(wire.frame(TEXT, b'{"type":"subscribe","topic":"room/big"}'))
        assert told(wire)["type"] == "subscribed"
    text = "all work and no play " * 200
    plain.send(
        plain.frame(TEXT, json.dumps({"type": "publish", "topic": "room/big", "event": "e", "data": text}).encode())
    )
    first, _, payload = packed.read()
    assert first == 0xC1
    assert len(payload) < 400
    small = json.loads(zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff"))
    assert told(plain)["data"] == small["data"] == text
