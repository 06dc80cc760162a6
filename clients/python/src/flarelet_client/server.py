"""The server's own client: what a process beside the Worker says and asks, by HTTP with a secret key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp

from flarelet_client.errors import RealtimeError, client_error

__all__ = ["RealtimeServer", "StreamEnd"]

_TIMEOUT_S = 30.0
_BATCH = 1_024


class StreamEnd(dict[str, Any]):
    """How a token stream ended: `stream`, `reason`, `tokens` (how many) and `text`."""


class RealtimeServer:
    """A process that may do everything on a project's topics. Use it as `async with RealtimeServer(...) as server:`.

    Example:
        ```python
        async with RealtimeServer("http://127.0.0.1:8787", secret_key="sk_...") as server:
            await server.publish("orders/7", "paid", {"total": 12}, persist=True)
            await server.stream("ai-chat/7", tokens())
        ```
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8787",
        secret_key: str | None = None,
        *,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        """Describe the server's address. Without a key it must be one that is open to this machine.

        `session` is used instead of one of its own, and not closed.
        """
        self._url = base_url.rstrip("/").removesuffix("/v1") + "/internal/hooks/rpc"
        self._headers = {"authorization": f"Bearer {secret_key}"} if secret_key else {}
        self._own = session is None
        self._session = session

    async def call(self, method: str, *args: Any) -> Any:
        """Call a method of the server API and return its result.

        Raises:
            RealtimeError: The server refused it, or could not be reached (`retry` is true then).
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S + 10))
        body = {"method": method, "args": list(args)}
        try:
            async with self._session.post(self._url, json=body, headers=self._headers) as response:
                if response.status == 200:
                    return await response.json()
                raise await _refusal(response)
        except (aiohttp.ClientError, TimeoutError) as error:
            message = f"{type(error).__name__}: {error}"
            raise client_error("CONNECT_FAILED", message, retry=True) from error

    async def emit(self, event: str, data: Any, room: str) -> None:
        """Send an event to a room; a bare name is the chat room of that name."""
        await self.call("socket.emit", event, data, room)

    async def query(self, sql: str, params: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Run one statement on the project's database and return its rows."""
        return (await self.call("db.query", sql, list(params)))["results"]

    async def publish(
        self,
        topic: str,
        event: str,
        data: Any = None,
        *,
        persist: bool = False,
        user_id: str | None = None,
        id: str | None = None,
    ) -> dict[str, Any] | None:
        """Send an event to a topic; with `persist` it is stored, and returned as stored."""
        options = {"persist": persist, "userId": user_id, "id": id}
        return await self.call("realtime.publish", topic, event, data, _given(options))

    async def presence(self, topic: str) -> list[dict[str, Any]]:
        """Return who is present: `[{userId, state, connections}]`."""
        return (await self.call("realtime.presence", topic))["users"]

    async def history(
        self, topic: str, limit: int = 50, before: int | None = None, after: int | None = None
    ) -> list[dict[str, Any]]:
        """Return stored messages older than `before`, newest first, or with `after` the ones that follow it."""
        options = {"limit": limit, "before": before, "after": after}
        return (await self.call("realtime.history", topic, _given(options)))["messages"]

    async def revoke(
        self,
        *,
        user_id: str | None = None,
        connection: str | None = None,
        topic: str | None = None,
        for_s: float = 0.0,
        reason: str | None = None,
    ) -> int:
        """Take access back from a user, a connection, or from everybody on the topics that match a glob.

        It cannot be had again for `for_s` seconds. Returns how many live connections this was about.
        """
        options = {"userId": user_id, "connection": connection, "topic": topic, "forSeconds": for_s, "reason": reason}
        return (await self.call("realtime.revoke", _given(options)))["connections"]

    async def stream(
        self,
        topic: str,
        tokens: AsyncIterable[str] | Iterable[str],
        *,
        id: str | None = None,
        user_id: str | None = None,
        persist: bool = False,
        without_viewers: Literal["go-on", "cancel"] = "go-on",
        viewer_grace_s: float = 10.0,
    ) -> StreamEnd:
        """Send tokens to a topic as they come, those that come during a request together in the next one.

        The iteration is ended where it waits when the stream is cancelled, or, with `without_viewers="cancel"`, when
        nobody has followed the topic for `viewer_grace_s`. An exception of `tokens` is told to viewers without its
        text, and raised again.
        """
        options = {
            "id": id,
            "userId": user_id,
            "persist": persist,
            "withoutViewers": without_viewers,
            "viewerGraceSeconds": viewer_grace_s,
        }
        opened = await self.call("realtime.stream.open", topic, _given(options))
        given = _given({**options, "id": opened["stream"]})
        return await _Stream(self, topic, given).run(tokens)

    async def close(self) -> None:
        """Close the connection."""
        if self._own and self._session is not None:
            await self._session.close()
            self._session = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class _Stream:
    """One stream on its way: a task reads the producer, one sends, one waits for the stream's end."""

    def __init__(self, server: RealtimeServer, topic: str, options: dict[str, Any]) -> None:
        self._server = server
        self._topic = topic
        self._options = options
        self._id: str = options["id"]
        self._waiting: list[str] = []
        self._wakes = asyncio.Event()
        self._is_read = False
        self._sent: list[str] = []
        self._error: Exception | None = None

    async def run(self, tokens: AsyncIterable[str] | Iterable[str]) -> StreamEnd:
        reason, told = "cancelled", ""
        try:
            reason = await self._race(tokens)
            if self._error is not None:
                reason, told = "error", "the stream failed"
                raise self._error
        finally:
            with suppress(RealtimeError):
                args = (reason if reason in ("done", "error") else "cancelled", told)
                await self._server.call("realtime.stream.close", self._topic, self._id, *args)
        return StreamEnd(stream=self._id, reason=reason, tokens=len(self._sent), text="".join(self._sent))

    async def _race(self, tokens: AsyncIterable[str] | Iterable[str]) -> str:
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(self._read(tokens))
            sender = group.create_task(self._send())
            over = group.create_task(self._over())
            done, _ = await asyncio.wait((sender, over), return_when=asyncio.FIRST_COMPLETED)
            for task in (reader, sender, over):
                task.cancel()
        return (over if over in done else sender).result() or "done"

    async def _read(self, tokens: AsyncIterable[str] | Iterable[str]) -> None:
        iterator = _each(tokens)
        try:
            async for token in iterator:
                if token:
                    self._waiting.append(token)
                    self._wakes.set()
        except Exception as error:  # the producer's own failure, for its caller
            self._error = error
        finally:
            await iterator.aclose()
            self._is_read = True
            self._wakes.set()

    async def _send(self) -> str | None:
        while self._waiting or not self._is_read:
            if not self._waiting:
                await self._wakes.wait()
                self._wakes.clear()
                continue
            batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
            try:
                over = await self._tell(batch)
            except RealtimeError as error:
                self._error = error
                return "error"
            if over in (None, "length"):
                self._sent += batch
            if over is not None:
                return over
        return None

    async def _tell(self, tokens: list[str]) -> str | None:
        """Send tokens; a topic that began anew is told first what was said before. Returns why the stream is over."""
        answer = await self._server.call("realtime.stream.tokens", self._topic, self._id, tokens)
        if answer["over"] == "unknown":
            again = {**self._options, "text": "".join(self._sent), "count": len(self._sent)}
            await self._server.call("realtime.stream.open", self._topic, again)
            answer = await self._server.call("realtime.stream.tokens", self._topic, self._id, tokens)
        return answer["over"]

    async def _over(self) -> str:
        """Wait until somebody else ends the stream."""
        while True:
            try:
                answer = await self._server.call("realtime.stream.over", self._topic, self._id)
            except RealtimeError:
                await asyncio.sleep(1.0)
                continue
            if answer["over"] not in (None, "unknown"):
                return answer["over"]
            if answer["over"] == "unknown":  # its topic began anew; the next tokens say so too
                await asyncio.sleep(0.2)


async def _each(tokens: AsyncIterable[str] | Iterable[str]) -> AsyncGenerator[str, None]:
    if isinstance(tokens, AsyncIterable):
        iterator = aiter(tokens)
        try:
            async for token in iterator:
                yield token
        finally:
            closing = getattr(iterator, "aclose", None)  # where the producer ends what it has begun
            if closing is not None:
                await closing()
        return
    for token in tokens:
        yield token
        await asyncio.sleep(0)


async def _refusal(response: aiohttp.ClientResponse) -> RealtimeError:
    text = await response.text()
    with suppress(ValueError, KeyError, TypeError):
        error = (await response.json(content_type=None))["error"]
        return RealtimeError(error["number"], error["code"], error["message"], retry=response.status >= 500)
    return client_error("HTTP", f"status {response.status}: {text[:200]}", retry=response.status >= 500)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
