"""Cases 12 (messages compressed by permessage-deflate, RFC 7692) and 13 (its parameters)."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

TEXT, BINARY, PING, PONG = 1, 2, 9, 10
TAIL = b"\x00\x00\xff\xff"
SIZES = [16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072]
LOREM = ('{"id":%d,"title":"an ordinary text, as people write it","tags":["one","two"]}' * 4000).encode()


def packed(payload: bytes, bits: int = 15) -> bytes:
    compressor = zlib.compressobj(wbits=-bits)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def unpacked(found: tuple[int, int, bytes], bits: int = 15) -> bytes:
    """The message, which may be compressed or not; decoding with the agreed window proves that it was kept."""
    assert found[0] & 0x30 == 0
    return zlib.decompressobj(-bits).decompress(found[2] + TAIL) if found[0] & 0x40 else found[2]


def answer_of(wire: Any) -> list[str]:
    return [part.strip() for part in wire.headers["sec-websocket-extensions"].split(";")]


@pytest.mark.parametrize("size", SIZES, ids=[f"{n + 1}-{size}" for n, size in enumerate(SIZES)])
@pytest.mark.parametrize(
    ("opcode", "bits", "piece"),
    [(TEXT, 15, 0), (BINARY, 15, 0), (TEXT, 9, 0), (TEXT, 15, 128), (BINARY, 10, 1000)],
    ids=["12.1", "12.2", "12.3", "12.4", "12.5"],
)
def test_compressed_messages_come_back(connect: Any, opcode: int, bits: int, piece: int, size: int) -> None:
    wire = connect(offer=f"permessage-deflate; client_max_window_bits; server_max_window_bits={bits}")
    for n in range(5):
        payload = LOREM[n * 7 : n * 7 + size]
        data = packed(payload)
        parts = [data[at : at + piece] for at in range(0, len(data), piece)] if piece else [data]
        for index, part in enumerate(parts):
            wire.send(wire.frame(0 if index else opcode, part, final=index == len(parts) - 1, rsv=0 if index else 4))
        found = wire.read()
        assert found[1] == opcode
        assert unpacked(found, bits) == payload


@pytest.mark.parametrize(
    ("offer", "bits"),
    [
        ("permessage-deflate", None),
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", None),
        ("permessage-deflate; client_max_window_bits; server_max_window_bits=9", "9"),
        ("permessage-deflate; client_max_window_bits=15; server_max_window_bits=15", "15"),
        ('permessage-deflate; client_no_context_takeover; server_max_window_bits="12"', "12"),
        ("permessage-deflate; client_max_window_bits=9; server_no_context_takeover", None),
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate; client_max_window_bits", None),
    ],
    ids=[f"13.{n + 1}" for n in range(7)],
)
def test_parameters_are_agreed_on(connect: Any, offer: str, bits: str | None) -> None:
    wire = connect(offer=offer)
    agreed = answer_of(wire)
    assert agreed[:3] == ["permessage-deflate", "server_no_context_takeover", "client_no_context_takeover"]
    assert agreed[3:] == ([] if bits is None else [f"server_max_window_bits={bits}"])
    for size in (0, 16, 1024, 65536):
        wire.send(wire.frame(TEXT, packed(LOREM[:size]), rsv=4))
        assert unpacked(wire.read(), int(bits or 15)) == LOREM[:size]


@pytest.mark.parametrize(
    "offer",
    [
        "x-webkit-deflate-frame",
        "permessage-deflate; unknown",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=010",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; =",
    ],
)
def test_an_offer_that_cannot_be_taken_is_declined(connect: Any, offer: str) -> None:
    wire = connect(offer=offer)
    assert "sec-websocket-extensions" not in wire.headers
    wire.send(wire.frame(TEXT, packed(b"x"), rsv=4))
    wire.expect_close(1002)


def test_small_messages_are_not_compressed(connect: Any) -> None:
    wire = connect(offer="permessage-deflate")
    wire.send(wire.frame(TEXT, b"a" * 511))
    wire.expect((TEXT, b"a" * 511))
    wire.send(wire.frame(TEXT, b"a" * 512))
    assert wire.read()[0] == 0xC1


def test_messages_that_do_not_shrink_are_not_compressed(connect: Any) -> None:
    wire = connect(offer="permessage-deflate")
    noise = zlib.compress(b"".join(n.to_bytes(4, "big") for n in range(0, 1 << 30, 99_991)), 9)[2000:6000]
    wire.send(wire.frame(BINARY, noise))
    wire.expect((BINARY, noise))


def test_plain_and_compressed_messages_may_be_mixed(connect: Any) -> None:
    wire = connect(offer="permessage-deflate")
    wire.send(wire.frame(TEXT, b"plain"), wire.frame(TEXT, packed(b"packed"), rsv=4))
    wire.expect((TEXT, b"plain"), (TEXT, b"packed"))


def test_a_ping_between_compressed_fragments_is_answered(connect: Any) -> None:
    wire = connect(offer="permessage-deflate")
    data = packed(b"in two parts")
    wire.send(wire.frame(TEXT, data[:4], final=False, rsv=4), wire.frame(PING, b"p"), wire.frame(0, data[4:]))
    wire.expect((PONG, b"p"), (TEXT, b"in two parts"))


@pytest.mark.parametrize(("opcode", "rsv"), [(0, 4), (PING, 4), (TEXT, 2), (TEXT, 6)])
def test_the_compression_bit_has_its_place(connect: Any, opcode: int, rsv: int) -> None:
    wire = connect(offer="permessage-deflate")
    if opcode == 0:
        wire.send(wire.frame(TEXT, packed(b"x"), final=False, rsv=4))
    wire.send(wire.frame(opcode, packed(b"x"), rsv=rsv))
    wire.expect_close(1002)


def test_what_is_not_deflate_data_is_refused(connect: Any) -> None:
    wire = connect(offer="permessage-deflate")
    wire.send(wire.frame(TEXT, b"\xff\xff\xff\xff", rsv=4))
    wire.expect_close(1007)


def test_compressed_text_that_is_not_utf8_is_refused_before_it_ends(connect: Any) -> None:
    wire = connect(offer="permessage-deflate")
    wire.send(wire.frame(TEXT, packed(b"\xff" * 3000), final=False, rsv=4))
    wire.expect_close(1007)


def test_a_small_message_that_inflates_beyond_the_limit_is_refused(connect: Any) -> None:
    wire = connect(offer="permessage-deflate")
    bomb = packed(bytes(40 * 1024 * 1024))
    assert len(bomb) < 50_000
    wire.send(wire.frame(BINARY, bomb, rsv=4))
    wire.expect_close(1009)
