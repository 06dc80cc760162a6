from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

RELAY = """
from workers import Response, WorkerEntrypoint, fetch

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        target = request.headers.get("x-target")
        options = {"redirect": request.headers.get("x-redirect") or "follow"}
        if request.method == "POST":
            options |= {"method": "POST", "body": request.body, "headers": {"content-type": "text/x"}}
        answer = await fetch(target, **options)
        headers = {"x-status": str(answer.status), "x-redirected": str(answer.redirected), "x-url": answer.url}
        for name in ("content-encoding", "location", "x-agent"):
            if answer.headers.get(name) is not None:
                headers["x-saw-" + name] = answer.headers.get(name)
        return Response(answer.body, headers=headers)
"""


@pytest.fixture
async def upstream() -> AsyncIterator[str]:
    async def respond(request: web.Request) -> web.StreamResponse:
        if request.path == "/echo":
            kind = request.headers.get("content-type", "none")
            return web.Response(text=f"{request.method} {kind} {await request.text()}")
        if request.path == "/gzip":
            answer = web.Response(text="plain" * 1000)
            answer.enable_compression(web.ContentCoding.gzip)
            return answer
        if request.path == "/away":
            raise web.HTTPFound("/echo")
        if request.path == "/loop":
            raise web.HTTPFound("/loop")
        if request.path == "/cut":
            stream = web.StreamResponse(headers={"content-length": "100"})
            await stream.prepare(request)
            await stream.write(b"half")
            assert request.transport is not None
            request.transport.abort()
            return stream
        return web.Response(text="hi", headers={"x-agent": request.headers.get("user-agent", "none")})

    runner = web.ServerRunner(web.Server(respond))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_a_worker_reaches_the_network(run, client, upstream: str) -> None:
    async with run(RELAY) as url:
        async with client.get(url, headers={"x-target": f"{upstream}/a?b=%20c"}) as answer:
            assert (await answer.text(), answer.headers["x-saw-x-agent"]) == ("hi", "none")
            assert answer.headers["x-url"] == f"{upstream}/a?b=%20c"
        async with client.post(url, headers={"x-target": f"{upstream}/echo"}, data=b"x" * 300_000) as answer:
            assert await answer.text() == f"POST text/x {'x' * 300_000}"


async def test_redirects_are_followed_unless_asked_otherwise(run, client, upstream: str) -> None:
    async with run(RELAY) as url:
        async with client.get(url, headers={"x-target": f"{upstream}/away"}) as answer:
            assert await answer.text() == "GET none "
            assert (answer.headers["x-redirected"], answer.headers["x-url"]) == ("True", f"{upstream}/echo")
        headers = {"x-target": f"{upstream}/away", "x-redirect": "manual"}
        async with client.get(url, headers=headers) as answer:
            assert (answer.headers["x-status"], answer.headers["x-saw-location"]) == ("302", "/echo")
        async with client.get(url, headers={"x-target": f"{upstream}/loop"}) as answer:
            assert answer.status == 500
            assert "Too many redirects." in (await answer.text()).splitlines()[0]


async def test_compressed_answers_arrive_as_plain_text(run, client, upstream: str) -> None:
    async with run(RELAY) as url, client.get(url, headers={"x-target": f"{upstream}/gzip"}) as answer:
        assert await answer.text() == "plain" * 1000


async def test_a_network_that_fails_is_an_oserror(run, client, upstream: str, unused_tcp_port: int) -> None:
    async with run(RELAY) as url:
        async with client.get(url, headers={"x-target": f"http://127.0.0.1:{unused_tcp_port}/"}) as answer:
            assert answer.status == 500
            assert "Network connection lost: Cannot connect to host" in (await answer.text()).splitlines()[0]
        with pytest.raises(aiohttp.ClientPayloadError):
            async with client.get(url, headers={"x-target": f"{upstream}/cut"}) as answer:
                await answer.read()
