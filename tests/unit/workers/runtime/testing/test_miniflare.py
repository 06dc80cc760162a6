from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest

from workers import Response
from workers.runtime.testing import Miniflare, TestWorker
from workers.runtime.testing.sockets import Closed

SCRIPT = """
from workers import DurableObject, Response, WorkerEntrypoint, fetch


class Counter(DurableObject):
    async def hit(self):
        n = (await self.ctx.storage.get("n") or 0) + 1
        await self.ctx.storage.put("n", n)
        return n

    async def wake_in(self, ms):
        from js import Date

        await self.ctx.storage.setAlarm(Date.now() + ms)

    async def alarm(self, *args):
        log = await self.ctx.storage.get("log") or []
        await self.ctx.storage.put("log", [*log, len(args)])
        if await self.ctx.storage.get("fails"):
            raise ValueError("alarm failed")

    async def log(self):
        return await self.ctx.storage.get("log")

    async def fetch(self, request):
        from js import WebSocketPair

        client, server = WebSocketPair.new().object_values()
        self.ctx.acceptWebSocket(server)
        return Response(None, status=101, web_socket=client)

    async def webSocketMessage(self, ws, message):
        ws.send(f"echo {message}")


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = request.url.partition("://")[2].partition("/")[2].partition("?")[0]
        if path == "boom":
            raise ValueError("no luck")
        if path == "redirect":
            return Response(None, status=302, headers={"location": "/vars"})
        if path == "vars":
            return Response(f"{self.env.GREETING} {self.env.NESTED.deep[1]}")
        if path == "out":
            return await fetch("https://api.example.com/x")
        if path == "service":
            return await self.env.OTHER.fetch("https://other/y")
        if path == "ws":
            return await self.env.COUNTER.getByName("ws").fetch(request)
        return Response.json({"method": request.method.value, "body": await request.text(), "path": path})

    async def scheduled(self, controller, env, ctx):
        await self.env.KV.put("cron", controller.cron)
        self.ctx.waitUntil(self.env.KV.put("later", "done"))

    async def queue(self, batch, env, ctx):
        for message in batch.messages:
            if message.body == "bad":
                message.retry(delaySeconds=5)
            else:
                message.ack()
"""


def options(**more: Any) -> dict[str, Any]:
    return {
        "script": SCRIPT,
        "compatibilityDate": "2025-10-01",
        "compatibilityFlags": ["python_workers"],
        "bindings": {"GREETING": "hello", "NESTED": {"deep": [1, 2]}},
        "d1Databases": ["DB"],
        "kvNamespaces": {"KV": "my-kv"},
        "durableObjects": {"COUNTER": {"className": "Counter", "useSQLite": True}},
        "serviceBindings": {"OTHER": lambda request: Response(f"service saw {request.url}")},
        **more,
    }


async def test_a_script_answers_with_its_bindings_in_place():
    async with Miniflare(options()) as mf:
        assert await (await mf.dispatch_fetch("http://localhost/vars")).text() == "hello 2"
        answer = await mf.dispatchFetch("http://localhost/p?q=1", {"method": "POST", "body": "data"})
        assert await answer.json() == {"method": "POST", "body": "data", "path": "p"}
        assert await (await mf.dispatch_fetch("/p", json={"a": 1})).json() == {
            "method": "POST",
            "body": '{"a": 1}',
            "path": "p",
        }


async def test_redirects_are_followed_unless_asked_otherwise():
    async with Miniflare(options()) as mf:
        followed = await mf.dispatch_fetch("/redirect")
        assert (followed.status, followed.redirected, await followed.text()) == (200, True, "hello 2")
        assert (await mf.dispatch_fetch("/redirect", redirect="manual")).status == 302


async def test_an_exception_of_the_handler_is_raised_in_the_test():
    async with Miniflare(options()) as mf:
        with pytest.raises(ValueError, match="no luck"):
            await mf.dispatch_fetch("/boom")


async def test_functions_stand_for_services_and_for_the_network():
    async def network(request: Any) -> Response:
        return Response(f"network saw {request.url}")

    async with Miniflare(options(outboundService=network)) as mf:
        assert await (await mf.dispatch_fetch("/out")).text() == "network saw https://api.example.com/x"
        assert await (await mf.dispatch_fetch("/service")).text() == "service saw https://other/y"


async def test_bindings_are_reached_by_name_and_kind():
    async with Miniflare(options()) as mf:
        env = await mf.get_bindings()
        assert env["GREETING"] == env.GREETING == "hello"
        await (await mf.getD1Database("DB")).exec("CREATE TABLE t (a)")
        await (await mf.getKVNamespace("KV")).put("k", "v")
        assert await env.KV.get("k") == "v"
        stub = (await mf.getDurableObjectNamespace("COUNTER")).getByName("a")
        assert [await stub.hit(), await stub.hit()] == [1, 2]
        assert [str(found) for found in await mf.listDurableObjectIds("COUNTER")] == [str(stub.id)]
        with pytest.raises(TypeError, match="'GREETING' is no D1 binding; configured: "):
            await mf.get_d1_database("GREETING")


