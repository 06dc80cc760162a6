"""The `scheduled` handler: by the trigger endpoints, and at its time."""

from __future__ import annotations

import pytest

from workers.runtime.app import App
from workers.runtime.cli.crons import fire_crons
from workers.runtime.testing import DevProcess
from workers.runtime.testing.serve import serve_app

SOURCE = """
from workers import Response, WorkerEntrypoint

seen = []

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response(f"{request.url.rpartition('/')[2]} {seen}")

    async def scheduled(self, controller, env, ctx):
        seen.append((controller.cron, controller.scheduledTime, controller.type))
        if "boom" in controller.cron:
            controller.noRetry()
            raise ValueError("boom")
"""
CRONS = '[triggers]\ncrons = ["* * * * *", "0 0 * * sun", "nonsense"]\n'


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("?cron=*+*+*+*+*&time=5000", 200, "ok"),
        ("", 200, "ok"),
        ("?cron=boom", 500, "exception"),
        ("?cron=boom&format=json", 500, '{"outcome": "exception", "noRetry": true}'),
        ("?format=json", 200, '{"outcome": "ok", "noRetry": false}'),
    ],
)
@pytest.mark.parametrize("path", ["/cdn-cgi/handler/scheduled", "/cdn-cgi/mf/scheduled", "/cdn-cgi/local/scheduled"])
async def test_the_trigger_endpoint_runs_it(run, client, path: str, query: str, status: int, text: str) -> None:
    async with run(SOURCE, CRONS) as url:
        async with client.get(f"{url}{path}{query}") as answer:
            assert (answer.status, await answer.text()) == (status, text)
        if "time=5000" in query:
            async with client.get(url) as answer:
                assert "[('* * * * *', 5000, 'scheduled')]" in await answer.text()


async def test_wranglers_older_endpoint_is_there_when_it_is_asked_for(write, tmp_path, client) -> None:
    config = write(SOURCE, CRONS)
    async with DevProcess(config, tmp_path / "state") as process, client.get(f"{process.url}/__scheduled") as answer:
        assert await answer.text() == "__scheduled []"
        assert "triggers.crons.2: 'nonsense': has 1 fields, not 5" in process.output
    async with DevProcess(config, tmp_path / "state", arguments=("--test-scheduled",)) as process:
        async with client.get(f"{process.url}/__scheduled?cron=*+1+*+*+*") as answer:
            assert (answer.status, await answer.text()) == (200, "Ran scheduled event")
        async with client.get(f"{process.url}/__scheduled?cron=boom") as answer:
            assert (answer.status, (await answer.text()).splitlines()[0]) == (500, "ValueError: boom")
        async with client.get(process.url) as answer:
            assert "('* 1 * * *'," in await answer.text()


async def test_a_worker_without_the_handler_is_told(run, client, caplog) -> None:
    source = "from workers import *\nclass Default(WorkerEntrypoint):\n    def fetch(self): ...\n"
    async with run(source) as url, client.get(f"{url}/cdn-cgi/handler/scheduled") as answer:
        assert (answer.status, await answer.text()) == (500, "exception")
    assert "Handler does not export a scheduled() function." in caplog.text


class HastyClock:
    """A clock that goes on by a millisecond whenever it is read, and can be set."""

    def __init__(self) -> None:
        self.at_ms = 29_000_000 * 60_000 - 3

    def now_ms(self) -> int:
        self.at_ms += 1
        return self.at_ms


class Enough(Exception):
    pass


async def test_crons_fire_at_their_times(write, tmp_path, monkeypatch) -> None:
    fired: list[tuple[str, int]] = []
    clock = HastyClock()

    async with serve_app(write(SOURCE, CRONS), tmp_path / "state") as (app, _url):
        assert isinstance(app, App)
        real = app.workers[0].dispatcher.scheduled

        async def scheduled(cron: str, at_ms: int) -> tuple[str, bool]:
            fired.append((cron, at_ms))
            clock.at_ms = at_ms + 60_000 - 5
            if len(fired) == 3:
                raise Enough
            return await real(cron, at_ms)

        monkeypatch.setattr(app.workers[0].dispatcher, "scheduled", scheduled)
        with pytest.raises(ExceptionGroup) as ended:
            await fire_crons(app, clock)
    assert ended.group_contains(Enough)
    assert [cron for cron, _ in fired] == ["* * * * *"] * 3
    times = [at_ms for _, at_ms in fired]
    assert times == [29_000_000 * 60_000 + 60_000 * number for number in range(3)]
    assert all(at_ms % 60_000 == 0 for at_ms in times)


async def test_several_configurations_run_together(write, tmp_path, client) -> None:
    caller = """
    from workers import Response, WorkerEntrypoint
    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            return Response("asked: " + await (await self.env.OTHER.fetch("http://other/")).text())
    """
    answerer = """
    from workers import Response, WorkerEntrypoint
    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            return Response(f"answered by {self.env.WHO}")
    """
    other = write(answerer, '[vars]\nWHO = "top"\n[env.test.vars]\nWHO = "test"\n', "other")
    first = write(caller, '[[services]]\nbinding = "OTHER"\nservice = "other"\n', "first")
    process = DevProcess(first, tmp_path / "state", arguments=("-c", str(other)))
    async with process, client.get(process.url) as answer:
        assert await answer.text() == "asked: answered by top"
