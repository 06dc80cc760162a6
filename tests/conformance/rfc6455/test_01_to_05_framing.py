"""Cases 1 (framing), 2 (pings and pongs), 3 (reserved bits), 4 (opcodes), 5 (fragmentation)."""

from __future__ import annotations

from typing import Any

import pytest

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
SIZES = [0, 125, 126, 127, 128, 65535, 65536]


@pytest.mark.parametrize("size", SIZES, ids=[f"1.1.{n + 1}-{size}" for n, size in enumerate(SIZES)])
def test_a_text_message_comes_back(echo: Any, size: int) -> None:
    echo.send(echo.frame(TEXT, b"*" * size))
    echo.expect((TEXT, b"*" * size))


@pytest.mark.parametrize("size", SIZES, ids=[f"1.2.{n + 1}-{size}" for n, size in enumerate(SIZES)])
def test_a_binary_message_comes_back(echo: Any, size: int) -> None:
    echo.send(echo.frame(BINARY, b"\xfe" * size))
    echo.expect((BINARY, b"\xfe" * size))


@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["1.1.8", "1.2.8"])
def test_a_message_chopped_into_997_octets_comes_back(echo: Any, opcode: int) -> None:
    echo.send(echo.frame(opcode, b"*" * 65536), chop=997)
    echo.expect((opcode, b"*" * 65536))


@pytest.mark.parametrize(
    "payload",
    [b"", b"Hello, world!", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"\xfe" * 125],
    ids=["2.1", "2.2", "2.3", "2.4"],
)
def test_a_ping_is_answered_with_its_payload(echo: Any, payload: bytes) -> None:
    echo.send(echo.frame(PING, payload))
    echo.expect((PONG, payload))


def test_2_5_a_ping_of_126_bytes_is_refused(echo: Any) -> None:
    echo.send(echo.frame(PING, b"\xfe" * 126))
    echo.expect_close(1002)


def test_2_6_a_ping_octet_by_octet(echo: Any) -> None:
    echo.send(echo.frame(PING, b"\xfe" * 125), chop=1)
    echo.expect((PONG, b"\xfe" * 125))


@pytest.mark.parametrize("payload", [b"", b"unsolicited pong payload"], ids=["2.7", "2.8"])
def test_an_unsolicited_pong_is_ignored(echo: Any, payload: bytes) -> None:
    echo.send(echo.frame(PONG, payload), echo.frame(TEXT, b"next"))
    echo.expect((TEXT, b"next"))


def test_2_9_an_unsolicited_pong_then_a_ping(echo: Any) -> None:
    echo.send(echo.frame(PONG, b"unsolicited pong payload"), echo.frame(PING, b"ping payload"))
    echo.expect((PONG, b"ping payload"))


@pytest.mark.parametrize("chop", [0, 1], ids=["2.10", "2.11"])
def test_ten_pings_are_answered_in_order(echo: Any, chop: int) -> None:
    echo.send(b"".join(echo.frame(PING, f"payload-{n}".encode()) for n in range(10)), chop=chop)
    echo.expect(*((PONG, f"payload-{n}".encode()) for n in range(10)))


@pytest.mark.parametrize(
    ("rsv", "opcode", "greets", "chop"),
    [
        (1, TEXT, False, 0),
        (2, TEXT, True, 0),
        (3, TEXT, True, 0),
        (4, TEXT, True, 1),
        (5, BINARY, False, 0),
        (6, PING, False, 0),
        (7, CLOSE, False, 0),
    ],
    ids=["3.1", "3.2", "3.3", "3.4", "3.5", "3.6", "3.7"],
)
def test_reserved_bits_are_refused(echo: Any, rsv: int, opcode: int, greets: bool, chop: int) -> None:
    if greets:
        echo.send(echo.frame(TEXT, b"Hello, world!"), chop=chop)
        echo.expect((TEXT, b"Hello, world!"))
    echo.send(echo.frame(opcode, b"", rsv=rsv) + echo.frame(PING), chop=chop)
    echo.expect_close(1002)


