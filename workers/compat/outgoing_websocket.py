"""`new WebSocket(url)`: a client socket, opened through the running Worker's outbound fetch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from workers.compat import background, outbound
from workers.compat.proxies import JsDict, JsException, JsProxy, JsSyntaxError
from workers.compat.streams import settled
from workers.compat.url import URL
from workers.compat.web import Request
from workers.compat.websocket import Port, WebSocketPair, current_owner, take

__all__ = ["OutgoingWebSocket"]

_HTTP = {"ws:": "http:", "wss:": "https:", "http:": "http:", "https:": "https:"}


class OutgoingWebSocket(JsProxy):
    """The socket user code holds: messages sent before it is open wait for that."""

    __slots__ = ("_connected", "_end", "_failed", "_listeners", "_owner", "_port", "_queued", "onerror", "onopen")

    CONNECTING, OPEN, CLOSING, CLOSED = 0, 1, 2, 3
    READY_STATE_CONNECTING, READY_STATE_OPEN, READY_STATE_CLOSING, READY_STATE_CLOSED = 0, 1, 2, 3

    def __init__(self, url: object, protocols: object = None) -> None:
        target = URL(url)
        if target.protocol not in _HTTP:
            raise JsSyntaxError(f"Invalid URL scheme {target.protocol} for a WebSocket: it must be ws: or wss:")
        self._end, other = WebSocketPair()
        self._end.url = target.href
        self._end.accept()
        self._listeners: dict[str, list[Callable[[Any], object]]] = {"open": [], "error": []}
        self._queued: list[Callable[[Any], None]] = []
        self._connected: Any = None
        self._failed = False
        self._owner = current_owner.get()
        self.onopen: Callable[[Any], object] | None = None
        self.onerror: Callable[[Any], object] | None = None
        self._port: Port = take(other, self)
        names = [protocols] if isinstance(protocols, str) else list(protocols or ())  # pyright: ignore[reportArgumentType, reportUnknownArgumentType, reportUnknownVariableType] - a JavaScript argument
        background.start(self._connect(target, [str(name) for name in names]), "websocket-connect")  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - as above

    # -- the sink of the inner pair: what user code sends

    def message(self, data: str | bytes) -> None:
        """Pass on a message."""
        self._remote(lambda remote: remote.send(data))

    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        """Pass on a close."""
        self._remote(lambda remote: remote.close(None if code == 1005 else code, reason))

    def _remote(self, action: Callable[[Any], None]) -> None:
        if self._connected is not None:
            action(self._connected)
        else:
            self._queued.append(action)

    async def _connect(self, target: URL, protocols: list[str]) -> None:
        address = URL(target.href)
        address.protocol = _HTTP[target.protocol]
        headers = [("upgrade", "websocket")]
        if protocols:
            headers.append(("sec-websocket-protocol", ", ".join(protocols)))
        try:
            response = await outbound.fetch(Request(address.href, headers=headers))
            remote = response.webSocket
            if remote is None:
                raise JsException(f"the server answered {response.status} instead of upgrading")
        except JsException as error:
            self._failed = True
            self._dispatch("error", message=error.message, error=error)
            self._port.abort()
            return
        self._end.protocol = response.headers.get("sec-websocket-protocol") or ""
        remote.binaryType = "arraybuffer"
        remote.addEventListener("message", self._remote_sent)
        remote.addEventListener("close", self._remote_closed)
        remote.accept()
        self._connected = remote
        self._dispatch("open")
        queued, self._queued = self._queued, []
        for action in queued:
            action(remote)

    def _remote_sent(self, event: Any) -> None:
        self._port.send(event.data if isinstance(event.data, str) else bytes(event.data))

    def _remote_closed(self, event: Any) -> None:
        if event.code == 1006:
            self._port.abort()
        else:
            self._port.close(event.code, event.reason)

    def _dispatch(self, kind: str, **fields: Any) -> None:
        """Call the listeners: of a Durable Object's socket as an event of the object, behind its input gate."""
        event = JsDict(type=kind, target=self, **fields)

        def call() -> object:
            handler = self.onopen if kind == "open" else self.onerror
            listeners = [*self._listeners[kind], *([handler] if handler is not None else [])]
            pending = [result for listener in listeners if inspect.isawaitable(result := listener(event))]
            return _each(pending) if pending else None

        if self._owner is not None:
            self._owner.dispatch(call)
            return
        pending = call()
        if pending is not None:
            background.start(settled(pending), f"websocket-{kind}")

    # -- what user code sees

    def addEventListener(self, kind: str, listener: Callable[[Any], object], options: object = None) -> None:
        """Call `listener(event)` for "open", "message", "close" or "error"."""
        if kind in self._listeners:
            self._listeners[kind].append(listener)
        if kind != "open":
            self._end.addEventListener(kind, listener, options)

    def removeEventListener(self, kind: str, listener: Callable[[Any], object], options: object = None) -> None:
        """Undo `addEventListener`."""
        if listener in self._listeners.get(kind, []):
            self._listeners[kind].remove(listener)
        if kind != "open":
            self._end.removeEventListener(kind, listener, options)

    def accept(self) -> None:
        """Nothing to do: such a socket is accepted from the start."""

    @property
    def readyState(self) -> int:
        """0 connecting, 1 open, 2 closing, 3 closed."""
        if self._failed:
            return self.CLOSED
        return self.CONNECTING if self._connected is None else self._end.readyState

    def __getattr__(self, name: str) -> Any:
        return getattr(self._end, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in OutgoingWebSocket.__slots__:
            object.__setattr__(self, name, value)
        else:
            setattr(self._end, name, value)


async def _each(pending: list[Any]) -> None:
    for awaitable in pending:
        await awaitable
