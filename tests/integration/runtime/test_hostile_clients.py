"""What a client must not be able to do to the server, nor a value to a client, spoken over raw sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from workers.runtime.edge import protocol
from workers.runtime.testing import DevProcess

HELLO = (
    "from workers import *\nclass Default(WorkerEntrypoint):\n    def fetch(self):\n        return Response('hello')\n"
)


@asynccontextmanager
async def connection(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


async def said(url: str, text: str) -> bytes:
    """Send a text and return everything that comes back until the server closes."""
    async with connection(url) as (reader, writer):
        writer.write(text.encode("latin-1"))
        async with asyncio.timeout(20):
            return await reader.read()


async def answered(url: str) -> bool:
    host = url.removeprefix("http://")
    return (await said(url, f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).endswith(b"hello")


async def test_a_head_that_never_ends_is_cut_and_delays_nobody(run, monkeypatch) -> None:
    monkeypatch.setattr(protocol, "_FIRST_REQUEST_S", 0.5)
    async with run(HELLO) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        slow = [await asyncio.open_connection(host, int(port)) for _ in range(100)]
        for _, writer in slow:
            writer.write(f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nX-Slow: ".encode())
        assert await answered(url)
        async with asyncio.timeout(10):
            for reader, writer in slow:
                answer = await reader.read()
                assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
                writer.close()
        assert await answered(url)


async def test_a_second_head_that_never_ends_is_cut_too(run, monkeypatch) -> None:
    monkeypatch.setattr(protocol, "_KEEP_ALIVE_S", 0.5)
    async with run(HELLO) as url, connection(url) as (reader, writer):
        host = url.removeprefix("http://")
        writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\nGET / HTTP/1.1\r\nHo".encode())
        async with asyncio.timeout(10):
            assert (await reader.read()).endswith(b"hello")


@pytest.mark.parametrize(
    "head",
    [
        "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: -4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: {host}\r\nX Y: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: {host}\r\nX: a\x00b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: {host}\r\nX: a\r\n folded: b\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: {host}\r\n\r\n",
        "GET / HTTP/9.9\r\nHost: {host}\r\n\r\n",
    ],
)
async def test_what_two_servers_could_read_differently_is_refused(run, head: str) -> None:
    source = HELLO.replace("def fetch(self)", "async def fetch(self, request)").replace(
        "return", "await request.text()\n        return"
    )
    async with run(source) as url:
        answer = await said(url, head.format(host=url.removeprefix("http://")))
        assert answer.split(b" ")[1] in (b"400", b"500"), answer
        assert b"hello" not in answer
        assert await answered(url)


INJECTION = r"""
from workers import Response, WorkerEntrypoint
from js import Headers, Response as JsResponse, WebSocketPair
EVIL = "a\r\nSet-Cookie: evil=1\r\n\r\n<script>"

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = request.url.rpartition("/")[2]
        if path == "dict":
            return Response("x", headers={"X-A": EVIL})
        if path == "name":
            return Response("x", headers={EVIL: "a"})
        if path == "pairs":
            return Response("x", headers=[("X-A", EVIL)])
        if path == "js":
            headers = Headers.new()
            headers.append("X-A", EVIL)
            return JsResponse.new("x", headers=headers)
        if path == "later":
            answer = JsResponse.new("x")
            answer.headers.set("X-A", EVIL)
            return answer
        if path == "line":
            return Response("x", headers={"X-A": "a\nSet-Cookie: evil=1"})
        if path == "nul":
            return Response("x", headers={"X-A": "a\0b"})
        if path == "redirect":
            return Response.redirect("https://x.test/" + EVIL)
        if path == "status":
            return Response("x", status_text=EVIL)
        if path == "upgrade":
            client, server = WebSocketPair.new().object_values()
            server.accept()
            return Response(None, status=101, web_socket=client, headers={"X-A": EVIL})
"""


@pytest.mark.parametrize(
    "path", ["dict", "name", "pairs", "js", "later", "line", "nul", "redirect", "status", "upgrade"]
)
async def test_no_value_of_a_worker_becomes_a_header_or_a_body_of_its_own(run, path: str) -> None:
    async with run(INJECTION) as url:
        host = url.removeprefix("http://")
        connection = "close"
        if path == "upgrade":
            connection = (
                "Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
            )
        answer = await said(url, f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    names = {line.partition(b":")[0].lower() for line in head.split(b"\r\n")}
    assert b"set-cookie" not in names, answer
    assert not body.startswith(b"<script>")
    if path not in ("redirect", "status"):
        assert head.startswith(b"HTTP/1.1 500 ")
        assert b"nvalid" in body.splitlines()[0]


def peak_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


COUNT = """
import asyncio
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if request.url.endswith("/wait"):
            await asyncio.sleep(1)
            return Response("not read")
        size = 0
        async for chunk in request.body:
            size += len(chunk)
        return Response(str(size))
"""


def upload(url: str, path: str, megabytes: int) -> tuple[int, bytes]:
    """Send a body as fast as the server takes it; return how much of it went and what came back."""
    host, _, port = url.removeprefix("http://").partition(":")
    block, went = bytes(1 << 20), 0
    with socket.create_connection((host, int(port)), timeout=60) as client:
        client.sendall(
            f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {megabytes << 20}\r\n\r\n".encode()
        )
        client.settimeout(0.5 if path == "/wait" else 60)
        try:
            for _ in range(megabytes):
                client.sendall(block)
                went += 1
        except (TimeoutError, ConnectionError):
            pass
        client.settimeout(60)
        return went, client.recv(65536)


async def test_a_body_of_a_gigabyte_passes_and_one_that_nobody_reads_stays_outside(write, tmp_path) -> None:
    async with DevProcess(write(COUNT), tmp_path / "state") as process:
        await asyncio.to_thread(upload, process.url, "/", 1)
        before = peak_kb(process.pid)
        went, answer = await asyncio.to_thread(upload, process.url, "/", 1024)
        assert (went, answer.endswith(b"\r\n\r\n1073741824")) == (1024, True)
        went, answer = await asyncio.to_thread(upload, process.url, "/wait", 1024)
        assert went < 64  # what fits into the buffers of two sockets
        assert answer.endswith(b"not read")
        assert peak_kb(process.pid) - before < 24 * 1024
