from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from workers.runtime.testing import Miniflare
from workers.runtime.workflows.durations import StepConfig, date_ms, duration_ms, read_config

SCRIPT = """
from datetime import datetime, timedelta, timezone
from workers import Response, WorkerEntrypoint, WorkflowEntrypoint
from workers.workflows import NonRetryableError

LOG = []


class Flow(WorkflowEntrypoint):
    async def run(self, event, step):
        return await getattr(self, event.payload["do"])(event, step)

    async def plain(self, event, step):
        @step.do("first")
        async def first():
            LOG.append("first")
            return {"n": event.payload["n"]}

        found = await first()
        await step.sleep("nap", "10 seconds")

        @step.do("second")
        async def second():
            LOG.append("second")
            return found["n"] + 1

        return [await second(), event.instanceId, event.workflowName]

    async def graph(self, event, step):
        @step.do()
        async def a():
            LOG.append("a")
            return 1

        @step.do("named")
        async def b():
            LOG.append("b")
            return 2

        @step.do("sum", depends=[a, b], concurrent=True)
        async def total(left, right, ctx):
            return left + right + ctx.attempt

        @step.do(concurrent=True)
        async def last(a, total):
            return a + total

        by_call = await step.do("call", lambda: 10)
        return [await last(), by_call]

    async def unknown(self, event, step):
        @step.do("x", depends=[])
        async def x(left):
            return left

        try:
            await x()
        except TypeError as error:
            return str(error)

    async def retry(self, event, step):
        @step.do("flaky", config={"retries": {"limit": 2, "delay": "5 seconds", "backoff": "linear"}})
        async def flaky(ctx):
            LOG.append(ctx.attempt)
            if ctx.attempt <= event.payload["fails"]:
                raise ValueError("not yet")
            return "done"

        return await flaky()

    async def hopeless(self, event, step):
        @step.do("never")
        async def never():
            LOG.append("tried")
            raise NonRetryableError("give up")

        await never()

    async def slow(self, event, step):
        import asyncio

        @step.do("slow", config={"retries": {"limit": 0, "delay": 1}, "timeout": "3 seconds"})
        async def slow():
            await asyncio.sleep(60)

        await slow()

    async def event(self, event, step):
        came = await step.wait_for_event("approval", "approved", timeout="1 hour")
        return [came["payload"], came["type"]]

    async def stubborn(self, event, step):
        import asyncio

        try:
            await step.sleep("long", "1 day")
        except asyncio.CancelledError:
            return "I go on"

    async def broken(self, event, step):
        return object()

    async def failed_before(self, event, step):
        @step.do("fails", config={"retries": {"limit": 0, "delay": 0}})
        async def fails():
            LOG.append("fails")
            raise KeyError("k")

        try:
            await fails()
        except KeyError:
            await step.sleep("nap", 5000)
            return "caught"

    async def until(self, event, step):
        await step.sleep_until("date", event.timestamp + timedelta(minutes=5))
        return "awake"


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response.json(LOG)
"""


def options(**more: Any) -> dict[str, Any]:
    return {
        "script": SCRIPT,
        "compatibilityDate": "2025-10-01",
        "compatibilityFlags": ["python_workers"],
        "workflows": [{"name": "flow", "binding": "WF", "class_name": "Flow"}],
        "clock": True,
        **more,
    }


async def binding(mf: Miniflare) -> Any:
    return (await mf.get_bindings())["WF"]


async def log(mf: Miniflare) -> Any:
    return await (await mf.dispatch_fetch("/")).json()


async def settled(instance: Any) -> Any:
    for _ in range(500):
        found = await instance.status()
        if found["status"] in ("complete", "errored", "terminated"):
            return found
        await asyncio.sleep(1)
    raise AssertionError("it does not end")


async def test_steps_run_in_order_and_a_sleeping_instance_is_waiting():
    async with Miniflare(options()) as mf:
        flows = await binding(mf)
        instance = await flows.create({"id": "one", "params": {"do": "plain", "n": 4}})
        await asyncio.sleep(5)
        assert (await instance.status())["status"] == "waiting"
        assert await log(mf) == ["first"]
        assert await settled(instance) == {"status": "complete", "error": None, "output": [5, "one", "flow"]}
        assert await log(mf) == ["first", "second"]
        assert (await flows.get("one")).id == "one"


async def test_dependencies_become_arguments_and_run_once():
    async with Miniflare(options()) as mf:
        instance = await (await binding(mf)).create(params={"do": "graph"})
        assert (await settled(instance))["output"] == [5, 10]
        assert sorted(await log(mf)) == ["a", "b"]


async def test_parameters_without_a_step_are_refused_as_the_sdk_does():
    async with Miniflare(options()) as mf:
        instance = await (await binding(mf)).create(params={"do": "unknown"})
        text = "Step declares 1 non-ctx parameter(s) but 'depends' has 0 item(s)"
        assert (await settled(instance))["output"] == text


@pytest.mark.parametrize(("fails", "status", "attempts"), [(2, "complete", [1, 2, 3]), (9, "errored", [1, 2, 3])])
async def test_a_step_is_tried_again_after_its_delay(fails: int, status: str, attempts: list[int]):
    async with Miniflare(options()) as mf:
        instance = await (await binding(mf)).create(params={"do": "retry", "fails": fails})
        await asyncio.sleep(4)
        assert await log(mf) == [1]
        found = await settled(instance)
        assert (found["status"], await log(mf)) == (status, attempts)
        if status == "errored":
            assert "not yet" in found["error"]["message"]


