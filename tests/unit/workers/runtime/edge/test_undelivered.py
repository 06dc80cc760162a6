from __future__ import annotations

import asyncio
import sys

import pytest

from workers.runtime.edge.undelivered import undelivered_bytes


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what was not acknowledged")
async def test_what_a_client_has_no_room_for_is_counted_until_it_reads():
    served: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.set_result(writer)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        reader, client = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=2**16)
        writer = await served
        writer.write(b"x" * 1_000)
        assert await reader.readexactly(1_000)
        assert undelivered_bytes(writer.transport, 0) == 0
        total = 32 * 1024 * 1024
        writer.write(b"x" * total)
        assert undelivered_bytes(writer.transport, 0) > 1024 * 1024
        await reader.readexactly(total)
        assert undelivered_bytes(writer.transport, 0) == 0
        for each in (client, writer):
            each.close()
            await each.wait_closed()
