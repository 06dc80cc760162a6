"""WritableStream and TransformStream: the writing half of the Streams standard, as Workers use it.

A transform stream hands each chunk from writer to reader: a write is done when its chunk was taken, so a slow reader
slows the writer. https://developers.cloudflare.com/workers/runtime-apis/streams/transformstream/
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Generator
from typing import Any

from workers.compat.proxies import JsException, JsProxy, JsTypeError, init_options
from workers.compat.streams import ReadableStream, chunk_bytes, settled, shown

__all__ = [
    "FixedLengthStream",
    "IdentityTransformStream",
    "TransformStream",
    "WritableStream",
    "WritableStreamDefaultWriter",
]


class _Done:
    """An awaitable that is done already: what a write answers when nobody has to wait."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


class _Pipe:
    """Hands chunks from a writer to a reader, one after the other; a write is done when its chunk was taken."""

    def __init__(self) -> None:
        self._chunks: deque[tuple[Any, asyncio.Future[None]]] = deque()
        self._reader: asyncio.Future[None] | None = None
        self.closed = False
        self.failure: BaseException | None = None

    def put(self, chunk: Any) -> Awaitable[None]:
        if self.failure is not None:
            raise self.failure
        if self.closed:
            raise JsTypeError("This WritableStream has been closed.")
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._chunks.append((chunk, taken))
        self._wake()
        return taken

    def end(self, failure: BaseException | None = None) -> None:
        self.closed = True
        if failure is not None and self.failure is None:
            self.failure = failure
            while self._chunks:
                taken = self._chunks.popleft()[1]
                if not taken.done():
                    taken.set_exception(failure)
                    taken.exception()  # marks it as seen: nobody has to await a write
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while not self._chunks:
            if self.failure is not None:
                raise self.failure
            if self.closed:
                raise StopAsyncIteration
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        chunk, taken = self._chunks.popleft()
        if not taken.done():
            taken.set_result(None)
        return chunk


class WritableStream(JsProxy):
    """The writing side of a transform stream, or a sink given as `write`, `close`, `abort` callables."""

    __slots__ = ("_pipe", "_sink", "locked")

    def __init__(
        self, sink: object = None, strategy: object = None, /, *, _pipe: _Pipe | None = None, **members: Any
    ) -> None:
        self.locked = False
        self._sink = init_options(sink, members)
        self._pipe = _pipe

    def getWriter(self) -> WritableStreamDefaultWriter:
        """Lock the stream to a new writer."""
        if self.locked:
            raise JsTypeError("This WritableStream is currently locked to a writer.")
        self.locked = True
        return WritableStreamDefaultWriter(self)

    def put(self, chunk: Any) -> Awaitable[Any]:
        """Hand over one chunk; the result is done when it was taken."""
        if self._pipe is not None:
            return self._pipe.put(chunk)
        write = self._sink.get("write")
        return _Done() if write is None else settled(write(chunk, None))

    def finish(self) -> Awaitable[Any]:
        """End the stream."""
        if self._pipe is not None:
            self._pipe.end()
            return _Done()
        close = self._sink.get("close")
        return _Done() if close is None else settled(close())

    def fail(self, reason: object) -> Awaitable[Any]:
        """End the stream with an error for its reader."""
        if self._pipe is not None:
            self._pipe.end(reason if isinstance(reason, BaseException) else JsException(reason))
            return _Done()
        abort = self._sink.get("abort")
        return _Done() if abort is None else settled(abort(reason))

    def close(self) -> Awaitable[Any]:
        """End the stream."""
        return self.finish()

    def abort(self, reason: object = None) -> Awaitable[Any]:
        """End the stream with an error for its reader."""
        return self.fail(reason)


class WritableStreamDefaultWriter(JsProxy):
    """The one writer a stream is locked to. A write starts at once, awaited or not."""

    __slots__ = ("_stream",)

    def __init__(self, stream: WritableStream) -> None:
        self._stream: WritableStream | None = stream

    def _held(self) -> WritableStream:
        if self._stream is None:
            raise JsTypeError("This WritableStream writer has been released.")
        return self._stream

    @property
    def ready(self) -> Awaitable[None]:
        """Done when the stream wants another chunk; each write waits by itself, so it is done always."""
        return _Done()

    def write(self, chunk: Any) -> Awaitable[Any]:
        """Hand over one chunk; await the result to go no faster than the reader."""
        return self._held().put(chunk)

    def close(self) -> Awaitable[Any]:
        """End the stream after the chunks written so far."""
        return self._held().finish()

    def abort(self, reason: object = None) -> Awaitable[Any]:
        """Fail the stream: its reader gets `reason`."""
        return self._held().fail(reason)

    def releaseLock(self) -> None:
        """Let somebody else write on."""
        if self._stream is not None:
            self._stream.locked = False
            self._stream = None