async def test_a_step_that_gives_up_is_not_tried_again():
    async with Miniflare(options()) as mf:
        found = await settled(await (await binding(mf)).create(params={"do": "hopeless"}))
        assert (found["status"], await log(mf)) == ("errored", ["tried"])


async def test_a_step_that_takes_too_long_fails():
    async with Miniflare(options()) as mf:
        found = await settled(await (await binding(mf)).create(params={"do": "slow"}))
        assert found["error"] == {"name": "WorkflowTimeoutError", "message": "Execution timed out after 3000ms"}


async def test_events_are_waited_for_and_may_come_first():
    async with Miniflare(options()) as mf:
        instance = await (await binding(mf)).create(params={"do": "event"})
        await instance.send_event({"type": "other", "payload": 0})
        await instance.sendEvent({"type": "approved", "payload": {"by": "me"}})
        assert (await settled(instance))["output"] == [{"by": "me"}, "approved"]
        with pytest.raises(Exception, match="it is complete"):
            await instance.send_event(type="approved")


async def test_an_event_that_does_not_come_is_an_error():
    async with Miniflare(options()) as mf:
        instance = await (await binding(mf)).create(params={"do": "event"})
        await asyncio.sleep(3601)
        assert (await settled(instance))["error"]["name"] == "WorkflowTimeoutError"


async def test_a_date_is_waited_for():
    async with Miniflare(options()) as mf:
        instance = await (await binding(mf)).create(params={"do": "until"})
        await asyncio.sleep(299)
        assert (await instance.status())["status"] == "waiting"
        await asyncio.sleep(2)
        assert (await instance.status())["output"] == "awake"


async def test_instances_are_paused_resumed_terminated_and_restarted():
    async with Miniflare(options()) as mf:
        instance = await (await binding(mf)).create(params={"do": "plain", "n": 1})
        await asyncio.sleep(1)
        await instance.pause()
        await asyncio.sleep(60)
        assert ((await instance.status())["status"], await log(mf)) == ("paused", ["first"])
        await instance.resume()
        await settled(instance)
        await instance.restart()
        await asyncio.sleep(1)
        await instance.terminate()
        assert (await instance.status())["status"] == "terminated"
        assert await log(mf) == ["first", "second", "first"]
        with pytest.raises(Exception, match="it is terminated"):
            await instance.pause()


async def test_ids_are_checked():
    async with Miniflare(options()) as mf:
        flows = await binding(mf)
        await flows.create(id="a", params={"do": "graph"})
        made = await flows.create_batch([{"id": "a"}, {"id": "b", "params": {"do": "graph"}}])
        assert [one.id for one in made] == ["b"]
        with pytest.raises(Exception, match="already_exists"):
            await flows.create(id="a")
        with pytest.raises(Exception, match="invalid_id"):
            await flows.create(id="not an id")
        with pytest.raises(Exception, match="not_found"):
            await flows.get("c")


async def test_a_finished_step_is_not_run_again_after_a_restart(tmp_path: Path):
    kept = options(defaultPersistRoot=str(tmp_path))
    async with Miniflare(kept) as mf:
        await (await binding(mf)).create(id="one", params={"do": "plain", "n": 4})
        await asyncio.sleep(2)
        assert await log(mf) == ["first"]
    async with Miniflare(kept) as mf:
        found = await settled(await (await binding(mf)).get("one"))
        assert (found["output"][0], await log(mf)) == (5, ["second"])


async def test_a_step_that_failed_fails_again_after_a_restart_without_being_run(tmp_path: Path):
    kept = options(defaultPersistRoot=str(tmp_path))
    async with Miniflare(kept) as mf:
        await (await binding(mf)).create(id="one", params={"do": "failed_before"})
        await asyncio.sleep(2)
        assert await log(mf) == ["fails"]
    async with Miniflare(kept) as mf:
        found = await settled(await (await binding(mf)).get("one"))
        assert (found["output"], await log(mf)) == ("caught", [])


async def test_a_terminated_instance_that_goes_on_stays_terminated():
    async with Miniflare(options()) as mf:
        instance = await (await binding(mf)).create(params={"do": "stubborn"})
        await asyncio.sleep(1)
        await instance.terminate()
        assert (await instance.status())["status"] == "terminated"


async def test_a_result_that_cannot_be_kept_is_an_error():
    async with Miniflare(options()) as mf:
        found = await settled(await (await binding(mf)).create(params={"do": "broken"}))
        assert found["status"] == "errored"
        assert await log(mf) == []


async def test_a_class_that_is_no_workflow_is_named():
    entry = {"name": "flow", "binding": "WF", "class_name": "Default"}
    with pytest.raises(Exception, match='has no Workflow "Default"; it exports Flow'):
        async with Miniflare(options(workflows=[entry])) as mf:
            await mf.dispatch_fetch("/")


def test_durations_and_configurations_are_read():
    assert [duration_ms(value) for value in (5, "1 second", "2 weeks", "1.5 hours")] == [5, 1000, 1209600000, 5400000]
    assert date_ms("1970-01-01T00:00:01Z") == 1000
    for wrong in ("soon", -1, None, "3 parsecs", True):
        with pytest.raises(TypeError):
            duration_ms(wrong)
    config = read_config({"retries": {"limit": 3, "delay": "1 second", "backoff": "exponential"}, "timeout": 10})
    assert config == StepConfig(3, 1000, "exponential", 10)
    assert [config.wait_ms(attempt) for attempt in (1, 2, 3)] == [1000, 2000, 4000]
    with pytest.raises(TypeError, match="backoff"):
        read_config({"retries": {"backoff": "random"}})
