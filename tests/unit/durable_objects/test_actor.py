from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from durable_objects.errors import ObjectReset
from workers import DurableObject, Response
from workers.compat.proxies import JsException, JsTypeError
from workers.compat.websocket import WebSocketPair


class Counter(DurableObject):
    made = 0

    def __init__(self, ctx: Any, env: Any) -> None:
        super().__init__(ctx, env)
        type(self).made += 1
        self.memory = 0
        self.log: list[str] = []

    async def add(self, amount: int) -> int:
        value = (await self.ctx.storage.get("n") or 0) + amount
        await self.ctx.storage.put("n", value)
        return value

    async def slow(self, label: str, delay_s: float) -> list[str]:
        self.log.append(f"{label}+")
        await asyncio.sleep(delay_s)
        self.log.append(f"{label}-")
        return self.log

    async def alone(self, label: str, delay_s: float) -> None:
        await self.ctx.blockConcurrencyWhile(lambda: self.slow(label, delay_s))

    async def put_then_abort(self) -> None:
        await self.ctx.storage.put("n", 99)
        self.ctx.abort("gone")

    async def put_then_fail(self) -> None:
        self.ctx.storage.put("n", 5)
        raise ValueError("after put")

    async def read(self) -> Any:
        return await self.ctx.storage.get("n")

    async def hang(self) -> None:
        await asyncio.sleep(1000)

    def background(self, delay_s: float) -> None:
        self.ctx.waitUntil(self.slow("bg", delay_s))

    def bump(self) -> int:
        self.memory += 1
        return self.memory


@pytest.fixture
def counter() -> type[Counter]:
    return type("Counter", (Counter,), {})


def test_calls_arrive_in_the_order_they_were_made(play: Any, counter: type[Counter]):
    async def story(rig: Any) -> list[int]:
        stub = rig.namespace(counter).getByName("a")
        return [await call for call in [stub.add(1), stub.add(2), stub.add(3)]]

    assert play(story) == [1, 3, 6]


def test_an_awaited_timer_lets_others_in_and_a_section_does_not(play: Any, counter: type[Counter]):
    async def story(rig: Any) -> list[str]:
        stub = rig.namespace(counter).getByName("a")
        calls = [stub.slow("a", 1), stub.alone("b", 2), stub.slow("c", 0)]
        for call in calls:
            await call
        return await stub.slow("d", 0)

    assert list(play(story)) == ["a+", "b+", "b-", "c+", "a-", "c-", "d+", "d-"]


def test_a_section_may_not_last_longer_than_thirty_seconds(play: Any, counter: type[Counter]):
    async def story(rig: Any) -> None:
        namespace = rig.namespace(counter)
        stub = namespace.getByName("a")
        with pytest.raises(ObjectReset, match="waited for too long") as caught:
            await stub.alone("x", 31)
        assert caught.value.overloaded
        assert await namespace.getByName("a").bump() == 1

    play(story)


def test_abort_loses_what_is_not_committed_even_if_it_was_awaited(play: Any, counter: type[Counter]):
    async def story(rig: Any) -> None:
        namespace = rig.namespace(counter)
        stub = namespace.getByName("a")
        await stub.add(1)
        waiting = stub.hang()
        with pytest.raises(ObjectReset, match="gone") as caught:
            await stub.put_then_abort()
        assert caught.value.durableObjectReset is True
        with pytest.raises(ObjectReset, match="gone"):
            await waiting
        with pytest.raises(ObjectReset, match="gone"):
            await stub.read()
        assert await namespace.getByName("a").read() == 1
        assert counter.made == 2

    play(story)


def test_an_error_keeps_the_writes_and_the_object(play: Any, counter: type[Counter]):
    async def story(rig: Any) -> None:
        stub = rig.namespace(counter).getByName("a")
        with pytest.raises(ValueError, match="after put"):
            await stub.put_then_fail()
        assert await stub.read() == 5
        assert counter.made == 1

    play(story)


def test_an_idle_object_is_evicted_after_ten_seconds_and_made_again(play: Any, counter: type[Counter]):
    async def story(rig: Any) -> None:
        stub = rig.namespace(counter).getByName("a")
        assert await stub.bump() == 1
        await asyncio.sleep(9.9)
        assert await stub.bump() == 2
        await asyncio.sleep(10.1)
        assert rig.host.actors("w-Counter") == []
        assert await stub.bump() == 1

    play(story)