async def test_reset_deletes_what_every_binding_stored():
    async with Miniflare(options()) as mf:
        env = await mf.get_bindings()
        await env.DB.exec(
            "CREATE TABLE a (id INTEGER PRIMARY KEY, b REFERENCES b(id)); CREATE TABLE b (id INTEGER PRIMARY KEY, "
            "a REFERENCES a(id)); INSERT INTO a VALUES (1, NULL); INSERT INTO b VALUES (1, 1); UPDATE a SET b = 1; "
            "CREATE VIEW v AS SELECT * FROM a; CREATE VIRTUAL TABLE f USING fts5(x)"
        )
        await env.KV.put("k", "v")
        await env.COUNTER.getByName("a").hit()
        await mf.reset()
        left = await env.DB.prepare("SELECT name FROM sqlite_master WHERE name NOT LIKE '!_cf!_%' ESCAPE '!'").all()
        assert [row["name"] for row in left["results"]] == []
        assert await env.KV.get("k") is None
        assert await mf.list_durable_object_ids("COUNTER") == []
        assert await env.COUNTER.getByName("a").hit() == 1


async def test_state_is_kept_where_it_is_wanted_and_only_there(tmp_path: Path):
    for expected in (1, 2):
        async with Miniflare(options(durableObjectsPersist=str(tmp_path / "objects"))) as mf:
            env = await mf.get_bindings()
            assert await env.COUNTER.getByName("a").hit() == expected
            assert await env.KV.get("k") is None
            await env.KV.put("k", "v")
    assert any((tmp_path / "objects").iterdir())


async def test_new_options_replace_the_old_ones_and_state_stays():
    async with Miniflare(options()) as mf:
        assert await (await mf.get_bindings()).COUNTER.getByName("a").hit() == 1
        await mf.set_options(options(bindings={"GREETING": "bye", "NESTED": {"deep": [0, 0]}}))
        assert await (await mf.dispatch_fetch("/vars")).text() == "bye 0"
        assert await (await mf.get_bindings()).COUNTER.getByName("a").hit() == 2


async def test_ready_serves_over_http():
    async with Miniflare(options()) as mf, aiohttp.ClientSession() as session:
        url = await mf.ready
        async with session.get(f"{url}/vars") as answer:
            assert await answer.text() == "hello 2"


async def test_several_workers_reach_each_other():
    first = "from workers import *\nclass Default(WorkerEntrypoint):\n    async def fetch(self, r):\n" + (
        "        return Response(await (await self.env.B.fetch('http://b/')).text() + await self.env.B.name())\n"
    )
    second = "from workers import *\nclass Default(WorkerEntrypoint):\n    async def fetch(self, r):\n" + (
        "        return Response('from b ')\n    async def name(self):\n        return 'by rpc'\n"
    )
    workers = [
        {"name": "a", "script": first, "serviceBindings": {"B": "b"}},
        {"name": "b", "script": second},
    ]
    async with Miniflare(workers=workers, compatibilityDate="2025-10-01") as mf:
        assert await (await mf.dispatch_fetch("/")).text() == "from b by rpc"
        assert await (await (await mf.get_worker("b")).fetch("/")).text() == "from b "
        with pytest.raises(TypeError, match="'c' is no Worker here; there is a, b"):
            await mf.get_worker("c")


async def test_scheduled_and_queue_events_run_the_handlers_alone():
    async with Miniflare(options()) as mf:
        worker: TestWorker = await mf.get_worker()
        result = await worker.scheduled(cron="*/5 * * * *")
        assert (result.outcome, result.noRetry) == ("ok", False)
        env = await mf.get_bindings()
        assert (await env.KV.get("cron"), await env.KV.get("later")) == ("*/5 * * * *", "done")
        batch = await worker.queue("q", [{"id": "1", "body": "good"}, {"id": "2", "body": "bad"}])
        assert (batch.outcome, batch.explicitAcks) == ("ok", ["1"])
        assert batch.retryMessages == [{"msgId": "2", "delaySeconds": 5}]


async def test_a_websocket_speaks_to_its_object():
    async with Miniflare(options()) as mf:
        worker = await mf.get_worker()
        socket = await worker.websocket("/ws")
        socket.send("hi")
        assert await socket.receive() == "echo hi"
        with pytest.raises(TimeoutError, match="no message came within"):
            await socket.receive(timeout=0.01)
        stub = (await mf.get_bindings()).COUNTER.getByName("ws")
        await mf.evict_durable_object(stub)  # it hibernates: the socket stays
        socket.send("again")
        assert await socket.receive() == "echo again"
        await mf.evict_durable_object(stub, web_sockets="close")
        assert (await socket.wait_closed()).code == 1012
        with pytest.raises(Closed):
            socket.send("too late")
        with pytest.raises(ConnectionError, match="no WebSocket but 200"):
            await worker.websocket("/vars")


