"""Case 6: text is UTF-8, also when it comes in pieces, and what cannot become UTF-8 is refused at once."""

from __future__ import annotations

from typing import Any

import pytest

TEXT = 1
KOSME = "κόσμε".encode()
HELLO = "Hello-µ@ßöäüàá-UTF-8!!".encode()


def is_whole(text: bytes) -> bool:
    return text.decode("utf-8", "ignore").encode() == text


def codes(*points: int) -> list[bytes]:
    return [chr(point).encode() for point in points]


SURROGATES = (b"\xa0\x80", b"\xad\xbf", b"\xae\x80", b"\xaf\xbf", b"\xb0\x80", b"\xbe\x80", b"\xbf\xbf")
VALID: dict[str, list[bytes]] = {
    "6.5": [KOSME, HELLO, "ふりがな".encode(), "\U0001f600".encode(), b"plain"],
    "6.6": [KOSME[:size] for size in range(len(KOSME) + 1) if is_whole(KOSME[:size])],
    "6.7": codes(0x00, 0x80, 0x800, 0x10000),
    "6.9": codes(0x7F, 0x7FF, 0xFFFF, 0x10FFFF),
    "6.11": codes(0xD7FF, 0xE000, 0xFFFD, 0x10FFFF),
    "6.22": codes(*(plane << 16 | last for plane in range(17) for last in (0xFFFE, 0xFFFF))),
    "6.23": codes(0xFFF9, 0xFFFA, 0xFFFB, 0xFFFC, 0xFFFD, 0xFFFE, 0xFFFF),
}  # fmt: skip
INVALID: dict[str, list[bytes]] = {
    "6.3": [KOSME + b"\xed\xa0\x80" + b"edited"],
    "6.6": [KOSME[:size] for size in range(1, len(KOSME)) if not is_whole(KOSME[:size])],
    "6.8": [b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"],
    "6.10": [b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"],
    "6.11": [b"\xf4\x90\x80\x80"],
    "6.12": [b"\x80", b"\xbf", *(bytes(range(0x80, 0x80 + size)) for size in (2, 3, 4, 5, 6, 63))],
    "6.13": [
        b" ".join(bytes((first,)) for first in range(low, high)) + b" "
        for low, high in ((0xC0, 0xE0), (0xE0, 0xF0), (0xF0, 0xF8), (0xF8, 0xFC), (0xFC, 0xFE))
    ],
    "6.14": [
        b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xf8\x80\x80\x80", b"\xfc\x80\x80\x80\x80",
        b"\xdf", b"\xef\xbf", b"\xf7\xbf\xbf", b"\xfb\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf",
    ],
    "6.15": [b"\xc0\xe0\x80\xf0\x80\x80\xf8\x80\x80\x80\xfc\x80\x80\x80\x80\xdf\xef\xbf\xf7\xbf\xbf"],
    "6.16": [b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"],
    "6.17": [b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf", b"\xfc\x80\x80\x80\x80\xaf"],
    "6.18": [b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xf8\x87\xbf\xbf\xbf", b"\xfc\x83\xbf\xbf\xbf\xbf"],
    "6.19": [b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xf8\x80\x80\x80\x80", b"\xfc\x80\x80\x80\x80\x80"],
    "6.20": [b"\xed" + rest for rest in SURROGATES],
    "6.21": [
        bytes((0xED, *first, 0xED, *second))
        for first in ((0xA0, 0x80), (0xAD, 0xBF), (0xAE, 0x80), (0xAF, 0xBF))
        for second in ((0xB0, 0x80), (0xBF, 0xBF))
    ],
}  # fmt: skip


def numbered(cases: dict[str, list[bytes]]) -> list[Any]:
    return [
        pytest.param(payload, id=f"{group}.{n + 1}")
        for group, found in cases.items()
        for n, payload in enumerate(found)
    ]


@pytest.mark.parametrize(
    "parts",
    [[b""], [b"", b"", b""], [b"", b"middle frame payload", b""]],
    ids=["6.1.1", "6.1.2", "6.1.3"],
)
def test_empty_fragments(echo: Any, parts: list[bytes]) -> None:
    for n, part in enumerate(parts):
        echo.send(echo.frame(0 if n else TEXT, part, final=n == len(parts) - 1))
    echo.expect((TEXT, b"".join(parts)))


@pytest.mark.parametrize("size", [len(HELLO), 11, 1], ids=["6.2.1", "6.2.2", "6.2.3"])
def test_valid_text_in_fragments(echo: Any, size: int) -> None:
    parts = [HELLO[at : at + size] for at in range(0, len(HELLO), size)]
    echo.send(*(echo.frame(0 if n else TEXT, part, final=n == len(parts) - 1) for n, part in enumerate(parts)))
    echo.expect((TEXT, HELLO))


def test_6_2_4_greek_octet_by_octet_in_fragments(echo: Any) -> None:
    wire = [echo.frame(0 if n else TEXT, KOSME[n : n + 1], final=n == len(KOSME) - 1) for n in range(len(KOSME))]
    echo.send(*wire)
    echo.expect((TEXT, KOSME))


@pytest.mark.parametrize("payload", numbered(VALID))
def test_valid_text_comes_back(echo: Any, payload: bytes) -> None:
    echo.send(echo.frame(TEXT, payload))
    echo.expect((TEXT, payload))


@pytest.mark.parametrize("payload", numbered(INVALID))
def test_invalid_text_is_refused_whole_and_octet_by_octet(connect: Any, payload: bytes) -> None:
    whole, cut = connect(), connect()
    whole.send(whole.frame(TEXT, payload))
    whole.expect_close(1007)
    for n in range(len(payload)):
        cut.send(cut.frame(0 if n else TEXT, payload[n : n + 1], final=n == len(payload) - 1))
    cut.expect_close(1007)


@pytest.mark.parametrize("bad", [b"\xf4\x90", b"\xf4"], ids=["6.4.1", "6.4.2"])
def test_text_that_went_wrong_is_refused_before_its_message_ends(echo: Any, bad: bytes) -> None:
    echo.send(echo.frame(TEXT, KOSME, final=False), echo.frame(0, bad, final=False))
    if len(bad) == 1:  # still possible: it goes wrong with the next octet
        echo.send(echo.frame(0, b"\x90", final=False))
    echo.expect_close(1007)


@pytest.mark.parametrize("sent", [len(KOSME) + 2, len(KOSME) + 3], ids=["6.4.3", "6.4.4"])
def test_text_that_went_wrong_is_refused_before_its_frame_ends(echo: Any, sent: int) -> None:
    whole = echo.frame(TEXT, KOSME + b"\xf4\x90\x80\x80edited")
    echo.send(whole[: 6 + sent], chop=1)  # the rest is never sent
    echo.expect_close(1007)
