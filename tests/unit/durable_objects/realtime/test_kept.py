"""Returning clients: before their old connection is seen dead, after a silence, and after the server ended."""

from __future__ import annotations

import asyncio
from typing import Any

from d1.changes import RowChange

ANN = "?projectId=p1&userId=ann"


def member(world: Any, number: int = 0) -> Any:
    """One of the live connections, oldest first."""
    return list(world.realtime._keeper.members.values())[number]


def undelivered(client: Any, count: int) -> None:
    """Let a connection's end say that so many bytes are on their way."""
    client._port._ws.sink.undelivered = lambda: (count, False)


async def test_a_client_that_is_back_before_its_old_connection_is_seen_dead_gets_its_topics(world: Any):
    old, bob = await world.connect(ANN), await world.connect("?userId=bob")
    await old.subscribe("chat/x/p1")
    await world.realtime.publish("chat/x", "m", 1)
    assert (await old.next())["data"] == 1
    undelivered(old, 10)
    world.clock.at_ms += 5_000
    again = await world.connect(ANN)
    assert (await again.next())["data"] == 1
    await world.realtime.publish("chat/x", "m", 2)
    told = await again.next()
    assert (told["topic"], told["data"]) == ("chat/x/p1", 2)
    assert await bob.quiet() == []


async def test_the_old_connection_of_a_client_that_is_back_is_forgotten_when_it_is_seen_dead(world: Any):
    old = await world.connect(ANN)
    await old.subscribe("chat/x")
    world.clock.at_ms += 5_000
    again = await world.connect(ANN)
    await asyncio.sleep(0.02)
    old.abort()
    assert len(world.realtime._keeper.sessions) == 0
    again.abort()
    await world.realtime.publish("chat/x", "m", 1)
    third = await world.connect(ANN)
    assert (await third.next())["data"] == 1
    assert await third.quiet() == []


async def test_a_second_window_that_is_alive_keeps_its_session(world: Any):
    first = await world.connect(ANN)
    await first.subscribe("chat/x")
    world.clock.at_ms += 5_000
    second = await world.connect(ANN)
    await asyncio.sleep(0.02)
    world.clock.at_ms += 5_000
    await first.quiet()
    first.abort()
    await world.realtime.publish("chat/x", "m", 1)
    assert (await second.next())["data"] == 1


async def test_strangers_without_a_name_get_nothing_of_each_other(world: Any):
    old = await world.connect()
    await old.subscribe("chat/x")
    world.clock.at_ms += 5_000
    other = await world.connect()
    await asyncio.sleep(0.02)
    await world.realtime.publish("chat/x", "m", 1)
    assert (await old.next())["data"] == 1
    assert await other.quiet() == []


async def test_a_connection_whose_end_comes_late_gives_what_it_had_to_the_one_that_waits(start: Any):
    world = await start(session_moment_s=0.0)
    old = await world.connect("")
    await old.subscribe("chat/x")
    again = await world.connect("")
    await again.quiet()
    old.abort()
    await world.realtime.publish("chat/x", "m", 1)
    assert (await again.next())["data"] == 1


async def test_who_pings_and_falls_silent_is_cut_and_who_never_pinged_is_not(world: Any):
    pinging, silent = await world.connect(ANN), await world.connect("?userId=bob")
    await pinging.quiet()
    await silent.subscribe("chat/x")
    world.clock.at_ms += 71_000
    world.realtime._keeper._sweep()
    await asyncio.wait_for(pinging.closed_event.wait(), 5)
    assert silent.close_code is None


async def test_a_connection_whose_topics_were_taken_up_is_not_found_after_a_restart(start: Any):
    world = await start()
    old = await world.connect(ANN)
    await old.subscribe("chat/x")
    world.clock.at_ms += 5_000
    await world.connect(ANN)
    await asyncio.sleep(0.02)
    old.abort()
    world = await restarted(start, world)
    await world.connect(ANN)
    assert len(world.realtime._keeper.sessions) == 1


async def restarted(start: Any, world: Any, **settings: Any) -> Any:
    """End a world as a stopped server ends, and begin another on its files."""
    await world.realtime.remember()
    await world.close()
    return await start(**settings)


async def test_a_session_outlives_the_server(start: Any, tables: Any):
    world = await start(tables=tables)
    ann, gone, left = await world.connect(ANN), await world.connect("?userId=gone"), await world.connect("?userId=left")
    await ann.subscribe("chat/x/p1")
    await ann.subscribe("orders")
    await gone.subscribe("chat/x")
    gone.send({"type": "unsubscribe", "topic": "chat/x"})
    await gone.quiet()
    await left.subscribe("chat/x")
    left.close()
    ann.send({"type": "track", "topic": "chat/x", "state": {"x": 1}})
    await ann.next()
    world = await restarted(start, world, tables=tables)
    world.clock.at_ms += 10_000
    await world.realtime.publish("chat/x", "m", 1, persist=True)
    world.commit(RowChange(1, "INSERT", "orders", {"id": 1}, None))
    again = await world.connect(ANN)
    told = [await again.next() for _ in range(3)]
    assert {frame["topic"] for frame in told} == {"chat/x/p1", "orders"}
    assert [frame["data"] for frame in told if frame.get("event") == "m"] == [1]
    assert {"id": 1} in [frame["data"] for frame in told]
    assert [user["userId"] for user in await world.realtime.presence("chat/x")] == ["ann"]
    for query in ("?userId=gone", "?userId=left"):
        other = await world.connect(query)
        await world.realtime.publish("chat/x", "m", 2)
        assert await other.quiet() == []


async def test_what_was_told_before_the_server_ended_is_not_told_again(start: Any):
    world = await start()
    ann = await world.connect(ANN)
    await ann.subscribe("chat/x")
    ann.send({"type": "publish", "topic": "chat/x", "event": "m", "data": 1, "persist": True})
    assert (await ann.next())["data"] == 1
    world.clock.at_ms += 10_000
    world = await restarted(start, world)
    world.clock.at_ms += 20_000
    again = await world.connect(ANN)
    await world.realtime.publish("chat/x", "m", 2, persist=True)
    assert (await again.next())["data"] == 2
    assert await again.quiet() == []
