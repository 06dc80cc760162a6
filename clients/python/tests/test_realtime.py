from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest

from flarelet_client import FlareletClient, Gap, Payload, RealtimeError, Recovered
from flarelet_client.topics import backoff_s, full_topic
from workers.runtime.testing import DevProcess

FRAMES = Path(__file__).resolve().parents[3] / "tests" / "golden" / "frames"


class Low(Random):
    """No jitter."""

    def random(self) -> float:
        return 0.0


async def until(check: Callable[[], object], limit_s: float = 15.0) -> None:
    async with asyncio.timeout(limit_s):
        while not check():
            await asyncio.sleep(0.01)


async def sql(server: DevProcess, statement: str) -> None:
    async with aiohttp.ClientSession() as session, session.post(server.url, data=statement) as response:
        assert response.status == 200, await response.text()


def test_the_delay_doubles_from_1_s_to_30_s_with_up_to_30_percent_more() -> None:
    assert [backoff_s(attempt, Low()) for attempt in (0, 1, 2, 3, 4, 5, 5000)] == [1, 2, 4, 8, 16, 30, 30]
    assert all(30 <= backoff_s(9, Random(seed)) <= 39 for seed in range(50))


@pytest.mark.parametrize(
    ("name", "topic"),
    [("orders", "table/orders/demo"), ("chat/a", "chat/a/demo"), ("chat/a/demo", "chat/a/demo")],
)
def test_topics_are_spelled_as_the_public_clients_spell_them(name: str, topic: str) -> None:
    assert full_topic(name, "demo") == topic


@pytest.mark.parametrize("name", ["server_event", "server_chat_message", "server_db_change_update"])
def test_recorded_frames_are_read_whole(name: str) -> None:
    frame = json.loads((FRAMES / f"{name}.json").read_text())["frame"]
    payload = Payload.from_frame(frame)
    assert payload.raw == frame
    assert (payload.data, payload.user_id, payload.old) == (frame["data"], frame.get("userId"), frame.get("old"))
    assert payload.name == (frame.get("operation") or frame.get("event") or frame["type"])


async def test_committed_row_changes_arrive(server: DevProcess, client: FlareletClient) -> None:
    await sql(server, "CREATE TABLE orders (id INTEGER PRIMARY KEY, total REAL)")
    seen: list[Any] = []
    channel = client.realtime.channel("orders")
    channel.on("INSERT", lambda change: seen.append(change.data))
    channel.on("DELETE", lambda change: seen.append(change.data["id"]))
    await channel.subscribe(timeout_s=10)
    await sql(server, f"INSERT INTO orders VALUES ({2**62}, 2.5)")
    await sql(server, "DELETE FROM orders")
    await until(lambda: len(seen) == 2)
    assert seen == [{"id": 2**62, "total": 2.5}, 2**62]


async def test_a_publish_is_acknowledged_arrives_and_is_in_the_history(client: FlareletClient) -> None:
    seen: list[Payload] = []
    room = await client.realtime.channel("chat/general").on("message", seen.append).subscribe()
    data = {"text": "hé 🙂", "nested": [{"n": 9007199254740993}]}
    ack = await room.publish("message", data, persist=True)
    assert ack.persisted
    await until(lambda: seen)
    assert (seen[0].data, seen[0].user_id, seen[0].id) == (data, "ann", ack.id)
    assert (await room.publish("message", data, persist=True, id=ack.id)).duplicate
    history = await room.get_history(5)
    assert [(message.id, message.data) for message in history] == [(ack.id, data)]
    assert await room.get_history(5, before=history[0].created_at) == []


async def test_what_is_refused_has_the_servers_number(client: FlareletClient) -> None:
    strict = client.realtime.channel("strict/x")
    with pytest.raises(RealtimeError) as refused:
        await strict.publish("e", 1)
    assert (refused.value.code, refused.value.ref["channel"]) == (302, "strict/x/demo")
    with pytest.raises(RealtimeError) as not_subscribed:
        await strict.subscribe(timeout_s=10)
    assert not_subscribed.value.code == 302
    with pytest.raises(RealtimeError, match="NOT_SERIALIZABLE"):
        await strict.publish("e", object())
    with pytest.raises(RealtimeError) as bad_request:
        await strict.get_history(0)
    assert bad_request.value.code == 601


async def test_chat_and_presence(server: DevProcess, client: FlareletClient) -> None:
    seen: list[Payload] = []
    room = await client.realtime.chat_room("lobby").on("chat_message", seen.append).subscribe()
    room.track({"x": 1})
    client.realtime.send_chat("lobby", "hello", {"mood": "good"})
    await until(lambda: seen and "ann" in room.presence.members)
    assert seen[0].data == {"text": "hello", "metadata": {"mood": "good"}}
    async with FlareletClient("demo", server.url, user_id="bob") as other:
        other.realtime.channel("chat/lobby").track({"x": 2})
        await until(lambda: "bob" in room.presence.members)
        assert room.presence.members["bob"].state == {"x": 2}
    await until(lambda: list(room.presence.members) == ["ann"])


