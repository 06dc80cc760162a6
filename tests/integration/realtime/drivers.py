"""One client, four ways: bytes written by hand, `websockets`, `aiohttp`, and `ws` of npm in a Node process."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp
import websockets

HERE = Path(__file__).parent


class Refused(Exception):
    """The server refused the upgrade."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


class Driver(Protocol):
    """A WebSocket client."""

    protocol: str
    """The subprotocol that was selected, empty for none."""

    async def open(self, url: str, protocols: Sequence[str] = ()) -> None:
        """Connect; raises Refused."""
        ...

    async def send(self, text: str) -> None:
        """Send a text."""
        ...

    async def receive(self) -> str | int:
        """Return the next text, or the code of the Close."""
        ...

    async def close(self) -> None:
        """Close properly."""
        ...


class Raw:
    """Writes every byte itself, after RFC 6455."""

    def __init__(self) -> None:
        self.protocol = ""
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None

    async def open(self, url: str, protocols: Sequence[str] = ()) -> None:
        parts = urlsplit(url)
        self._reader, self._writer = await asyncio.open_connection(parts.hostname, parts.port)
        offered = f"Sec-WebSocket-Protocol: {', '.join(protocols)}\r\n" if protocols else ""
        key = base64.b64encode(os.urandom(16)).decode()
        self._writer.write(
            f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{offered}\r\n".encode()
        )
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        status = int(head[0].split(" ")[1])
        if status != 101:
            raise Refused(status)
        fields = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
        named = [line.split(": ", 1)[1] for line in head if line.lower().startswith("sec-websocket-protocol")]
        self.protocol = named[0] if named else ""
        assert "sec-websocket-accept" in fields

    async def send(self, text: str) -> None:
        payload, mask = text.encode(), os.urandom(4)
        assert len(payload) < 65_536
        size = len(payload)
        head = bytes([0x81, 0x80 | size]) if size < 126 else b"\x81\xfe" + struct.pack("!H", size)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        assert self._writer is not None
        self._writer.write(head + mask + masked)

    async def receive(self) -> str | int:
        first, second = await self._reader.readexactly(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", await self._reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self._reader.readexactly(8))
        payload = await self._reader.readexactly(size)
        if first & 0x0F == 8:
            return struct.unpack("!H", payload[:2])[0] if payload else 1005
        return payload.decode()

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.write(b"\x88\x82" + b"\0\0\0\0" + struct.pack("!H", 1000))
            self._writer.close()


class Websockets:
    """The library `websockets`."""

    def __init__(self) -> None:
        self.protocol = ""
        self._socket: Any = None

    async def open(self, url: str, protocols: Sequence[str] = ()) -> None:
        offered: Any = list(protocols) or None
        try:
            self._socket = await websockets.connect(url, subprotocols=offered, compression=None)
        except websockets.InvalidStatus as error:
            raise Refused(error.response.status_code) from error
        self.protocol = self._socket.subprotocol or ""

    async def send(self, text: str) -> None:
        await self._socket.send(text)

    async def receive(self) -> str | int:
        try:
            return await self._socket.recv()
        except websockets.ConnectionClosed as error:
            return error.rcvd.code if error.rcvd is not None else 1006

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()


class Aiohttp:
    """The client of `aiohttp`."""

    def __init__(self) -> None:
        self.protocol = ""
        self._session = aiohttp.ClientSession()
        self._socket: Any = None

    async def open(self, url: str, protocols: Sequence[str] = ()) -> None:
        try:
            self._socket = await self._session.ws_connect(url, protocols=protocols)
        except aiohttp.WSServerHandshakeError as error:
            raise Refused(error.status) from error
        self.protocol = self._socket.protocol or ""

    async def send(self, text: str) -> None:
        await self._socket.send_str(text)

    async def receive(self) -> str | int:
        message = await self._socket.receive()
        return message.data if message.type is aiohttp.WSMsgType.TEXT else (self._socket.close_code or 1006)

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()
        await self._session.close()


class Node:
    """The client `ws` of npm, whose rules about subprotocols are those of browsers."""

    def __init__(self, modules: Path) -> None:
        self.protocol = ""
        self._modules = modules
        self._process: asyncio.subprocess.Process | None = None

    async def open(self, url: str, protocols: Sequence[str] = ()) -> None:
        if self._process is None:
            pipe = asyncio.subprocess.PIPE
            self._process = await asyncio.create_subprocess_exec(
                "node", str(HERE / "ws_client.mjs"), str(self._modules), stdin=pipe, stdout=pipe
            )
        self._order({"open": url, "protocols": list(protocols)})
        told = await self._told()
        if "refused" in told:
            raise Refused(told["refused"])
        if "opened" not in told:
            raise ConnectionError(str(told))
        self.protocol = told["opened"]

    async def send(self, text: str) -> None:
        self._order({"send": text})

    async def receive(self) -> str | int:
        told = await self._told()
        return told["message"] if "message" in told else told["closed"]

    async def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def _order(self, order: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")

    async def _told(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        return json.loads(await self._process.stdout.readline())
