"""ReadableStream and its reader: the Streams standard reduced to what bodies need.

A readable stream pulls from an async iterator and starts no task of its own. Chunks are bytes on their way to a body;
strings are encoded as UTF-8 there. https://developers.cloudflare.com/workers/runtime-apis/streams/readablestream/
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, cast

from workers.compat.buffers import Uint8Array
from workers.compat.proxies import JsDict, JsException, JsProxy, JsTypeError, init_options

__all__ = [
    "ReadableStream",
    "ReadableStreamDefaultReader",
    "Through",
    "Writable",
    "Writer",
    "chunk_bytes",
    "settled",
    "shown",
]

_LOCKED = "This ReadableStream is currently locked to a reader."


def chunk_bytes(chunk: object) -> bytes:
    """Return the bytes of one body chunk: bytes-like as it is, text as UTF-8."""
    if isinstance(chunk, bytes):
        return chunk
    if isinstance(chunk, str):
        return chunk.encode("utf-8", "surrogatepass")
    if isinstance(chunk, (bytearray, memoryview)):
        return bytes(cast(bytearray, chunk))
    to_bytes = getattr(chunk, "to_bytes", None)
    if isinstance(chunk, JsProxy) and callable(to_bytes):
        return bytes(to_bytes())  # pyright: ignore[reportArgumentType] - duck-typed buffer object
    raise JsTypeError(
        "This TransformStream is being used as a byte stream, but received an object of non-ArrayBuffer/"
        "ArrayBufferView/string type on its writable side."
    )


async def settled(result: object) -> Any:
    """Return a callback's result, awaited when it is awaitable."""
    return await result if inspect.isawaitable(result) else result


class Writer(Protocol):
    """What `pipeTo` needs of the writer at the other end."""

    def write(self, chunk: Any) -> Awaitable[Any]:
        """Hand over one chunk."""
        ...

    def close(self) -> Awaitable[Any]:
        """End the stream."""
        ...

    def abort(self, reason: object = None) -> Awaitable[Any]:
        """Fail the stream."""
        ...


class Writable(Protocol):
    """A stream that can be written to."""

    def getWriter(self) -> Writer:
        """Lock it to a writer."""
        ...


class Through(Protocol):
    """A transform stream, which can be fed by a readable stream without a task in between."""

    def feed(self, source: ReadableStream) -> ReadableStream:
        """Return the readable side, fed by `source`."""
        ...


