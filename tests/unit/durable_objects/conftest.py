"""Hosts on temporary folders, in virtual time, for the tests of Durable Objects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from durable_objects import Host, ObjectClass
from durable_objects.namespace import DurableObjectNamespace
from workers.compat.websocket import Port, WebSocketPair, take
from workers.runtime.virtual_time import VirtualTime

START = datetime.fromtimestamp(1_700_000_000, UTC)


class Rig:
    """A host and what tests do with it."""

    def __init__(self, root: Path, clock: VirtualTime) -> None:
        self.root = root
        self.clock = clock
        self.hosts: list[Host] = []

    def namespace(self, cls: type, *, is_sqlite: bool = True, env: object = None) -> DurableObjectNamespace:
        """Return the namespace of a class in the newest host, making the first one."""
        host = self.hosts[-1] if self.hosts else self.new_host()
        return host.namespace(ObjectClass(f"w-{cls.__name__}", cls, env, is_sqlite=is_sqlite))

    def new_host(self) -> Host:
        self.hosts.append(Host(self.root, clock=self.clock, random=Random(7)))
        return self.hosts[-1]

    @property
    def host(self) -> Host:
        return self.hosts[-1]


class Recorder:
    """The network behind one client end: keeps what it gets."""

    def __init__(self) -> None:
        self.messages: list[str | bytes] = []
        self.closes: list[tuple[int, str, bool]] = []

    def message(self, data: str | bytes) -> None:
        self.messages.append(data)

    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        self.closes.append((code, reason, was_clean))


@pytest.fixture
def recorder() -> type[Recorder]:
    return Recorder


@pytest.fixture
def connect() -> Callable[[Any], Any]:
    async def connect(stub: Any, url: str = "http://object/") -> tuple[Port, Recorder]:
        response = await stub.fetch(url, headers={"Upgrade": "websocket"})
        sink = Recorder()
        return take(response.js_object.webSocket, sink), sink

    return connect


@pytest.fixture
def pair() -> Callable[[], WebSocketPair]:
    return WebSocketPair


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Callable[[Rig], Any]], Any]:
    """Run `story(rig)` in virtual time and close every host it made."""

    def play(story: Callable[[Rig], Any]) -> Any:
        async def main() -> Any:
            with VirtualTime(start=START) as clock:
                rig = Rig(tmp_path, clock)
                try:
                    return await story(rig)
                finally:
                    for host in rig.hosts:
                        await host.close()

        return asyncio.run(main())

    return play
