"""Servers with the same protocol as ours, as small as they can be: limits and peers.

`raw` and `tick` are hand-written asyncio protocols, the limit of what Python can do on this machine: one frame made
once, `transport.write` to every subscriber; `tick` joins all frames of a loop turn first. `aiohttp` is what a user of
aiohttp would write. Run as a script, it prints `LISTENING <port> <pid>`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import collections
import hashlib
import json
import os
import resource
import struct

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
topics: dict[str, dict[object, asyncio.Transport]] = collections.defaultdict(dict)
pending: dict[str, list[bytes]] = collections.defaultdict(list)
dumps = json.JSONEncoder(separators=(",", ":")).encode


def frame(payload: bytes) -> bytes:
    size = len(payload)
    return (bytes((0x81, size)) if size < 126 else struct.pack("!BBH", 0x81, 126, size)) + payload


def event(message: dict[str, object]) -> bytes:
    return dumps({"type": "event", **{name: message[name] for name in ("topic", "event", "data")}}).encode()


class Raw(asyncio.Protocol):
    """The handshake and whole small frames, nothing else."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.buffer = b""
        self.is_open = False

    def connection_lost(self, exc: BaseException | None) -> None:
        for members in topics.values():
            members.pop(self, None)

    def data_received(self, data: bytes) -> None:
        data = self.buffer + data
        if not self.is_open:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self.buffer = data
                return
            key = data.lower().index(b"sec-websocket-key:") + 18
            digest = hashlib.sha1(data[key : data.index(b"\r\n", key)].strip() + GUID, usedforsecurity=False).digest()
            self.transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
            )
            self.is_open, data = True, data[end + 4 :]
        while len(data) >= 6:
            size, start = data[1] & 127, 2
            if size == 126:
                size, start = struct.unpack_from("!H", data, 2)[0], 4
            if len(data) < start + 4 + size:
                break
            mask, payload = data[start : start + 4], data[start + 4 : start + 4 + size]
            key_bytes = (mask * (size // 4 + 1))[:size]
            plain = int.from_bytes(payload, "little") ^ int.from_bytes(key_bytes, "little")
            if data[0] & 15 == 1:
                self.message(json.loads(plain.to_bytes(size, "little")))
            elif data[0] & 15 == 8:
                self.transport.close()
            data = data[start + 4 + size :]
        self.buffer = data

    def message(self, message: dict[str, str]) -> None:
        if message["type"] == "subscribe":
            topics[message["topic"]][self] = self.transport
            self.transport.write(frame(dumps({"type": "subscribed", "topic": message["topic"]}).encode()))
        else:
            self.fan_out(message["topic"], frame(event(message)))

    def fan_out(self, topic: str, data: bytes) -> None:
        for transport in topics[topic].values():
            transport.write(data)


class Tick(Raw):
    def fan_out(self, topic: str, data: bytes) -> None:
        if topic not in pending:
            asyncio.get_running_loop().call_soon(self.flush, topic)
        pending[topic].append(data)

    def flush(self, topic: str) -> None:
        data = b"".join(pending.pop(topic))
        for transport in topics[topic].values():
            transport.write(data)


async def serve_protocol(protocol: type[Raw]) -> int:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, backlog=4096)
    return server.sockets[0].getsockname()[1]


async def serve_aiohttp() -> int:
    from aiohttp import WSMsgType, web

    members: dict[str, dict[web.WebSocketResponse, None]] = collections.defaultdict(dict)

    async def handler(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        try:
            async for message in ws:
                if message.type is not WSMsgType.TEXT:
                    continue
                told = json.loads(message.data)
                if told["type"] == "subscribe":
                    members[told["topic"]][ws] = None
                    await ws.send_str(dumps({"type": "subscribed", "topic": told["topic"]}))
                else:
                    text = event(told).decode()
                    for member in list(members[told["topic"]]):
                        await member.send_str(text)
        finally:
            for group in members.values():
                group.pop(ws, None)
        return ws

    app = web.Application()
    app.router.add_get("/ws", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
    await site.start()
    return runner.addresses[0][1]


async def main(kind: str) -> None:
    port = await (serve_aiohttp() if kind == "aiohttp" else serve_protocol({"raw": Raw, "tick": Tick}[kind]))
    print("LISTENING", port, os.getpid(), flush=True)
    await asyncio.sleep(1800)  # stops by itself


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["raw", "tick", "aiohttp"])
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(main(options.kind))
