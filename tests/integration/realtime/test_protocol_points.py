"""The check-list of what decides whether a public client works at all, each point with four independent clients.

Clients and what they do are as their published sources have it: what they offer as subprotocols, in which order, which
paths and parameters they use, what they call topics, and that most of them never subscribe a second time.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from drivers import Driver, Refused

from workers.runtime.testing.serve import serve_app

KEY, SECRET = "pk_live.A-1_b", "sk_test.1"
V1 = "aerostack-v1"
PROJECT = "prj1"
CONFIG = f"""
name = "demo"
main = "entry.py"
d1_databases = [{{ binding = "DB", database_name = "db", database_id = "db" }}]
[flarelet.realtime]
database = "DB"
project = "{PROJECT}"
slug = "my-shop"
public_keys = ["{KEY}"]
secret_keys = ["{SECRET}"]
session_moment_s = 0.05
"""
WORKER = """
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        await self.env.DB.prepare(await request.text()).run()
        return Response("ok")
"""


class Server:
    """A running server, and what tests ask of it over HTTP."""

    def __init__(self, app: Any, url: str, session: aiohttp.ClientSession) -> None:
        self.app, self.url, self.session = app, url, session

    def socket(self, query: str = f"projectId={PROJECT}", path: str = "/api/realtime") -> str:
        return f"{self.url.replace('http', 'ws', 1)}{path}?{query}"

    async def sql(self, statement: str) -> None:
        async with self.session.post(self.url, data=statement) as answer:
            assert answer.status == 200, await answer.text()

    async def rpc(self, method: str, *args: Any, key: str = SECRET) -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {key}"}
        body = {"method": method, "args": args, "projectId": PROJECT}
        async with self.session.post(f"{self.url}/internal/hooks/rpc", json=body, headers=headers) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text.startswith(("{", "[", "n")) else text

    async def history(self, room: str, **query: Any) -> Any:
        asked = "&".join(f"{name}={value}" for name, value in {"room": quote(room, safe=""), **query}.items())
        url = f"{self.url}/api/v1/public/realtime/history?{asked}"
        async with self.session.get(url, headers={"x-aerostack-key": KEY}) as answer:
            return await answer.json()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    (tmp_path / "wrangler.toml").write_text(CONFIG)
    (tmp_path / "entry.py").write_text(WORKER)
    async with (
        aiohttp.ClientSession() as session,
        serve_app(tmp_path / "wrangler.toml", tmp_path / "state") as (app, url),
    ):
        yield Server(app, url, session)


class Client:
    """A driver, and frames as objects."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    async def send(self, **frame: Any) -> None:
        await self.driver.send(json.dumps(frame))

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            told = await self.driver.receive()
        assert isinstance(told, str), f"closed with {told}"
        return json.loads(told)

    async def of_type(self, *kinds: str) -> dict[str, Any]:
        while (frame := await self.next())["type"] not in kinds:
            pass
        return frame

    async def subscribe(self, topic: str, **more: Any) -> dict[str, Any]:
        await self.send(type="subscribe", topic=topic, **more)
        return await self.of_type("subscribed")


Connect = Callable[..., Any]


@pytest.fixture
def connect(server: Server, make_driver: Callable[[], Driver]) -> Connect:
    """Connect as one of the public clients does: `await connect(query, protocols)`."""

    async def open_one(
        query: str = f"projectId={PROJECT}",
        protocols: Sequence[str] = (f"aerostack-key.{KEY}", V1),
        path: str = "/api/realtime",
    ) -> Client:
        driver = make_driver()
        await driver.open(server.socket(query, path), protocols)
        return Client(driver)

    return open_one


CLIENTS = {
    "core": (f"projectId={PROJECT}&userId=u", [f"aerostack-key.{KEY}", "aerostack-token.t0.k-n", V1], V1),
    "web-with-key": (f"projectId={PROJECT}", [f"aerostack-key.{KEY}"], f"aerostack-key.{KEY}"),
    "web-without-key": (f"projectId=&token={KEY}", [], ""),
    "node": ("", [f"aerostack-key.{KEY}", V1], V1),
    "python": ("", [f"aerostack-key.{KEY}", V1], V1),
    "go": ("", [f"aerostack-key.{KEY}", V1], V1),
    "flutter": (f"apiKey={KEY}", [], ""),
    "token-only": ("", [f"aerostack-token.{KEY}", V1], V1),
    "base64-key": ("", [f"aerostack-key.{base64.b64encode(KEY.encode()).decode().rstrip('=')}", V1], V1),
    "own": ("", ["flarelet-v1", f"aerostack-key.{KEY}", V1], "flarelet-v1"),
}