class ReadableStream(JsProxy):
    """A stream of chunks read once: by `async for`, by a reader, or by the body that owns it.

    `length` is the number of bytes when it is known beforehand (None otherwise): the server then sends content-length.
    """

    __slots__ = ("_data", "_error", "_iterator", "_source", "disturbed", "length", "locked")

    def __init__(self, source: object = None, strategy: object = None, /, **members: Any) -> None:
        self._start(_pulled(init_options(source, members)), None)

    def _start(self, iterator: AsyncIterator[Any] | None, data: bytes | None) -> None:
        self._iterator = iterator
        self._data = data
        self._error: BaseException | None = None
        self.disturbed = False
        self.locked = False
        self.length = None if data is None else len(data)

    @classmethod
    def from_iterator(cls, iterator: AsyncIterator[Any], *, length: int | None = None) -> ReadableStream:
        """Wrap an async iterator of chunks; `length` is the total number of bytes if it is known."""
        stream = cls.__new__(cls)
        stream._start(iterator, None)
        stream.length = length
        return stream

    @classmethod
    def from_bytes(cls, data: bytes) -> ReadableStream:
        """Make a stream of one chunk that is at hand; a body made of it is sent without streaming."""
        stream = cls.__new__(cls)
        stream._start(None, data)
        return stream

    @property
    def known_bytes(self) -> bytes | None:
        """The whole content if it is at hand and nobody has begun to read."""
        return None if self.disturbed or self.locked else self._data

    def _claim(self) -> None:
        if self.locked:
            raise JsTypeError(_LOCKED)

    async def pull(self) -> Any:
        """Take the next chunk for the holder of the lock.

        Raises:
            StopAsyncIteration: The stream is at its end.
        """
        self.disturbed = True
        if self._error is not None:
            raise self._error
        if self._data is not None:
            data, self._data = self._data, None
            if data:
                return data
            raise StopAsyncIteration
        if self._iterator is None:
            raise StopAsyncIteration
        try:
            return await anext(self._iterator)
        except StopAsyncIteration:
            self._iterator = None
            raise
        except Exception as error:
            self._error, self._iterator = error, None
            raise

    def __aiter__(self) -> AsyncIterator[Any]:
        return _Chunks(self, shown)

    def raw_chunks(self) -> AsyncIterator[bytes]:
        """Iterate over the chunks as plain bytes: what the server does when it sends them."""
        return _Chunks(self, chunk_bytes)

    async def read_all(self) -> bytes:
        """Read the rest as bytes."""
        self._claim()
        if self.known_bytes is not None:
            self.disturbed = True
            data, self._data = self._data or b"", None
            return data
        return b"".join([chunk async for chunk in self.raw_chunks()])

    def getReader(self, options: object = None, /, **_members: Any) -> ReadableStreamDefaultReader:
        """Lock the stream to a new reader."""
        self._claim()
        self.locked = True
        return ReadableStreamDefaultReader(self)

    async def cancel(self, reason: object = None) -> None:
        """Give up reading; the source is told if it wants to know."""
        self._claim()
        await self.abandon(reason)

    async def abandon(self, reason: object = None) -> None:
        """Cancel on behalf of the holder of the lock."""
        self.disturbed = True
        self._data = None
        iterator, self._iterator = self._iterator, None
        on_cancel = getattr(iterator, "cancel", None)
        if on_cancel is not None:
            await settled(on_cancel(reason))
            return
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()

    def tee(self) -> list[ReadableStream]:
        """Split into two streams with the same chunks; what one reads early is kept for the other."""
        self._claim()
        if self.known_bytes is not None:
            data, self._data = self._data or b"", None
            self.disturbed = self.locked = True
            return [ReadableStream.from_bytes(data), ReadableStream.from_bytes(data)]
        self.locked = True
        fork = _Fork(self)
        return [ReadableStream.from_iterator(branch, length=self.length) for branch in fork.branches]

    async def pipeTo(self, destination: Writable, options: object = None, /, **_members: Any) -> None:
        """Write every chunk to `destination` and close it."""
        writer = destination.getWriter()
        try:
            async for chunk in self:
                await writer.write(chunk)
        except BaseException as error:
            await writer.abort(error)
            raise
        await writer.close()

    def pipeThrough(self, transform: Through, options: object = None, /, **_members: Any) -> ReadableStream:
        """Return the readable side of `transform`, fed by this stream as it is read."""
        return transform.feed(self)

    def values(self, options: object = None) -> AsyncIterator[Any]:
        """Return the async iterator of chunks."""
        return self.__aiter__()


def shown(chunk: Any) -> Any:
    """Return a chunk as user code sees it: bytes as a Uint8Array."""
    return Uint8Array(chunk) if type(chunk) is bytes else chunk


class _Chunks:
    """The iteration over a stream: holds its lock until the end, an error or the iterator's own end of life."""

    __slots__ = ("_convert", "_stream")

    def __init__(self, stream: ReadableStream, convert: Callable[[Any], Any]) -> None:
        if stream.locked:
            raise JsTypeError(_LOCKED)
        stream.locked = True
        self._stream: ReadableStream | None = stream
        self._convert = convert

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> Any:
        stream = self._stream
        if stream is None:
            raise StopAsyncIteration
        try:
            return self._convert(await stream.pull())
        except BaseException:
            self._release()
            raise

    def _release(self) -> None:
        if self._stream is not None:
            self._stream.locked = False
            self._stream = None

    async def aclose(self) -> None:
        """Stop reading and tell the source."""
        stream = self._stream
        self._release()
        if stream is not None:
            await stream.abandon()

    def __del__(self) -> None:
        self._release()


