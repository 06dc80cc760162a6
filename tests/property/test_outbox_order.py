"""Whoever speaks to a socket, alone or in flocks that overlap, and however slowly it reads, the order is kept."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from durable_objects.realtime.core.delivery import Bounds, Kind, Lane, Policy
from workers.compat.websocket import WebSocketPair, take
from workers.runtime.edge import outbox as module
from workers.runtime.edge.outbox import Outbox
from workers.runtime.edge.websocket import Connection

LANE = Lane("t", Kind.EVENT, Policy.DROP_OLDEST, Bounds(10_000_000, 10_000))
SOCKETS = 3
sockets = st.integers(0, SOCKETS - 1)
scripts = st.lists(
    st.one_of(
        st.tuples(st.just("flock"), st.integers(0, 3)),
        st.tuples(st.just("alone"), sockets),
        st.tuples(st.just("ping"), sockets),
        st.tuples(st.just("pause"), sockets),
        st.tuples(st.just("resume"), sockets),
        st.tuples(st.just("turn"), st.just(0)),
    ),
    max_size=40,
)
flocks = st.lists(st.sets(sockets, min_size=1), min_size=4, max_size=4)


class Loop:
    """Runs what was scheduled when the test says so."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def call_soon(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def turn(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.data += data

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def is_reading(self) -> bool:
        return True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Quiet:
    def message(self, data: str | bytes) -> None: ...
    def closed(self, code: int, reason: str, was_clean: bool) -> None: ...


def messages(data: bytes) -> list[str]:
    found: list[str] = []
    while data:
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        payload = data[start : start + size]
        if data[0] & 0x40:
            payload = zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")
        found.append(payload.decode().rstrip())
        data = data[start + size :]
    return found


@pytest.fixture(autouse=True)
def _flocks_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FLOCK_MIN", 1)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scripts, flocks, st.booleans())
@example([("alone", 0), ("pause", 0), ("alone", 0), ("turn", 0)], [{0}, {1}, {2}, {0, 1}], False)
@example([("flock", 3), ("pause", 0), ("alone", 0), ("turn", 0)], [{0}, {1}, {2}, {0, 1}], True)
@example([("flock", 3), ("flock", 0), ("flock", 3), ("ping", 0)], [{0}, {1}, {2}, {0, 1}], False)
def test_every_socket_gets_what_it_was_sent_in_order(script: list[Any], sets: list[set[int]], big: bool) -> None:
    loop = Loop()
    outbox = Outbox(loop)  # type: ignore[arg-type]
    transports, connections = [Transport() for _ in range(SOCKETS)], list[Connection]()
    for n, transport in enumerate(transports):
        client, server = WebSocketPair()
        take(server, Quiet())
        connections.append(Connection(outbox, client, 15 if n % 2 else 0))
        connections[-1].start(transport, b"")
    groups = [outbox.group([connections[n] for n in sorted(members)]) for members in sets]
    expected: list[list[str]] = [[] for _ in connections]
    for n, (what, which) in enumerate([*script, *(("resume", n) for n in range(SOCKETS)), ("turn", 0)]):
        text = f"message {n}".ljust(600) if big else f"message {n}"
        match what:
            case "flock":
                groups[which].send(text, LANE)
                for member in sets[which]:
                    expected[member].append(text.rstrip())
            case "alone":
                connections[which].message(text)
                expected[which].append(text.rstrip())
            case "ping":
                connections[which].data_received(bytes((0x89, 0x83)) + b"\0\0\0\0" + f"{n:03}".encode())
                expected[which].append(f"{n:03}")
            case "pause":
                connections[which].pause_writing()
            case "resume":
                if not connections[which].is_flowing:
                    connections[which].resume_writing()
            case _:
                loop.turn()
    assert [messages(transport.data) for transport in transports] == expected
