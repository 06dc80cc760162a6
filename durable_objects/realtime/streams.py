"""Running token streams: those of one topic, and the loop that brings a producer's tokens to it.

The topic's side knows what was said so far, tells who comes late, and ends a stream that is cancelled, that nobody
follows any more, or whose producer is gone. The producer's side (`run_stream`) may be in the topic's object, in the
Worker, or in another process; a cancelled stream ends the producer's iteration where it waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Protocol

from durable_objects.realtime.core.codes import Code, RealtimeError
from durable_objects.realtime.core.protocol import dumps
from durable_objects.realtime.core.token_stream import DONE, ERROR, TOKEN, Reason, StreamOptions, TokenStream

__all__ = ["FarTopic", "StreamPort", "Streams", "Tokens", "run_stream"]

Tokens = AsyncIterable[str] | Iterable[str]
Say = Callable[[str, str, bool, str | None], None]
"""Publishes an event, data as JSON text, whether to store it, and the user it is of."""

_MAX_RUNNING = 64
_log = logging.getLogger(__name__)


class StreamPort(Protocol):
    """A topic, as the producer of a stream sees it."""

    async def open_stream(self, id: str, options: Mapping[str, Any], text: str, count: int) -> None:
        """Begin a stream, or take it up again with what it has said."""
        ...

    async def stream_tokens(self, id: str, tokens: list[str]) -> str | None:
        """Say the next tokens; returns why the stream is over, "unknown" when the topic does not know it."""
        ...

    async def stream_over(self, id: str) -> str:
        """Wait until the stream is over, and return why."""
        ...

    async def close_stream(self, id: str, reason: str, message: str) -> None:
        """End the stream."""
        ...


class FarTopic:
    """The port of a topic's object for a producer outside of it: a fresh stub for each call, see `Directory.stub`."""

    def __init__(self, stub: Callable[[], Any]) -> None:
        self._stub = stub

    async def open_stream(self, id: str, options: Mapping[str, Any], text: str, count: int) -> None:
        """See `StreamPort`."""
        await self._stub().open_stream(id, dict(options), text, count)

    async def stream_tokens(self, id: str, tokens: list[str]) -> str | None:
        """See `StreamPort`."""
        return await self._stub().stream_tokens(id, tokens)

    async def stream_over(self, id: str) -> str:
        """See `StreamPort`."""
        return await self._stub().stream_over(id)

    async def close_stream(self, id: str, reason: str, message: str) -> None:
        """See `StreamPort`."""
        await self._stub().close_stream(id, reason, message)


class _Running:
    """A stream, its timers, and who waits for its end."""

    def __init__(self, stream: TokenStream) -> None:
        self.stream = stream
        self.idle: asyncio.TimerHandle | None = None
        self.unwatched: asyncio.TimerHandle | None = None
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def stop(self, reason: str) -> None:
        for timer in (self.idle, self.unwatched):
            if timer is not None:
                timer.cancel()
        if not self.over.done():
            self.over.set_result(reason)


class Streams:
    """The streams that run on one topic."""

    def __init__(
        self, say: Say, has_viewers: Callable[[], bool], keep_awake: Callable[[Awaitable[object]], object]
    ) -> None:
        """`keep_awake` keeps the topic's object in memory until what it is given ends, or is cancelled with it."""
        self._say = say
        self._has_viewers = has_viewers
        self._keep_awake = keep_awake
        self._running: dict[str, _Running] = {}

    def __len__(self) -> int:
        return len(self._running)

    def open(self, id: str, options: StreamOptions, text: str = "", count: int = 0) -> None:
        """Begin a stream, or take it up again with what it has said.

        Raises:
            RealtimeError: OVERLOADED, as many run already as may on one topic.
        """
        if id in self._running:
            return
        if len(self._running) >= _MAX_RUNNING:
            raise RealtimeError(Code.OVERLOADED, f"{_MAX_RUNNING} streams run on this topic already")
        running = self._running[id] = _Running(TokenStream(id, options, text, count))
        self._expect(running)
        self._keep_awake(self._run(running))
        self.viewers_changed()

    async def _run(self, running: _Running) -> None:
        """Last as long as a stream; when the object leaves memory first, nothing may be said in its name any more."""
        try:
            await asyncio.shield(running.over)
        except asyncio.CancelledError:
            self._running.pop(running.stream.id, None)
            running.stop("unknown")
            raise

    def tokens(self, id: str, tokens: Iterable[str]) -> str | None:
        """Say the next tokens; returns why the stream is over, "unknown" for one that does not run here."""
        running = self._running.get(id)
        if running is None:
            return "unknown"
        stream = running.stream
        for told in stream.say(tokens):
            self._say(TOKEN, dumps(told), False, stream.options.user_id)
        self._expect(running)
        if stream.is_full:
            self.close(id, "length")
            return "length"
        return None

    def close(self, id: str, reason: Reason, message: str = "") -> bool:
        """End a stream; False when it does not run."""
        running = self._running.pop(id, None)
        if running is None:
            return False
        running.stop(reason)
        stream = running.stream
        user_id, persist = stream.options.user_id, stream.options.persist
        if reason == "error":
            told = {"stream": id, "message": message or "the stream failed"}
            self._say(ERROR, dumps(told), False, user_id)
        self._say(DONE, dumps(stream.done(reason)), persist, user_id)
        return True

    def cancel(self, id: str | None = None) -> bool:
        """End a stream, or all of them, because somebody asked for it; False when none was running."""
        ids = list(self._running) if id is None else [id]
        return any([self.close(each, "cancelled") for each in ids])

    async def over(self, id: str) -> str:
        """Wait until a stream is over, and return why."""
        running = self._running.get(id)
        return "unknown" if running is None else await asyncio.shield(running.over)

    def so_far(self) -> list[str]:
        """Return, for each stream, the data of the event that tells a newcomer everything it has said, as JSON text."""
        told = [running.stream.so_far() for running in self._running.values()]
        return [dumps(each) for each in told if each is not None]

    def viewers_changed(self) -> None:
        """Start or stop the time after which streams that nobody follows end."""
        if not self._running:
            return
        has_viewers, loop = self._has_viewers(), asyncio.get_running_loop()
        for id, running in self._running.items():
            options = running.stream.options
            if options.without_viewers == "go-on":
                continue
            if has_viewers and running.unwatched is not None:
                running.unwatched.cancel()
                running.unwatched = None
            elif not has_viewers and running.unwatched is None:
                running.unwatched = loop.call_later(options.viewer_grace_s, self.close, id, "no-viewers")

    def _expect(self, running: _Running) -> None:
        """Start again the time in which the producer must say something."""
        if running.idle is not None:
            running.idle.cancel()
        stream, loop = running.stream, asyncio.get_running_loop()
        if stream.options.idle_s:
            running.idle = loop.call_later(stream.options.idle_s, self.close, stream.id, "abandoned")


