from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import jwt
import pytest

from d1.changes import RowChange
from durable_objects.realtime import TopicObject
from durable_objects.realtime.core.settings import AccessRule, JwtSettings

SECRET = "s" * 32
NOW_S = 1_700_000_000
JWT = JwtSettings(secrets=(SECRET,), leeway_s=0)


def token(user: str = "ann", exp: float = NOW_S + 600, **claims: Any) -> str:
    return jwt.encode({"sub": user, "exp": exp, **claims}, SECRET, "HS256")


def rule(pattern: str, **more: Any) -> AccessRule:
    given = {name: frozenset(value) if isinstance(value, list) else value for name, value in more.items()}
    return AccessRule(pattern, **given)


async def enter(world: Any, text: str, **options: Any) -> Any:
    return await world.connect(f"?token={text}", **options)


async def status(world: Any, query: str, **headers: str) -> tuple[int, str]:
    response = await world.request(f"/api/realtime{query}", headers={"Upgrade": "websocket", **headers})
    return response.status, (await response.json())["code"]


async def test_a_token_says_who_the_client_is(start: Any):
    heard: list[Any] = []

    class Room(TopicObject):
        def on_subscribe(self, connection: Any) -> None:
            heard.append((connection.user_id, connection.role, dict(connection.claims)))

    from durable_objects.realtime.core.settings import TopicClass

    world = await start({"Room": Room}, jwt=JWT, topics=(TopicClass("chat/*", "Room"),))
    client = await world.connect(f"?token={token(team='x')}&userId=eve")
    await client.subscribe("chat/a")
    client.send({"type": "publish", "topic": "chat/a", "event": "m", "data": 1})
    assert (await client.next())["userId"] == "ann"
    assert heard == [("ann", "jwt", {"sub": "ann", "exp": NOW_S + 600, "team": "x"})]


@pytest.mark.parametrize("way", ["query", "subprotocol", "header"])
async def test_a_token_may_come_in_every_known_way(start: Any, way: str):
    world = await start(jwt=JWT)
    text = token()
    headers = {"Upgrade": "websocket"}
    if way == "subprotocol":
        headers["Sec-WebSocket-Protocol"] = f"aerostack-token.{text}, aerostack-v1"
    elif way == "header":
        headers["Authorization"] = f"Bearer {text}"
    path = f"/api/realtime?token={text}" if way == "query" else "/api/realtime"
    assert (await world.request(path, headers=headers)).status == 101


async def test_bad_tokens_are_refused_at_the_upgrade_and_for_history(start: Any):
    world = await start(jwt=JWT)
    assert await status(world, "") == (401, "UNAUTHORIZED")
    assert await status(world, f"?token={token(exp=NOW_S)}") == (401, "TOKEN_EXPIRED")
    assert await status(world, f"?token={token()[:-3]}AAA") == (401, "TOKEN_NOT_VERIFIED")
    assert await status(world, "?token=x&apiKey=pk_whatever") == (401, "TOKEN_NOT_VERIFIED")
    history = "/api/v1/public/realtime/history?room=chat/x"
    assert (await world.request(history)).status == 401
    assert (await world.request(f"{history}&token={token()}")).status == 200


async def test_with_keys_a_key_that_comes_along_must_be_right_too(start: Any):
    world = await start(jwt=JWT, public_keys=("pk_1",), secret_keys=("sk_1",))
    assert (await status(world, f"?token={token()}&apiKey=pk_2"))[0] == 401
    for query in (f"?token={token()}&apiKey=pk_1", f"?token={token()}", "?apiKey=pk_1", "?apiKey=sk_1&token=bad"):
        client = await world.connect(query)
        client.close()


