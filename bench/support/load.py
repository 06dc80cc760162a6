"""A load client: keep-alive connections that send one request after the other and count the answers."""

from __future__ import annotations

import asyncio
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

__all__ = ["Load", "measure"]

_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.I)


@dataclass(frozen=True)
class Load:
    """What one run has seen."""

    per_s: float
    p50_ms: float
    p99_ms: float


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as an answer is complete."""

    def __init__(self, next_request: Callable[[], bytes], took: list[float], loop: asyncio.AbstractEventLoop) -> None:
        self._next_request = next_request
        self._took = took
        self._loop = loop
        self._buffer = b""
        self._sent_s = 0.0
        self.closed: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._send()

    def _send(self) -> None:
        self._sent_s = self._loop.time()
        self.transport.write(self._next_request())

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        head = buffer.find(b"\r\n\r\n")
        if head < 0 or not self._is_complete(buffer, head):
            self._buffer = buffer
            return
        self._buffer = b""
        if not buffer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"the server answered {buffer[:300]!r}")
        self._took.append(self._loop.time() - self._sent_s)
        self._send()

    def _is_complete(self, buffer: bytes, head: int) -> bool:
        length = _LENGTH.search(buffer, 0, head)
        if length is not None:
            return len(buffer) >= head + 4 + int(length[1])
        return buffer.endswith(b"\r\n0\r\n\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)


async def measure(url: str, paths: list[str], *, seconds: float, connections: int = 64) -> Load:
    """Ask for `paths` in turn over keep-alive connections for some seconds, after a quarter of that to warm up."""
    target = urlsplit(url)
    requests = [f"GET {path} HTTP/1.1\r\nHost: {target.netloc}\r\n\r\n".encode() for path in paths]
    number = 0

    def next_request() -> bytes:
        nonlocal number
        number += 1
        return requests[number % len(requests)]

    loop = asyncio.get_running_loop()
    took: list[float] = []
    made: list[_Connection] = []
    for _ in range(connections):
        _, protocol = await loop.create_connection(
            lambda: _Connection(next_request, took, loop), target.hostname, target.port
        )
        made.append(protocol)
    await asyncio.sleep(seconds / 4)
    took.clear()
    began = loop.time()
    await asyncio.sleep(seconds)
    elapsed = loop.time() - began
    seen = sorted(took)
    for connection in made:
        connection.transport.abort()
    for connection in made:
        await connection.closed
    if len(seen) < 2:
        raise SystemExit(f"{url} answered {len(seen)} requests in {seconds} s")
    cuts = statistics.quantiles(seen, n=100)
    return Load(len(seen) / elapsed, cuts[49] * 1000, cuts[98] * 1000)
