from __future__ import annotations

import asyncio
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from workers.compat import ambient, web
from workers.runtime.dispatch import Dispatcher
from workers.runtime.isolate import Isolate
from workers.runtime.loader import ModuleSpace

Load = Callable[[str], AbstractAsyncContextManager[Dispatcher]]


class FixedClock:
    def now_ms(self) -> int:
        return 1_700_000_000_000


async def no_network(request: web.Request) -> web.Response:
    raise OSError(request.url)


@pytest.fixture
def load(tmp_path: Path) -> Load:
    @asynccontextmanager
    async def loaded(source: str) -> AsyncIterator[Dispatcher]:
        main = tmp_path / "src" / "entry.py"
        main.parent.mkdir()
        main.write_text("from workers import Response, WorkerEntrypoint, env\n" + textwrap.dedent(source))
        async with asyncio.TaskGroup() as tasks:
            isolate = Isolate("demo", ModuleSpace(main), tasks, no_network)
            isolate.bind({"NAME": "demo"})
            isolate.load()
            yield Dispatcher(isolate, FixedClock())
            isolate.unload()

    return loaded


async def text(dispatcher: Dispatcher, path: str = "/") -> tuple[int, str]:
    response = await dispatcher.fetch(web.Request(f"http://test{path}"))
    return response.status, await response.text()


async def test_each_event_gets_a_new_instance_inside_the_workers_ambient(load: Load) -> None:
    source = """
    class Default(WorkerEntrypoint):
        calls = 0
        def fetch(self, request):
            self.calls += 1
            return Response(f"{env.NAME} {self.env.NAME} {self.calls}")
    """
    async with load(source) as dispatcher:
        assert await text(dispatcher) == await text(dispatcher) == (200, "demo demo 1")
        assert ambient.current.get(None) is None


async def test_a_javascript_response_is_an_answer_too(load: Load) -> None:
    async with load("def on_fetch(request):\n    return Response('js').js_object") as dispatcher:
        assert await text(dispatcher) == (200, "js")


async def test_a_worker_that_exports_nothing_has_no_fetch(load: Load) -> None:
    async with load("") as dispatcher:
        assert not dispatcher.has_fetch
        status, body = await text(dispatcher)
    assert (status, body.splitlines()[0]) == (500, "TypeError: Handler does not export a fetch() function.")


async def test_exceptions_are_named_as_javascript_names_them(load: Load) -> None:
    source = """
    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            raise Exception("plain") if request.url.endswith("/plain") else KeyError("key")
    """
    async with load(source) as dispatcher:
        for path, line in (("/plain", "Error: plain"), ("/key", "KeyError: 'key'")):
            status, body = await text(dispatcher, path)
            assert (status, body.splitlines()[0]) == (500, line)
            assert body.count("in fetch") == 1


async def test_scheduled_takes_its_time_from_the_clock_and_wants_three_arguments(load: Load) -> None:
    source = """
    seen = []

    class Default(WorkerEntrypoint):
        async def scheduled(self, controller, env, ctx):
            seen.append((controller.cron, controller.scheduled_time, controller.type, env, ctx))

        def fetch(self):
            return Response(repr(seen))
    """
    async with load(source) as dispatcher:
        assert await text(dispatcher, "/cdn-cgi/mf/scheduled?cron=0+*+*+*+*") == (200, "ok")
        assert await dispatcher.scheduled("", 5) == ("ok", False)
        expected = [("0 * * * *", 1_700_000_000_000, "scheduled", None, None), ("", 5, "scheduled", None, None)]
        assert await text(dispatcher) == (200, repr(expected))


async def test_a_scheduled_handler_that_is_missing_or_takes_too_little_is_an_exception(load: Load) -> None:
    source = """
    class Default(WorkerEntrypoint):
        def scheduled(self, controller): ...
    """
    async with load(source) as dispatcher:
        assert await dispatcher.scheduled("", 0) == ("exception", False)


async def test_the_older_scheduled_function_is_called(load: Load) -> None:
    async with load("async def on_scheduled(controller, env):\n    controller.noRetry()") as dispatcher:
        assert await dispatcher.scheduled("", 0) == ("ok", True)


async def test_a_cancelled_request_stays_cancelled(load: Load) -> None:
    source = """
    import asyncio

    async def on_fetch(request):
        await asyncio.Event().wait()
    """
    async with load(source) as dispatcher:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await text(dispatcher)


async def test_run_sync_works_in_synchronous_code_below_a_handler(load: Load):
    source = """
    import asyncio
    from pyodide.ffi import run_sync

    async def query(value):
        await asyncio.sleep(0)
        return value

    def view():
        return run_sync(query(env.NAME)) + run_sync(query("!"))

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            return Response(view())

        def scheduled(self, controller, env, ctx):
            assert view() == "demo!"
    """
    async with load(source) as dispatcher:
        answer = await dispatcher.fetch(web.Request("http://x/"))
        assert (answer.status, await answer.text()) == (200, "demo!")
        assert await dispatcher.scheduled("", 0) == ("ok", False)
