from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import pytest

from workers import Response
from workers.compat.proxies import JsException
from workers.runtime.testing import Miniflare
from workers.runtime.testing.sockets import Closed

SCRIPT = '''
import asyncio
from workers import DurableObject, Response, WorkerEntrypoint, fetch


class Racy(DurableObject):
    """Loses updates: it reads, waits for something that is not storage, and writes."""

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.hidden = 0

    async def add(self, name):
        n = await self.ctx.storage.get("n") or 0
        await asyncio.sleep(0)
        await self.ctx.storage.put("n", n + 1)
        order = await self.ctx.storage.get("order") or []
        await self.ctx.storage.put("order", [*order, name])

    async def note(self, name):
        order = await self.ctx.storage.get("order") or []
        await self.ctx.storage.put("order", [*order, name])

    async def safe(self):
        n = await self.ctx.storage.get("n") or 0
        await self.ctx.storage.put("n", n + 1)

    async def count(self):
        return await self.ctx.storage.get("n")

    async def order(self):
        return await self.ctx.storage.get("order")

    async def remember(self):
        self.hidden += 1
        return self.hidden

    async def fetch(self, request):
        from js import WebSocketPair

        client, server = WebSocketPair.new().object_values()
        self.ctx.acceptWebSocket(server)
        return Response(None, status=101, web_socket=client)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if request.url.endswith("/ws"):
            return await self.env.RACY.getByName("ws").fetch(request)
        return await fetch("https://api.example.com/data")
'''


def options(**more: Any) -> dict[str, Any]:
    return {
        "script": SCRIPT,
        "compatibilityDate": "2025-10-01",
        "durableObjects": {"RACY": {"className": "Racy", "useSQLite": True}},
        "outboundService": lambda request: Response("network"),
        **more,
    }


async def trace(seed: int | None) -> str:
    """Run callers beside each other on two objects and tell, as a digest, in which order things happened."""
    more = {} if seed is None else {"interleave": seed}
    async with Miniflare(options(**more)) as mf:
        env = await mf.get_bindings()
        seen: list[object] = []

        async def caller(name: str) -> None:
            for number in range(3):
                await env.RACY.getByName("ab"[number % 2]).add(f"{name}{number}")
                seen.append(name)

        async with asyncio.TaskGroup() as group:
            for name in "pqrs":
                group.create_task(caller(name))
        seen += [await env.RACY.getByName(name).order() for name in "ab"]
        seen.append(str(env.RACY.newUniqueId()))
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()


async def test_the_same_seed_gives_the_same_trace_a_hundred_times():
    assert len({await trace(7) for _ in range(100)}) == 1


async def test_other_seeds_give_other_traces():
    assert len({await trace(seed) for seed in range(20)}) > 10


@pytest.mark.parametrize(("method", "loses"), [("add", True), ("safe", False)])
async def test_interleaving_finds_an_update_that_is_lost_and_no_other(method: str, loses: bool):
    counts: set[int] = set()
    for seed in range(10):
        async with Miniflare(options(interleave=seed)) as mf:
            stub = (await mf.get_bindings()).RACY.getByName("a")
            async with asyncio.TaskGroup() as group:
                for name in "pqrst":
                    group.create_task(_call(stub, method, name))
            counts.add(await stub.count())
    assert (counts != {5}) is loses


async def _call(stub: Any, method: str, name: str) -> None:
    await (stub.add(name) if method == "add" else stub.safe())


async def test_calls_of_one_caller_begin_in_order():
    names = [str(number) for number in range(10)]
    for seed in range(20):
        async with Miniflare(options(interleave=seed)) as mf:
            stub = (await mf.get_bindings()).RACY.getByName("a")
            for call in [stub.note(name) for name in names]:
                await call
            assert await stub.order() == names


async def test_evicting_after_every_turn_shows_state_that_is_not_stored():
    async with Miniflare(options(clock=True)) as mf:
        stub = (await mf.get_bindings()).RACY.getByName("a")
        assert [await stub.remember(), await stub.remember()] == [1, 2]
    async with Miniflare(options(clock=True, evict="every-turn")) as mf:
        assert mf.clock is not None
        stub = (await mf.get_bindings()).RACY.getByName("a")
        first = await stub.remember()
        await mf.clock.advance(0.01)
        assert (first, await stub.remember()) == (1, 1)


async def test_a_failed_commit_reaches_the_caller_and_nothing_is_stored():
    async with Miniflare(options()) as mf:
        namespace = (await mf.get_bindings()).RACY
        await namespace.getByName("a").safe()
        mf.faults.fail_commit()
        with pytest.raises(JsException, match="internal error; reference = "):
            await namespace.getByName("a").safe()
        assert await namespace.getByName("a").count() == 1
        await namespace.getByName("a").safe()
        assert await namespace.getByName("a").count() == 2


async def test_outgoing_requests_fail_as_planned():
    async with Miniflare(options()) as mf:
        mf.faults.fail_fetch("https://other.example/*")
        assert await (await mf.dispatch_fetch("/")).text() == "network"
        mf.faults.fail_fetch("https://api.example.com/*", after=1, times=1)
        assert await (await mf.dispatch_fetch("/")).text() == "network"
        with pytest.raises(OSError, match=r"Network connection lost\."):
            await mf.dispatch_fetch("/")
        mf.faults.fail_fetch(answer=lambda request: Response("busy", status=503))
        assert (await mf.dispatch_fetch("/")).status == 503
        assert await (await mf.dispatch_fetch("/")).text() == "network"


async def test_sockets_are_cut_without_a_close_frame():
    async with Miniflare(options()) as mf:
        worker = await mf.get_worker()
        sockets = [await worker.websocket("/ws") for _ in range(3)]
        assert mf.faults.cut_sockets() == 3
        for socket in sockets:
            with pytest.raises(Closed) as caught:
                await socket.receive()
            assert caught.value.code == 1006
        assert mf.faults.cut_sockets() == 0


def test_an_unknown_way_to_evict_is_refused():
    with pytest.raises(TypeError, match="evict: must be 'every-turn', not 'often'"):
        Miniflare(options(evict="often"))
