from __future__ import annotations

import asyncio

import pytest

from workers.compat.proxies import JsException, JsTypeError
from workers.compat.streams import ReadableStream
from workers.compat.transform import FixedLengthStream, TransformStream, WritableStream


async def test_what_is_written_comes_out():
    stream = TransformStream()
    writer = stream.writable.getWriter()
    writer.write(b"a")
    writer.write("b")
    writer.close()
    assert await stream.readable.read_all() == b"ab"


async def test_a_write_waits_for_its_reader():
    stream = TransformStream()
    writer = stream.writable.getWriter()
    written = writer.write(b"a")
    await asyncio.sleep(0)
    assert not written.done()
    reader = stream.readable.getReader()
    assert (await reader.read()).value == b"a"
    await written


async def test_an_abort_fails_the_reader_and_pending_writes():
    stream = TransformStream()
    writer = stream.writable.getWriter()
    pending = writer.write(b"part")
    writer.abort(JsException("mid"))
    with pytest.raises(JsException, match="mid"):
        await pending
    with pytest.raises(JsException, match="mid"):
        await stream.readable.read_all()


async def test_a_cancelled_reader_fails_the_writer():
    stream = TransformStream()
    writer = stream.writable.getWriter()
    pending = writer.write(b"part")
    await stream.readable.cancel()
    with pytest.raises(JsTypeError, match="cancelled"):
        await pending


async def test_a_transformer_changes_chunks_and_adds_at_the_end():
    stream = TransformStream.new(
        transform=lambda chunk, controller: controller.enqueue(chunk.upper()),
        flush=lambda controller: controller.enqueue(b"!"),
    )
    assert await ReadableStream.from_bytes(b"abc").pipeThrough(stream).read_all() == b"ABC!"


async def test_piping_writes_every_chunk_and_closes():
    seen: list[object] = []
    sink = WritableStream.new(write=lambda chunk, _c: seen.append(bytes(chunk)), close=lambda: seen.append("closed"))
    await ReadableStream.from_bytes(b"x").pipeTo(sink)
    assert seen == [b"x", "closed"]


async def test_a_fixed_length_stream_announces_and_enforces_its_length():
    stream = FixedLengthStream(3)
    writer = stream.writable.getWriter()
    writer.write(b"ABC")
    writer.close()
    assert stream.readable.length == 3
    assert await stream.readable.read_all() == b"ABC"
    for data in (b"AB", b"ABCD"):
        short = FixedLengthStream(3)
        writer = short.writable.getWriter()
        writer.write(data)
        writer.close()
        with pytest.raises(JsTypeError, match="FixedLengthStream"):
            await short.readable.read_all()
