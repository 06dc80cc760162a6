from __future__ import annotations

import asyncio
import contextlib
import socket

import aiohttp
import pytest
import websockets

from workers.runtime.testing import serve

ROOM = """
from workers import DurableObject, Response, WorkerEntrypoint
from workers.compat.websocket import WebSocketPair

class Room(DurableObject):
    async def fetch(self, request):
        if request.headers.get("Upgrade") != "websocket":
            return Response(f"{len(self.ctx.getWebSockets())} {await self.ctx.storage.get('closed') or ''}")
        client, server = WebSocketPair()
        self.ctx.acceptWebSocket(server)
        server.send("welcome")
        protocol = request.headers.get("Sec-WebSocket-Protocol")
        headers = {"Sec-WebSocket-Protocol": protocol.split(",")[0]} if protocol else None
        return Response(None, status=101, web_socket=client, headers=headers)

    async def webSocketMessage(self, ws, message):
        if message == "close":
            ws.close(4002, "asked")
        elif isinstance(message, str):
            for each in self.ctx.getWebSockets():
                each.send(message)
        else:
            ws.send(bytes(message) * 2)

    async def webSocketClose(self, ws, code, reason, was_clean):
        await self.ctx.storage.put("closed", f"{code}:{reason}:{was_clean}")
        if was_clean:
            ws.close(code, reason)

    async def count(self):
        n = (await self.ctx.storage.get("n") or 0) + 1
        await self.ctx.storage.put("n", n)
        return n

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        stub = self.env.ROOM.get(self.env.ROOM.idFromName("one"))
        if request.url.endswith("/count"):
            return Response(str(await stub.count()))
        return await stub.fetch(request)
"""
CONFIG = """
[[durable_objects.bindings]]
name = "ROOM"
class_name = "Room"
[[migrations]]
tag = "v1"
new_sqlite_classes = ["Room"]
"""


async def until_closed(ws) -> None:
    with contextlib.suppress(websockets.ConnectionClosed):
        while True:
            await ws.recv()


async def test_an_object_owns_its_sockets_and_broadcasts_to_them(run, client) -> None:
    async with run(ROOM, CONFIG) as url, client.ws_connect(url) as one, client.ws_connect(url) as two:
        assert await one.receive_str() == await two.receive_str() == "welcome"
        for text in ("a", "ü" * 100, "x" * 70_000):
            await one.send_str(text)
            assert await one.receive_str() == await two.receive_str() == text
        await two.send_bytes(b"\x00\x01")
        assert await two.receive_bytes() == b"\x00\x01\x00\x01"
        await one.ping()
        async with client.get(url) as answer:
            assert (await answer.text()).split()[0] == "2"


async def test_state_is_found_again_after_a_restart_under_the_documented_file(write, tmp_path, client) -> None:
    config = write(ROOM, CONFIG)
    for expected in ("1", "2"):
        async with serve(config, tmp_path / "state") as url, client.get(f"{url}/count") as answer:
            assert await answer.text() == expected
    files = list((tmp_path / "state" / "v3" / "do" / "demo-Room").glob("*.sqlite"))
    assert sorted(len(file.stem) for file in files if file.stem != "metadata") == [64]


@pytest.mark.parametrize(
    ("offered", "selected"),
    [
        ((), None),
        (("aerostack-v1",), "aerostack-v1"),
        (("aerostack-key.pk_1",), "aerostack-key.pk_1"),
        (("b", "a"), "b"),
    ],
)
async def test_the_subprotocol_is_the_one_the_worker_chose(run, offered, selected) -> None:
    async with run(ROOM, CONFIG) as url:
        protocols = list(offered) or None
        async with websockets.connect(url.replace("http", "ws"), subprotocols=protocols) as ws:
            assert ws.subprotocol == selected
            assert await ws.recv() == "welcome"


async def test_closes_cross_in_both_directions_with_code_and_reason(run, client) -> None:
    async with run(ROOM, CONFIG) as url:
        async with websockets.connect(url.replace("http", "ws")) as ws:
            await ws.send("close")
            await until_closed(ws)
            assert (ws.close_code, ws.close_reason) == (4002, "asked")
        async with websockets.connect(url.replace("http", "ws")) as ws:
            await ws.recv()
            await ws.close(4000, "done")
            assert (ws.close_code, ws.close_reason) == (4000, "done")
        async with client.get(url) as answer:
            assert await answer.text() == "0 4000:done:True"


