from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

from workers.runtime.testing import DevProcess

SIZE = 100 * 1024 * 1024
CHUNK = 256 * 1024
GROWTH_LIMIT_KB = 24 * 1024

SOURCE = """
import hashlib
from workers import Response, WorkerEntrypoint
from workers.compat.streams import ReadableStream

async def chunks(size):
    for _ in range(size // 262144):
        yield bytes(262144)

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if request.url.endswith("/hash"):
            digest, size = hashlib.sha256(), 0
            async for chunk in request.body:
                digest.update(chunk)
                size += len(chunk)
            return Response(f"{size} {digest.hexdigest()}")
        if request.url.endswith("/echo"):
            return Response(request.body)
        if request.url.endswith("/ignore"):
            return Response("ignored")
        return Response(ReadableStream.from_iterator(chunks(100 * 1024 * 1024)))
"""


def peak_kb(pid: int) -> int:
    """Return the most memory the process ever had, in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


async def body() -> AsyncIterator[bytes]:
    for _ in range(SIZE // CHUNK):
        yield bytes(CHUNK)


async def test_bodies_of_100_mb_pass_in_both_directions_in_bounded_memory(write, tmp_path, client) -> None:
    expected = hashlib.sha256(bytes(SIZE)).hexdigest()
    async with DevProcess(write(SOURCE), tmp_path / "state") as process:
        async with client.post(f"{process.url}/hash", data=b"warm") as answer:
            assert (await answer.text()).startswith("4 ")
        before = peak_kb(process.pid)
        async with client.post(f"{process.url}/hash", data=body()) as answer:  # chunked
            assert await answer.text() == f"{SIZE} {expected}"
        headers = {"content-length": str(SIZE)}
        async with client.post(f"{process.url}/hash", data=body(), headers=headers) as answer:
            assert await answer.text() == f"{SIZE} {expected}"
        async with client.get(process.url) as answer:
            assert answer.headers["transfer-encoding"] == "chunked"
            digest = hashlib.sha256()
            async for chunk in answer.content.iter_any():
                digest.update(chunk)
            assert digest.hexdigest() == expected
        async with client.post(f"{process.url}/echo", data=body(), headers=headers) as answer:
            assert answer.headers["content-length"] == str(SIZE)
            assert sum([len(chunk) async for chunk in answer.content.iter_any()]) == SIZE
        async with client.post(f"{process.url}/ignore", data=body()) as answer:
            assert await answer.text() == "ignored"
        assert peak_kb(process.pid) - before < GROWTH_LIMIT_KB


async def test_a_reader_that_is_slow_holds_the_stream_back(write, tmp_path, client) -> None:
    async with DevProcess(write(SOURCE), tmp_path / "state") as process:
        async with client.get(process.url) as answer:
            await answer.content.readany()
        before = peak_kb(process.pid)
        answers = [await client.get(process.url) for _ in range(20)]  # 2 GB, nobody reads
        async with client.post(f"{process.url}/hash", data=b"x") as answer:  # the others are served meanwhile
            assert answer.status == 200
        assert peak_kb(process.pid) - before < GROWTH_LIMIT_KB
        for answer in answers:
            answer.close()
