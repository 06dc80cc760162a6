from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from workers.runtime.virtual_time import Deadlock, VirtualTime

START = datetime(2026, 1, 1, tzinfo=UTC)


def run(main: Callable[[VirtualTime], Coroutine[Any, Any, Any]]) -> Any:
    async def body() -> Any:
        with VirtualTime(start=START) as clock:
            return await main(clock)

    return asyncio.run(body())


def test_a_day_of_sleeping_takes_no_time():
    async def main(clock: VirtualTime) -> datetime:
        await asyncio.sleep(86_400)
        return clock.now()

    began = time.perf_counter()
    assert run(main) == START + timedelta(days=1)
    assert time.perf_counter() - began < 60  # a day would be 86,400


def test_advance_runs_what_falls_due_in_order_each_at_its_own_time():
    async def main(clock: VirtualTime) -> list[tuple[str, float]]:
        seen: list[tuple[str, float]] = []
        loop = asyncio.get_running_loop()

        def tick() -> None:
            seen.append(("tick", clock.elapsed_s))
            if len(seen) < 4:
                loop.call_later(10, tick)

        loop.call_later(10, tick)
        loop.call_later(15, lambda: seen.append(("once", clock.elapsed_s)))
        await clock.advance(25)
        return seen

    assert run(main) == [("tick", 10), ("once", 15), ("tick", 20)]


def test_advance_leaves_the_clock_exactly_where_it_was_told():
    async def main(clock: VirtualTime) -> tuple[float, int]:
        await clock.advance(timedelta(days=30))
        return clock.elapsed_s, clock.now_ms()

    elapsed_s, now_ms = run(main)
    assert elapsed_s == 30 * 86_400
    assert now_ms == int((START + timedelta(days=30)).timestamp() * 1000)


def test_advance_waits_until_chains_of_tasks_are_quiet():
    async def main(clock: VirtualTime) -> list[int]:
        seen: list[int] = []

        async def chain() -> None:
            await asyncio.sleep(5)
            for step in range(20):
                await asyncio.sleep(0)
                seen.append(step)

        task = asyncio.get_running_loop().create_task(chain())
        await clock.advance(5)
        assert task.done()
        return seen

    assert run(main) == list(range(20))


def test_a_cancelled_timer_is_no_stop_on_the_way():
    async def main(clock: VirtualTime) -> float | None:
        loop = asyncio.get_running_loop()
        loop.call_later(1, lambda: None).cancel()
        loop.call_later(7, lambda: None)
        return clock.next_timer_s()

    assert run(main) == 7


def test_a_timeout_ends_at_its_virtual_second():
    async def main(clock: VirtualTime) -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await asyncio.get_running_loop().create_future()
        return clock.elapsed_s

    assert run(main) == 3600


def test_a_deadlock_is_reported_with_what_waits():
    async def main(clock: VirtualTime) -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock, match=r"nothing can ever happen again[\s\S]*test_virtual_time\.py"):
        run(main)


def test_a_thread_may_answer_in_real_time():
    async def main(clock: VirtualTime) -> tuple[str, float]:
        asyncio.get_running_loop().call_later(1000, lambda: None)

        def work() -> str:
            time.sleep(0.05)  # the thread's work itself
            return "done"

        return await asyncio.to_thread(work), clock.elapsed_s

    assert run(main) == ("done", 0.0)


def test_sockets_are_heard_before_time_moves():
    async def main(clock: VirtualTime) -> tuple[bytes, float]:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readexactly(4))
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"ping")
            async with asyncio.timeout(30):
                answer = await reader.read()
            writer.close()
        return answer, clock.elapsed_s

    answer, elapsed_s = run(main)
    assert answer == b"ping"
    assert elapsed_s < 30


def test_time_does_not_go_back():
    async def main(clock: VirtualTime) -> None:
        with pytest.raises(ValueError, match="time does not go back"):
            await clock.advance(-1)
        with pytest.raises(ValueError, match="time does not go back"):
            await clock.advance_to(START - timedelta(seconds=1))
        with pytest.raises(TypeError, match="aware datetime"):
            await clock.advance_to(datetime(2027, 1, 1))

    run(main)


def test_timers_keep_their_distance_when_real_time_comes_back():
    async def main() -> float:
        loop = asyncio.get_running_loop()
        with VirtualTime() as clock:
            await clock.advance(1_000_000)
            timer = loop.call_later(0.5, lambda: None)
        left_s = timer.when() - loop.time()
        timer.cancel()
        return left_s

    assert 0 < asyncio.run(main()) <= 0.5


def test_the_same_program_runs_the_same_way_twice():
    async def main(clock: VirtualTime) -> list[tuple[int, float]]:
        seen: list[tuple[int, float]] = []

        async def walker(number: int) -> None:
            for step in range(50):
                await asyncio.sleep((number * 7 + step) % 5)
                seen.append((number, clock.elapsed_s))

        async with asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(walker(number))
        return seen

    assert run(main) == run(main)
