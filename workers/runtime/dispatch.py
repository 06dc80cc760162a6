"""One event becomes one handler call: `fetch` and `scheduled`, and the answer when a handler fails."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from durable_objects.clock import Clock
from workers.compat import ambient, stacks, web
from workers.compat.proxies import JsProxy, JsTypeError
from workers.request import Request
from workers.response import FetchResponse
from workers.runtime.deadlines import Deadlines
from workers.runtime.error_page import error_page, wants_page
from workers.runtime.isolate import Isolate
from workers.runtime.tracebacks import log_failure
from workers.runtime.watchdog import StubbornBusyError

__all__ = ["Dispatcher", "ScheduledController", "accepted"]

_SCHEDULED_PATHS = frozenset({"/cdn-cgi/handler/scheduled", "/cdn-cgi/mf/scheduled", "/cdn-cgi/local/scheduled"})
_NOT_A_RESPONSE = "Incorrect type for Promise: the Promise did not resolve to 'Response'."
_SCHEDULED_S = 15 * 60  # what Cloudflare gives a scheduled event
_NO_FETCH = "Handler does not export a fetch() function."

_log = logging.getLogger(__name__)


class ScheduledController(JsProxy):
    """What a `scheduled` handler is told; times are milliseconds since the epoch."""

    def __init__(self, cron: str, scheduled_time_ms: int) -> None:
        self.cron = cron
        self.scheduledTime = scheduled_time_ms
        self.type = "scheduled"
        self.no_retry = False

    def noRetry(self) -> None:  # JavaScript's name
        """Ask that a failed run is not tried again."""
        self.no_retry = True

    @property
    def scheduled_time(self) -> int:
        """`scheduledTime`."""
        return self.scheduledTime


class Dispatcher:
    """Calls the handlers of one Worker. Stateless entrypoints get a new instance for each event."""

    def __init__(
        self,
        isolate: Isolate,
        clock: Clock,
        *,
        pages: bool = False,
        raises: bool = False,
        test_scheduled: bool = False,
        deadlines: Deadlines | None = None,
    ) -> None:
        """Prepare to call a Worker's handlers.

        Args:
            isolate: The Worker.
            clock: Source of dates.
            pages: Show an exception to a browser as a page.
            raises: Let exceptions of `fetch` handlers reach the caller, for tests.
            test_scheduled: Run the `scheduled` handler for a request of `/__scheduled`, as `wrangler dev` can.
            deadlines: Ends handlers that never answer; without it they may take as long as they like.
        """
        self._deadlines = deadlines or Deadlines(0)
        self._raises = raises
        self._test_scheduled = test_scheduled
        self._isolate = isolate
        self._pages = pages
        self._clock = clock
        self._fetch = self._fetch_caller()

    @property
    def has_fetch(self) -> bool:
        """Whether the Worker can answer requests at all."""
        return self._fetch != self._no_fetch

    async def fetch(self, request: web.Request) -> web.Response:
        """Answer a request; a handler that fails becomes a 500 that says why."""
        own = self._isolate.ambient
        token = ambient.invocation.set(ambient.Invocation())
        try:
            if ambient.current.get(None) is own:
                return await self._answer(request)
            if own.clock is None and not own.lacks:
                # What `ambient.enter` does: every request comes by here.
                outer = ambient.current.set(own)
                try:
                    return await self._answer(request)
                finally:
                    ambient.current.reset(outer)
            with ambient.enter(own):
                return await self._answer(request)
        finally:
            ambient.invocation.reset(token)

    async def _answer(self, request: web.Request) -> web.Response:
        running = self._deadlines.begin(request)
        try:
            if "/cdn-cgi/" in request.url and (path := urlsplit(request.url)).path in _SCHEDULED_PATHS:
                return await self._scheduled_over_http(path.query)
            if self._test_scheduled and (url := urlsplit(request.url)).path == "/__scheduled":
                return await self._test_scheduled_over_http(url.query)
            result: Any = stacks.call(self._fetch, request) if stacks.is_armed() else self._fetch(request)
            if hasattr(result, "__await__"):
                result = await result
            return _response(result)
        except asyncio.CancelledError as error:
            hung = self._deadlines.hung(running, error)
            if hung is not None:
                return self.failure(hung, request)
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # the request itself was cancelled, not something the Worker waited for
            return self.failure(error, request)
        except (Exception, StubbornBusyError) as error:  # a request
            if self._raises:
                raise
            return self.failure(error, request)
        finally:
            self._deadlines.end(running)

    def _fetch_caller(self) -> Callable[[web.Request], object]:
        """Return how this Worker's fetch is called; the number of arguments it wants is looked up once."""
        isolate, context, env = self._isolate, self._isolate.context, self._isolate.env
        entrypoint = isolate.default
        if entrypoint is not None and callable(getattr(entrypoint, "fetch", None)):
            count = accepted(entrypoint.fetch, 4) - 1
            surplus = (None,) * (count - 1)
            if count <= 0:
                return lambda request: entrypoint(context, env).fetch()
            if not surplus:
                return lambda request: entrypoint(context, env).fetch(Request(request))
            return lambda request: entrypoint(context, env).fetch(Request(request), *surplus)
        function = isolate.function("on_fetch")
        if function is not None and entrypoint is None:
            count = accepted(function, 3)
            return lambda request: function(*(Request(request), env, context)[:count])
        return self._no_fetch

    def _no_fetch(self, request: web.Request) -> object:
        if self._isolate.module is None:
            return web.Response("Not Found: no Worker is configured here.\n", status=404)
        raise JsTypeError(_NO_FETCH)

    async def _scheduled_over_http(self, query: str) -> web.Response:
        options = {name: values[-1] for name, values in parse_qs(query).items()}
        given = options.get("time", "")
        at_ms = int(given) if given.isdigit() else self._clock.now_ms()
        outcome, no_retry = await self.scheduled(options.get("cron", ""), at_ms)
        status = 200 if outcome == "ok" else 500
        if options.get("format") == "json":
            body = json.dumps({"outcome": outcome, "noRetry": no_retry})
            return web.Response(body, status=status, headers={"content-type": "application/json"})
        return web.Response(outcome, status=status)

    async def _test_scheduled_over_http(self, query: str) -> web.Response:
        """Do what the middleware of `wrangler dev --test-scheduled` does: an exception is the answer."""
        cron = parse_qs(query).get("cron", [""])[-1]
        await self._run_scheduled(ScheduledController(cron, self._clock.now_ms()))
        return web.Response("Ran scheduled event")

    async def scheduled(self, cron: str, at_ms: int) -> tuple[str, bool]:
        """Run the `scheduled` handler; return its outcome ("ok" or "exception") and whether it asked for no retry."""
        isolate = self._isolate
        controller = ScheduledController(cron, at_ms)
        with ambient.enter(isolate.ambient), ambient.counting():
            try:
                await self._run_scheduled(controller)
            except (Exception, StubbornBusyError) as error:  # an event
                log_failure(_log, isolate.report(error), error, isolate.name, "scheduled: ")
                return "exception", controller.no_retry
        return "ok", controller.no_retry

    async def _run_scheduled(self, controller: ScheduledController) -> None:
        isolate = self._isolate
        if isolate.default is not None:
            handler = getattr(isolate.default(isolate.context, isolate.env), "scheduled", None)
            # A class entrypoint gets three arguments, the last two undefined: it has self.env and self.ctx.
            args: tuple[Any, ...] = (controller, None, None)
        else:
            handler = isolate.function("on_scheduled")
            args = (controller, isolate.env, isolate.context)[: accepted(handler, 3)] if handler is not None else ()
        if handler is None:
            raise JsTypeError("Handler does not export a scheduled() function.")
        result: Any = stacks.call(handler, *args) if stacks.is_armed() else handler(*args)
        if inspect.isawaitable(result):
            async with asyncio.timeout(_SCHEDULED_S):
                await result

    def failure(self, error: BaseException, request: web.Request | None = None) -> web.Response:
        """Log an exception once and return the 500 answer.

        It is text, `Name: message` and the Worker's own frames; a page for a browser if this is a development server.
        """
        report = self._isolate.report(error)
        log_failure(_log, report, error, self._isolate.name)
        if self._pages and request is not None and wants_page(request):
            return error_page(report, request.method, request.url)
        return web.Response(report.text(), status=500)


def accepted(function: Callable[..., Any], most: int) -> int:
    """Return how many positional arguments a handler takes, at most `most`: surplus ones are not passed."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return most
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return min(most, sum(parameter.kind in positional for parameter in parameters))


def _response(result: Any) -> web.Response:
    if isinstance(result, FetchResponse):
        return result.js_object
    if isinstance(result, web.Response):
        return result
    raise JsTypeError(_NOT_A_RESPONSE)
