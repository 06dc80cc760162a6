"""A raw WebSocket client that can break every rule, and the servers it is used against.

The cases of this folder are numbered after those of the well-known WebSocket test-suite, so that a case of one can be
looked up in the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workers.runtime.testing import serve

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
ECHO = """
from workers import Response, WorkerEntrypoint
from workers.compat.websocket import WebSocketPair

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        client, server = WebSocketPair()
        server.accept()
        server.binaryType = "arraybuffer"
        server.addEventListener("message", lambda event: server.send(event.data))
        return Response(None, status=101, web_socket=client)
"""
CONFIG = """
name = "conformance"
main = "entry.py"
compatibility_date = "2026-07-01"

[flarelet.realtime]
project = "p1"
"""
TIMEOUT_S = 10.0
Frame = tuple[int, bytes]


def frame(
    opcode: int, payload: bytes = b"", *, final: bool = True, rsv: int = 0, mask: bytes = b"\x37\xfa\x21\x3d"
) -> bytes:
    """A frame as a client sends it; nothing is checked."""
    first, size = (0x80 if final else 0) | rsv << 4 | opcode, len(payload)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65536:
        head = struct.pack("!BBH", first, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, size)
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "little")
    return head + mask + (int.from_bytes(payload, "little") ^ key).to_bytes(size, "little")


class Wire:
    """One connection after its handshake. Reads block, and fail after a time."""

    frame = staticmethod(frame)

    def __init__(self, address: tuple[str, int], path: str, offer: str | None = None) -> None:
        self._socket = socket.create_connection(address, timeout=TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        offered = f"Sec-WebSocket-Extensions: {offer}\r\n" if offer else ""
        self._socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{address[1]}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{offered}\r\n".encode()
        )
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        lines = [line.partition(": ") for line in head.decode().split("\r\n")[1:]]
        self.headers = {name.lower(): value for name, _, value in lines}
        assert self.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

    def send(self, *parts: bytes, chop: int = 0) -> None:
        """Send bytes: each part by itself, or `chop` bytes at a time."""
        for part in parts:
            for at in range(0, len(part), chop or len(part) or 1):
                self._socket.sendall(part[at : at + (chop or len(part))])

    def read(self) -> tuple[int, int, bytes] | None:
        """The next frame as (first byte, opcode, payload), None when the server hung up."""
        while True:
            found = self._cut()
            if found is not None:
                return found
            if not self._fill():
                assert not self._buffer, "the server hung up within a frame"
                return None

    def expect(self, *frames: Frame) -> None:
        """Read exactly these frames, whole and without reserved bits."""
        for opcode, payload in frames:
            found = self.read()
            assert found is not None, f"the server hung up, expected opcode {opcode}"
            assert found[0] == 0x80 | opcode, f"first byte {found[0]:#x} {found[2][:80]!r}"
            assert found[2] == payload

    def expect_close(self, code: int | None) -> None:
        """Read a Close frame with this code (None: without any), answer it, and see the server hang up."""
        found = self.read()
        assert found is not None, "the server hung up without a Close frame"
        assert found[1] == CLOSE, found
        assert (struct.unpack("!H", found[2][:2])[0] if found[2] else None) == code
        found[2][2:].decode()
        with contextlib.suppress(OSError):  # it may have hung up already
            self.send(frame(CLOSE, found[2][:2]))
            self._socket.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            assert self.read() is None

    def close(self) -> None:
        self._socket.close()

    def _fill(self) -> bool:
        data = self._socket.recv(262_144)
        self._buffer += data
        return bool(data)

    def _cut(self) -> tuple[int, int, bytes] | None:
        data = self._buffer
        if len(data) < 2:
            return None
        assert not data[1] & 0x80, "servers do not mask"
        size, start = data[1] & 0x7F, 2
        if size == 126:
            size, start = struct.unpack("!H", data[2:4])[0] if len(data) >= 4 else len(data), 4
        elif size == 127:
            size, start = struct.unpack("!Q", data[2:10])[0] if len(data) >= 10 else len(data), 10
        if len(data) < start + size:
            return None
        self._buffer = data[start + size :]
        return data[0], data[0] & 0x0F, data[start : start + size]


@pytest.fixture(scope="module")  # not longer: while a Worker is served, its modules can be imported everywhere
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """A real server, on a loop in a thread of its own, with an echo Worker and the realtime endpoint."""
    folder: Path = tmp_path_factory.mktemp("conformance")
    (folder / "entry.py").write_text(ECHO)
    (folder / "wrangler.toml").write_text(CONFIG)
    found: list[str] = []
    ready, loops = threading.Event(), list[tuple[asyncio.AbstractEventLoop, asyncio.Event]]()

    async def run() -> None:
        done = asyncio.Event()
        async with serve(folder / "wrangler.toml", folder / "state") as url:
            found.append(url)
            loops.append((asyncio.get_running_loop(), done))
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="conformance-server")
    thread.start()
    assert ready.wait(TIMEOUT_S)
    host, _, port = found[0].removeprefix("http://").partition(":")
    yield host, int(port)
    loop, done = loops[0]
    loop.call_soon_threadsafe(done.set)
    thread.join()


Connect = Callable[..., Wire]


@pytest.fixture
def connect(address: tuple[str, int]) -> Iterator[Connect]:
    """Opens connections; the path `/` is the echo Worker."""
    opened: list[Wire] = []

    def open_wire(path: str = "/", offer: str | None = None) -> Wire:
        opened.append(Wire(address, path, offer))
        return opened[-1]

    yield open_wire
    for wire in opened:
        wire.close()


@pytest.fixture
def echo(connect: Connect) -> Wire:
    """A connection to the echo Worker."""
    return connect()


@pytest.fixture
def realtime(connect: Connect) -> Wire:
    """A connection to the realtime endpoint."""
    return connect("/api/realtime?projectId=p1")
