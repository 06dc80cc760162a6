from __future__ import annotations

import json
from typing import Any

import pytest

from durable_objects.realtime.core.settings import TopicClass
from durable_objects.realtime.topic_object import TopicObject

BASE = "http://localhost:8787"
HISTORY = "/api/v1/public/realtime/history"
RPC = "/internal/hooks/rpc"


async def call(world: Any, method: object, args: object = None, **headers: str) -> Any:
    body = json.dumps({"method": method} if args is None else {"method": method, "args": args})
    return await world.request(RPC, method="POST", body=body, headers={"content-type": "application/json"} | headers)


async def messages(world: Any, query: str) -> list[dict[str, Any]]:
    response = await world.request(f"{HISTORY}?{query}")
    assert response.status == 200, await response.text()
    return (await response.json())["messages"]


async def test_history_is_newest_first_in_any_spelling_and_pages_exactly(world: Any):
    for number in range(5):
        await world.realtime.publish("chat/x", "m", {"n": number}, persist=True, user_id="u")
    found = await messages(world, "room=chat/x/demo&limit=2")
    assert [message["data"]["n"] for message in found] == [4, 3]
    assert found[0] | {"id": "", "created_at": 0, "epoch": "", "offset": 0} == {
        "id": "",
        "room_id": "chat/x/demo",
        "user_id": "u",
        "event": "m",
        "data": {"n": 4},
        "created_at": 0,
        "epoch": "",
        "offset": 0,
    }
    seen: list[int] = []
    before = ""
    while page := await messages(world, f"room=chat/x&limit=2{before}"):
        seen += [message["data"]["n"] for message in page]
        before = f"&before={page[-1]['created_at']}"
    assert seen == [4, 3, 2, 1, 0]
    assert all(isinstance(message["created_at"], int) for message in found)


async def test_history_gives_fifty_unless_asked(start: Any):
    world = await start(history_page_max=60)
    for number in range(70):
        await world.realtime.publish("chat/x", "m", number, persist=True)
    assert len(await messages(world, "room=chat/x")) == 50
    assert len(await messages(world, "room=chat/x&limit=1000")) == 60


async def test_history_knows_the_project_from_wherever_it_is_named(world: Any):
    await world.realtime.publish("chat/x", "m", 1, persist=True)
    assert len(await messages(world, "room=chat/x/p9&projectId=p9")) == 1
    response = await world.request(f"{HISTORY}?room=chat/x/p9", headers={"X-Project-Id": "p9"})
    assert len((await response.json())["messages"]) == 1


async def test_history_of_an_unknown_room_is_empty(world: Any):
    assert await messages(world, "room=chat/nobody&before=") == []


@pytest.mark.parametrize("query", ["", "room=", "room=x&limit=0", "room=x&limit=a", "room=x&before=soon", "room=/"])
async def test_a_bad_history_request_is_told_why_with_empty_messages(world: Any, query: str):
    response = await world.request(f"{HISTORY}?{query}")
    body = await response.json()
    assert (response.status, body["messages"]) == (400, [])
    assert body["message"]


async def test_pages_of_other_origins_may_read_history_where_they_need_a_key(start: Any):
    world = await start(public_keys=("pk_1",))
    asked = {"Origin": "http://app.example", "Access-Control-Request-Headers": "x-aerostack-key"}
    preflight = await world.request(HISTORY, method="OPTIONS", headers=asked)
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-headers"] == "x-aerostack-key"
    response = await world.request(f"{HISTORY}?room=x&apiKey=pk_1", headers=asked)
    assert response.headers["access-control-allow-origin"] == preflight.headers["access-control-allow-origin"] == "*"
    assert (await world.request(HISTORY, method="POST")).status == 405


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1", "https://app.localhost", BASE])
async def test_without_keys_pages_of_this_machine_may_read_history(world: Any, origin: str):
    asked = {"Origin": origin, "Host": "localhost:8787"}
    preflight = await world.request(HISTORY, method="OPTIONS", headers=asked)
    response = await world.request(f"{HISTORY}?room=x", headers=asked)
    assert (preflight.status, response.status) == (204, 200)
    assert response.headers["access-control-allow-origin"] == preflight.headers["access-control-allow-origin"] == origin
    assert response.headers["vary"] == "origin"