def test_background_work_delays_the_eviction_to_at_most_140_seconds(play: Any, counter: type[Counter]):
    async def story(rig: Any) -> None:
        stub = rig.namespace(counter).getByName("a")
        await stub.background(10_000)
        await asyncio.sleep(69)
        assert len(rig.host.actors("w-Counter")) == 1
        await asyncio.sleep(240)
        assert rig.host.actors("w-Counter") == []

    play(story)


def test_an_accepted_socket_keeps_the_object_in_memory(play: Any, connect: Any):
    class Live(Counter):
        async def fetch(self, request: Any) -> Response:
            client, server = WebSocketPair()
            server.accept()
            server.addEventListener("message", lambda event: server.send(f"{event.data}{self.bump()}"))
            return Response(None, status=101, web_socket=client)

    async def story(rig: Any) -> None:
        stub = rig.namespace(Live).getByName("a")
        port, client = await connect(stub)
        await asyncio.sleep(300)
        port.send("x")
        await asyncio.sleep(0.1)
        assert client.messages == ["x1"]
        port.close(1000, "")
        await asyncio.sleep(11)
        assert rig.host.actors("w-Live") == []
        assert client.closes == [(1000, "", True)]

    play(story)


def test_a_socket_of_a_reset_object_is_cut_and_heard_no_more(play: Any, connect: Any):
    class Gone(Counter):
        heard: list[Any]

        async def fetch(self, request: Any) -> Response:
            client, server = WebSocketPair()
            server.accept()
            server.addEventListener("message", lambda event: type(self).heard.append(event.data))
            return Response(None, status=101, web_socket=client)

    Gone.heard = []

    async def story(rig: Any) -> None:
        stub = rig.namespace(Gone).getByName("a")
        port, client = await connect(stub)
        with pytest.raises(JsException, match="gone"):
            await stub.put_then_abort()
        assert client.closes == [(1006, "", False)]
        port.send("anybody?")
        await asyncio.sleep(0.1)
        assert Gone.heard == []

    play(story)


def test_a_constructor_that_fails_fails_the_event_and_the_next_stub_tries_again(play: Any):
    class Picky(Counter):
        def __init__(self, ctx: Any, env: Any) -> None:
            super().__init__(ctx, env)
            if type(self).made == 1:
                raise RuntimeError("first time")

    async def story(rig: Any) -> None:
        namespace = rig.namespace(Picky)
        stub = namespace.getByName("a")
        for _ in range(2):
            with pytest.raises(RuntimeError, match="first time") as caught:
                await stub.bump()
            assert caught.value.durableObjectReset is True
        assert await namespace.getByName("a").bump() == 1

    play(story)


def test_what_the_constructor_blocks_on_comes_before_the_first_event(play: Any):
    class Ready(Counter):
        def __init__(self, ctx: Any, env: Any) -> None:
            super().__init__(ctx, env)
            ctx.blockConcurrencyWhile(self.slow_start)

        async def slow_start(self) -> None:
            await asyncio.sleep(3)
            self.memory = 10

    async def story(rig: Any) -> int:
        return await rig.namespace(Ready).getByName("a").bump()

    assert play(story) == 11


def test_nothing_leaves_before_the_commit(play: Any, connect: Any):
    class Chatty(Counter):
        seen: list[bool]

        async def fetch(self, request: Any) -> Response:
            client, server = WebSocketPair()
            self.ctx.acceptWebSocket(server)
            return Response(None, status=101, web_socket=client)

        async def webSocketMessage(self, ws: Any, message: str) -> None:
            self.ctx.storage.put("n", message)
            ws.send(message)
            type(self).seen.append(bool(self.client.messages))

    Chatty.seen = []

    async def story(rig: Any) -> None:
        stub = rig.namespace(Chatty).getByName("a")
        port, client = await connect(stub)
        Chatty.client = client  # type: ignore[attr-defined]
        port.send("x")
        await asyncio.sleep(0.1)
        assert client.messages == ["x"]
        assert Chatty.seen == [False]

    play(story)