async def test_code_runs_inside_an_object_and_its_exceptions_come_out_unchanged():
    async with Miniflare(options()) as mf:
        stub = (await mf.get_bindings()).COUNTER.getByName("a")
        await stub.hit()

        async def look(instance: Any, state: Any) -> Any:
            return instance, await state.storage.get("n")

        instance, count = await mf.run_in_durable_object(stub, look)
        assert (type(instance).__name__, count) == ("Counter", 1)
        error = KeyError("mine")

        def fail(instance: Any) -> None:
            raise error

        with pytest.raises(KeyError) as caught:
            await mf.run_in_durable_object(stub, fail)
        assert caught.value is error
        with pytest.raises(TypeError, match="parameter 1 is not of type 'DurableObjectStub'"):
            await mf.run_in_durable_object("stub", fail)
        with pytest.raises(TypeError, match="parameter 2 is not of type 'function'"):
            await mf.run_in_durable_object(stub, "callback")  # pyright: ignore[reportArgumentType]


async def test_an_alarm_is_run_by_hand_once_and_without_arguments():
    async with Miniflare(options(clock=True)) as mf:
        stub = (await mf.get_bindings()).COUNTER.getByName("a")
        assert await mf.run_durable_object_alarm(stub) is False
        await stub.wake_in(60_000)
        assert await mf.run_durable_object_alarm(stub) is True
        assert await stub.log() == [0]
        assert await mf.run_durable_object_alarm(stub) is False


async def test_time_moves_alarms_ttls_and_sql_by_one_clock():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    async with Miniflare(options(clock=start, random=Random(1))) as mf:
        assert mf.clock is not None
        env = await mf.get_bindings()
        stub = env.COUNTER.getByName("a")
        await stub.wake_in(30 * 86_400_000)
        await env.KV.put("session", "x", expirationTtl=3600)
        await mf.clock.advance(3599)
        assert await env.KV.get("session") == "x"
        await mf.clock.advance(1)
        assert await env.KV.get("session") is None
        await mf.clock.advance(timedelta(days=29))
        assert await stub.log() is None
        await mf.clock.advance(timedelta(days=1))
        assert await stub.log() == [1]
        row = await env.DB.prepare("SELECT CURRENT_TIMESTAMP AS now").first()
        assert row["now"] == "2026-01-31 01:00:00"


async def test_a_failing_alarm_is_tried_seven_times_in_virtual_seconds():
    async with Miniflare(options(clock=True, random=Random(1))) as mf:
        assert mf.clock is not None
        stub = (await mf.get_bindings()).COUNTER.getByName("a")
        await mf.run_in_durable_object(stub, lambda instance, state: state.storage.put("fails", True))
        await stub.wake_in(1000)
        await mf.clock.advance(timedelta(hours=1))
        assert len(await stub.log()) == 7


async def test_a_disposed_instance_says_so():
    mf = Miniflare(options())
    await mf.dispatch_fetch("/vars")
    await mf.dispose()
    await mf.dispose()
    with pytest.raises(RuntimeError, match="was disposed"):
        await mf.dispatch_fetch("/vars")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scirpt": ""}, "Miniflare has no option 'scirpt'; did you mean 'script'?"),
        ({"script": "", "r2Buckets": ["B"]}, "r2Buckets: this binding is not served yet"),
        ({"script": "", "d1Databases": "DB"}, "d1_databases: must be a list of names or a table of name and id"),
        ({"script": "", "serviceBindings": {"X": {}}}, "service_bindings.X: must be a Worker's name"),
        ({"workers": []}, "at least one Worker is needed"),
        ({"modules": [{"path": "../../x.py", "contents": ""}]}, "a module's path must stay below modules_root"),
    ],
)
def test_options_that_cannot_be_used_are_named(given: dict[str, Any], message: str):
    with pytest.raises(TypeError) as caught:
        Miniflare(given)
    assert message in str(caught.value)


async def test_a_wrong_worker_says_what_is_wrong():
    with pytest.raises(Exception, match=r"worker\.py:1: SyntaxError"):
        await Miniflare(script="def x(:").start()


async def test_two_instances_live_side_by_side():
    async with Miniflare(options()) as first, Miniflare(options()) as second:
        hits = await asyncio.wait_for((await first.get_bindings()).COUNTER.getByName("a").hit(), 5)
        assert (hits, await (await second.get_bindings()).COUNTER.getByName("a").hit()) == (1, 1)
