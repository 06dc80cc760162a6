"""Counts what the requests of a test come to, by method and path."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from d1.changes import SqlValue
from d1.database import engine_of
from d1.engine import Engine, Outcome, Query
from d1.engine.estimates import estimate_rows
from workers.compat import web
from workers.runtime.app import App
from workers.runtime.testing.report import Route

__all__ = ["RouteLog", "Sums", "Tally"]


_CALLS: Final = ("rpc", "fetch", "alarm")


@dataclass(frozen=True, slots=True)
class Sums:
    """What a Worker has come to so far."""

    rows_read: int
    rows_written: int
    object_calls: int
    object_messages: int
    object_busy_s: float


class Tally:
    """Sums over the databases and the objects of a running application."""

    def __init__(self, app: App) -> None:
        """Begin to count the rows of every D1 database."""
        self._app = app
        self._read = self._written = 0
        for database in app.resources.databases:
            self._listen(engine_of(database))

    def _listen(self, engine: Engine) -> None:
        one, many = engine.run_one, engine.run

        def run_one(sql: str, parameters: tuple[SqlValue, ...]) -> Outcome | asyncio.Future[Outcome]:
            answer = one(sql, parameters)
            if isinstance(answer, asyncio.Future):
                answer.add_done_callback(lambda done: self._later(engine, done, is_list=False))
            else:
                self._add(engine, [answer])
            return answer

        def run(queries: Sequence[Query]) -> list[Outcome] | asyncio.Future[list[Outcome]]:
            answer = many(queries)
            if isinstance(answer, asyncio.Future):
                answer.add_done_callback(lambda done: self._later(engine, done, is_list=True))
            else:
                self._add(engine, answer)
            return answer

        # on the instance: a run without a report pays nothing
        vars(engine).update(run_one=run_one, run=run)

    def _later(self, engine: Engine, done: asyncio.Future[Any], *, is_list: bool) -> None:
        if not done.cancelled() and done.exception() is None:
            self._add(engine, done.result() if is_list else [done.result()])

    def _add(self, engine: Engine, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            read, written = estimate_rows(engine.inspector, outcome)
            self._read += read
            self._written += written

    def sums(self) -> Sums:
        """Return the sums now."""
        usages = [found.usage for found in self._app.host.classes()]
        return Sums(
            self._read + sum(usage.rows_read for usage in usages),
            self._written + sum(usage.rows_written for usage in usages),
            sum(usage.turns.get(kind, 0) for usage in usages for kind in _CALLS),
            sum(usage.turns.get("message", 0) for usage in usages),
            sum(usage.busy_s for usage in usages),
        )


class RouteLog:
    """Requests of a test by method and path, with what each came to; requests beside each other share it."""

    def __init__(self, tally: Tally) -> None:
        self.routes: dict[str, Route] = {}
        self._tally = tally

    async def seen(self, request: web.Request, answer: Awaitable[web.Response]) -> web.Response:
        """Count one request while its answer is awaited."""
        before = self._tally.sums()
        try:
            return await answer
        finally:
            after = self._tally.sums()
            route = self.routes.setdefault(f"{request.method} {urlsplit(request.url).path or '/'}", Route())
            read = after.rows_read - before.rows_read
            route.requests += 1
            route.rows_read += read
            route.rows_written += after.rows_written - before.rows_written
            route.most_rows_read = max(route.most_rows_read, read)
            route.object_calls += after.object_calls - before.object_calls
            route.object_messages += after.object_messages - before.object_messages
            route.object_busy_s += after.object_busy_s - before.object_busy_s