async def test_a_connection_ends_with_its_token_and_finds_everything_again(start: Any):
    world = await start(jwt=JWT)
    client = await enter(world, token(exp=NOW_S + 0.05))
    await client.subscribe("chat/a")
    world.clock.at_ms += 60
    told = await client.next()
    assert (told["name"], told["retry"]) == ("TOKEN_EXPIRED", False)
    async with asyncio.timeout(5):
        await client.closed_event.wait()
    assert client.close_code == 4401
    again = await enter(world, token(exp=NOW_S + 900))
    await again.quiet()
    await world.realtime.publish("chat/a", "m", 1)
    assert (await again.next())["event"] == "m"


async def test_an_auth_frame_renews_a_token(start: Any):
    world = await start(jwt=JWT)
    client = await enter(world, token(exp=NOW_S + 0.05))
    client.send({"type": "auth", "token": token(exp=NOW_S + 600)})
    await client.quiet()  # a shared secret is at hand: the token is taken before the next frame is answered
    world.clock.at_ms += 60
    assert await client.quiet() == []
    client.send({"type": "auth", "token": "nonsense"})
    told = await client.next()
    assert (told["name"], told["ref"]) == ("TOKEN_NOT_VERIFIED", {"type": "auth"})
    client.send({"type": "auth", "token": token("eve")})
    assert (await client.next())["name"] == "FORBIDDEN"
    assert client.close_code is None


async def test_an_expired_token_can_leave_what_the_key_allows(start: Any):
    settings = JwtSettings(secrets=(SECRET,), leeway_s=0, on_expiry="downgrade")
    rules = (rule("members/*", allow=["subscribe"], roles=["jwt"]), rule("members/*", deny=["subscribe"]))
    world = await start(jwt=settings, public_keys=("pk_1",), rules=rules)
    client = await enter(world, f"{token(exp=NOW_S + 0.05)}&apiKey=pk_1")
    await client.subscribe("members/a")
    await client.subscribe("chat/a")
    world.clock.at_ms += 60
    assert (await client.next())["name"] == "TOKEN_EXPIRED"
    told = await client.next()
    assert (told["name"], told["ref"]["channel"]) == ("REVOKED", "members/a")
    assert (await client.ask({"type": "subscribe", "topic": "members/a"}))["name"] == "REFUSED"
    await world.realtime.publish("members/a", "m", 1)
    await world.realtime.publish("chat/a", "m", 1)
    assert (await client.next())["topic"] == "chat/a"
    assert await status(world, f"?token={token(exp=NOW_S)}") == (401, "TOKEN_EXPIRED")
    (await enter(world, f"{token(exp=NOW_S)}&apiKey=pk_1")).close()


async def test_rules_decide_about_every_action(start: Any):
    rules = (
        rule("news/*", allow=["subscribe", "history"]),
        rule("chat/*", allow=["subscribe", "publish", "presence"]),
        rule("table:DB.orders", allow=["table-read"]),
    )
    world = await start(tables=_tables(), rules=rules, topic_access="deny", table_access="deny")
    client = await world.connect()
    assert (await client.subscribe("news/a"))["type"] == "subscribed"
    assert (await client.subscribe("orders"))["type"] == "subscribed"
    for frame, action in (
        ({"type": "subscribe", "topic": "secrets"}, "table-read"),
        ({"type": "subscribe", "topic": "other/x"}, "subscribe"),
        ({"type": "publish", "topic": "news/a", "event": "m"}, "publish"),
        ({"type": "publish", "topic": "orders", "event": "m"}, "publish"),
        ({"type": "track", "topic": "news/a", "state": {}}, "presence"),
    ):
        told = await client.ask(frame)
        assert (told["name"], told["ref"]["channel"]) == ("REFUSED", frame["topic"])
        assert action in told["message"]
    assert (await client.ask({"type": "chat", "roomId": "x", "text": "hi"}))["type"] == "ack"
    history = "/api/v1/public/realtime/history?room="
    assert (await world.request(f"{history}news/a")).status == 200
    assert (await world.request(f"{history}chat/x")).status == 403


def _tables() -> Any:
    from tests.unit.durable_objects.realtime.conftest import Tables

    return Tables()


