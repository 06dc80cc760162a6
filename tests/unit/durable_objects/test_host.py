from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable_objects import Host, NullObserver, ObjectClass
from workers import DurableObject, Response
from workers.compat.proxies import JsException
from workers.compat.websocket import WebSocketPair


class Keeper(DurableObject):
    async def fetch(self, request: Any) -> Response:
        client, server = WebSocketPair()
        self.ctx.acceptWebSocket(server)
        return Response(None, status=101, web_socket=client)

    async def keep(self, value: str) -> str:
        await self.ctx.storage.put("v", value)
        return value

    async def kept(self) -> Any:
        return await self.ctx.storage.get("v")

    async def hang(self) -> None:
        self.ctx.storage.put("v", "written before the stop")
        await asyncio.sleep(1000)


def test_data_is_found_by_the_next_process(play: Any, tmp_path: Any):
    async def first(rig: Any) -> None:
        await rig.namespace(Keeper).getByName("a").keep("x")

    async def second(rig: Any) -> Any:
        return await rig.namespace(Keeper).getByName("a").kept()

    play(first)
    (file,) = (tmp_path / "w-Keeper").glob("*.sqlite")
    assert len(file.stem) == 64
    assert play(second) == "x"


def test_closing_commits_closes_sockets_and_may_be_repeated(play: Any, connect: Any):
    async def story(rig: Any) -> None:
        stub = rig.namespace(Keeper).getByName("a")
        _port, client = await connect(stub)
        hanging = stub.hang()
        await asyncio.sleep(0)
        await rig.host.close(1012)
        await rig.host.close()
        assert client.closes == [(1012, "", True)]
        with pytest.raises(JsException, match="shutting down"):
            await hanging
        with pytest.raises(JsException, match="shutting down"):
            await rig.host.namespace(ObjectClass("w-Keeper", Keeper, None)).getByName("b").kept()

    play(story)
    assert play(lambda rig: _kept(rig)) == "written before the stop"


async def _kept(rig: Any) -> Any:
    return await rig.namespace(Keeper).getByName("a").kept()


def test_a_running_object_cannot_be_evicted(play: Any):
    async def story(rig: Any) -> None:
        namespace = rig.namespace(Keeper)
        stub = namespace.getByName("a")
        stub.hang()
        await asyncio.sleep(0)
        with pytest.raises(JsException, match="still has active references"):
            await rig.host.evict(namespace, stub.id)

    play(story)


def test_the_observer_hears_of_lives_and_events(play: Any, tmp_path: Any):
    heard: list[Any] = []

    class Listener(NullObserver):
        def object_started(self, unique_key: str, object_id: str) -> None:
            heard.append(("started", unique_key))

        def object_stopped(self, unique_key: str, object_id: str, reason: str) -> None:
            heard.append(("stopped", reason))

        def event_finished(self, unique_key: str, kind: str, failed: bool) -> None:
            heard.append((kind, failed))

        def committed(self, unique_key: str) -> None:
            heard.append("committed")

    async def story(rig: Any) -> None:
        host = Host(tmp_path / "observed", observer=Listener())
        rig.hosts.append(host)
        stub = host.namespace(ObjectClass("w-K", Keeper, None)).getByName("a")
        await stub.keep("x")
        with pytest.raises(JsException):
            await stub.missing()
        await host.close()

    play(story)
    assert heard == [("started", "w-K"), ("rpc", False), "committed", ("rpc", True), ("stopped", "closed")]


def test_an_object_that_only_reads_leaves_no_file(play: Any, tmp_path: Any):
    async def story(rig: Any) -> None:
        assert await rig.namespace(Keeper).getByName("a").kept() is None

    play(story)
    assert not list(tmp_path.rglob("*.sqlite"))


def test_many_live_objects_share_few_open_files(play: Any):
    async def story(rig: Any) -> None:
        namespace = rig.namespace(Keeper)
        stubs = [namespace.getByName(str(number)) for number in range(400)]
        for number, stub in enumerate(stubs):
            await stub.keep(str(number))
        assert len(rig.host.open_files) <= 251
        assert [await stub.kept() for stub in stubs] == [str(number) for number in range(400)]
        assert len(rig.host.open_files) <= 251

    play(story)
