from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.runtime.edge.frames import FrameReader, Opcode, ProtocolError, close_payload, encode, parse_close


def masked(opcode: int, payload: bytes, *, final: bool = True, mask: bytes = b"\x01\x02\x03\x04") -> bytes:
    first = (0x80 if final else 0) | opcode
    size = len(payload)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65536:
        head = struct.pack("!BBH", first, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, size)
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


@pytest.mark.parametrize(("size", "head"), [(5, "8105"), (126, "817e007e"), (65536, "817f0000000000010000")])
def test_frames_are_final_unmasked_and_use_the_shortest_length(size: int, head: str) -> None:
    frame = encode(Opcode.TEXT, b"x" * size)
    assert frame == bytes.fromhex(head) + b"x" * size


@settings(deadline=None, max_examples=60)  # the helper masks byte by byte
@given(
    st.lists(
        st.one_of(st.text(max_size=200), st.binary(max_size=200), st.binary(min_size=66000, max_size=66001)), max_size=6
    ),
    st.integers(1, 70000),
    st.binary(min_size=4, max_size=4),
)
def test_messages_come_out_whole_however_the_bytes_are_cut(messages: list[str | bytes], step: int, mask: bytes) -> None:
    wire = b"".join(
        masked(1, message.encode(), mask=mask) if isinstance(message, str) else masked(2, message, mask=mask)
        for message in messages
    )
    reader = FrameReader(1_000_000)
    out = [frame for at in range(0, len(wire), step) for frame in reader.feed(wire[at : at + step])]
    assert [payload for _, payload in out] == messages
    assert [opcode for opcode, _ in out] == [
        Opcode.TEXT if isinstance(item, str) else Opcode.BINARY for item in messages
    ]


def test_fragments_are_joined_and_control_frames_may_stand_between_them() -> None:
    wire = masked(1, b"he", final=False) + masked(9, b"p") + masked(0, b"", final=False) + masked(0, b"y")
    assert list(FrameReader(100).feed(wire)) == [(Opcode.PING, b"p"), (Opcode.TEXT, "hey")]


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"\x81\x01x", 1002),  # not masked
        (masked(1, b"x")[:1].replace(b"\x81", b"\xc1") + masked(1, b"x")[1:], 1002),  # a reserved bit
        (masked(3, b"x"), 1002),  # an unknown opcode
        (masked(9, b"x" * 126), 1002),  # a control frame that is too long
        (masked(8, b"", final=False), 1002),  # a control frame in pieces
        (masked(0, b"x"), 1002),  # a continuation of nothing
        (masked(1, b"x", final=False) + masked(1, b"y"), 1002),  # a new message inside another one
        (masked(1, b"\xff"), 1007),  # text that is not UTF-8
        (masked(2, b"x" * 101), 1009),  # too large
        (masked(2, b"x" * 60, final=False) + masked(0, b"x" * 41), 1009),  # too large together
        (struct.pack("!BBQ", 0x82, 0xFF, 1 << 40) + b"mask", 1009),  # refused before its bytes arrive
    ],
)
def test_a_client_that_breaks_the_protocol_is_told_which_rule(wire: bytes, code: int) -> None:
    with pytest.raises(ProtocolError) as caught:
        list(FrameReader(100).feed(wire))
    assert caught.value.code == code


def test_messages_before_a_broken_frame_are_delivered() -> None:
    frames = FrameReader(100).feed(masked(1, b"ok") + masked(3, b""))
    assert next(frames) == (Opcode.TEXT, "ok")
    with pytest.raises(ProtocolError):
        next(frames)


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (4999, "bye"), (3000, "é" * 61), (1005, "")])
def test_close_payloads_are_read_back_as_they_were_written(code: int, reason: str) -> None:
    assert parse_close(close_payload(code, reason)) == (code, reason)


@pytest.mark.parametrize("payload", [b"\x03", struct.pack("!H", 999), struct.pack("!H", 1006), struct.pack("!H", 2999)])
def test_close_codes_that_may_not_be_sent_are_a_protocol_error(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_close(payload)