async def test_rules_are_asked_again_for_a_client_that_returns(start: Any):
    rules = (rule("chat/{team}", allow=["subscribe"]),)
    world = await start(jwt=JWT, rules=rules, topic_access="deny")
    client = await enter(world, token(team="x"))
    await client.subscribe("chat/x")
    client.abort()
    again = await enter(world, token(team="y"))
    told = await again.next()
    assert told["name"] == "REFUSED"
    await world.realtime.publish("chat/x", "m", 1)
    assert await again.quiet() == []


async def test_a_revoked_user_is_closed_and_stays_out(start: Any):
    world = await start(jwt=JWT)
    ann, bob = await enter(world, token("ann")), await enter(world, token("bob"))
    assert world.realtime.revoke(user_id="ann", for_s=60, reason="banned") == 1
    told = await ann.next()
    assert (told["name"], told["message"], ann.close_code) == ("REVOKED", "banned", 4403)
    assert await bob.quiet() == []
    assert await status(world, f"?token={token('ann')}") == (403, "REVOKED")
    world.clock.at_ms += 61_000
    await enter(world, token("ann"))


async def test_a_topic_can_be_taken_back_from_a_connection_or_everybody(start: Any):
    world = await start()
    ann, bob = await world.connect("?userId=ann"), await world.connect("?userId=bob")
    for client in (ann, bob):
        await client.subscribe("room/1")
        await client.subscribe("room/2")
    assert world.realtime.revoke(user_id="ann", topic="room/1", for_s=60) == 1
    told = await ann.next()
    assert (told["name"], told["ref"]) == ("REVOKED", {"type": "subscribe", "channel": "room/1"})
    assert (await ann.subscribe("room/1"))["name"] == "REVOKED"
    await world.realtime.publish("room/1", "m", 1)
    await world.realtime.publish("room/2", "m", 2)
    assert (await ann.next())["topic"] == "room/2"
    assert [(await bob.next())["topic"] for _ in range(2)] == ["room/1", "room/2"]
    assert world.realtime.revoke(topic="room/*") == 2
    assert [(await bob.next())["ref"]["channel"] for _ in range(2)] == ["room/1", "room/2"]
    with pytest.raises(ValueError, match="needs"):
        world.realtime.revoke()


async def test_too_many_frames_are_dropped_with_one_notice(start: Any):
    world = await start(max_client_rate=0.001, max_client_burst=3)
    client = await world.connect()
    await client.subscribe("chat/a")
    for number in range(50):
        client.send({"type": "publish", "topic": "chat/a", "event": "m", "data": number})
    heard = [await client.next() for _ in range(3)]
    notice = next(frame for frame in heard if frame["type"] == "error")
    assert (notice["name"], notice["retry"], notice["dropped"]) == ("RATE_LIMITED", True, 1)
    assert notice["retryAfterMs"] > 0
    assert sorted(frame["data"] for frame in heard if frame["type"] == "event") == [0, 1]
    assert client.raw.empty()


async def test_too_many_publishes_on_a_topic_are_refused_whoever_makes_them(start: Any):
    world = await start(max_topic_rate=0.001, max_topic_burst=2)
    ann, bob = await world.connect(), await world.connect()
    for client, number in ((ann, 1), (bob, 2)):
        assert (await client.ask({"type": "publish", "topic": "a/b", "event": "m", "id": f"{number}"}))["type"] == "ack"
    told = await ann.ask({"type": "publish", "topic": "a/b", "event": "m", "id": "3"})
    assert (told["name"], told["ref"]["id"]) == ("RATE_LIMITED", "3")
    assert (await ann.ask({"type": "publish", "topic": "a/c", "event": "m", "id": "4"}))["type"] == "ack"