async def run_stream(port: StreamPort, id: str, tokens: Tokens, options: StreamOptions) -> dict[str, Any]:
    """Bring tokens to a topic until they end or the stream is over; returns `{stream, reason, tokens, text}`.

    An exception of the producer is raised again, after the topic was told of an error without its text.
    """
    producer = _Producer(port, id, options)
    reason, message = "cancelled", ""
    try:
        await port.open_stream(id, asdict(options), "", 0)
        reason = await producer.run(_each(tokens))
    except Exception:
        reason, message = "error", "the stream failed"
        raise
    finally:
        with suppress(Exception):  # the topic's object may be gone, and the stream with it
            await port.close_stream(id, reason, message)
    return {"stream": id, "reason": reason, "tokens": producer.count, "text": producer.text}


class _Producer:
    def __init__(self, port: StreamPort, id: str, options: StreamOptions) -> None:
        self.parts: list[str] = []
        self.count = 0
        self._port = port
        self._id = id
        self._options = options
        self._error: BaseException | None = None

    @property
    def text(self) -> str:
        return "".join(self.parts)

    async def run(self, tokens: AsyncIterator[str]) -> str:
        reason = "done"
        async with asyncio.TaskGroup() as group:
            pump = group.create_task(self._pump(tokens), name=f"token-stream {self._id}")
            over = group.create_task(self._over(), name=f"token-stream-over {self._id}")
            await asyncio.wait((pump, over), return_when=asyncio.FIRST_COMPLETED)
            if not pump.done() and (told := over.result()) is not None:
                reason = told
                pump.cancel()
                await asyncio.wait((pump,))
            elif not pump.done():  # the topic's object failed: the next token takes the stream up again
                await asyncio.wait((pump,))
            over.cancel()
        if self._error is not None:
            raise self._error
        return reason if pump.cancelled() else pump.result() or reason

    async def _pump(self, tokens: AsyncIterator[str]) -> str | None:
        """Say token after token; returns why it stopped early."""
        try:
            async for token in tokens:
                if not isinstance(token, str):  # pyright: ignore[reportUnnecessaryIsInstance]
                    raise TypeError(f"a token is a {type(token).__name__}, but must be a str")
                reason = await self._say(token)
                if reason is not None:
                    return reason
        except Exception as error:  # the producer's own failure, told to its caller
            self._error = error
        finally:
            closing = getattr(tokens, "aclose", None)
            if closing is not None:
                await closing()
        return None

    async def _say(self, token: str) -> str | None:
        reason = await self._port.stream_tokens(self._id, [token])
        if reason == "unknown":  # the topic's object began anew
            await self._port.open_stream(self._id, asdict(self._options), self.text, self.count)
            reason = await self._port.stream_tokens(self._id, [token])
        if reason in (None, "length") and token:
            self.parts.append(token)
            self.count += 1
        return reason

    async def _over(self) -> str | None:
        """Wait until the stream is over on the topic's side; None when that cannot be told any more."""
        try:
            reason = await self._port.stream_over(self._id)
        except Exception:  # the object of the topic failed, or its server stops
            _log.debug("stream %s: the topic's object was lost", self._id)
            return None
        return None if reason == "unknown" else reason


async def _each(tokens: Tokens) -> AsyncIterator[str]:
    if isinstance(tokens, AsyncIterable):
        iterator = aiter(tokens)
        try:
            async for token in iterator:
                yield token
        finally:
            closing = getattr(iterator, "aclose", None)
            if closing is not None:
                await closing()
        return
    for token in tokens:
        yield token
        await asyncio.sleep(0)
