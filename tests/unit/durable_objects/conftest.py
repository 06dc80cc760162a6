"""Virtual time, and hosts on temporary folders, for the tests of Durable Objects."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from durable_objects import Host, ObjectClass
from durable_objects.namespace import DurableObjectNamespace
from workers.compat.websocket import Port, WebSocketPair, take


class JumpingSelector(selectors.SelectSelector):
    """Never waits: idle time passes by moving the loop's clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("deadlock: every task waits and no timer is due")
        if not ready and timeout:
            self.now_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.jumping = JumpingSelector()
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now_s


class LoopClock:
    def now_ms(self) -> int:
        return 1_700_000_000_000 + int(asyncio.get_running_loop().time() * 1000)


class Rig:
    """A host and what tests do with it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = LoopClock()
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
            rig = Rig(tmp_path)
            try:
                return await story(rig)
            finally:
                for host in rig.hosts:
                    await host.close()

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(main())

    return play
