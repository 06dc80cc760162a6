"""Stubs of functions and targets, and results that are used before they are known."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from durable_objects.rpc import RpcPromise, TargetStub
from workers import DurableObject, RpcTarget
from workers.compat.proxies import JsException, JsTypeError


class Counter(RpcTarget):
    def __init__(self, start: int) -> None:
        self.count = start

    def add(self, amount: int = 1) -> int:
        self.count += amount
        return self.count

    @property
    def value(self) -> int:
        return self.count

    def child(self) -> Any:
        return Counter(self.count * 10)

    def _habit(self) -> str:
        return "reached"

    def __secret(self) -> None: ...  # pyright: ignore[reportUnusedFunction]


class Maker(DurableObject):
    def __init__(self, ctx: Any, env: Any) -> None:
        super().__init__(ctx, env)
        self.log: list[Any] = []

    async def counter(self, start: int, delay_s: float = 0) -> Any:
        await asyncio.sleep(delay_s)
        return Counter(start)

    async def nested(self) -> Any:
        def double(value: int) -> int:
            return value * 2

        return {"a": {"b": 7}, "counter": Counter(3), "double": double}

    def note(self, value: Any) -> None:
        self.log.append(value)

    async def storing(self) -> Any:
        async def store(value: int) -> int:
            old = await self.ctx.storage.get("n") or 0
            await self.ctx.storage.put("n", old + value)
            return old + value

        return store

    async def stored(self) -> Any:
        return await self.ctx.storage.get("n")

    async def each(self, function: Any, count: int) -> list[Any]:
        return [await function(number) for number in range(count)]

    async def all_at_once(self, function: Any, count: int) -> list[Any]:
        pending = [function(number) for number in range(count)]
        return [await one for one in pending]

    def notes(self) -> list[Any]:
        return self.log

    async def fail(self) -> None:
        raise ValueError("first")

    async def noter(self, delay_s: float) -> Any:
        await asyncio.sleep(delay_s)
        return Noter(self.log)


class Noter(RpcTarget):
    def __init__(self, log: list[Any]) -> None:
        self.log = log

    def note(self, value: Any) -> None:
        self.log.append(value)


def test_a_call_on_a_result_is_sent_before_the_result_is_known(play: Any):
    async def story(rig: Any) -> None:
        stub = rig.namespace(Maker).getByName("a")
        pending = stub.counter(5, 10).add(2)
        assert isinstance(pending, RpcPromise)
        await asyncio.sleep(11)  # nobody has awaited it
        assert pending._future.done()  # pyright: ignore[reportPrivateUsage]
        assert await pending == 7

    play(story)


def test_results_chain(play: Any):
    async def story(rig: Any) -> None:
        stub = rig.namespace(Maker).getByName("a")
        assert await stub.counter(5).child().child().add(1) == 501
        assert await stub.counter(5).value == 5
        assert await stub.nested().a.b == 7
        assert await stub.nested().counter.add(1) == 4
        assert await stub.nested().counter.child().value == 30
        assert await stub.nested().double(4) == 8
        assert await stub.storing()(6) == 6
        assert (await stub.nested().counter).__class__ is TargetStub

    play(story)


def test_calls_on_a_result_keep_the_order_in_which_they_were_made(play: Any):
    async def story(rig: Any) -> None:
        stub = rig.namespace(Maker).getByName("a")
        promise = stub.noter(5)
        first = [promise.note(number) for number in range(5)]
        noter = await promise
        noter.note(5)
        promise.note(6)
        noter.note(7)
        await promise.note(8)
        for one in first:
            await one
        assert await stub.notes() == list(range(9))

    play(story)


def test_a_failed_call_fails_what_was_asked_of_its_result(play: Any):
    async def story(rig: Any) -> None:
        stub = rig.namespace(Maker).getByName("a")
        promise = stub.fail()
        later = promise.anything(1).more
        for one in (promise, later):
            with pytest.raises(ValueError, match="first"):
                await one
        with pytest.raises(JsTypeError, match='does not implement the method "missing"'):
            await stub.nested().missing
        with pytest.raises(JsTypeError, match=r'^TypeError: "a\.b" is not a function\.$') as caught:
            await stub.nested().a.b(1)
        assert caught.value.remote is True  # type: ignore[attr-defined]
        for not_callable in (stub.counter(1)(), stub.notes()()):
            with pytest.raises(JsTypeError, match=r'^TypeError: "\(this\)" is not a function.$'):
                await not_callable

    play(story)


def test_targets_show_their_methods_and_properties_and_nothing_else(play: Any):
    async def story(rig: Any) -> None:
        counter = await rig.namespace(Maker).getByName("a").counter(1)
        assert await counter.value == 1
        assert await counter._habit() == "reached"
        for name in ("count", "missing", "_Counter__secret"):
            with pytest.raises(JsTypeError, match="does not implement the method"):
                await getattr(counter, name)()
        with pytest.raises(AttributeError):
            counter.then  # noqa: B018

    play(story)


def test_a_function_of_an_object_runs_as_a_turn_of_it(play: Any):
    async def story(rig: Any) -> None:
        stub = rig.namespace(Maker).getByName("a")
        store = await stub.storing()
        pending = [store(1) for _ in range(20)]  # read, then write: a lost update unless they are turns
        assert [await one for one in pending] == list(range(1, 21))
        (snapshot,) = rig.host.objects()
        assert snapshot.usage.turns["rpc"] == 21
        assert snapshot.obstacle == "stubs of its functions"

    play(story)


def test_a_callback_of_a_worker_is_called_in_order_with_copies(play: Any):
    async def story(rig: Any) -> None:
        stub = rig.namespace(Maker).getByName("a")
        seen: list[Any] = []

        async def callback(number: int) -> Any:
            seen.append(number)
            await asyncio.sleep(10 - number)
            return {"n": number}

        assert await stub.each(callback, 3) == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert await stub.all_at_once(callback, 3) == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert seen == [0, 1, 2, 0, 1, 2]

    play(story)


def test_an_object_calls_back_into_another_object(play: Any):
    class Caller(DurableObject):
        async def run(self, other: Any) -> Any:
            total: list[int] = []

            async def callback(number: int) -> int:
                await self.ctx.storage.put(str(number), number)
                total.append(number)
                return number

            await other.each(callback, 4)
            return [total, await self.ctx.storage.list()]

    async def story(rig: Any) -> Any:
        maker = rig.namespace(Maker).getByName("m")
        return await rig.namespace(Caller).getByName("c").run(maker)

    total, stored = play(story)
    assert total == [0, 1, 2, 3]
    assert dict(stored) == {"0": 0, "1": 1, "2": 2, "3": 3}


def test_the_error_of_a_callback_reaches_who_called_it(play: Any):
    async def story(rig: Any) -> None:
        def callback(number: int) -> None:
            raise KeyError(number)

        with pytest.raises(KeyError) as caught:
            await rig.namespace(Maker).getByName("a").each(callback, 1)
        assert caught.value.remote is True  # type: ignore[attr-defined]

    play(story)


def test_a_stub_is_released_by_destroy_and_its_duplicate_lives_on(play: Any):
    async def story(rig: Any) -> None:
        counter = await rig.namespace(Maker).getByName("a").counter(1)
        with counter.dup() as other:
            counter.destroy()
            counter.destroy()
            with pytest.raises(JsException, match="disposed"):
                counter.add()
            with pytest.raises(JsException, match="disposed"):
                counter.dup()
            assert await other.add() == 2
            assert rig.host.objects()[0].obstacle == "stubs of its functions"
        assert rig.host.objects()[0].obstacle is None

    play(story)


def test_a_stub_keeps_its_object_in_memory_until_it_is_forgotten(play: Any):
    async def story(rig: Any) -> None:
        counter = await rig.namespace(Maker).getByName("a").counter(1)
        await asyncio.sleep(30)
        assert await counter.add() == 2
        assert rig.host.objects()[0].usage.wakes == 1
        del counter
        gc.collect()
        await asyncio.sleep(141)
        assert rig.host.objects() == []

    play(story)


def test_a_stub_of_an_instance_that_is_gone_says_so(play: Any):
    class Fragile(DurableObject):
        async def target(self) -> Any:
            return Counter(1)

        async def end(self) -> None:
            self.ctx.abort("ended")

    async def story(rig: Any) -> None:
        stub = rig.namespace(Fragile).getByName("a")
        target = await stub.target()
        with pytest.raises(JsException, match="ended"):
            await stub.end()
        with pytest.raises(JsException, match="ended"):
            await target.add()
        other = await rig.namespace(Fragile).getByName("b").target()
        await asyncio.sleep(200)
        with pytest.raises(JsException, match="evicted"):
            await other.add()

    play(story)


def test_a_stub_passed_on_leads_to_the_same_target(play: Any):
    class Middle(DurableObject):
        async def use(self, counter: Any) -> int:
            return await counter.add(10)

        async def hand_back(self, counter: Any) -> Any:
            return counter

    async def story(rig: Any) -> None:
        counter = await rig.namespace(Maker).getByName("a").counter(1)
        middle = rig.namespace(Middle).getByName("m")
        assert await middle.use(counter) == 11
        again = await middle.hand_back(counter)
        counter.destroy()
        assert await again.add() == 12

    play(story)


def test_a_call_waits_for_the_writes_before_it(play: Any):
    class Writer(DurableObject):
        async def write_and_call(self, callback: Any) -> None:
            await self.ctx.storage.put("a", 1)
            callback("told")
            self.ctx.abort("lost")

    async def story(rig: Any) -> list[Any]:
        seen: list[Any] = []
        with pytest.raises(JsException, match="lost"):
            await rig.namespace(Writer).getByName("a").write_and_call(seen.append)
        await asyncio.sleep(1)
        return seen

    assert play(story) == []


def test_partial_functions_and_bound_methods_cross(play: Any):
    from functools import partial

    async def story(rig: Any) -> None:
        seen: list[Any] = []
        stub = rig.namespace(Maker).getByName("a")
        await stub.each(seen.append, 2)
        await stub.each(partial(seen.insert, 0), 1)
        assert seen == [0, 0, 1]

    play(story)