class _Enqueuer(JsProxy):
    """The controller given to a transformer's callbacks."""

    __slots__ = ("chunks", "ended")

    def __init__(self) -> None:
        self.chunks: deque[Any] = deque()
        self.ended = False

    def enqueue(self, chunk: Any) -> None:
        """Send a chunk to the reader."""
        self.chunks.append(chunk)

    def terminate(self) -> None:
        """End the readable side."""
        self.ended = True

    def error(self, reason: object = None) -> None:
        """Fail the stream."""
        raise reason if isinstance(reason, Exception) else JsException(reason)


class _Outgoing:
    """The readable side's source. However it ends, no writer is left waiting for a reader."""

    def __init__(self, chunks: AsyncIterator[Any], pipe: _Pipe) -> None:
        self._chunks = chunks
        self._pipe = pipe

    def __aiter__(self) -> _Outgoing:
        return self

    async def __anext__(self) -> Any:
        try:
            return await anext(self._chunks)
        except BaseException:
            self._end(None)
            raise

    def cancel(self, reason: object) -> None:
        """The reader gives up."""
        self._end(reason)

    def _end(self, reason: object) -> None:
        failure = reason if isinstance(reason, Exception) else JsTypeError(reason or "The readable side was cancelled.")
        self._pipe.end(failure)


class TransformStream(JsProxy):
    """A pair `writable` and `readable`: what is written to one comes out of the other, transformed.

    The transformer is given as JavaScript gives it: `start(controller)`, `transform(chunk, controller)`,
    `flush(controller)`; without `transform` the chunks pass unchanged.
    """

    __slots__ = ("_pipe", "_transformer", "readable", "writable")

    def __init__(self, transformer: object = None, *_strategies: object, **members: Any) -> None:
        self._transformer = init_options(transformer, members)
        self._pipe = _Pipe()
        self.writable = WritableStream(_pipe=self._pipe)
        self.readable = ReadableStream.from_iterator(_Outgoing(self._outgoing(self._pipe), self._pipe))

    def feed(self, source: ReadableStream) -> ReadableStream:
        """Let the readable side pull from `source` instead of waiting for a writer."""
        self.writable.locked = True
        self.readable = ReadableStream.from_iterator(self._outgoing(source.raw_chunks()))
        return self.readable

    async def _outgoing(self, source: AsyncIterator[Any]) -> AsyncIterator[Any]:
        controller = _Enqueuer()
        start, transform, flush = (self._transformer.get(name) for name in ("start", "transform", "flush"))
        if start is not None:
            await settled(start(controller))
        async for chunk in source:
            if transform is None:
                controller.enqueue(chunk)
            else:
                await settled(transform(shown(chunk), controller))
            while controller.chunks:
                yield controller.chunks.popleft()
            if controller.ended:
                return
        if flush is not None:
            await settled(flush(controller))
        while controller.chunks:
            yield controller.chunks.popleft()


class IdentityTransformStream(TransformStream):
    """A transform stream that passes bytes unchanged."""

    __slots__ = ()


class FixedLengthStream(TransformStream):
    """An identity stream of exactly `length` bytes, so that a response made of it has a content-length."""

    __slots__ = ("_expected",)

    def __init__(self, length: int, *_strategies: object) -> None:
        super().__init__()
        self._expected = int(length)
        outgoing = _Outgoing(self._counted(self._pipe), self._pipe)
        self.readable = ReadableStream.from_iterator(outgoing, length=self._expected)

    def feed(self, source: ReadableStream) -> ReadableStream:
        """Let the readable side pull from `source`, which must give exactly the announced bytes."""
        self.writable.locked = True
        self.readable = ReadableStream.from_iterator(self._counted(source.raw_chunks()), length=self._expected)
        return self.readable

    async def _counted(self, source: AsyncIterator[Any]) -> AsyncIterator[bytes]:
        sent = 0
        async for chunk in source:
            data = chunk_bytes(chunk)
            sent += len(data)
            if sent > self._expected:
                raise JsTypeError("Attempt to write too many bytes through a FixedLengthStream.")
            yield data
        if sent < self._expected:
            raise JsTypeError("FixedLengthStream did not see all expected bytes before close().")
