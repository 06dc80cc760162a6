"""Case 7: the closing handshake."""

from __future__ import annotations

import struct
from typing import Any

import pytest

TEXT, CLOSE, PING = 1, 8, 9


def close(code: int, reason: bytes = b"") -> bytes:
    return struct.pack("!H", code) + reason


def test_7_1_1_a_message_then_a_close(echo: Any) -> None:
    echo.send(echo.frame(TEXT, b"Hello World!"), echo.frame(CLOSE, close(1000)))
    echo.expect((TEXT, b"Hello World!"))
    echo.expect_close(1000)


@pytest.mark.parametrize("after", [(CLOSE, close(1000)), (PING, b""), (TEXT, b"late")], ids=["7.1.2", "7.1.3", "7.1.4"])
def test_what_follows_a_close_is_ignored(echo: Any, after: tuple[int, bytes]) -> None:
    echo.send(echo.frame(CLOSE, close(1000)) + echo.frame(*after))
    echo.expect_close(1000)


def test_7_1_5_a_close_between_fragments(echo: Any) -> None:
    echo.send(echo.frame(TEXT, b"1", final=False) + echo.frame(CLOSE, close(1000)) + echo.frame(0, b"2"))
    echo.expect_close(1000)


def test_7_1_6_a_big_message_then_a_close_and_a_ping(echo: Any) -> None:
    echo.send(echo.frame(TEXT, b"BAsd7&jh23" * 26_215))
    echo.send(echo.frame(CLOSE, close(1000)) + echo.frame(PING))
    echo.expect((TEXT, b"BAsd7&jh23" * 26_215))
    echo.expect_close(1000)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", None),
        (b"a", 1002),
        (close(1000), 1000),
        (close(1000, b"Hello World!"), 1000),
        (close(1000, b"*" * 123), 1000),
        (close(1000, b"*" * 124), 1002),
    ],
    ids=[f"7.3.{n + 1}" for n in range(6)],
)
def test_close_payloads(echo: Any, payload: bytes, code: int | None) -> None:
    echo.send(echo.frame(CLOSE, payload))
    echo.expect_close(code)


def test_7_5_1_a_reason_that_is_not_utf8_is_refused(echo: Any) -> None:
    echo.send(echo.frame(CLOSE, close(1000, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited")))
    echo.expect_close(1007)


GOOD = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
BAD = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999]


@pytest.mark.parametrize("code", GOOD, ids=[f"7.7.{n + 1}-{code}" for n, code in enumerate(GOOD)])
def test_codes_that_may_be_sent_are_answered(echo: Any, code: int) -> None:
    echo.send(echo.frame(CLOSE, close(code)))
    echo.expect_close(code)


@pytest.mark.parametrize(
    "code",
    [*BAD, 5000, 65535],
    ids=[*(f"7.9.{n + 1}-{code}" for n, code in enumerate(BAD)), "7.13.1", "7.13.2"],
)
def test_codes_that_may_not_be_sent_are_refused(echo: Any, code: int) -> None:
    echo.send(echo.frame(CLOSE, close(code)))
    echo.expect_close(1002)