@pytest.mark.parametrize(
    ("opcode", "payload", "greets", "chop"),
    [
        *((opcode, payload, greets, chop) for opcode, payload, greets, chop in (
            (3, b"", False, 0),
            (4, b"reserved opcode payload", False, 0),
            (5, b"", True, 0),
            (6, b"reserved", True, 0),
            (7, b"reserved", True, 1),
            (11, b"", False, 0),
            (12, b"reserved opcode payload", False, 0),
            (13, b"", True, 0),
            (14, b"reserved", True, 0),
            (15, b"reserved", True, 1),
        )),
    ],
    ids=[f"4.{1 + n // 5}.{1 + n % 5}" for n in range(10)],
)  # fmt: skip
def test_reserved_opcodes_are_refused(echo: Any, opcode: int, payload: bytes, greets: bool, chop: int) -> None:
    if greets:
        echo.send(echo.frame(TEXT, b"Hello, world!"), chop=chop)
        echo.expect((TEXT, b"Hello, world!"))
    echo.send(echo.frame(opcode, payload) + echo.frame(PING), chop=chop)
    echo.expect_close(1002)


@pytest.mark.parametrize("opcode", [PING, PONG], ids=["5.1", "5.2"])
def test_a_control_frame_in_fragments_is_refused(echo: Any, opcode: int) -> None:
    echo.send(echo.frame(opcode, b"fragment1", final=False) + echo.frame(0, b"fragment2"))
    echo.expect_close(1002)


@pytest.mark.parametrize("chop", [0, 11, 1], ids=["5.3", "5.4", "5.5"])
def test_a_text_in_two_fragments(echo: Any, chop: int) -> None:
    echo.send(echo.frame(TEXT, b"fragment1", final=False) + echo.frame(0, b"fragment2"), chop=chop)
    echo.expect((TEXT, b"fragment1fragment2"))


@pytest.mark.parametrize("chop", [0, 11, 1], ids=["5.6", "5.7", "5.8"])
def test_a_ping_between_fragments_is_answered_first(echo: Any, chop: int) -> None:
    wire = (echo.frame(TEXT, b"fragment1", final=False), echo.frame(PING, b"ping payload"), echo.frame(0, b"fragment2"))
    echo.send(b"".join(wire), chop=chop)
    echo.expect((PONG, b"ping payload"), (TEXT, b"fragment1fragment2"))


@pytest.mark.parametrize("final", [True, False], ids=["final", "more"])
@pytest.mark.parametrize("chop", [0, 11, 1], ids=["5.9-12", "5.10-13", "5.11-14"])
def test_a_continuation_of_nothing_is_refused(echo: Any, final: bool, chop: int) -> None:
    wire = echo.frame(0, b"non-continuation payload", final=final) + echo.frame(TEXT, b"Hello, world!")
    echo.send(wire, chop=chop)
    echo.expect_close(1002)


def test_5_15_a_continuation_after_a_whole_message_is_refused(echo: Any) -> None:
    echo.send(echo.frame(TEXT, b"fragment1", final=False) + echo.frame(0, b"fragment2"))
    echo.expect((TEXT, b"fragment1fragment2"))
    echo.send(echo.frame(0, b"fragment3", final=False) + echo.frame(TEXT, b"fragment4"))
    echo.expect_close(1002)


@pytest.mark.parametrize("final", [False, True], ids=["5.16", "5.17"])
def test_a_continuation_before_its_message_is_refused(echo: Any, final: bool) -> None:
    wire = (echo.frame(0, b"1", final=final), echo.frame(TEXT, b"2", final=False), echo.frame(0, b"3"))
    echo.send(b"".join(wire) * 2)
    echo.expect_close(1002)


def test_5_18_a_second_text_inside_a_fragmented_one_is_refused(echo: Any) -> None:
    echo.send(echo.frame(TEXT, b"fragment1", final=False) + echo.frame(TEXT, b"fragment2"))
    echo.expect_close(1002)


@pytest.mark.parametrize("chop", [0, 11], ids=["5.19", "5.20"])
def test_five_fragments_with_two_pings(echo: Any, chop: int) -> None:
    first = (echo.frame(TEXT, b"1", final=False), echo.frame(0, b"2", final=False), echo.frame(PING, b"pongme 1!"))
    echo.send(b"".join(first), chop=chop)
    echo.expect((PONG, b"pongme 1!"))
    rest = (echo.frame(0, b"3", final=False), echo.frame(0, b"4", final=False), echo.frame(PING, b"pongme 2!"))
    echo.send(b"".join(rest) + echo.frame(0, b"5"), chop=chop)
    echo.expect((PONG, b"pongme 2!"), (TEXT, b"12345"))


def test_an_unmasked_frame_is_refused(echo: Any) -> None:
    echo.send(b"\x81\x01x")
    echo.expect_close(1002)