async def test_a_client_that_vanishes_is_an_unclean_close(run, client) -> None:
    async with run(ROOM, CONFIG) as url:
        ws = await client.ws_connect(url)
        await ws.receive_str()
        connection = ws.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        ws._writer.transport.abort()
        async with asyncio.timeout(5):
            text = ""
            while "1006" not in text:
                async with client.get(url) as answer:
                    text = await answer.text()
        assert text == "0 1006:WebSocket disconnected without sending Close frame.:False"


async def test_a_message_that_is_too_large_closes_with_1009(run) -> None:
    async with run(ROOM, CONFIG) as url, websockets.connect(url.replace("http", "ws"), max_size=None) as ws:
        with contextlib.suppress(websockets.ConnectionClosed):
            await ws.send(b"x" * (32 * 1024 * 1024 + 1))
        await until_closed(ws)
        assert ws.close_code == 1009


async def test_stopping_the_server_closes_every_socket_with_1012(write, tmp_path) -> None:
    server = serve(write(ROOM, CONFIG), tmp_path / "state")
    url = await server.__aenter__()
    async with websockets.connect(url.replace("http", "ws")) as ws:
        await ws.recv()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.__aexit__(None, None, None))
            with pytest.raises(websockets.ConnectionClosed):
                await ws.recv()
        assert ws.close_code == 1012


async def test_an_upgrade_needs_a_handshake_and_pages_of_other_sites_get_none(run, client) -> None:
    async with run(ROOM, CONFIG) as url:
        headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
        async with client.get(url, headers=headers) as answer:
            assert answer.status == 400
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await client.ws_connect(url, origin="https://evil.com")
        assert caught.value.status == 403
        ws = await client.ws_connect(url, origin="http://localhost:5173")
        await ws.close()


async def test_a_worker_may_open_a_socket_to_another_server(run, client) -> None:
    source = ROOM.replace("class Default", "from workers import fetch\n\nclass Default").replace(
        "        stub = ",
        """        if request.url.endswith("/relay"):
            upstream = await fetch(request.url[:-6], headers={"Upgrade": "websocket"})
            ws = upstream.web_socket
            import asyncio
            got = asyncio.Future()
            ws.addEventListener("message", lambda event: got.done() or got.set_result(event.data))
            ws.accept()
            return Response(f"{upstream.status} {await got}")
        stub = """,
    )
    async with run(source, CONFIG) as url, client.get(f"{url}/relay") as answer:
        assert await answer.text() == "101 welcome"


async def test_a_client_may_send_much_behind_its_handshake_without_waiting(run) -> None:
    async with run(ROOM, CONFIG) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        frame = b"\x81\xff" + (1_000_000).to_bytes(8) + bytes(4) + b"x" * 1_000_000
        head = (
            f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        writer.write(head.encode() + frame + frame)
        async with asyncio.timeout(10):
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(9) == b"\x81\x07welcome"
            for _ in range(2):
                assert await reader.readexactly(10) == b"\x81\x7f" + (1_000_000).to_bytes(8)
                assert set(await reader.readexactly(1_000_000)) == {ord("x")}
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_reads_nothing_is_dropped_and_others_go_on(run, client) -> None:
    async with run(ROOM, CONFIG) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(
            f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in await reader.readuntil(b"\r\n\r\n")
        async with client.ws_connect(url, max_msg_size=0) as ws:
            await ws.receive_str()
            big = "x" * 1_000_000
            for _ in range(40):  # 40 MB: far beyond kernel buffers and the backlog together
                await ws.send_str(big)
                assert await ws.receive_str() == big
            async with asyncio.timeout(10):
                text = ""
                while not text.startswith("1 1006"):  # one socket left: the slow one was dropped
                    async with client.get(url) as answer:
                        text = await answer.text()
        writer.close()


async def test_what_an_object_puts_into_kv_comes_after_its_own_writes(run, client) -> None:
    source = """
    from workers import DurableObject, Response, WorkerEntrypoint

    class Keeper(DurableObject):
        async def keep(self):
            await self.ctx.storage.put("k", 1)
            held = self.ctx.storage.get("k")
            await self.env.KV.put("told", "yes")
            return await held

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            kept = await self.env.KEEPER.getByName("a").keep()
            return Response(f"{kept} {await self.env.KV.get('told')}")
    """
    config = """
    durable_objects.bindings = [{ name = "KEEPER", class_name = "Keeper" }]
    migrations = [{ tag = "v1", new_sqlite_classes = ["Keeper"] }]
    kv_namespaces = [{ binding = "KV", id = "one" }]
    """
    async with run(source, config) as url, client.get(url) as response:
        assert await response.text() == "1 yes"
