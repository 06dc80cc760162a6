from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from workers.compat.proxies import JsException, JsTypeError
from workers.compat.streams import ReadableStream, chunk_bytes


async def numbers(count: int) -> AsyncIterator[bytes]:
    for number in range(count):
        yield b"%d" % number


async def test_chunks_come_in_order_and_the_reader_says_when_it_is_done():
    reader = ReadableStream.from_iterator(numbers(2)).getReader()
    first = await reader.read()
    assert (first.done, first.value.to_bytes()) == (False, b"0")
    assert (await reader.read()).value == b"1"
    last = await reader.read()
    assert (last.done, last.value) == (True, None)


async def test_a_locked_stream_has_one_reader_until_it_is_released():
    stream = ReadableStream.from_bytes(b"x")
    reader = stream.getReader()
    with pytest.raises(JsTypeError, match="currently locked to a reader"):
        stream.getReader()
    reader.releaseLock()
    assert [bytes(chunk) async for chunk in stream] == [b"x"]
    with pytest.raises(JsTypeError, match="released"):
        await reader.read()


async def test_a_source_may_start_pull_and_cancel_like_in_javascript():
    told: list[object] = []
    left = ["b", "a"]

    async def pull(controller: object) -> None:
        if left:
            controller.enqueue(left.pop())
        else:
            controller.close()

    stream = ReadableStream.new(start=lambda c: c.enqueue("first"), pull=pull, cancel=told.append)
    assert await stream.read_all() == b"firstab"
    endless = ReadableStream.new(pull=lambda c: c.enqueue("x"), cancel=told.append)
    await endless.cancel("enough")
    assert told == ["enough"]


async def test_a_failing_source_fails_its_reader_each_time():
    def pull(controller: object) -> None:
        raise JsException("pull fail")

    stream = ReadableStream.new({"pull": pull})
    for _ in range(2):
        with pytest.raises(JsException, match="pull fail"):
            await stream.read_all()


async def test_both_halves_of_a_tee_get_every_chunk():
    left, right = ReadableStream.from_iterator(numbers(3)).tee()
    assert await left.read_all() == b"012"
    assert await right.read_all() == b"012"


async def test_both_halves_of_a_tee_get_the_error():
    async def broken() -> AsyncIterator[bytes]:
        yield b"a"
        raise JsException("mid")

    for half in ReadableStream.from_iterator(broken()).tee():
        with pytest.raises(JsException, match="mid"):
            await half.read_all()


async def test_the_length_is_known_for_bytes_only():
    assert ReadableStream.from_bytes(b"abc").length == 3
    assert ReadableStream.from_iterator(numbers(1)).length is None


async def test_leaving_an_iteration_gives_the_lock_back():
    stream = ReadableStream.from_iterator(numbers(3))
    async for chunk in stream:
        assert chunk == b"0"
        break
    assert await stream.read_all() == b"12"


def test_chunks_that_are_no_bytes_are_refused():
    assert chunk_bytes("é") == "é".encode()
    with pytest.raises(JsTypeError, match="byte stream"):
        chunk_bytes(5)
