"""The Worker of a running server, by its URL: the same calls as on one in the test's own process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import aiohttp

from workers.compat import web
from workers.compat.fetcher import Fetcher
from workers.response import Response
from workers.runtime.edge.outbound import OutboundClient
from workers.runtime.testing.contexts import ScheduledResult, create_scheduled_controller
from workers.runtime.testing.sockets import ClientSocket
from workers.runtime.testing.worker import ORIGIN, make_request

__all__ = ["RemoteWorker"]


class RemoteWorker:
    """One server. Use it in `async with`. An exception of a handler is a response with status 500 here."""

    def __init__(self, url: str) -> None:
        """Name the server by its base URL, `http://127.0.0.1:8787`."""
        self.url = url.rstrip("/")
        self._client = OutboundClient()
        self._session: aiohttp.ClientSession | None = None
        self._readers: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for reader in self._readers:
            reader.cancel()
        if self._session is not None:
            await self._session.close()
        await self._client.__aexit__(kind, error, trace)

    async def fetch(self, resource: Any, init: Mapping[str, Any] | None = None, /, **options: Any) -> Response:
        """Send a request, as `TestWorker.fetch` does."""
        return await Fetcher(self._Target(self), Response).fetch(make_request(resource, init, options))

    class _Target:
        def __init__(self, worker: RemoteWorker) -> None:
            self._worker = worker

        async def fetch(self, request: web.Request) -> web.Response:
            """Send one request."""
            return await self._worker._client.fetch(self._worker._there(request))

        def method(self, name: str) -> None:
            """Nothing: requests only."""

    def _there(self, request: web.Request) -> web.Request:
        url = self.url + request.url.removeprefix(ORIGIN) if request.url.startswith(ORIGIN) else request.url
        return web.Request.incoming(url, request.method, list(request.header_pairs()), request.take_body())

    async def websocket(
        self, resource: Any, *, protocols: Iterable[str] = (), headers: Mapping[str, str] | None = None
    ) -> ClientSocket:
        """Open a WebSocket, as `TestWorker.websocket` does.

        Raises:
            ConnectionError: The server answered with something else.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession()
        path = str(resource)
        url = self.url + path if path.startswith("/") else path
        try:
            remote = await self._session.ws_connect(url, protocols=tuple(protocols), headers=headers, max_msg_size=0)
        except aiohttp.WSServerHandshakeError as error:
            raise ConnectionError(f"no WebSocket but {error.status}") from None
        client = ClientSocket(remote.protocol or "")
        client.attach(_Wire(remote, self._start))
        self._start(_read(remote, client))
        return client

    def _start(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._readers.add(task)
        task.add_done_callback(self._readers.discard)

    async def scheduled(
        self, *, cron: str = "", scheduled_time: datetime | int | None = None, **given: Any
    ) -> ScheduledResult:
        """Run the `scheduled` handler by the server's trigger endpoint."""
        controller = create_scheduled_controller(scheduled_time=scheduled_time, cron=cron, **given)
        query = f"cron={controller.cron}&time={controller.scheduledTime}&format=json".replace(" ", "+")
        answer = await (await self.fetch(f"/cdn-cgi/handler/scheduled?{query}")).json()
        return ScheduledResult(answer["outcome"], answer["noRetry"])


class _Wire:
    """Sends in the order of the calls, which do not wait."""

    def __init__(self, remote: aiohttp.ClientWebSocketResponse, start: Any) -> None:
        self._remote = remote
        self._start = start
        self._last: asyncio.Future[None] | None = None

    def _then(self, work: Any) -> None:
        before, done = self._last, asyncio.get_running_loop().create_future()
        self._last = done

        async def run() -> None:
            if before is not None:
                await before
            try:
                await work()
            finally:
                done.set_result(None)

        self._start(run())

    def send(self, data: str | bytes) -> None:
        """Send a message."""
        self._then(lambda: self._remote.send_str(data) if isinstance(data, str) else self._remote.send_bytes(data))

    def close(self, code: int = 1005, reason: str = "") -> None:
        """Send a close frame."""
        self._then(lambda: self._remote.close(code=1000 if code == 1005 else code, message=reason.encode()))

    def abort(self) -> None:
        """Cut the connection."""
        transport = self._remote.get_extra_info("socket")
        if transport is not None:
            self._then(self._cut)

    async def _cut(self) -> None:
        response: Any = self._remote
        response._response.connection.transport.abort()


async def _read(remote: aiohttp.ClientWebSocketResponse, client: ClientSocket) -> None:
    async for message in remote:
        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            client.message(message.data)
    client.closed(remote.close_code or 1006, "", remote.close_code is not None)
