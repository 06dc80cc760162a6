"""The Worker as a test speaks to it: requests, cron events and queue batches, without a server in between."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from workers.compat import ambient, web
from workers.compat.fetcher import Fetcher
from workers.compat.proxies import JsTypeError
from workers.request import Request
from workers.response import Response
from workers.runtime.dispatch import accepted
from workers.runtime.isolate import Isolate
from workers.runtime.testing.contexts import (
    MessageBatch,
    QueueResult,
    ScheduledResult,
    create_execution_context,
    create_message_batch,
    create_scheduled_controller,
    get_queue_result,
    wait_on_execution_context,
)
from workers.runtime.testing.sockets import ClientSocket

__all__ = ["ORIGIN", "TestWorker", "make_request"]

ORIGIN: Final = "http://localhost"
"""What a path alone is taken to be on."""


def make_request(resource: Any, init: Mapping[str, Any] | None, options: Mapping[str, Any]) -> Request:
    """Return the request of a test.

    Args:
        resource: A path, a URL, or a Request.
        init: Options as JavaScript passes them, in a table.
        options: The same by keyword; `json` is a body and its content type.
    """
    given = {**(init or {}), **options}
    if "json" in given:
        given["body"] = json.dumps(given.pop("json"))
        pairs: Any = given.get("headers") or {}
        items: Iterable[tuple[str, str]] = pairs.items() if hasattr(pairs, "items") else pairs
        given["headers"] = [("content-type", "application/json"), *items]
        given.setdefault("method", "POST")
    if isinstance(resource, str) and resource.startswith("/"):
        resource = ORIGIN + resource
    return Request(resource, **given) if given or not isinstance(resource, Request) else resource


class _Outside:
    """Requests as they come in from the network, for `Fetcher`."""

    def __init__(self, respond: Callable[[web.Request], Awaitable[web.Response]], cf: Mapping[str, Any] | None) -> None:
        self._respond = respond
        self._cf = cf

    async def fetch(self, request: web.Request) -> web.Response:
        """Answer one request."""
        pairs = [*request.header_pairs(), ("cf-connecting-ip", "127.0.0.1")]
        cf = request.cf if request.cf is not None else self._cf
        return await self._respond(web.Request.incoming(request.url, request.method, pairs, request.take_body(), cf=cf))

    def method(self, name: str) -> None:
        """Nothing: a test reaches methods by a service binding or a stub."""


class TestWorker:
    """One Worker of a running application. An exception of a handler is raised in the test."""

    __test__ = False  # for pytest, which collects classes by this name

    def __init__(
        self,
        isolate: Isolate,
        respond: Callable[[web.Request], Awaitable[web.Response]],
        cf: Mapping[str, Any] | None,
        opened: Callable[[ClientSocket], None],
    ) -> None:
        self._isolate = isolate
        self._opened = opened
        self._fetcher = Fetcher(_Outside(respond, cf), Response)

    async def fetch(self, resource: Any, init: Mapping[str, Any] | None = None, /, **options: Any) -> Response:
        """Send a request; redirects are followed unless `redirect="manual"`.

        Args:
            resource: A path such as `/orders?limit=3`, a URL, or a `workers.Request`.
            init: Options in one table, as in JavaScript.
            options: `method`, `headers`, `body`, `json` (a body, sent by POST unless `method` says otherwise), ...

        Raises:
            Exception: Whatever the handler raised.
        """
        return await self._fetcher.fetch(make_request(resource, init, options))

    async def websocket(
        self, resource: Any, *, protocols: Iterable[str] = (), headers: Mapping[str, str] | None = None
    ) -> ClientSocket:
        """Open a WebSocket.

        Raises:
            ConnectionError: The Worker answered with something else; the text has its status and body.
        """
        wanted = ", ".join(protocols)
        given = {"Upgrade": "websocket", **(headers or {}), **({"Sec-WebSocket-Protocol": wanted} if wanted else {})}
        response = await self.fetch(resource, headers=given)
        socket = response.js_object.webSocket
        if socket is None:
            raise ConnectionError(f"no WebSocket but {response.status}: {(await response.text())[:500]}")
        client = ClientSocket.over(socket, response.headers.get("sec-websocket-protocol", ""))
        self._opened(client)
        return client

    async def scheduled(
        self, *, cron: str = "", scheduled_time: datetime | int | None = None, **given: Any
    ) -> ScheduledResult:
        """Run the `scheduled` handler and what it gave to `waitUntil`.

        Raises:
            Exception: Whatever the handler raised.
        """
        controller = create_scheduled_controller(scheduled_time=scheduled_time, cron=cron, **given)
        await self._event("scheduled", controller)
        return ScheduledResult("ok", controller.no_retry)

    async def queue(
        self, batch: MessageBatch | str, messages: Iterable[Mapping[str, Any]] | None = None
    ) -> QueueResult:
        """Run the `queue` handler with a batch, given whole or as the queue's name and messages.

        Raises:
            Exception: Whatever the handler raised.
        """
        if not isinstance(batch, MessageBatch):
            batch = create_message_batch(batch, messages or ())
        ctx = await self._event("queue", batch)
        return await get_queue_result(batch, ctx)

    async def _event(self, kind: str, argument: object) -> object:
        isolate = self._isolate
        ctx = create_execution_context()
        with ambient.enter(isolate.ambient):
            if isolate.default is not None:
                handler = getattr(isolate.default(ctx, isolate.env), kind, None)
                arguments: tuple[Any, ...] = (argument, None, None)
            else:
                handler = isolate.function(f"on_{kind}")
                arguments = (argument, isolate.env, ctx)
            if handler is None:
                raise JsTypeError(f"Handler does not export a {kind}() function.")
            result = handler(*arguments[: accepted(handler, 3)])
            if inspect.isawaitable(result):
                await result
            await wait_on_execution_context(ctx)
        return ctx