@pytest.mark.parametrize("name", CLIENTS)
async def test_point_1_the_subprotocol_that_each_client_needs_is_selected(connect: Connect, name: str):
    query, offered, selected = CLIENTS[name]
    for path in ("/api/realtime", "/v1/realtime"):
        client = await connect(query, offered, path)
        assert client.driver.protocol == selected
        await client.send(type="ping")
        assert (await client.of_type("pong"))["type"] == "pong"


SPELLINGS = [
    "orders",
    f"table/orders/{PROJECT}",
    f"table/orders/my-shop/{PROJECT}",
    "table/orders/",
    f"orders/{PROJECT}",
]


async def test_point_2_frames_carry_the_subscribers_own_spelling(connect: Connect, server: Server):
    await server.sql("CREATE TABLE orders (id INTEGER PRIMARY KEY, total)")
    client = await connect()
    for spelling in SPELLINGS:
        assert (await client.subscribe(spelling))["topic"] == spelling
    await server.sql("INSERT INTO orders VALUES (1, 2)")
    told = [await client.of_type("db_change") for _ in SPELLINGS]
    assert sorted(frame["topic"] for frame in told) == sorted(SPELLINGS)
    assert {json.dumps(frame["data"]) for frame in told} == {'{"id": 1, "total": 2}'}


async def test_point_3_presence_comes_as_events(connect: Connect):
    watcher, ann = await connect(), await connect(f"projectId={PROJECT}&userId=ann")
    await watcher.subscribe("room/1")
    await ann.send(type="track", topic=f"room/1/{PROJECT}", state={"x": 1})
    join = await watcher.next()
    assert (join["type"], join["event"], join["userId"]) == ("event", "presence:join", "ann")
    assert (join["data"]["state"], join["data"]["x"]) == ({"x": 1}, 1)
    await ann.send(type="untrack", topic="room/1")
    assert (await watcher.next())["event"] == "presence:leave"


async def test_point_4_a_ping_is_answered_at_once(connect: Connect):
    client = await connect()
    await client.send(type="ping")
    assert await client.next() == {"type": "pong"}


async def test_point_5_publishing_and_tracking_need_no_subscription(connect: Connect):
    watcher, other = await connect(), await connect(f"projectId={PROJECT}&userId=bob")
    await watcher.subscribe("chat/x")
    await other.send(type="publish", topic="chat/x", event="m", data={"a": 1}, id="1")
    await other.send(type="track", topic="chat/x", state={})
    first, second = await watcher.next(), await watcher.next()
    assert (first["event"], first["data"], first["userId"]) == ("m", {"a": 1}, "bob")
    assert second["event"] == "presence:join"
    assert (await other.of_type("ack"))["id"] == "1"


