"""Tokens of end users against a real server: keys from an address, rotation, and the end of a token's time."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from workers.runtime.testing import serve

CONFIG = """
name = "tokens"
main = "entry.py"
compatibility_date = "2026-07-01"
compatibility_flags = ["python_workers"]

[flarelet.realtime]
project = "demo"
secret_keys = ["sk_1"]

[flarelet.realtime.jwt]
issuer = "https://id.example"
audience = "app"
leeway_s = 0
cache_s = 1
"""
WORKER = "from workers import WorkerEntrypoint\nclass Default(WorkerEntrypoint):\n    pass\n"
KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
}


def key_set(*algorithms: str) -> dict[str, Any]:
    kinds = {"RS256": jwt.algorithms.RSAAlgorithm, "ES256": jwt.algorithms.ECAlgorithm}
    return {"keys": [{**json.loads(kinds[name].to_jwk(KEYS[name].public_key())), "kid": name} for name in algorithms]}


def token(algorithm: str, *, for_s: float = 60, **claims: Any) -> str:
    known = {"sub": "ann", "iss": "https://id.example", "aud": "app", "exp": time.time_ns() / 1e9 + for_s}
    return jwt.encode({**known, **claims}, KEYS[algorithm], algorithm, headers={"kid": algorithm})


class Clock:
    """The machine's clock, or ahead of it."""

    ahead_ms = 0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms


class Issuer:
    """A site that gives the key set of the moment."""

    def __init__(self) -> None:
        self.keys = key_set("RS256")
        self.asked = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        return web.json_response(self.keys)


@pytest.fixture
async def issuer() -> AsyncIterator[tuple[Issuer, str]]:
    site, app = Issuer(), web.Application()
    app.router.add_get("/jwks.json", site.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    port = web.TCPSite(runner, "127.0.0.1", 0)
    await port.start()
    (address,) = runner.addresses
    yield site, f"http://127.0.0.1:{address[1]}/jwks.json"
    await runner.cleanup()


@asynccontextmanager
async def server(folder: Path, source: str, clock: Clock | None = None) -> AsyncIterator[str]:
    (folder / "entry.py").write_text(WORKER)
    (folder / "wrangler.toml").write_text(CONFIG + source)
    async with serve(folder / "wrangler.toml", folder / "state", clock=clock) as url:
        yield url


async def status(url: str, text: str) -> int:
    async with aiohttp.ClientSession() as session:
        try:
            async with session.ws_connect(f"{url}/api/realtime", protocols=(f"aerostack-token.{text}", "aerostack-v1")):
                return 101
        except aiohttp.WSServerHandshakeError as error:
            return error.status


async def test_keys_come_from_an_address_and_rotate(tmp_path: Path, issuer: tuple[Issuer, str]):
    site, address = issuer
    clock = Clock()
    async with server(tmp_path, f'jwks_url = "{address}"\n', clock) as url:
        assert site.asked == 0
        async with asyncio.TaskGroup() as group:
            tries = [group.create_task(status(url, token("RS256"))) for _ in range(10)]
        assert [each.result() for each in tries] == [101] * 10
        assert site.asked == 1
        assert await status(url, token("RS256", aud="other")) == 401
        assert await status(url, token("RS256", iss="https://evil.example")) == 401
        assert await status(url, token("RS256", for_s=-1)) == 401
        assert await status(url, token("ES256")) == 401
        site.keys = key_set("ES256")
        clock.ahead_ms = 6_000
        assert await status(url, token("ES256")) == 101
        assert await status(url, token("RS256")) == 401


async def test_a_key_set_may_be_a_file_beside_the_configuration(tmp_path: Path):
    (tmp_path / "jwks.json").write_text(json.dumps(key_set("RS256", "ES256")))
    async with server(tmp_path, 'jwks_file = "jwks.json"\nalgorithms = ["ES256"]\n') as url:
        assert await status(url, token("ES256")) == 101
        assert await status(url, token("RS256")) == 401


async def test_a_socket_ends_with_its_token_and_the_next_one_finds_everything(tmp_path: Path):
    (tmp_path / "jwks.json").write_text(json.dumps(key_set("ES256")))
    async with server(tmp_path, 'jwks_file = "jwks.json"\n') as url, aiohttp.ClientSession() as session:

        async def heard(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
            async with asyncio.timeout(10):
                return json.loads(await socket.receive_str())

        async def publish(number: int) -> None:
            call = {"method": "realtime.publish", "args": ["chat/a", "m", number]}
            headers = {"Authorization": "Bearer sk_1"}
            async with session.post(f"{url}/internal/hooks/rpc", json=call, headers=headers) as response:
                assert response.status == 200

        async with session.ws_connect(f"{url}/api/realtime?token={token('ES256', for_s=0.7)}") as socket:
            await socket.send_json({"type": "subscribe", "topic": "chat/a"})
            assert (await heard(socket))["type"] == "subscribed"
            assert (await heard(socket))["name"] == "TOKEN_EXPIRED"
            await socket.receive()
            assert socket.close_code == 4401
        await publish(1)
        async with session.ws_connect(f"{url}/api/realtime?token={token('ES256')}") as socket:
            told = await heard(socket)  # it never subscribed: public clients do not
            assert (told["topic"], told["data"]) == ("chat/a", 1)
            await publish(2)
            assert (await heard(socket))["data"] == 2


async def test_a_configuration_that_cannot_be_meant_is_told_at_the_start(tmp_path: Path):
    for source, why in (
        ("", "names no keys"),
        ('jwks_url = "http://id.example/jwks"\n', "https"),
        ('secrets = ["short"]\n', "at least 32"),
        ('secret_vars = ["NOPE"]\n', "no variable NOPE"),
        ('jwks_fle = "x"\n', "jwks_fle"),
        ('algorithms = ["none"]\njwks_file = "x"\n', "algorithms"),
    ):
        with pytest.raises(Exception, match=why):
            async with server(tmp_path, source):
                pass
