"""WebSocket and WebSocketPair as Workers see them: two joined ends in memory, no I/O.

An end is in one of four hands: nobody's yet (frames wait in its inbox), `accept()`ed (frames become events for the
listeners), taken by the runtime (`take`: frames go to a `Sink`), or owned by a Durable Object (`adopt`: likewise).
Data moves by synchronous calls; only listener events are deferred, because JavaScript never dispatches re-entrantly.

Closing: `_sent_close` and `_got_close` are the two halves of the handshake; `readyState` follows from them.
"""

# pyright: reportPrivateUsage=false
# The two ends of a pair and the port of an end share one mechanism; its parts are private to this file, not to a class.
from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Final, cast

from workers.compat.lacking import AUTO_REPLY, BINARY_TYPE, lacks
from workers.compat.proxies import JsException, JsProxy, JsTypeError, PyProxy
from workers.compat.structured_clone import deserialize, serialize
from workers.compat.websocket_data import BinaryMessage, BlobMessage, Event, Owner, Sink, close_arguments, sendable

__all__ = [
    "ABNORMAL_REASON",
    "BinaryMessage",
    "BlobMessage",
    "Event",
    "Owner",
    "Port",
    "Sink",
    "WebSocket",
    "WebSocketPair",
    "adopt",
    "current_owner",
    "take",
]

ABNORMAL_REASON = "WebSocket disconnected without sending Close frame."
_MAX_ATTACHMENT_BYTES = 16384
_NOT_ACCEPTED = "You must call one of accept() or state.acceptWebSocket() on this WebSocket before sending messages."
_CLOSED = "Can't call WebSocket send() after close()."

_MISSING: Final = object()

_log = logging.getLogger(__name__)


current_owner: ContextVar[Owner | None] = ContextVar("websocket_owner", default=None)


class _Close:
    """A close waiting in an inbox behind the messages sent before it."""

    __slots__ = ("code", "reason", "was_clean")

    def __init__(self, code: int, reason: str, was_clean: bool) -> None:
        self.code = code
        self.reason = reason
        self.was_clean = was_clean


class _Waiting:
    """Sink of an end that nobody has accepted or taken yet."""

    __slots__ = ("inbox",)

    def __init__(self) -> None:
        self.inbox: list[str | bytes | _Close] = []

    def message(self, data: str | bytes) -> None:
        self.inbox.append(data)

    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        self.inbox.append(_Close(code, reason, was_clean))

    def drain_into(self, sink: Sink) -> None:
        for item in self.inbox:
            if isinstance(item, _Close):
                sink.closed(item.code, item.reason, item.was_clean)
            else:
                sink.message(item)
        self.inbox.clear()


class _Listeners:
    """Sink of an `accept()`ed end: turns frames into events, deferred so that no listener runs re-entrantly."""

    __slots__ = ("context", "functions", "owner", "replies", "ws")

    def __init__(self, ws: WebSocket, functions: dict[str, list[object]], owner: Owner | None) -> None:
        self.ws = ws
        self.functions = functions
        self.owner = owner
        self.replies = AUTO_REPLY not in lacks.get()
        self.context = contextvars.copy_context()

    def message(self, data: str | bytes) -> None:
        if isinstance(data, str):
            self._later(lambda: Event("message", self.ws, data=data))
        else:
            kind = BlobMessage if self.ws.binaryType == "blob" else BinaryMessage
            self._later(lambda: Event("message", self.ws, data=kind(data)))

    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        self._later(lambda: self._closing(code, reason, was_clean))

    def _closing(self, code: int, reason: str, was_clean: bool) -> Event:
        # Answered only now: what the listeners send about the messages before the Close still leaves before the answer.
        self.ws.peer_closed(code, reason, was_clean, replies=self.replies)
        if self.owner is not None:
            self.owner.detach(self.ws)
        return Event("close", self.ws, code=code, reason=reason, wasClean=was_clean)

    def failed(self, message: str) -> None:
        self.ws.peer_failed()
        if self.owner is not None:
            self.owner.detach(self.ws)
        self._later(lambda: Event("error", self.ws, error=JsException(message), message=message))

    def _later(self, event: Callable[[], Event]) -> None:
        if self.owner is not None:
            self.owner.dispatch(lambda: self._fire(event()))
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.context.run(self._fire_and_log, event)  # no loop: a plain synchronous program
        else:
            loop.call_soon(self._fire_and_log, event, context=self.context)

    def _fire(self, event: Event) -> object:
        """Call the listeners; return an awaitable when one of them is asynchronous."""
        pending = [result for call in self._callables(event.type) if inspect.isawaitable(result := call(event))]
        return _await_all(pending) if pending else None

    def _callables(self, kind: str) -> list[Callable[[Event], object]]:
        own = getattr(self.ws, "on" + kind, None)
        found = [*self.functions.get(kind, ()), *([own] if own is not None else [])]
        return [call if callable(call) else cast(Any, call).handleEvent for call in found]

    def _fire_and_log(self, event: Callable[[], Event]) -> None:
        try:
            pending = self._fire(event())
        except Exception:  # a task root: JavaScript reports a listener's error and goes on
            _log.exception("a WebSocket listener failed")
            return
        if pending is not None:
            _keep(asyncio.get_running_loop().create_task(_logged(cast(Any, pending))))