async def test_point_6_a_filter_of_null_is_no_filter(connect: Connect, server: Server):
    await server.sql("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    client = await connect()
    for filter in (None, {}):
        assert (await client.subscribe("t", filter=filter))["topic"] == "t"
    await server.sql("INSERT INTO t VALUES (1)")
    assert (await client.of_type("db_change"))["operation"] == "INSERT"


async def test_point_7_a_server_that_stops_closes_with_1012(connect: Connect, server: Server):
    client = await connect()
    await client.subscribe("chat/x")
    stopping = asyncio.get_running_loop().create_task(server.app.close_objects())
    async with asyncio.timeout(10):
        while isinstance(told := await client.driver.receive(), str):
            pass
    assert told == 1012
    await client.driver.close()
    await stopping


@pytest.mark.parametrize("name", ["core", "web-with-key", "node", "python"])
async def test_point_8_a_client_that_never_subscribes_again_misses_nothing(connect: Connect, server: Server, name: str):
    query, offered, _ = CLIENTS[name]
    client = await connect(query, offered)
    await client.subscribe(f"chat/x/{PROJECT}")
    (member,) = [each for each in server.app._realtime._keeper.members.values() if each.links]
    member._end.sink.abort()
    again = await connect(query, offered)
    for number in range(3):
        await server.rpc("socket.emit", "m", {"n": number}, "chat/x")
    told = [await again.of_type("event") for _ in range(3)]
    assert [(frame["topic"], frame["data"]["n"]) for frame in told] == [(f"chat/x/{PROJECT}", n) for n in range(3)]


async def test_point_9_history_is_complete_whatever_the_room_is_called(connect: Connect, server: Server):
    client = await connect(f"projectId={PROJECT}&userId=ann")
    for number in range(5):
        await client.send(type="publish", topic="chat/x", event="m", data=number, persist=True, id=f"i{number}")
        await client.of_type("ack")
    found = (await server.history("chat/x"))["messages"]
    assert [message["data"] for message in found] == [4, 3, 2, 1, 0]
    times = [message["created_at"] for message in found]
    assert all(isinstance(time, int) for time in times)
    assert times == sorted(set(times), reverse=True)
    assert {(message["user_id"], message["event"]) for message in found} == {("ann", "m")}
    for spelling in (f"chat/x/{PROJECT}", "chat/x/my-shop", "chat/x/"):
        assert [m["id"] for m in (await server.history(spelling))["messages"]] == [m["id"] for m in found]
    page = (await server.history("chat/x", limit=2, before=times[1]))["messages"]
    assert [message["data"] for message in page] == [2, 1]
    assert (await server.history("chat/nobody"))["messages"] == []
    assert (await server.history("chat/x", limit="many"))["messages"] == []


async def test_point_10_a_deleted_row_is_told_with_its_columns(connect: Connect, server: Server):
    await server.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, name)")
    await server.sql("INSERT INTO t VALUES (7, 'x')")
    client = await connect()
    await client.subscribe("t")
    await server.sql("DELETE FROM t")
    told = await client.of_type("db_change")
    assert (told["operation"], told["data"], told["old"]) == ("DELETE", {"id": 7, "name": "x"}, {"id": 7, "name": "x"})


async def test_point_11_new_frame_types_have_no_topic(connect: Connect):
    client = await connect()
    await client.send(type="publish", topic="chat/x", event="m", id="1")
    await client.send(type="publish", topic="", event="m")
    await client.send(type="nonsense", topic="chat/x")
    frames = [await client.next() for _ in range(3)]
    assert {frame["type"] for frame in frames} == {"ack", "error"}
    assert not any("topic" in frame for frame in frames)


@pytest.mark.parametrize(
    ("query", "offered"),
    [("", []), ("apiKey=wrong", []), ("", ["aerostack-key.wrong", V1]), ("token=a.b.c", [])],
)
async def test_point_12_bad_credentials_are_refused_at_the_upgrade(connect: Connect, query: str, offered: list[str]):
    with pytest.raises(Refused) as caught:
        await connect(query, offered)
    assert caught.value.status in (401, 403)


async def test_point_13_chat_is_stored_and_told_on_the_rooms_topic(connect: Connect, server: Server):
    reader, ann = await connect(), await connect(f"projectId={PROJECT}&userId=ann")
    spelling = f"chat/general/{PROJECT}"
    await reader.subscribe(spelling)
    await ann.send(type="chat", roomId="general", text="hi", metadata={"a": 1})
    told = await reader.of_type("chat_message")
    assert (told["topic"], told["userId"], told["data"]) == (spelling, "ann", {"text": "hi", "metadata": {"a": 1}})
    (stored,) = (await server.history("chat/general"))["messages"]
    assert (stored["data"]["text"], stored["user_id"]) == ("hi", "ann")


async def test_point_14_servers_emit_to_bare_rooms_and_query(connect: Connect, server: Server):
    client = await connect()
    await client.subscribe("chat/general")
    assert (await server.rpc("socket.emit", "ai:token", {"token": "a"}, "general"))[0] == 200
    assert (await client.of_type("event"))["data"] == {"token": "a"}
    status, answer = await server.rpc("db.query", "SELECT ? AS n", [1])
    assert (status, answer["results"], answer["success"], answer["meta"]["target"]) == (200, [{"n": 1}], True, "d1")
    assert (await server.rpc("db.query", "SELECT 1", [], key=KEY))[0] == 403
    assert (await server.rpc("db.query", "SELECT 1", [], key="wrong"))[0] == 401
    assert (await server.rpc("no.such"))[0] == 404


async def test_a_token_in_an_auth_frame_is_taken_or_refused_on_the_live_socket(connect: Connect):
    client = await connect()
    await client.send(type="auth", token=SECRET)
    await client.send(type="auth", token="wrong")
    refused = await client.of_type("error")
    assert refused["name"] in ("TOKEN_NOT_VERIFIED", "UNAUTHORIZED")
    await client.send(type="ping")
    assert (await client.of_type("pong"))["type"] == "pong"
