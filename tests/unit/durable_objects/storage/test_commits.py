"""Commits of one loop round, on threads and without them."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from durable_objects import Host, NullObserver, ObjectClass
from durable_objects.storage import commits
from durable_objects.storage.commits import Commits
from durable_objects.storage.files import OpenFiles
from workers import DurableObject
from workers.compat.proxies import JsException


class Slot(DurableObject):
    async def put(self, value: int) -> int:
        await self.ctx.storage.put("v", value)
        return value

    async def get(self) -> Any:
        return await self.ctx.storage.get("v")

    async def set_alarm(self, at_ms: int) -> None:
        await self.ctx.storage.setAlarm(at_ms)

    async def alarm(self) -> None: ...


class FullDisk(sqlite3.Connection):
    """Fails the commits of the files whose number is in `full`."""

    full: frozenset[str] = frozenset()

    def __init__(self, path: Any, *args: Any, **options: Any) -> None:
        super().__init__(path, *args, **options)
        self.object_id = Path(path).stem

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:  # type: ignore[override]
        if sql == "COMMIT" and self.object_id in self.full:
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, *args)


@pytest.fixture(params=["threads", "loop"])
def way(request: Any, monkeypatch: Any) -> str:
    monkeypatch.setattr(commits, "_SLOW_S", -1.0 if request.param == "threads" else 1e9)
    monkeypatch.setattr(commits, "_LOOK_AGAIN", 1_000_000)
    return request.param


async def _calls(stubs: list[Any]) -> list[Any]:
    pending = [stub.put(number) for number, stub in enumerate(stubs)]
    results: list[Any] = []
    for one in pending:
        try:
            results.append(await one)
        except JsException as error:
            results.append(error.message[:14])
    return results


async def test_what_many_objects_write_in_one_round_is_committed(way: str, tmp_path: Path):
    heard: list[str] = []

    class Listener(NullObserver):
        def committed(self, unique_key: str) -> None:
            heard.append(threading.current_thread().name)

    host = Host(tmp_path, observer=Listener())
    namespace = host.namespace(ObjectClass("w-Slot", Slot, None))
    stubs = [namespace.getByName(str(number)) for number in range(30)]
    assert await _calls(stubs) == list(range(30))
    assert heard == [threading.main_thread().name] * 30
    await host.close()
    again = Host(tmp_path).namespace(ObjectClass("w-Slot", Slot, None))
    assert [await again.getByName(str(number)).get() for number in range(30)] == list(range(30))


async def test_a_commit_that_fails_resets_its_object_and_no_other(way: str, tmp_path: Path, monkeypatch: Any):
    host = Host(tmp_path)
    host.open_files = OpenFiles(connection=FullDisk)
    namespace = host.namespace(ObjectClass("w-Slot", Slot, None))
    stubs = [namespace.getByName(str(number)) for number in range(8)]
    assert await _calls(stubs) == list(range(8))
    monkeypatch.setattr(FullDisk, "full", frozenset(str(stub.id) for stub in stubs[2:4]))
    results = await _calls(stubs[::-1])
    assert results == [0, 1, 2, 3, "internal error", "internal error", 6, 7]
    monkeypatch.setattr(FullDisk, "full", frozenset())
    fresh = [namespace.getByName(str(number)) for number in range(8)]
    assert [await stub.get() for stub in fresh] == [7, 6, 2, 3, 3, 2, 1, 0]
    await host.close()


async def test_alarms_of_a_round_are_all_set(way: str, tmp_path: Path):
    host = Host(tmp_path)
    namespace = host.namespace(ObjectClass("w-Slot", Slot, None))
    pending = [namespace.getByName(str(number)).set_alarm(4_000_000_000_000 + number) for number in range(9)]
    for one in pending:
        await one
    connection = sqlite3.connect(tmp_path / "w-Slot" / "metadata.sqlite")
    times = {row[0] // 1_000_000 for row in connection.execute("SELECT scheduled_time FROM _cf_ALARM")}
    connection.close()
    assert times == {4_000_000_000_000 + number for number in range(9)}
    await host.close()


class Writer:
    """Stands for an instance; `commit` waits until `together` of them commit at the same time."""

    def __init__(self, barrier: threading.Barrier | None, order: list[int], number: int, *, ready: bool = True) -> None:
        self.transactions: Any = self
        self.barrier, self.order, self.number, self.ready = barrier, order, number, ready

    def begin_commit(self) -> bool:
        return self.ready

    def commit(self) -> None:
        if self.barrier is not None:
            self.barrier.wait(timeout=10)

    def end_commit(self, error: Exception | None) -> None:
        assert error is None
        self.order.append(self.number)


async def test_syncs_overlap_and_output_leaves_in_the_order_of_the_writes(monkeypatch: Any):
    monkeypatch.setattr(commits, "_SLOW_S", -1.0)
    barrier = threading.Barrier(5)
    order: list[int] = []
    rounds = Commits()
    rounds._rounds = 1  # pyright: ignore[reportPrivateUsage]
    for number in range(6):
        rounds.plan(Writer(barrier, order, number, ready=number != 3), asyncio.get_running_loop())
    await asyncio.sleep(0)
    assert order == [0, 1, 2, 4, 5]
    rounds.close()
    rounds.close()


async def test_a_single_commit_needs_no_thread():
    order: list[int] = []
    rounds = Commits()
    rounds.plan(Writer(None, order, 1), asyncio.get_running_loop())
    await asyncio.sleep(0)
    assert order == [1]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("commit")]
