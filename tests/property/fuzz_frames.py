"""`make fuzz-frames N=1000000`: N inputs to every decoder of what clients send; only documented errors may come out.

Inputs are made by hypothesis (sound frames, frames with wrong headers, noise, cut anywhere; compressed messages,
extension offers, Close bodies, the JSON of the realtime protocol), and others from those by mutation. A decoder may
refuse an input with its own error (`ProtocolError` with a code that may be sent, `RealtimeError`) and nothing else, and
gives the same answer however the bytes are cut.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from durable_objects.realtime.core.codes import RealtimeError
from durable_objects.realtime.core.delivery import key_of, merge_tokens
from durable_objects.realtime.core.protocol import decode
from workers.runtime.edge.deflate import negotiate
from workers.runtime.edge.errors import ProtocolError
from workers.runtime.edge.frames import FrameReader, parse_close

LIMIT = 70_000
CODES = {1002, 1007, 1009}
Figures = Counter[str]


def masked(first: int, size_code: int, payload: bytes, is_masked: bool) -> bytes:
    size = len(payload)
    shortest = size if size < 126 else 126 if size < 65536 else 127
    code = max(shortest, size_code) if size_code >= 126 else shortest
    length = b"" if code < 126 else size.to_bytes(2 if code == 126 else 8, "big")
    key = b"\x11\x22\x33\x44"
    mixed = bytes(byte ^ key[n & 3] for n, byte in enumerate(payload)) if is_masked else payload
    return bytes((first, (0x80 if is_masked else 0) | code)) + length + (key if is_masked else b"") + mixed


def packed(payload: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


texts = st.text(max_size=12).map(str.encode)
payloads = st.one_of(
    st.binary(max_size=20),
    texts,
    texts.map(packed),
    st.binary(max_size=6).map(lambda data: packed(data * 3000)),
    st.sampled_from([b"", b"\x03\xe8", b"\x03\xed", b"\x03\xe8\xff", b"x" * 126, b"\xf4\x90", packed(bytes(90_000))]),
)
good_firsts = st.sampled_from([0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A, 0xC1, 0x41, 0xC2, 0x88])
firsts = st.one_of(good_firsts, good_firsts, good_firsts, st.integers(0, 255))
frames = st.builds(masked, firsts, st.sampled_from([0, 126, 127]), payloads, st.integers(0, 29).map(bool))
wires = st.lists(frames, max_size=5).map(b"".join) | st.binary(max_size=24)
cuts = st.integers(1, 40)
words = st.sampled_from(
    ["x", "é", "=", '"', "", "client_max_window_bits", "client_max_window_bits=15", "server_max_window_bits=10"]
) | st.sampled_from(
    [
        "server_no_context_takeover",
        "client_no_context_takeover",
        'server_max_window_bits="9"',
        "server_max_window_bits=8",
    ]
)
offers = st.lists(
    st.lists(words, max_size=4).map(lambda found: "; ".join(["permessage-deflate", *found])), max_size=3
).map(", ".join) | st.text(max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(
    [
        "type",
        "topic",
        "event",
        "data",
        "state",
        "id",
        "persist",
        "filter",
        "since",
        "snapshot",
        "token",
        "roomId",
        "text",
    ]
)
kinds = st.sampled_from(
    ["subscribe", "unsubscribe", "publish", "track", "untrack", "auth", "chat", "ping", "presence", "cancel", "hello"]
)
json_frames = st.builds(
    lambda kind, fields: json.dumps({"type": kind, "topic": "a/b", "event": "e", **fields}),
    kinds,
    st.dictionaries(names, values, max_size=4),
)
jsons = st.one_of(
    json_frames, st.text(max_size=30), st.builds(lambda text, n: text[:n], json_frames, st.integers(0, 60))
)


def outcome(reader: FrameReader, wire: bytes, step: int) -> tuple[list[Any], int]:
    """What comes out, and the code it ends with; pieces of `step` bytes."""
    found: list[Any] = []
    try:
        for at in range(0, len(wire), step):
            found.extend(reader.feed(wire[at : at + step]))  # keeps what comes before an error
    except ProtocolError as error:
        return found, documented(error)
    return found, 0


def documented(error: ProtocolError) -> int:
    assert error.code in CODES, error.code
    assert len(error.reason.encode()) <= 123
    return error.code


def frames_case(wire: bytes, step: int, deflates: bool) -> str:
    whole = outcome(FrameReader(LIMIT, deflates=deflates), wire, max(1, len(wire)))
    cut = outcome(FrameReader(LIMIT, deflates=deflates), wire, step)
    assert cut == whole, (whole, cut)
    return f"frames: {whole[1] or ('message' if whole[0] else 'incomplete')}"


def close_case(payload: bytes) -> str:
    try:
        code, reason = parse_close(payload)
    except ProtocolError as error:
        return f"close: {documented(error)}"
    assert 1000 <= code < 5000
    assert isinstance(reason, str)
    return "close: good"


def offer_case(offer: str) -> str:
    bits, answer = negotiate(offer)
    assert (bits == 0) is (answer == "")
    assert bits == 0 or 9 <= bits <= 15
    return f"offer: {'taken' if bits else 'declined'}"


def json_case(text: str) -> str:
    key_of(text)
    assert len(merge_tokens([text, text])) <= 2
    try:
        frame = decode(text, max_bytes=4096)
    except RealtimeError as error:
        return f"json: {error.code.name}"
    return f"json: {frame.type}"


def mutated(data: Any, random: Random) -> Any:
    """Change a few places: leave out, double, replace, cut off, put elsewhere."""
    for _ in range(random.randint(1, 3)):
        at, to = sorted((random.randint(0, len(data)), random.randint(0, len(data))))
        one = bytes((random.randrange(256),)) if isinstance(data, bytes) else chr(random.randrange(1, 0x250))
        match random.randrange(6):
            case 0:
                data = data[:at] + data[to:]
            case 1:
                data = data[:to] + data[at:]
            case 2:
                data = data[:at] + one + data[at + 1 :]
            case 3:
                data = data[:at] + one + data[at:]
            case 4:
                data = data[:to]
            case _:
                data = data[at:to] + data[:at] + data[to:]
        data = data[:4000]
    return data


CASES: dict[str, tuple[Callable[..., str], tuple[st.SearchStrategy[Any], ...], float]] = {
    "frames": (frames_case, (wires, cuts, st.booleans()), 0.6),
    "close": (close_case, (st.binary(max_size=8) | payloads,), 0.05),
    "offer": (offer_case, (offers,), 0.1),
    "json": (json_case, (jsons,), 0.25),
}
MUTANTS = 9
"""Inputs derived from each one that hypothesis makes."""


def fuzz(name: str, count: int, figures: Figures, *, shrink: bool = False) -> None:
    """Give `count` inputs to one decoder; a wrong answer raises."""
    case, strategies, _ = CASES[name]

    @settings(
        max_examples=max(1, count // (1 + MUTANTS)),
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.tuples(*strategies), st.integers(0, 2**32))
    def run(arguments: tuple[Any, ...], seed: int) -> None:
        figures[case(*arguments)] += 1
        random, (data, *rest) = Random(seed), arguments
        for _ in range(MUTANTS):
            figures[case(mutated(data, random), *rest)] += 1

    run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=1_000_000, help="inputs in all (default: %(default)s)")
    total = parser.parse_args().n
    figures: Figures = Counter()
    began = time.perf_counter()
    for name, (_, _, share) in CASES.items():
        target, before = int(total * share), sum(figures.values())
        while (done := sum(figures.values()) - before) < target:
            # One run of hypothesis keeps what it has seen in memory: many smaller ones keep none for long.
            fuzz(name, min(20_000, target - done), figures, shrink=True)
        print(f"{name}: {target} inputs, {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    for what, count in sorted(figures.items()):
        print(f"  {count:>9}  {what}")
    print(f"{sum(figures.values())} inputs in {time.perf_counter() - began:.0f} s, only documented errors")


if __name__ == "__main__":
    main()