def test_a_commit_that_fails_reaches_the_caller_and_undoes_everything(play: Any, connect: Any):
    class Broken(Counter):
        async def fetch(self, request: Any) -> Response:
            client, server = WebSocketPair()
            self.ctx.acceptWebSocket(server)
            return Response(None, status=101, web_socket=client)

        async def violate(self) -> str:
            sql = self.ctx.storage.sql
            sql.exec("CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p(id))")
            sql.exec("PRAGMA defer_foreign_keys=ON")
            sql.exec("INSERT INTO c VALUES (1)")
            for ws in self.ctx.getWebSockets():
                ws.send("never")
            return "done"

        def tables(self) -> list[Any]:
            return [row.name for row in self.ctx.storage.sql.exec("SELECT name FROM sqlite_master")]

    async def story(rig: Any) -> None:
        namespace = rig.namespace(Broken)
        stub = namespace.getByName("a")
        _port, client = await connect(stub)
        with pytest.raises(JsException, match="constraints were violated: FOREIGN KEY constraint failed"):
            await stub.violate()
        assert client.messages == []
        assert client.closes == [(1006, "", False)]
        assert await namespace.getByName("a").tables() == []

    play(story)


def test_a_call_between_objects_waits_for_the_callers_commit(play: Any):
    class Callee(Counter):
        calls: list[str]

        def note(self, text: str) -> None:
            type(self).calls.append(text)

    class Caller(Counter):
        async def write_and_abort(self) -> None:
            self.ctx.storage.put("n", 1)
            self.env.getByName("b").note("never")
            self.ctx.abort("changed my mind")

        async def write_and_call(self) -> None:
            self.ctx.storage.put("n", 1)
            await self.env.getByName("b").note("committed")

    Callee.calls = []

    async def story(rig: Any) -> None:
        callees = rig.namespace(Callee)
        callers = rig.namespace(Caller, env=callees)
        with pytest.raises(JsException, match="changed my mind"):
            await callers.getByName("a").write_and_abort()
        await callers.getByName("a").write_and_call()
        assert Callee.calls == ["committed"]

    play(story)


def test_a_background_failure_is_logged_and_breaks_nothing(play: Any, counter: type[Counter], caplog: Any):
    class Careless(Counter):
        def start(self) -> None:
            self.ctx.waitUntil(self.explode())

        async def explode(self) -> None:
            raise RuntimeError("in the background")

    async def story(rig: Any) -> None:
        stub = rig.namespace(Careless).getByName("a")
        await stub.start()
        await asyncio.sleep(0.1)
        assert await stub.bump() == 1

    play(story)
    assert "in the background" in caplog.text


def test_timeouts_and_task_groups_work_inside_a_turn(play: Any):
    class Modern(Counter):
        async def parts(self) -> list[int]:
            async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(self.add(1)) for _ in range(3)]
            return [task.result() for task in running]

        async def impatient(self) -> str:
            try:
                async with asyncio.timeout(1):
                    await asyncio.sleep(100)
            except TimeoutError:
                return "timed out"
            return "never"

    async def story(rig: Any) -> None:
        stub = rig.namespace(Modern).getByName("a")
        assert await stub.parts() == [1, 2, 3]
        assert await stub.impatient() == "timed out"

    play(story)


def test_a_turn_has_a_context_of_its_own(play: Any):
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    class Leaky(Counter):
        def leak(self) -> str:
            before = variable.get()
            variable.set("leaked")
            return before

    async def story(rig: Any) -> list[str]:
        variable.set("caller")
        stub = rig.namespace(Leaky).getByName("a")
        return [await stub.leak(), await stub.leak()]

    assert play(story) == ["unset", "unset"]


def test_fetch_must_answer_with_a_response(play: Any):
    class Wrong(DurableObject):
        def fetch(self) -> str:
            return "text"

    class Missing(DurableObject):
        pass

    async def story(rig: Any) -> None:
        with pytest.raises(JsException, match="did not resolve to 'Response'"):
            await rig.namespace(Wrong).getByName("a").fetch("http://x/")
        with pytest.raises(JsException, match=r"does not export a fetch\(\) function"):
            await rig.namespace(Missing).getByName("a").fetch("http://x/")
        with pytest.raises(JsTypeError, match="Invalid URL: /x"):
            await rig.namespace(Wrong).getByName("a").fetch("/x")

    play(story)