async def test_one_channel_that_leaves_does_not_silence_the_others(client: FlareletClient) -> None:
    seen: list[Payload] = []
    first = await client.realtime.channel("chat/x").on("e", lambda payload: None).subscribe()
    second = await client.realtime.channel("chat/x").on("e", seen.append).subscribe()
    first.unsubscribe()
    await second.publish("e", 1)
    await until(lambda: seen)
    second.unsubscribe()


async def test_events_are_an_async_iterator(client: FlareletClient) -> None:
    channel = client.realtime.channel("chat/x")
    events = channel.events("e")
    first = asyncio.ensure_future(anext(events))  # noqa: TID251 - the test owns it
    await until(lambda: channel.is_ready)
    await channel.publish("e", 1)
    assert (await first).data == 1
    await events.aclose()  # type: ignore[attr-defined]


async def test_a_kill_of_the_server_loses_nothing_of_a_topic_and_of_a_table(server: DevProcess) -> None:
    await sql(server, "CREATE TABLE orders (id INTEGER PRIMARY KEY, total REAL)")
    texts: list[str] = []
    rows: list[int] = []
    recovered: list[Recovered] = []
    gaps: list[Gap] = []
    async with (
        FlareletClient("demo", server.url, user_id="ann", random=Low()) as ann,
        FlareletClient("demo", server.url, user_id="bob") as bob,
    ):
        for client in (ann, bob):
            client.realtime.on_error(lambda error: None)
        room = await ann.realtime.channel("chat/r").on("m", lambda payload: texts.append(payload.data)).subscribe()
        orders = ann.realtime.channel("orders").on("INSERT", lambda change: rows.append(change.data["id"]))
        await orders.subscribe()
        for channel in (room, orders):
            channel.on_recovered(recovered.append)
            channel.on_gap(gaps.append)
        room.track({})
        await room.publish("m", "one", persist=True)
        await sql(server, "INSERT INTO orders (id) VALUES (5)")
        await until(lambda: texts and rows and room.presence.members)
        await server.kill()
        await until(lambda: ann.realtime.status == "reconnecting")
        unsent = room.publish("m", "three", persist=True)
        await server.start()
        await bob.realtime.channel("chat/r").publish("m", "two", persist=True)
        await sql(server, "INSERT INTO orders (id) VALUES (6)")  # perhaps before the client is back
        assert (await unsent).persisted
        await until(lambda: len(texts) == 3 and len(rows) == 2 and len(recovered) == 2)
        assert sorted(texts) == ["one", "three", "two"]
        await until(lambda: "ann" in room.presence.members)
        await room.publish("m", "four", persist=True)
        await sql(server, "INSERT INTO orders (id) VALUES (7)")
        await until(lambda: texts[-1] == "four" and rows[-1] == 7)
        assert (rows, gaps) == ([5, 6, 7], [])


async def test_nobody_there_is_an_error_and_the_end_of_retries_an_event(unused_tcp_port: int) -> None:
    async with FlareletClient("demo", f"http://127.0.0.1:{unused_tcp_port}", max_reconnect_attempts=1) as client:
        ended: list[None] = []
        codes: list[int] = []
        statuses: list[str] = []
        client.realtime.on_max_retries_exceeded(ended.append)
        client.realtime.on_error(lambda error: codes.append(error.code))
        client.realtime.on_status_change(statuses.append)
        waiting = client.realtime.channel("chat/x").publish("e", 1, persist=True)
        with pytest.raises(RealtimeError, match="CONNECT_FAILED"):
            await client.realtime.connect()
        await until(lambda: ended)
        with pytest.raises(RealtimeError, match="DISCONNECTED"):
            await waiting
        assert statuses == ["connecting", "reconnecting", "disconnected"]
        assert codes == [905, 905, 903]


async def test_the_queue_is_bounded_and_late_ephemeral_publishes_are_not_sent(unused_tcp_port: int) -> None:
    options: dict[str, Any] = {"max_queue": 2, "ack_timeout_s": 0.05}
    async with FlareletClient("demo", f"http://127.0.0.1:{unused_tcp_port}", **options) as client:
        client.realtime.on_error(lambda error: None)
        room = client.realtime.channel("room/1")
        cursor = room.publish("cursor", 1)
        said = room.publish("said", 1, persist=True)
        with pytest.raises(RealtimeError, match="QUEUE_FULL"):
            await room.publish("more", 1)
        with pytest.raises(RealtimeError, match="TIMEOUT"):
            await cursor
        assert not said.done()


def test_credentials_that_cannot_be_sent_are_refused_at_once() -> None:
    with pytest.raises(RealtimeError, match="api_key"):
        FlareletClient("demo", api_key="a=b")
