from __future__ import annotations

import asyncio
import sqlite3
from random import Random
from typing import Any

import pytest

from durable_objects import ObjectClass
from durable_objects.alarms import retry_delay_s
from workers import DurableObject
from workers.compat.proxies import JsTypeError


class Clocked(DurableObject):
    fired: list[tuple[int, bool]]
    fail_times = 0
    again_at: int | None = None
    pause_s = 0.0

    def __init__(self, ctx: Any, env: Any) -> None:
        super().__init__(ctx, env)

    async def set(self, at_ms: int) -> None:
        await self.ctx.storage.setAlarm(at_ms)

    async def get(self) -> int | None:
        return await self.ctx.storage.getAlarm()

    async def set_and_lose(self, at_ms: int) -> None:
        await self.ctx.storage.setAlarm(at_ms)
        self.ctx.abort("lost")

    async def alarm(self, info: Any) -> None:
        kind = type(self)
        kind.fired.append((info.retryCount, info.isRetry))
        assert await self.ctx.storage.getAlarm() is None
        if kind.again_at is not None:
            again, kind.again_at = kind.again_at, None
            await self.ctx.storage.setAlarm(again)
        await asyncio.sleep(kind.pause_s)
        if len(kind.fired) <= kind.fail_times:
            raise ValueError("not yet")


@pytest.fixture
def clocked() -> type[Clocked]:
    return type("Clocked", (Clocked,), {"fired": []})


def test_delays_double_and_gain_up_to_a_quarter():
    delays = [retry_delay_s(failures, Random(failures)) for failures in range(1, 7)]
    assert all(2.0**n <= delay <= 2.0**n * 1.25 for n, delay in enumerate(delays, start=1))


def test_an_alarm_fires_when_it_is_due_and_then_is_unset(play: Any, clocked: type[Clocked]):
    async def story(rig: Any) -> None:
        stub = rig.namespace(clocked).getByName("a")
        at_ms = rig.clock.now_ms() + 5000
        await stub.set(at_ms)
        assert await stub.get() == at_ms
        await asyncio.sleep(4.9)
        assert clocked.fired == []
        await asyncio.sleep(0.2)
        assert clocked.fired == [(0, False)]
        assert await stub.get() is None

    play(story)


def test_a_failing_alarm_is_tried_seven_times_and_then_dropped(play: Any, clocked: type[Clocked]):
    clocked.fail_times = 100

    async def story(rig: Any) -> None:
        stub = rig.namespace(clocked).getByName("a")
        await stub.set(rig.clock.now_ms() + 1)
        await asyncio.sleep(10)
        assert await stub.get() is not None
        await asyncio.sleep(300)
        assert await stub.get() is None

    play(story)
    assert clocked.fired == [(n, n > 0) for n in range(7)]


def test_an_alarm_outlives_the_process(play: Any, clocked: type[Clocked], tmp_path: Any):
    async def first(rig: Any) -> None:
        await rig.namespace(clocked).getByName("named").set(rig.clock.now_ms() + 60_000)

    async def second(rig: Any) -> None:
        rig.namespace(clocked)
        await rig.host.start()
        await asyncio.sleep(61)

    play(first)
    rows = sqlite3.connect(tmp_path / "w-Clocked" / "metadata.sqlite").execute("SELECT * FROM _cf_ALARM").fetchall()
    assert [(row[1], row[2]) for row in rows] == [(1_700_000_060_000_000_000, "named")]
    assert clocked.fired == []
    play(second)
    assert clocked.fired == [(0, False)]


def test_an_alarm_set_and_lost_by_a_reset_does_not_fire(play: Any, clocked: type[Clocked]):
    async def story(rig: Any) -> None:
        with pytest.raises(Exception, match="lost"):
            await rig.namespace(clocked).getByName("a").set_and_lose(rig.clock.now_ms() + 1)
        await asyncio.sleep(60)

    play(story)
    assert clocked.fired == []


def test_handlers_of_one_object_never_overlap(play: Any, clocked: type[Clocked]):
    clocked.again_at = 1
    clocked.pause_s = 5.0

    async def story(rig: Any) -> None:
        await rig.namespace(clocked).getByName("a").set(rig.clock.now_ms() + 1)
        await asyncio.sleep(4)
        assert len(clocked.fired) == 1
        await asyncio.sleep(4)
        assert len(clocked.fired) == 2

    play(story)


def test_a_class_without_alarm_cannot_set_one(play: Any):
    class Quiet(DurableObject):
        async def set(self) -> None:
            await self.ctx.storage.setAlarm(1)

    async def story(rig: Any) -> None:
        with pytest.raises(JsTypeError, match=r"must have an alarm\(\) handler"):
            await rig.namespace(Quiet).getByName("a").set()

    play(story)


def test_metadata_of_an_older_miniflare_is_understood(play: Any, clocked: type[Clocked], tmp_path: Any):
    (tmp_path / "w-Clocked").mkdir()
    old = sqlite3.connect(tmp_path / "w-Clocked" / "metadata.sqlite")
    old.execute("CREATE TABLE _cf_ALARM (actor_id TEXT PRIMARY KEY, scheduled_time INTEGER) WITHOUT ROWID")
    old.close()

    async def story(rig: Any) -> None:
        stub = rig.namespace(clocked).getByName("a")
        await rig.host.start()
        await stub.set(rig.clock.now_ms() + 1)
        await asyncio.sleep(1)

    play(story)
    assert clocked.fired == [(0, False)]


def test_deleting_everything_keeps_the_alarm_by_older_compatibility_dates(play: Any):
    rung: list[Any] = []

    class Sweeper(DurableObject):
        async def sweep(self, at_ms: int) -> Any:
            await self.ctx.storage.put("k", 1)
            await self.ctx.storage.setAlarm(at_ms)
            await self.ctx.storage.deleteAll()
            return [await self.ctx.storage.get("k"), await self.ctx.storage.getAlarm()]

        async def alarm(self) -> None:
            await self.ctx.storage.deleteAll()
            rung.append(await self.ctx.storage.getAlarm())

        async def left(self) -> Any:
            return await self.ctx.storage.getAlarm()

    async def story(rig: Any) -> None:
        host = rig.new_host()
        for keeps in (True, False):
            spec = ObjectClass(f"w-{keeps}", Sweeper, None, deletes_alarm=not keeps)
            stub = host.namespace(spec).getByName("a")
            at_ms = rig.clock.now_ms() + 5000
            assert await stub.sweep(at_ms) == [None, at_ms if keeps else None]
            await asyncio.sleep(60)
            assert rung == [None]
            assert await stub.left() is None

    play(story)