@pytest.mark.parametrize("origin", ["http://app.example", "null", "http://localhost.example", "http://[", "x"])
async def test_without_keys_other_pages_may_not_read_history(world: Any, origin: str):
    for method in ("GET", "OPTIONS"):
        asked = {"Origin": origin, "Host": "localhost:8787"}
        response = await world.request(f"{HISTORY}?room=x", method=method, headers=asked)
        assert response.status == 403
        assert (await response.json())["messages"] == []
        assert "access-control-allow-origin" not in response.headers


async def test_history_needs_a_key_where_keys_are_configured(start: Any):
    world = await start(public_keys=("pk_1",))
    for headers, status in (
        ({}, 401),
        ({"X-Aerostack-Key": ""}, 401),
        ({"X-Aerostack-Key": "pk_2"}, 401),
        ({"X-Aerostack-Key": "pk_1"}, 200),
        ({"X-Aerostack-Key": "", "Authorization": "Bearer pk_1"}, 200),
    ):
        response = await world.request(f"{HISTORY}?room=chat/x", headers=headers)
        assert response.status == status
        assert (await response.json())["messages"] == []
        assert response.headers["access-control-allow-origin"] == "*"


async def test_a_server_emits_to_a_bare_chat_room(world: Any):
    client = await world.connect()
    await client.subscribe("chat/general")
    response = await call(world, "socket.emit", ["m", {"a": 1}, "general"])
    assert response.status == 200
    told = await client.next()
    assert (told["event"], told["data"], "userId" in told) == ("m", {"a": 1}, False)


async def test_a_server_queries_the_database(world: Any):
    response = await call(world, "db.query", ["SELECT 1", [5]])
    assert (await response.json())["results"] == [{"n": [5]}]
    assert (await (await call(world, "db.query", ["SELECT 1"])).json())["results"] == [{"n": []}]
    bad = await call(world, "db.query", ["nonsense"])
    assert bad.status == 400
    assert "nonsense" in (await bad.json())["error"]["message"]


async def test_without_a_database_a_query_is_refused(start: Any):
    world = await start()
    response = await call(world, "db.query", ["SELECT 1"])
    assert (response.status, (await response.json())["error"]["code"]) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("method", "args"),
    [
        (5, []),
        ("socket.emit", {}),
        ("socket.emit", []),
        ("socket.emit", ["m", 1]),
        ("socket.emit", ["m", 1, "/"]),
        ("db.query", [5]),
        ("db.query", ["SELECT 1", "x"]),
    ],
)
async def test_a_bad_call_is_refused_with_its_argument(world: Any, method: object, args: object):
    response = await call(world, method, args)
    assert response.status == 400
    assert (await response.json())["error"]["message"]


async def test_an_unknown_method_is_answered_as_text(world: Any):
    response = await call(world, "cache.get", ["k"])
    assert response.status == 404
    assert "cache.get" in await response.text()


@pytest.mark.parametrize(("body", "status"), [("{", 400), ("[]", 400), ("x" * 2_000_000, 413)])
async def test_a_body_that_is_no_call_is_refused(world: Any, body: str, status: int):
    response = await world.request(RPC, method="POST", body=body)
    assert response.status == status
    assert (await world.request(RPC)).status == 405


async def test_a_page_of_another_origin_cannot_call_the_open_server_api(world: Any):
    args = ["m", 1, "general"]
    assert (await call(world, "socket.emit", args, origin="https://evil.example")).status == 403
    assert (await call(world, "socket.emit", args, origin="http://localhost:8787")).status == 200


class Broken(TopicObject):
    def __init__(self, ctx: Any, env: Any) -> None:
        raise RuntimeError("secret detail")


async def test_a_call_that_fails_inside_is_answered_as_an_error(start: Any, caplog: Any):
    world = await start({"Broken": Broken}, topics=(TopicClass("b/*", "Broken"),))
    response = await call(world, "socket.emit", ["m", 1, "b/1"])
    assert response.status == 503
    assert "secret" not in await response.text()


async def test_only_secret_keys_call_the_server_api(start: Any):
    world = await start(public_keys=("pk_1",), secret_keys=("sk_1",))
    args = ["m", 1, "general"]
    for headers, status in (
        ({}, 401),
        ({"authorization": "Bearer nope"}, 401),
        ({"authorization": "Bearer pk_1"}, 403),
        ({"authorization": "Bearer sk_1"}, 200),
        ({"x-as-dispatch-token": "sk_1", "x-as-project-id": "demo"}, 200),
    ):
        response = await call(world, "socket.emit", args, **headers)
        assert response.status == status
        if status != 200:
            assert {"code", "message"} <= (await response.json())["error"].keys()
