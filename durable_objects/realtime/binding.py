"""Realtime: the binding `env.REALTIME`, and the one joint through which the runtime reaches this room."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any, Final, Literal

from d1.changes import Commit
from durable_objects.clock import Clock, SystemClock
from durable_objects.realtime.core.codes import Code, RealtimeError
from durable_objects.realtime.core.meter import METER
from durable_objects.realtime.core.settings import RealtimeSettings
from durable_objects.realtime.core.token_stream import StreamOptions
from durable_objects.realtime.directory import Directory
from durable_objects.realtime.endpoint import answer_history, answer_rpc, error_body
from durable_objects.realtime.gateway import connect
from durable_objects.realtime.guard import Guards
from durable_objects.realtime.kept import Keeper
from durable_objects.realtime.metrics import Figures, answer_metrics
from durable_objects.realtime.server_api import emit, publish
from durable_objects.realtime.sse import answer_sse
from durable_objects.realtime.streams import FarTopic, Tokens, run_stream
from durable_objects.realtime.table_feed import TableWatch
from durable_objects.realtime.token_keys import Fetch
from workers.request import Request
from workers.response import Response

__all__ = ["Realtime"]

_SOCKET_PATHS: Final = frozenset({"/api/realtime", "/v1/realtime", "/realtime"})
_HISTORY_PATH: Final = "/api/v1/public/realtime/history"
_RPC_PATH: Final = "/internal/hooks/rpc"
_SSE_PATH: Final = "/api/realtime/sse"
_METRICS_PATH: Final = "/internal/metrics"
_PATHS: Final = _SOCKET_PATHS | {_HISTORY_PATH, _RPC_PATH, _SSE_PATH, _METRICS_PATH}


class Realtime:
    """Realtime of one Worker: its endpoint, and what the Worker itself may say and ask.

    Example:
        ```python
        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                await self.env.REALTIME.emit("order-paid", {"id": 7}, "orders/7")
                return Response("ok")
        ```
    """

    def __init__(
        self,
        settings: RealtimeSettings,
        namespaces: Mapping[str, Any],
        tables: TableWatch | None = None,
        *,
        clock: Clock | None = None,
        random: Random | None = None,
        fetch: Fetch | None = None,
        figures: Figures | None = None,
    ) -> None:
        """Join the settings to the namespaces (class name -> namespace) and to the source of row changes.

        `fetch` reads an address, for the key set of tokens; `figures` adds to what is told for Prometheus.

        Raises:
            ValueError: A topic class has no namespace, or a key or a rule is wrong.
        """
        self.settings = settings
        self._directory = Directory(
            settings,
            namespaces,
            tables,
            clock=clock if clock is not None else SystemClock(),
            random=random,
            fetch=fetch,
        )
        self._keeper = Keeper(self._directory)
        self._guards = Guards(self._directory)
        self._figures = figures

    async def answer(self, request: Request) -> Response | None:
        """Answer a request for one of the endpoint's paths; None for any other."""
        path = _path(request.url)
        if path not in _PATHS:
            return None
        if path == _HISTORY_PATH:
            return await answer_history(request, self._directory, self._guards)
        if path == _SSE_PATH:
            return await answer_sse(request, self._directory, self._keeper, self._guards)
        if path == _METRICS_PATH:
            return answer_metrics(request, self._directory, self._guards, self._keeper, self._figures)
        if path == _RPC_PATH:
            return await answer_rpc(request, self._directory, self._guards)
        try:
            return await connect(request, self._directory, self._keeper, self._guards)
        except RealtimeError as error:
            METER.refused[error.code.name] += 1
            return error_body(error)

    async def fetch(self, request: Request) -> Response:
        """Answer a request for one of the endpoint's paths, 404 for any other."""
        answer = await self.answer(request)
        if answer is None:
            return error_body(RealtimeError(Code.NOT_FOUND, f"realtime has no path {_path(request.url)}"))
        return answer

    async def emit(self, event: str, data: object, room: str) -> None:
        """Send an event to a room; a bare name is the chat room of that name.

        Raises:
            RealtimeError: BAD_TOPIC, the room names nothing.
        """
        await emit(self._directory, event, data, room)

    async def publish(
        self,
        topic: str,
        event: str,
        data: object,
        *,
        persist: bool = False,
        user_id: str | None = None,
        id: str | None = None,
    ) -> dict[str, Any] | None:
        """Send an event to a topic, in any spelling; with `persist` it is stored, and returned as stored.

        A repeated `id` of the same `user_id` has no effect.

        Raises:
            RealtimeError: BAD_TOPIC, the topic names nothing.
        """
        return await publish(self._directory, topic, event, data, persist=persist, user_id=user_id, id=id)

    async def history(
        self, topic: str, limit: int = 50, before: int | None = None, after: int | None = None
    ) -> list[dict[str, Any]]:
        """Return a topic's persisted messages older than `before` (a `created_at`), newest first.

        With `after`, the ones that follow that `created_at`, oldest first.
        """
        return await self._directory.stub(self._directory.topic(topic).text).history(limit, before, after)

    async def presence(self, topic: str) -> list[dict[str, Any]]:
        """Return who is present on a topic: `[{userId, state, connections: [connection id]}]`."""
        return await self._directory.stub(self._directory.topic(topic).text).presence()

    async def stream(
        self,
        topic: str,
        tokens: Tokens,
        *,
        id: str | None = None,
        user_id: str | None = None,
        persist: bool = False,
        without_viewers: Literal["go-on", "cancel"] = "go-on",
        viewer_grace_s: float = 10.0,
    ) -> dict[str, Any]:
        """Send tokens to a topic as they come; see `TopicObject.stream`.

        Raises:
            RealtimeError: BAD_TOPIC, or OVERLOADED by streams of the topic.
        """
        name = self._directory.topic(topic).text
        port = FarTopic(lambda: self._directory.stub(name))
        options = StreamOptions(without_viewers, viewer_grace_s, persist, user_id=user_id)
        return await run_stream(port, id or self._directory.new_id(), tokens, options)

    async def cancel_stream(self, topic: str, id: str) -> None:
        """End a token stream; one that does not run is no error."""
        await self._directory.stub(self._directory.topic(topic).text).close_stream(id, "cancelled", "")

    def revoke(
        self,
        *,
        user_id: str | None = None,
        connection: str | None = None,
        topic: str | None = None,
        for_s: float = 0.0,
        reason: str = "access was taken back",
    ) -> int:
        """Take access back from a user or a connection, or from everybody on topics that match the glob `topic`.

        Without a topic, connections are closed with code 4403; with one, its subscriptions end, and the client is told
        by an error REVOKED. For `for_s` seconds it cannot be had again, until the server restarts. Returns how many
        live connections this was about.

        Raises:
            ValueError: Nothing is named.
        """
        return self._guards.revoke(user_id=user_id, connection=connection, topic=topic, for_s=for_s, reason=reason)

    def table_changes(self, commit: Commit) -> None:
        """Pass a commit's changes on to the topics of their tables. Call it in commit order; it never waits."""
        if self._directory.tables is not None:
            self._directory.tables.dispatch(commit)

    async def remember(self) -> None:
        """Store what the connections have, for the next process. Call it before the objects are closed."""
        await self._keeper.remember()

    async def close(self) -> None:
        """Stop what still runs in the background; sockets are closed by the objects' host."""
        await self._keeper.remember()
        self._keeper.close()
        await self._directory.tasks.close()


def _path(url: str) -> str:
    """Return the path of an absolute URL. Runs for every request of the Worker, so it parses no more than that."""
    start = url.find("/", url.find("://") + 3)
    if start < 0:
        return "/"
    end = len(url)
    for mark in "?#":
        at = url.find(mark, start)
        if 0 <= at < end:
            end = at
    return url[start:end]
