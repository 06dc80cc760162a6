"""The client's end of a WebSocket, for tests: send, and receive one message after the other."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from typing import Any, Final, Protocol

from workers.compat.websocket import Port, WebSocket, take

__all__ = ["ClientSocket", "Closed", "Wire"]

_WAIT_S: Final = 5.0


class Closed(ConnectionError):
    """The other side closed the socket; `code` and `reason` tell why."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the WebSocket was closed: {code}{' ' if reason else ''}{reason}")
        self.code = code
        self.reason = reason


class Wire(Protocol):
    """What carries frames away from the client."""

    def send(self, data: str | bytes) -> None:
        """Send a message."""
        ...

    def close(self, code: int = 1005, reason: str = "") -> None:
        """Send a close frame."""
        ...

    def abort(self) -> None:
        """Vanish without a word, as a phone does in a tunnel."""
        ...


class ClientSocket:
    """One open WebSocket. Messages wait in order until they are received; a test that ends just drops it."""

    def __init__(self, protocol: str = "") -> None:
        self.protocol = protocol
        """The subprotocol the server chose."""
        self._wire: Wire | None = None
        self._messages: deque[str | bytes] = deque()
        self._arrived = asyncio.Event()
        self._end: Closed | None = None

    @classmethod
    def over(cls, socket: WebSocket, protocol: str = "") -> ClientSocket:
        """Take the client's end of a pair, as a response with a WebSocket holds it."""
        client = cls(protocol)
        port: Port = take(socket, client)
        client.attach(port)
        return client

    def attach(self, wire: Wire) -> None:
        """Use `wire` for what is sent from now on."""
        self._wire = wire

    # -- what the wire tells

    def message(self, data: str | bytes) -> None:
        """Take in a message."""
        self._messages.append(data)
        self._arrived.set()

    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        """Take in the end."""
        if self._end is None:
            self._end = Closed(code, reason)
            self._arrived.set()

    # -- what a test does

    def send(self, data: str | bytes | dict[str, Any] | list[Any]) -> None:
        """Send a message; a dict or a list goes as JSON.

        Raises:
            Closed: The socket is closed.
        """
        if self._end is not None:
            raise self._end
        assert self._wire is not None
        self._wire.send(json.dumps(data) if isinstance(data, (dict, list)) else data)

    async def receive(self, timeout: float = _WAIT_S) -> str | bytes:
        """Return the next message.

        Raises:
            TimeoutError: None came within `timeout` seconds.
            Closed: The socket was closed, and all that came before was received.
        """
        try:
            async with asyncio.timeout(timeout):
                while not self._messages:
                    if self._end is not None:
                        raise self._end
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise TimeoutError(f"no message came within {timeout:g} s") from None
        return self._messages.popleft()

    async def receive_json(self, timeout: float = _WAIT_S) -> Any:
        """Return the next message, parsed from JSON."""
        return json.loads(await self.receive(timeout))

    def received(self) -> list[str | bytes]:
        """Return the messages that have come and were not received yet, and forget them."""
        messages = list(self._messages)
        self._messages.clear()
        return messages

    async def wait_closed(self, timeout: float = _WAIT_S) -> Closed:
        """Wait until the other side has closed the socket; messages before that are dropped."""
        async with asyncio.timeout(timeout):
            while self._end is None:
                self._arrived.clear()
                await self._arrived.wait()
        return self._end

    @property
    def is_open(self) -> bool:
        """Whether both sides may still speak."""
        return self._end is None

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the socket from the client's side."""
        if self._end is None and self._wire is not None:
            self._wire.close(code, reason)

    def abort(self) -> None:
        """Vanish without closing: the other side sees 1006, as after a network cut."""
        if self._wire is not None:
            self._wire.abort()
        self.closed(1006, "", False)