async def _await_all(pending: list[Any]) -> None:
    for awaitable in pending:
        await awaitable


async def _logged(pending: Any) -> None:
    try:
        await pending
    except Exception:  # a task root
        _log.exception("a WebSocket listener failed")


_running: set[asyncio.Task[None]] = set()


def _keep(task: asyncio.Task[None]) -> None:
    """Hold a reference until the task is done: the loop itself only keeps weak ones."""
    _running.add(task)
    task.add_done_callback(_running.discard)


class WebSocket(JsProxy):
    """One end of a WebSocketPair, with the methods user code calls; ad-hoc attributes may be set on it."""

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_accepted",
        "_attachment",
        "_functions",
        "_got_close",
        "_lost",
        "_owner",
        "_peer",
        "_sent_close",
        "_sink",
        "binaryType",
        "extensions",
        "protocol",
        "url",
    )

    CONNECTING, OPEN, CLOSING, CLOSED = 0, 1, 2, 3

    def __init__(self) -> None:
        self._peer: WebSocket = self
        self._sink: Sink = _Waiting()
        self._owner: Owner | None = None
        self._accepted = False
        self._sent_close = False
        self._got_close = False
        self._lost = False
        self._attachment: bytes | None = None
        self._functions: dict[str, list[object]] | None = None
        self.binaryType = "arraybuffer" if BINARY_TYPE in lacks.get() else "blob"
        self.url: str | None = None
        self.protocol: str | None = ""
        self.extensions: str | None = ""

    # -- user API

    def accept(self, options: object = None, **_options: object) -> None:
        """Start receiving events on this end, in this isolate.

        Raises:
            JsTypeError: The end already belongs to a Response that was returned, or to hibernation.
        """
        if self._accepted and isinstance(self._sink, _Listeners):
            return
        if self._accepted:
            raise JsTypeError("Can't accept() WebSocket after enabling hibernation.")
        if not isinstance(self._sink, _Waiting):
            raise JsTypeError("Can't accept() WebSocket that was already used in a response.")
        owner = current_owner.get()
        self._functions = self._functions or {}
        adopt(self, _Listeners(self, self._functions, owner), owner)
        if owner is not None and not self._got_close:
            owner.attach(self)

    def send(self, message: Any = _MISSING) -> None:
        """Send one message: str and buffers as they are, anything else as its JavaScript string.

        Raises:
            JsTypeError: Not accepted yet, after `close()`, or called without a message.
        """
        if message is _MISSING:
            raise JsTypeError(
                "Failed to execute 'send' on 'WebSocket': parameter 1 is not of type "
                "'ArrayBuffer or ArrayBufferView or string'."
            )
        data = message
        if self._sent_close or not self._accepted:
            raise JsTypeError(_CLOSED if self._accepted else _NOT_ACCEPTED)
        if self._lost:
            return
        if data.__class__ is not str and data.__class__ is not bytes:
            data = sendable(data)
        owner = self._owner
        if owner is not None and owner.held:
            owner.hold_message(self._peer, data)
        else:
            self._peer._sink.message(data)

    def close(self, code: object = None, reason: object = None) -> None:
        """Send a Close frame; a second call is ignored.

        Raises:
            JsTypeError: Not accepted yet.
            JsException: `InvalidAccessError` or `SyntaxError` for a code or reason that may not be sent.
        """
        number, text = close_arguments(code, reason)
        if not self._accepted:
            raise JsTypeError(_NOT_ACCEPTED)
        if self._sent_close or self._lost:
            return
        self._sent_close = True
        peer, owner = self._peer, self._owner
        if owner is not None and owner.held:
            owner.hold(lambda: peer._sink.closed(number, text, True))
        else:
            peer._sink.closed(number, text, True)

    def addEventListener(self, kind: str, listener: object, options: object = None, **_options: object) -> None:
        """Call `listener(event)` for each event of `kind`: "message", "close" or "error"."""
        if self._functions is None:
            self._functions = {}
        listeners = self._functions.setdefault(str(kind), [])
        if listener is not None and not any(_same(known, listener) for known in listeners):
            listeners.append(listener)

    def removeEventListener(self, kind: str, listener: object, options: object = None, **_options: object) -> None:
        """Undo `addEventListener`; an unknown listener is ignored."""
        listeners = (self._functions or {}).get(str(kind), [])
        listeners[:] = [known for known in listeners if not _same(known, listener)]

    @property
    def readyState(self) -> int:
        """1 open, 2 one side has closed, 3 both have."""
        if self._sent_close and self._got_close:
            return 3
        return 2 if self._sent_close or self._got_close else 1

    def serializeAttachment(self, value: object = None) -> None:
        """Keep a copy of `value` (at most 16,384 serialized bytes) with the socket, through hibernation."""
        encoded = serialize(value)
        if len(encoded) > _MAX_ATTACHMENT_BYTES:
            raise JsException(
                f"A WebSocket 'attachment' cannot be larger than {_MAX_ATTACHMENT_BYTES} bytes."
                f"'attachment' was {len(encoded)} bytes."
            )
        self._attachment = encoded

    def deserializeAttachment(self) -> Any:
        """Return a fresh copy of the attachment, or None."""
        return None if self._attachment is None else deserialize(self._attachment)

    add_event_listener = addEventListener
    remove_event_listener = removeEventListener
    serialize_attachment = serializeAttachment
    deserialize_attachment = deserializeAttachment

    @property
    def ready_state(self) -> int:
        """`readyState`."""
        return self.readyState

    def __repr__(self) -> str:
        return f"<WebSocket readyState={self.readyState}>"

    # -- runtime side: called by sinks, ports and Durable Objects, never by user code

    @property
    def is_accepted(self) -> bool:
        """True after `accept()` or `acceptWebSocket()`."""
        return self._accepted

    @property
    def sink(self) -> Sink:
        """Who consumes what the peer sends."""
        return self._sink

    @property
    def has_listeners(self) -> bool:
        """True after `accept()`: the end is driven by events, not by hibernation."""
        return isinstance(self._sink, _Listeners)

    def peer_closed(self, code: int, reason: str, was_clean: bool, *, replies: bool) -> None:
        """Note the peer's close on an `accept()`ed end; when it `replies`, answer a clean one with code and reason."""
        if not was_clean:
            self._lost = True
            return
        self._got_close = True
        if replies and not self._sent_close:
            self._sent_close = True
            self._peer._sink.closed(code, reason, True)

    def peer_failed(self) -> None:
        """Note a protocol error of the peer: nothing can be sent any more."""
        self._got_close = True
        self._lost = True

    def note_close(self, *, lost: bool) -> None:
        """Note that the peer closed (`lost`: vanished) on a hibernatable end; no answer is sent."""
        self._got_close = True
        self._lost = lost

    def answer(self, data: str | bytes) -> None:
        """Send past the output gate: an automatic response, which no object code produced."""
        self._peer._sink.message(data)

    def close_by_runtime(self, code: int, reason: str) -> None:
        """Send a Close frame with any code, as the runtime does when it shuts down."""
        if not self._sent_close and not self._lost:
            self._sent_close = True
            self._peer._sink.closed(code, reason, True)

    def drop(self) -> None:
        """Cut the connection from this end without a Close frame: the peer sees 1006."""
        if not self._lost:
            self._lost = True
            self._peer._sink.closed(1006, "", False)

    def forget(self) -> None:
        """Drop what an instance that is gone has left on this end: ad-hoc attributes, listeners, its output gate."""
        vars(self).clear()
        self._functions = self._owner = None

    def rejoin(self, owner: Owner | None) -> None:
        """A new instance has the end: what it sends passes its output gate."""
        self._owner = owner


