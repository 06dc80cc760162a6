from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from durable_objects.realtime.core.codes import RealtimeError
from durable_objects.realtime.core.settings import JwtSettings
from durable_objects.realtime.tasks import Tasks
from durable_objects.realtime.token_keys import TokenKeys

KEYS = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("k1", "k2")}
ADDRESS = "https://id.example/jwks.json"


class Clock:
    def __init__(self) -> None:
        self.at_ms = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.at_ms


def key_set(*names: str) -> bytes:
    to_jwk = jwt.algorithms.ECAlgorithm.to_jwk
    return json.dumps(
        {"keys": [{**json.loads(to_jwk(KEYS[name].public_key())), "kid": name} for name in names]}
    ).encode()


def token(name: str) -> str:
    return jwt.encode({"sub": name, "exp": 2_000_000_000}, KEYS[name], "ES256", headers={"kid": name})


class Site:
    """An address that gives a key set, and counts how often it is asked."""

    def __init__(self, *names: str) -> None:
        self.text: bytes | Exception = key_set(*names)
        self.asked = 0

    async def __call__(self, address: str) -> bytes:
        assert address == ADDRESS
        self.asked += 1
        await asyncio.sleep(0)
        if isinstance(self.text, Exception):
            raise self.text
        return self.text


def keys_of(site: Site | None, clock: Clock, **settings: Any) -> TokenKeys:
    given = {"jwks_url": ADDRESS} | settings
    return TokenKeys(JwtSettings(**given), clock, Tasks(), site)


async def user(keys: TokenKeys, name: str) -> str | None:
    return (await keys.verify(token(name))).user_id


async def test_a_set_is_read_once_for_all_who_wait_and_then_kept():
    clock, site = Clock(), Site("k1")
    keys = keys_of(site, clock)
    async with asyncio.TaskGroup() as group:
        users = [group.create_task(user(keys, "k1")) for _ in range(20)]
    assert {task.result() for task in users} == {"k1"}
    clock.at_ms += 299_000
    await user(keys, "k1")
    assert site.asked == 1
    clock.at_ms += 2_000
    await user(keys, "k1")
    assert site.asked == 2


async def test_a_new_key_is_found_at_once_and_made_up_ones_cause_no_traffic():
    clock, site = Clock(), Site("k1")
    keys = keys_of(site, clock)
    await user(keys, "k1")
    for _ in range(10):
        with pytest.raises(RealtimeError):
            await user(keys, "k2")
    assert site.asked == 1
    site.text = key_set("k2")
    clock.at_ms += 5_000
    assert await user(keys, "k2") == "k2"
    assert site.asked == 2
    clock.at_ms += 5_000
    with pytest.raises(RealtimeError):
        await user(keys, "k1")  # it was taken out of the set


async def test_while_a_set_cannot_be_read_the_old_one_is_used(caplog: pytest.LogCaptureFixture):
    clock, site = Clock(), Site("k1")
    keys = keys_of(site, clock)
    await user(keys, "k1")
    for text in (OSError("no route"), b"not json", b'{"keys": []}', b"x" * 2_000_000):
        site.text = text
        clock.at_ms += 400_000
        with caplog.at_level(logging.WARNING):
            assert await user(keys, "k1") == "k1"
    assert caplog.text.count("could not be read") == 4
    clock.at_ms += 100_000_000
    with pytest.raises(RealtimeError):
        await user(keys, "k1")


async def test_without_a_set_tokens_are_refused_and_it_is_asked_for_again():
    clock, site = Clock(), Site("k1")
    site.text = OSError("down")
    keys = keys_of(site, clock)
    for _ in range(3):
        with pytest.raises(RealtimeError):
            await user(keys, "k1")
    assert site.asked == 1
    site.text = key_set("k1")
    clock.at_ms += 5_000
    assert await user(keys, "k1") == "k1"


async def test_a_set_may_be_a_file(tmp_path: Path):
    file, clock = tmp_path / "jwks.json", Clock()
    file.write_bytes(key_set("k1"))
    keys = keys_of(None, clock, jwks_url="", jwks_file=str(file))
    assert await user(keys, "k1") == "k1"
    file.write_bytes(key_set("k1", "k2"))
    clock.at_ms += 5_000
    assert await user(keys, "k2") == "k2"


async def test_keys_in_the_settings_need_no_set():
    clock, secret = Clock(), "s" * 32
    keys = keys_of(None, clock, jwks_url="", secrets=(secret,))
    assert (await keys.verify(jwt.encode({"sub": "a", "exp": 2_000_000_000}, secret))).user_id == "a"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"jwks_url": ""}, "names no keys"),
        ({"jwks_url": "http://id.example/jwks"}, "https"),
        ({"jwks_url": "ftp://localhost/jwks"}, "https"),
        ({"jwks_url": "", "secrets": ("short",)}, "at least 32"),
    ],
)
async def test_settings_that_cannot_be_meant_are_told(settings: dict[str, Any], why: str):
    with pytest.raises(ValueError, match=why):
        keys_of(None, Clock(), **settings)
