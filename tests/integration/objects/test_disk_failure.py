"""A commit that fails: the caller gets the recorded error, the object starts again, and nothing got out."""

from __future__ import annotations

import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

from durable_objects import Host, ObjectClass
from durable_objects.storage.files import OpenFiles
from workers import DurableObject, Response
from workers.compat.proxies import JsException
from workers.compat.websocket import WebSocketPair, take

MIB = 1 << 20


class Faulty(sqlite3.Connection):
    """A connection whose COMMIT fails while `is_broken`."""

    is_broken = False

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if Faulty.is_broken and sql == "COMMIT":
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = "SQLITE_IOERR_WRITE"
            raise error
        return super().execute(sql, parameters)


class Network:
    """What the client at the other end of a socket sees."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def message(self, data: str | bytes) -> None:
        self.seen.append(data)

    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        self.seen.append(code)


class Other(DurableObject):
    calls: ClassVar[list[str]] = []

    async def hear(self, text: str) -> None:
        Other.calls.append(text)


class Store(DurableObject):
    def __init__(self, ctx: Any, env: Any) -> None:
        super().__init__(ctx, env)
        self.turns = 0

    async def fetch(self, request: Any) -> Response:
        client, server = WebSocketPair()
        self.ctx.acceptWebSocket(server)
        return Response(None, status=101, web_socket=client)

    async def write(self, size: int) -> int:
        self.turns += 1
        for ws in self.ctx.getWebSockets():
            ws.send("before")
        self.ctx.storage.put("first", size)
        for position in range(0, size, MIB):
            self.ctx.storage.put(f"part-{position}", bytes(min(size, MIB)))
        for ws in self.ctx.getWebSockets():
            ws.send("after")
        self.env.hear(f"wrote {size}")
        return self.turns

    async def write_on(self, size: int) -> None:
        """Go on writing after every error."""
        self.ctx.storage.put("first", size)
        for position in range(0, size, MIB):
            try:
                await self.ctx.storage.put(f"part-{position}", bytes(MIB))
            except Exception:
                await self.ctx.storage.put("small", 1)

    async def keys(self) -> list[Any]:
        return [sorted(await self.ctx.storage.list()), self.turns]


@contextmanager
def small_disk(folder: Path) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Make `folder` a disk of 6 MiB, or (without the right to mount) limit file sizes; yield filling, growing."""
    folder.mkdir()
    mount = shutil.which("mount")
    mounted = (
        mount is not None
        and not subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
    )
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill() -> None:
        if not mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, before[1]))
            return
        with suppress(OSError), (folder / "filler").open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def grow() -> None:
        if mounted:
            subprocess.run([str(mount), "-o", "remount,size=64m", str(folder)], check=True)
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    try:
        yield fill, grow
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


async def _fail(host: Host, size: int, arrange: Callable[[], None], repair: Callable[[], None]) -> None:
    Other.calls.clear()
    other = host.namespace(ObjectClass("w-Other", Other, None)).getByName("o")
    namespace = host.namespace(ObjectClass("w-Store", Store, other))
    stub = namespace.getByName("s")
    assert await stub.write(0) == 1
    answer = await stub.fetch("http://object/", headers={"Upgrade": "websocket"})
    network = Network()
    take(answer.js_object.webSocket, network)
    arrange()
    with pytest.raises(JsException, match="internal error; reference = "):
        await stub.write(size)
    repair()
    assert network.seen == ["before", 1006]  # what was sent before the first write depends on nothing
    assert Other.calls == ["wrote 0"]
    with pytest.raises(JsException, match="internal error"):
        await stub.keys()
    fresh = namespace.getByName("s")
    assert await fresh.keys() == [["first"], 0]
    assert await fresh.write(1) == 1


async def test_a_fault_in_commit_reaches_the_caller_and_lets_nothing_out(tmp_path: Path):
    host = Host(tmp_path)
    host.open_files = OpenFiles(connection=Faulty)
    try:
        await _fail(host, 1, lambda: setattr(Faulty, "is_broken", True), lambda: setattr(Faulty, "is_broken", False))
    finally:
        await host.close()


@pytest.mark.parametrize("parts", [0.5, 12])
async def test_a_full_disk_reaches_the_caller_and_lets_nothing_out(tmp_path: Path, parts: float):
    """Two sizes: the small turn fits SQLite's cache and fails in COMMIT, the large one fails in the middle."""
    with small_disk(tmp_path / "disk") as (fill, grow):
        host = Host(tmp_path / "disk")
        try:
            await _fail(host, int(parts * MIB), fill, grow)
        finally:
            await host.close()


async def test_an_object_that_goes_on_after_a_full_disk_commits_no_part_of_the_turn(tmp_path: Path):
    with small_disk(tmp_path / "disk") as (fill, grow):
        host = Host(tmp_path / "disk")
        try:
            namespace = host.namespace(ObjectClass("w-Store", Store, None))
            await namespace.getByName("s").write_on(0)
            fill()
            with pytest.raises(JsException, match="internal error; reference = "):
                await namespace.getByName("s").write_on(16 * MIB)
            grow()
            assert await namespace.getByName("s").keys() == [["first"], 0]
        finally:
            await host.close()
