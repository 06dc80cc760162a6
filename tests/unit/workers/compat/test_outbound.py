from __future__ import annotations

from collections.abc import Iterator

import pytest

from workers.compat import ambient, outbound
from workers.compat.ambient import Ambient, Env
from workers.compat.proxies import JsTypeError
from workers.compat.web import Request, Response


async def network(request: Request) -> Response:
    return Response(f"{request.method} {request.url} {await request.text()}")


@pytest.fixture(autouse=True)
def worker() -> Iterator[None]:
    with ambient.enter(Ambient(Env({}), lambda work: None, network)):
        yield


async def test_requests_leave_through_the_running_workers_port():
    assert await (await outbound.fetch("http://x")).text() == "GET http://x/ "
    posted = await outbound.fetch("http://x", {"method": "POST", "body": "b"})
    assert await posted.text() == "POST http://x/ b"
    request = Request("http://x", method="PUT", body="z")
    assert await (await outbound.fetch(request)).text() == "PUT http://x/ z"


@pytest.mark.parametrize(
    ("url", "text", "kind"),
    [
        ("data:text/plain,hi%20there", "hi there", "text/plain"),
        ("data:,x", "x", "text/plain;charset=US-ASCII"),
        ("data:text/x;base64,aGk=", "hi", "text/x"),
    ],
)
async def test_data_urls_are_answered_here(url: str, text: str, kind: str):
    response = await outbound.fetch(url)
    assert (await response.text(), response.headers.get("content-type")) == (text, kind)


async def test_a_forwarded_request_leaves_the_edges_encodings_behind():
    seen: list[Request] = []

    async def note(request: Request) -> Response:
        seen.append(request)
        return Response(await request.text())

    served = Request.incoming("http://x/", "POST", [("Accept-Encoding", "br"), ("A", "b")], b"body")
    with ambient.enter(Ambient(Env({}), lambda work: None, note)):
        assert await (await outbound.fetch(served)).text() == "body"
        await outbound.fetch("http://x", headers={"accept-encoding": "gzip"})
    assert [request.headers.get("accept-encoding") for request in seen] == [None, "gzip"]
    assert (seen[0].headers.get("a"), seen[0].redirect, served.bodyUsed) == ("b", "manual", True)


async def test_other_schemes_are_refused():
    with pytest.raises(JsTypeError, match="Fetch API cannot load: ftp://x/"):
        await outbound.fetch("ftp://x/")


async def test_a_fetcher_takes_the_place_of_the_network():
    class Service:
        async def fetch(self, request: Request) -> Response:
            return Response(f"service {request.url}")

    assert await (await outbound.fetch("http://x", fetcher=Service())).text() == "service http://x/"
