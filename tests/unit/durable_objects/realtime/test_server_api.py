from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

RPC = "/internal/hooks/rpc"


async def call(world: Any, method: str, *args: Any, **headers: str) -> tuple[int, Any]:
    body = json.dumps({"method": method, "args": list(args)})
    response = await world.request(RPC, method="POST", headers=headers, body=body)
    return response.status, await response.json()


async def test_a_server_publishes_and_stores(world: Any):
    client = await world.connect()
    await client.subscribe("orders/7")
    assert await call(world, "realtime.publish", "orders/7", "paid", {"n": 1}) == (200, None)
    assert (await client.next())["data"] == {"n": 1}
    options = {"persist": True, "userId": "shop", "id": "x1"}
    status, stored = await call(world, "realtime.publish", "orders/7/demo", "paid", {"n": 2}, options)
    assert (status, stored["id"], stored["user_id"], stored["data"]) == (200, "x1", "shop", {"n": 2})
    assert (await client.next())["userId"] == "shop"
    await call(world, "realtime.publish", "orders/7", "paid", {"n": 2}, options)
    assert await client.quiet() == []
    status, found = await call(world, "realtime.history", "orders/7", {"limit": 5})
    assert [message["id"] for message in found["messages"]] == ["x1"]


async def test_a_server_asks_who_is_present(world: Any):
    client = await world.connect("?userId=ann")
    await client.subscribe("room/1")
    client.send({"type": "track", "topic": "room/1", "state": {"x": 1}})
    await client.next()
    status, found = await call(world, "realtime.presence", "room/1")
    assert (status, [user["userId"] for user in found["users"]]) == (200, ["ann"])


async def test_a_server_takes_access_back(world: Any):
    client = await world.connect("?userId=ann")
    await client.quiet()
    options = {"userId": "ann", "forSeconds": 60, "reason": "banned"}
    assert await call(world, "realtime.revoke", options) == (200, {"connections": 1})
    assert (await client.next())["message"] == "banned"
    assert client.close_code == 4403
    assert (await call(world, "realtime.revoke", {}))[0] == 400


async def test_a_server_streams_tokens_from_afar(world: Any):
    client = await world.connect()
    await client.subscribe("ai-chat/1")
    assert await call(world, "realtime.stream.open", "ai-chat/1", {"id": "s"}) == (200, {"stream": "s"})
    assert await call(world, "realtime.stream.tokens", "ai-chat/1", "s", ["a", "b"]) == (200, {"over": None})
    assert [(await client.next())["data"]["token"] for _ in range(2)] == ["a", "b"]
    async with asyncio.TaskGroup() as group:
        over = group.create_task(call(world, "realtime.stream.over", "ai-chat/1", "s"))
        await asyncio.sleep(0)
        client.send({"type": "publish", "topic": "ai-chat/1", "event": "ai:cancel", "data": {}})
    assert over.result() == (200, {"over": "cancelled"})
    assert await call(world, "realtime.stream.tokens", "ai-chat/1", "s", ["c"]) == (200, {"over": "unknown"})
    assert await call(world, "realtime.stream.close", "ai-chat/1", "s") == (200, {"success": True})
    options = {"id": "s", "text": "ab", "count": 2}
    await call(world, "realtime.stream.open", "ai-chat/1", options)
    await call(world, "realtime.stream.tokens", "ai-chat/1", "s", ["c"])
    await call(world, "realtime.stream.close", "ai-chat/1", "s", "error", "model overloaded")
    heard = [(await client.next()) for _ in range(5)]
    assert [frame["event"] for frame in heard] == ["ai:cancel", "ai:done", "ai:token", "ai:error", "ai:done"]
    assert heard[2]["data"] == {"token": "c", "stream": "s", "index": 2}
    assert heard[3]["data"]["message"] == "model overloaded"


async def test_a_wait_for_a_stream_s_end_is_answered_in_time(world: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("durable_objects.realtime.server_api._LONG_POLL_S", 0.01)
    await call(world, "realtime.stream.open", "ai-chat/1", {"id": "s"})
    assert await call(world, "realtime.stream.over", "ai-chat/1", "s") == (200, {"over": None})
    await call(world, "realtime.stream.close", "ai-chat/1", "s")


@pytest.mark.parametrize(
    ("method", "args", "field"),
    [
        ("realtime.publish", [], "args[0]"),
        ("realtime.publish", ["a/b"], "args[1]"),
        ("realtime.publish", ["a/b", "m", 1, {"perist": True}], "args.3.perist"),
        ("realtime.publish", ["/", "m"], "topic"),
        ("realtime.presence", [5], "args[0]"),
        ("realtime.history", ["a/b", {"limit": 0}], "args.1.limit"),
        ("realtime.stream.open", ["a/b", {"withoutViewers": "stop"}], "args.1.withoutViewers"),
        ("realtime.stream.tokens", ["a/b", "s", "text"], "args[2]"),
        ("realtime.stream.tokens", ["a/b", "s", [1]], "args[2]"),
        ("realtime.stream.close", ["a/b", "s", "no-viewers"], "args[2]"),
    ],
)
async def test_wrong_arguments_are_told(world: Any, method: str, args: list[Any], field: str):
    status, body = await call(world, method, *args)
    assert status == 400
    assert field in body["error"]["message"]


async def test_only_secret_keys_may_call(start: Any):
    world = await start(public_keys=("pk_1",), secret_keys=("sk_1",))
    for method in ("realtime.presence", "realtime.revoke"):
        assert (await call(world, method, "a/b", Authorization="Bearer pk_1"))[0] == 403
        assert (await call(world, method, "a/b"))[0] == 401
    assert (await call(world, "realtime.presence", "a/b", Authorization="Bearer sk_1"))[0] == 200
