"""What objects use, as a host tells it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable_objects import Host, NullObserver, ObjectClass, ObjectSnapshot
from durable_objects.usage import Usage
from workers import DurableObject, Response
from workers.compat.websocket import WebSocketPair


class Worker(DurableObject):
    async def store(self) -> None:
        await self.ctx.storage.put({"a": 1, "b": 2})
        await self.ctx.storage.get("a")
        await self.ctx.storage.get(["a", "b", "c"])
        await self.ctx.storage.list()
        await self.ctx.storage.delete(["a", "c"])

    async def query(self) -> None:
        sql = self.ctx.storage.sql
        sql.exec("CREATE TABLE t (n)")
        sql.exec("INSERT INTO t VALUES (1), (2), (3)")
        sql.exec("SELECT n FROM t").toArray()

    async def fail(self) -> None:
        raise ValueError("no")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def leave_work(self, seconds: float) -> None:
        self.ctx.waitUntil(asyncio.sleep(seconds))

    async def fetch(self, request: Any) -> Response:
        client, server = WebSocketPair()
        if request.url.endswith("/accept"):
            server.accept()
        else:
            self.ctx.acceptWebSocket(server)
        return Response(None, status=101, web_socket=client)

    async def webSocketMessage(self, ws: Any, message: Any) -> None:
        pass


def _only(host: Host) -> ObjectSnapshot:
    (snapshot,) = host.objects()
    return snapshot


def test_storage_operations_and_their_rows_are_counted(play: Any):
    async def story(rig: Any) -> None:
        await rig.namespace(Worker).getByName("a").store()
        usage = _only(rig.host).usage
        assert (usage.reads, usage.writes) == (3, 2)
        assert (usage.rows_read, usage.rows_written) == (5, 3)
        assert (usage.wakes, usage.commits, usage.failures) == (1, 1, 0)
        assert dict(usage.turns) == {"rpc": 1}

    play(story)


def test_statements_and_their_rows_are_counted(play: Any):
    async def story(rig: Any) -> None:
        await rig.namespace(Worker).getByName("a").query()
        usage = _only(rig.host).usage
        assert (usage.reads, usage.writes) == (1, 2)
        assert usage.rows_read >= 3
        assert usage.rows_written >= 3

    play(story)


def test_failures_and_running_time_are_counted(play: Any):
    async def story(rig: Any) -> None:
        stub = rig.namespace(Worker).getByName("a")
        with pytest.raises(ValueError, match="no"):
            await stub.fail()
        await stub.sleep(3)
        sleeping = stub.sleep(5)
        await asyncio.sleep(2)
        snapshot = _only(rig.host)
        assert snapshot.obstacle == "an event is running"
        assert snapshot.usage.busy_s == pytest.approx(5, abs=0.1)
        assert snapshot.usage.awake_s == pytest.approx(5, abs=0.1)
        await sleeping
        snapshot = _only(rig.host)
        assert snapshot.obstacle is None
        assert (snapshot.name, snapshot.is_awake) == ("a", True)
        assert snapshot.usage.failures == 1
        assert dict(snapshot.usage.turns) == {"rpc": 3}

    play(story)


def test_an_object_tells_why_it_stays_in_memory(play: Any, connect: Any):
    async def story(rig: Any) -> None:
        namespace = rig.namespace(Worker)
        await namespace.getByName("a").leave_work(30)
        await connect(namespace.getByName("b"), "http://object/accept")
        await asyncio.sleep(11)
        assert {one.name: one.obstacle for one in rig.host.objects()} == {"a": "waitUntil", "b": "accepted sockets"}
        told = {one.name: dict(one.usage.kept_awake) for one in rig.host.objects()}
        assert told == {"a": {"waitUntil": 1}, "b": {"accepted sockets": 1}}
        assert [one.accepted_sockets for one in rig.host.objects("w-Worker")] == [0, 1]

    play(story)


def test_a_hibernating_object_keeps_its_counters(play: Any, connect: Any):
    async def story(rig: Any) -> None:
        port, _client = await connect(rig.namespace(Worker).getByName("a"))
        await asyncio.sleep(11)
        asleep = _only(rig.host)
        assert (asleep.is_awake, asleep.sockets, asleep.obstacle) == (False, 1, None)
        assert asleep.usage.awake_s == pytest.approx(10, abs=0.1)
        port.send("wake")
        await asyncio.sleep(0.01)
        awake = _only(rig.host)
        assert awake.is_awake
        assert dict(awake.usage.turns) == {"fetch": 1, "message": 1}
        assert awake.usage.wakes == 2

    play(story)


def test_the_sum_of_a_class_outlives_its_objects(play: Any, monkeypatch: Any):
    monkeypatch.setattr("durable_objects.host._REMEMBERED", 2)

    async def story(rig: Any) -> None:
        namespace = rig.namespace(Worker)
        for name in "abcd":
            await namespace.getByName(name).store()
        await asyncio.sleep(11)
        assert rig.host.objects() == []
        (total,) = rig.host.classes()
        assert (total.unique_key, total.loaded, total.awake) == ("w-Worker", 0, 0)
        assert (total.usage.wakes, total.usage.rows_written) == (4, 12)
        await namespace.getByName("d").store()
        assert _only(rig.host).usage.wakes == 2
        (total,) = rig.host.classes()
        assert (total.loaded, total.usage.wakes) == (1, 5)

    play(story)


def test_the_observer_is_told_what_an_object_used(play: Any, tmp_path: Any):
    heard: list[Any] = []

    class Listener(NullObserver):
        def object_used(self, snapshot: ObjectSnapshot) -> None:
            heard.append((snapshot.name, dict(snapshot.usage.turns)))

        def kept_awake(self, unique_key: str, object_id: str, why: str) -> None:
            heard.append((unique_key, why))

    async def story(rig: Any) -> None:
        rig.hosts.append(Host(tmp_path / "observed", clock=rig.clock, observer=Listener()))
        stub = rig.host.namespace(ObjectClass("w-K", Worker, None)).getByName("a")
        await stub.leave_work(12)
        await asyncio.sleep(200)

    play(story)
    assert heard == [("w-K", "waitUntil"), ("a", {"rpc": 1})]


def test_usages_add_up():
    one, other = Usage(), Usage()
    one.turns = {"rpc": 1}
    other.turns = {"rpc": 1, "alarm": 1}
    other.obstructed("waitUntil")
    other.awake_s = 1.5
    one.add(other)
    assert dict(one.turns) == {"rpc": 2, "alarm": 1}
    assert one.kept_awake == {"waitUntil": 1}
    assert one.figures(awake_s=0.5).awake_s == 2.0