async def test_neither_keys_nor_tokens_nor_data_are_logged(start: Any, caplog: pytest.LogCaptureFixture):
    caplog.set_level(0)
    world = await start(
        jwt=JWT, public_keys=("pk_hush",), secret_keys=("sk_hush",), rules=(rule("no/*", deny=["publish"]),)
    )
    good = token("ann", data="claim-hush")
    client = await world.connect(f"?token={good}&apiKey=pk_hush")
    client.send({"type": "auth", "token": f"{good}x"})
    client.send({"type": "publish", "topic": "no/x", "event": "m", "data": "data-hush", "id": "1"})
    client.send({"type": "publish", "topic": "yes/x", "event": 5, "data": "data-hush"})
    client.send('{"type": "publish", "data": "data-hush"')
    for _ in range(4):
        assert (await client.next())["type"] == "error"
    await status(world, f"?token={good}x&apiKey=sk_hush2")
    await world.request("/internal/hooks/rpc", method="POST", headers={"Authorization": "Bearer sk_hush2"}, body="{}")
    assert "hush" not in caplog.text
    assert good.split(".")[1] not in caplog.text
    assert "hush" not in repr(world.realtime._guards.live)


MINE = AccessRule("table:DB.orders", frozenset({"table-read"}), roles=frozenset({"jwt"}), rows={"owner": "{sub}"})


def change(number: int, owner: str, old: str | None = None) -> RowChange:
    before = None if old is None else {"id": number, "owner": old}
    kind = "INSERT" if old is None else "UPDATE"
    return RowChange(number, kind, "orders", {"id": number, "owner": owner}, before)


async def test_a_public_client_is_told_only_of_the_rows_its_policy_lets_through(start: Any):
    world = await start(tables=_tables(), jwt=JWT, public_keys=("pk_1",), rules=(MINE,), table_access="deny")
    ann, bob = await enter(world, token("ann")), await enter(world, token("bob"))
    for client in (ann, bob):
        assert (await client.subscribe("orders"))["type"] == "subscribed"
    nobody = await world.connect("?apiKey=pk_1")
    assert (await nobody.subscribe("orders"))["name"] == "REFUSED"
    world.commit(change(1, "ann"), change(2, "bob"), change(3, "bob", "ann"))
    told = await ann.next()
    assert (told["operation"], told["data"]) == ("INSERT", {"id": 1, "owner": "ann"})
    told = await ann.next()
    assert (told["operation"], told["data"], told["left"]) == ("DELETE", {"id": 3, "owner": "ann"}, True)
    assert [(await bob.next())["data"]["id"] for _ in range(2)] == [2, 3]
    for client in (ann, bob):
        assert await client.quiet() == []


async def test_the_policy_follows_a_renewed_token(start: Any):
    rows = {"team": "{team}"}
    rule_of_teams = AccessRule("table:DB.orders", frozenset({"table-read"}), roles=frozenset({"jwt"}), rows=rows)
    world = await start(tables=_tables(), jwt=JWT, rules=(rule_of_teams,), table_access="deny")
    client = await enter(world, token(team="x"))
    await client.subscribe("orders")
    client.send({"type": "auth", "token": token(team="y")})
    assert (await client.next())["type"] == "resync"
    await client.quiet()

    def of(number: int, team: str) -> RowChange:
        return RowChange(number, "INSERT", "orders", {"id": number, "team": team}, None)

    world.commit(of(1, "x"), of(2, "y"))
    assert (await client.next())["data"]["id"] == 2
    assert await client.quiet() == []


async def test_the_policy_of_a_client_that_returns_is_that_of_its_new_token(start: Any):
    rows = {"team": "{team}"}
    rule_of_teams = AccessRule("table:DB.orders", frozenset({"table-read"}), roles=frozenset({"jwt"}), rows=rows)
    world = await start(tables=_tables(), jwt=JWT, rules=(rule_of_teams,), table_access="deny")
    client = await enter(world, token(team="x"))
    await client.subscribe("orders")
    client.abort()
    again = await enter(world, token(team="y"))
    await again.quiet()
    for _ in range(5):
        await again.quiet()
    world.commit(RowChange(1, "INSERT", "orders", {"id": 1, "team": "x"}, None))
    world.commit(RowChange(2, "INSERT", "orders", {"id": 2, "team": "y"}, None))
    while (told := await again.next())["type"] != "db_change":
        assert told["type"] == "resync"
    assert told["data"]["id"] == 2