class ReadableStreamDefaultReader(JsProxy):
    """The one reader a stream is locked to."""

    __slots__ = ("_stream",)

    def __init__(self, stream: ReadableStream) -> None:
        self._stream: ReadableStream | None = stream

    def _held(self) -> ReadableStream:
        if self._stream is None:
            raise JsTypeError("This ReadableStream reader has been released.")
        return self._stream

    async def read(self) -> JsDict:
        """Return `{done, value}`."""
        try:
            return JsDict(done=False, value=shown(await self._held().pull()))
        except StopAsyncIteration:
            return JsDict(done=True, value=None)

    async def cancel(self, reason: object = None) -> None:
        """Give up reading."""
        await self._held().abandon(reason)

    def releaseLock(self) -> None:
        """Let somebody else read on."""
        if self._stream is not None:
            self._stream.locked = False
            self._stream = None


class _Fork:
    """Two queues fed by one source: whoever is ahead pulls for both."""

    def __init__(self, source: ReadableStream) -> None:
        self._source = source
        self._queues: list[deque[Any]] = [deque(), deque()]
        self._pulling = asyncio.Lock()
        self._done = False
        self.branches = [self._branch(queue) for queue in self._queues]

    async def _branch(self, queue: deque[Any]) -> AsyncIterator[Any]:
        while True:
            if not queue:
                async with self._pulling:
                    if not queue and not self._done:
                        await self._pull()
            if not queue:
                return
            yield queue.popleft()

    async def _pull(self) -> None:
        try:
            chunk = await self._source.pull()
        except StopAsyncIteration:
            self._done = True
            return
        for queue in self._queues:
            queue.append(chunk)


class _Controller(JsProxy):
    """What an underlying source's `start` and `pull` receive: enqueue, close, error."""

    __slots__ = ("_sink",)

    def __init__(self, sink: _Source) -> None:
        self._sink = sink

    @property
    def desiredSize(self) -> int:
        """How many more chunks are welcome."""
        return 1 - len(self._sink.queue)

    def enqueue(self, chunk: Any) -> None:
        """Add a chunk."""
        if self._sink.closed:
            raise JsTypeError("Can't enqueue: the stream is closed.")
        self._sink.queue.append(chunk)
        self._sink.wake()

    def close(self) -> None:
        """End the stream after the queued chunks."""
        self._sink.closed = True
        self._sink.wake()

    def error(self, reason: object = None) -> None:
        """Fail the stream at once."""
        self._sink.failure = reason if isinstance(reason, Exception) else JsException(reason)
        self._sink.closed = True
        self._sink.queue.clear()
        self._sink.wake()


class _Source:
    """Async iterator over a JavaScript-style underlying source given as `start`, `pull`, `cancel` callables."""

    def __init__(self, members: dict[str, Any]) -> None:
        self.queue: deque[Any] = deque()
        self.closed = False
        self.failure: Exception | None = None
        self._pull = members.get("pull")
        self._cancel = members.get("cancel")
        self._controller = _Controller(self)
        self._waiter: asyncio.Future[None] | None = None
        start = members.get("start")
        self._starting: object = None if start is None else start(self._controller)

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        starting, self._starting = self._starting, None
        await settled(starting)
        while not self.queue:
            if self.failure is not None:
                raise self.failure
            if self.closed:
                raise StopAsyncIteration
            if self._pull is not None:
                await settled(self._pull(self._controller))
            else:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
        return self.queue.popleft()

    async def cancel(self, reason: object) -> None:
        self.closed = True
        if self._cancel is not None:
            await settled(self._cancel(reason))


def _pulled(members: dict[str, Any]) -> AsyncIterator[Any] | None:
    return _Source(members) if any(members.get(name) for name in ("start", "pull")) else None
