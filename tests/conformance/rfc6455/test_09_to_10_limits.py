"""Cases 9 (big messages, many messages; smaller here than there) and 10 (fragmentation by the sender)."""

from __future__ import annotations

import threading
from typing import Any

import pytest

TEXT, BINARY = 1, 2
KIB = 1024


def send_while_reading(wire: Any, data: bytes, chop: int = 0) -> threading.Thread:
    """Send from a thread: the server may have to write before it can read on."""
    thread = threading.Thread(target=wire.send, args=(data,), kwargs={"chop": chop})
    thread.start()
    return thread


@pytest.mark.parametrize("size", [64, 256, 1024, 4096, 8192], ids=[f"{n + 1}" for n in range(5)])
@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["9.1", "9.2"])
def test_big_messages(echo: Any, opcode: int, size: int) -> None:
    payload = b"BAsd7&jh" * (size * KIB // 8)
    thread = send_while_reading(echo, echo.frame(opcode, payload))
    echo.expect((opcode, payload))
    thread.join()


@pytest.mark.parametrize("piece", [64, 256, 1024, 4096, 16384, 65536], ids=[f"{n + 1}" for n in range(6)])
@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["9.3", "9.4"])
def test_a_big_message_in_fragments(echo: Any, opcode: int, piece: int) -> None:
    payload = b"BAsd7&jh" * (512 * KIB // 8)
    parts = [payload[at : at + piece] for at in range(0, len(payload), piece)]
    frames = [echo.frame(0 if n else opcode, part, final=n == len(parts) - 1) for n, part in enumerate(parts)]
    thread = send_while_reading(echo, b"".join(frames))
    echo.expect((opcode, payload))
    thread.join()


@pytest.mark.parametrize("chop", [64, 128, 256, 512, 1024, 2048], ids=[f"{n + 1}" for n in range(6)])
@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["9.5", "9.6"])
def test_a_big_message_in_small_writes(echo: Any, opcode: int, chop: int) -> None:
    payload = b"BAsd7&jh" * (256 * KIB // 8)
    thread = send_while_reading(echo, echo.frame(opcode, payload), chop)
    echo.expect((opcode, payload))
    thread.join()


@pytest.mark.parametrize("size", [0, 16, 64, 256, 1024, 4096], ids=[f"{n + 1}" for n in range(6)])
@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["9.7", "9.8"])
def test_many_messages_there_and_back(echo: Any, opcode: int, size: int) -> None:
    for n in range(300):
        payload = f"{n:06}".encode()[:size] + b"*" * max(0, size - 6)
        echo.send(echo.frame(opcode, payload))
        echo.expect((opcode, payload))


def test_10_1_1_a_message_in_fragments_of_1300_octets(echo: Any) -> None:
    payload = b"*" * 65536
    parts = [payload[at : at + 1300] for at in range(0, len(payload), 1300)]
    echo.send(*(echo.frame(0 if n else TEXT, part, final=n == len(parts) - 1) for n, part in enumerate(parts)))
    echo.expect((TEXT, payload))


def test_a_message_over_the_limit_is_refused_by_its_header(echo: Any) -> None:
    echo.send(b"\x82\xff" + (32 * KIB * KIB + 1).to_bytes(8, "big") + b"\0\0\0\0")
    echo.expect_close(1009)


def test_fragments_over_the_limit_are_refused(echo: Any) -> None:
    echo.send(echo.frame(BINARY, b"x" * 1000, final=False))
    echo.send(b"\x80\xff" + (32 * KIB * KIB).to_bytes(8, "big") + b"\0\0\0\0")
    echo.expect_close(1009)


def test_a_length_of_64_bits_is_refused(echo: Any) -> None:
    echo.send(b"\x82\xff" + b"\xff" * 8 + b"\0\0\0\0")
    echo.expect_close(1002)