async def test_a_filter_of_a_public_client_means_nothing_and_a_bad_one_of_ours_is_told(start: Any):
    world = await start(tables=_tables())
    public = await world.connect()
    frame = {"type": "subscribe", "topic": "orders", "filter": {"nonsense": {"like": 1}}}
    assert (await public.ask(frame))["type"] == "subscribed"
    ours = await world.connect(protocols="flarelet-v1")
    await ours.next()
    told = await ours.ask(frame)
    assert (told["name"], told["ref"]["field"]) == ("BAD_FILTER", "filter.nonsense.like")
    told = await ours.ask({"type": "subscribe", "topic": "chat/a", "columns": ["id"]})
    assert told["name"] == "BAD_FILTER"


async def test_rows_that_are_there_already_are_only_shown_where_a_rule_says_so(start: Any):
    rules = (rule("table:DB.orders", allow=["table-read"], roles=["jwt"]),)
    world = await start(tables=_tables(), jwt=JWT, public_keys=("pk_1",), secret_keys=("sk_1",), rules=rules)
    frame = {"type": "subscribe", "topic": "orders", "snapshot": True}
    for query, is_shown in (("?apiKey=pk_1", False), ("?apiKey=sk_1", True), (f"?token={token()}", True)):
        client = await world.connect(query, protocols="flarelet-v1")
        await client.next()
        told = await client.ask(frame)
        assert (told.get("name") != "REFUSED") is is_shown
        if not is_shown:
            assert (told["ref"]["field"], "table-read" in told["message"]) == ("snapshot", True)
            told = await client.ask({"type": "subscribe", "topic": "orders", "presence": "none"})
            assert told["type"] == "subscribed"


async def test_frames_behind_a_token_wait_until_it_is_verified(start: Any, tmp_path: Path):
    """Clients send a token and go on at once; they never ask again for what was refused."""
    key = base64.urlsafe_b64encode(SECRET.encode()).rstrip(b"=").decode()
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [{"kty": "oct", "k": key}]}))
    settings = JwtSettings(jwks_file=str(tmp_path / "jwks.json"), leeway_s=0)
    rules = (rule("members/*", allow=["subscribe", "publish"], roles=["jwt"]),)
    world = await start(jwt=settings, public_keys=("pk_1",), rules=rules, topic_access="deny", max_waiting=5)
    client = await world.connect("?apiKey=pk_1")
    client.send({"type": "auth", "token": token()})
    client.send({"type": "subscribe", "topic": "members/a"})
    client.send({"type": "auth", "token": "nonsense"})
    client.send({"type": "publish", "topic": "members/a", "event": "m", "data": 1})
    client.send({"type": "ping"})
    told = [await client.next() for _ in range(4)]
    assert {frame.get("name", frame["type"]) for frame in told} == {"subscribed", "TOKEN_NOT_VERIFIED", "event", "pong"}
    client.send({"type": "auth", "token": token()})
    for _ in range(6):
        client.send({"type": "ping"})
    assert (await client.next())["name"] == "OVERLOADED"
    assert [(await client.next())["type"] for _ in range(5)] == ["pong"] * 5


async def test_tokens_that_name_no_user_do_not_give_each_other_their_sessions(start: Any):
    world = await start(jwt=JWT)

    def nameless(number: int) -> str:
        return jwt.encode({"exp": NOW_S + 600, "n": number}, SECRET, "HS256")

    client = await enter(world, nameless(1))
    await client.subscribe("chat/a")
    client.abort()
    other, same = await enter(world, nameless(2)), await enter(world, nameless(1))
    for each in (other, same):
        for _ in range(5):
            await each.quiet()
    await world.realtime.publish("chat/a", "m", 1)
    assert (await same.next())["data"] == 1
    assert await other.quiet() == []