class WebSocketPair:
    """Two joined ends: `client, server = WebSocketPair()`; in JavaScript spelling `pair[0]`, `pair["1"]`."""

    __slots__ = ("_ends",)

    def __init__(self) -> None:
        first, second = WebSocket(), WebSocket()
        first._peer, second._peer = second, first
        self._ends = (first, second)

    @classmethod
    def new(cls) -> WebSocketPair:
        """JavaScript's `new WebSocketPair()`."""
        return cls()

    def object_values(self) -> list[WebSocket]:
        """`Object.values(pair)`: both ends."""
        return list(self._ends)

    def __iter__(self) -> Iterator[WebSocket]:
        return iter(self._ends)

    def __len__(self) -> int:
        return 2

    def __getitem__(self, key: int | str) -> WebSocket:
        return self._ends[int(key)]

    def __getattr__(self, name: str) -> WebSocket:
        if name in {"0", "1"}:
            return self._ends[int(name)]
        raise AttributeError(name)


class Port:
    """The runtime's handle on an end it took over: what the network does, the peer end sees."""

    __slots__ = ("_closed", "_ws")

    def __init__(self, ws: WebSocket) -> None:
        self._ws = ws
        self._closed = False

    def send(self, data: str | bytes) -> None:
        """Deliver a message that came from the network; ignored after a close."""
        if not self._closed:
            self._ws._peer._sink.message(data)

    def close(self, code: int = 1005, reason: str = "") -> None:
        """Deliver a Close frame that came from the network; 1005 when it carried no code."""
        self._finish(code, reason, was_clean=True)

    def abort(self) -> None:
        """The transport vanished: the peer sees 1006, not clean. Ignored after a close."""
        self._finish(1006, ABNORMAL_REASON, was_clean=False)

    def fail(self, message: str) -> None:
        """The network broke the protocol (a frame too large, bad UTF-8): the peer gets an error event, no close event.

        Sending the Close frame with the reason and dropping the transport stay with the caller.
        """
        if self._closed:
            return
        self._closed = True
        sink = self._ws._peer._sink
        failed = getattr(sink, "failed", None)
        if failed is not None:
            failed(message)
        else:
            sink.closed(1006, ABNORMAL_REASON, False)

    def _finish(self, code: int, reason: str, *, was_clean: bool) -> None:
        if not self._closed:
            self._closed = True
            self._ws._peer._sink.closed(code, reason, was_clean)


def take(ws: WebSocket, sink: Sink) -> Port:
    """Take over an end that nobody accepted: frames queued so far, then all later ones, go to `sink` in order.

    Raises:
        JsTypeError: The end was accepted or taken before.
    """
    if not isinstance(ws._sink, _Waiting):
        raise JsTypeError("Can't return WebSocket in a Response after calling accept().")
    waiting = ws._sink
    ws._sink = sink
    waiting.drain_into(sink)
    return Port(ws)


def adopt(ws: WebSocket, sink: Sink, owner: Owner | None) -> None:
    """Accept an end on behalf of `sink`: it may now send, through the output gate of `owner` if it has one.

    Raises:
        JsTypeError: The end was taken before.
    """
    waiting = ws._sink
    if not isinstance(waiting, _Waiting):
        raise JsTypeError("Can't accept() WebSocket that was already used in a response.")
    ws._sink = sink
    ws._owner = owner
    ws._accepted = True
    waiting.drain_into(sink)


def _same(known: object, listener: object) -> bool:
    unwrapped = [cell.unwrap() if isinstance(cell, PyProxy) else cell for cell in (known, listener)]
    return unwrapped[0] == unwrapped[1]
