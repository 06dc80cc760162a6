"""Sockets that outlive the instance: tags, attachments, automatic responses, close states.

A `_Socket` is the lasting half; the `WebSocket` that user code sees forgets ad-hoc attributes and listeners when its
instance goes, and keeps the attachment, as on Cloudflare. Closing: the peer's close makes the socket closing;
the handler runs with it still listed; then it is forgotten.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from typing import Any, cast

from durable_objects.clock import Clock
from workers.compat.js_string import js_string
from workers.compat.proxies import JsException, JsNull, JsRangeError, JsTypeError
from workers.compat.websocket import BinaryMessage, Owner, WebSocket, adopt

__all__ = ["Hibernation", "WebSocketRequestResponsePair"]

_MAX_SOCKETS = 32_768
_MAX_TAGS = 10
_MAX_TAG_BYTES = 256
_MAX_AUTO_BYTES = 2048
_MAX_EVENT_TIMEOUT_MS = 604_800_000


class WebSocketRequestResponsePair:
    """A text that sockets answer with another text without waking the object; each at most 2,048 bytes."""

    def __init__(self, request: object, response: object) -> None:
        self.request = _auto_text("Request", request)
        self.response = _auto_text("Response", response)

    @classmethod
    def new(cls, request: object, response: object) -> WebSocketRequestResponsePair:
        """JavaScript's `new`."""
        return cls(request, response)


def _auto_text(label: str, value: object) -> str:
    text = js_string(value)
    size = len(text.encode("utf-8", "replace"))
    if size > _MAX_AUTO_BYTES:
        raise JsRangeError(
            f"{label} cannot be larger than {_MAX_AUTO_BYTES} bytes. A {label.lower()} of size {size} was provided."
        )
    return text


class _Socket:
    """The lasting half of one hibernatable socket: the sink of the object's end."""

    __slots__ = ("answered_at_ms", "era", "hibernation", "tags", "ws")

    def __init__(self, hibernation: Hibernation, ws: WebSocket, tags: tuple[str, ...], era: int) -> None:
        self.hibernation = hibernation
        self.ws = ws
        self.tags = tags
        self.era = era
        self.answered_at_ms: int | None = None

    def message(self, data: str | bytes) -> None:
        hibernation = self.hibernation
        auto = hibernation.auto_response
        if auto is not None and data == auto.request:
            self.answered_at_ms = hibernation.clock.now_ms()
            self.ws.answer(auto.response)
        elif isinstance(data, str):
            hibernation.deliver("message", self, (data,))
        else:
            hibernation.deliver("message", self, (BinaryMessage(data),))

    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        self.ws.note_close(lost=not was_clean)
        self.hibernation.deliver("close", self, (code, reason, was_clean))

    def failed(self, message: str) -> None:
        self.ws.note_close(lost=True)
        self.hibernation.deliver("error", self, (JsException(message),))


class Hibernation:
    """All hibernatable sockets of one object. `deliver(kind, socket, args)` hands an event to the object."""

    def __init__(self, clock: Clock, deliver: Callable[[str, Any, tuple[object, ...]], None]) -> None:
        self.clock = clock
        self.deliver = deliver
        self.auto_response: WebSocketRequestResponsePair | None = None
        self.event_timeout_ms: int | None = None
        self.lasting: dict[str, Any] | None = None
        """Memory that stays while the object sleeps with its sockets, see `DurableObjectState.lasting`."""
        self._sockets: dict[_Socket, None] = {}
        self._by_tag: dict[str, dict[_Socket, None]] = {}
        self._lists: dict[str | None, list[WebSocket]] = {}
        """What `sockets` answered since the last change; None is the list without a tag."""
        self._owner: Owner | None = None
        self._era = 0

    def __len__(self) -> int:
        return len(self._sockets)

    def wake(self, owner: Owner) -> None:
        """A new instance begins: the sockets are its own from now on, each when it is first looked at."""
        self._era += 1
        self._owner = owner
        self._lists.clear()

    def sleep(self) -> None:
        """The instance is gone: let go of what it held, its ad-hoc attributes on sockets among them."""
        self._owner = None
        self._lists.clear()
        for socket in self._sockets:
            socket.ws.forget()

    def accept(self, ws: object, tags: object) -> None:
        """Take over one end for this object.

        Raises:
            JsException: Accepted already, too many tags, or too many sockets.
            JsTypeError: Not a WebSocket.
        """
        if not isinstance(ws, WebSocket):
            raise JsTypeError(
                "Failed to execute 'acceptWebSocket' on 'DurableObjectState': parameter 1 is not of type 'WebSocket'."
            )
        if ws.is_accepted:
            how = "`accept()`" if ws.has_listeners else "`acceptWebSocket()`"
            raise JsException(f"Cannot call `acceptWebSocket()` if the WebSocket was already accepted via {how}")
        if len(self._sockets) >= _MAX_SOCKETS:
            raise JsException(f"only {_MAX_SOCKETS} websockets can be accepted on a single Durable Object instance")
        names = _tags(tags)
        socket = _Socket(self, ws, names, self._era)
        self._sockets[socket] = None
        for name in names:
            self._by_tag.setdefault(name, {})[socket] = None
        self._lists.clear()
        adopt(ws, socket, self._owner)

    def sockets(self, tag: str | None = None) -> list[WebSocket]:
        """Return the open and closing sockets, newest first, with a tag oldest first; the list is not the caller's."""
        found = self._lists.get(tag)
        if found is None:
            chosen = reversed(self._sockets) if tag is None else self._by_tag.get(tag, ())
            found = [self.end(socket) for socket in chosen]
            if found:
                self._lists[tag] = found
        return found

    @property
    def is_blank(self) -> bool:
        """True when nothing here needs to be remembered without an instance."""
        return not self._sockets and self.auto_response is None and self.event_timeout_ms is None

    def end(self, socket: _Socket) -> WebSocket:
        """Return the WebSocket that the current instance sees."""
        if socket.era != self._era:
            socket.ws.rejoin(self._owner)
            socket.era = self._era
        return socket.ws

    def tags(self, ws: object) -> list[str]:
        """Return the tags of a socket, also after it closed."""
        return list(self._find(ws).tags)

    def answered_at(self, ws: object) -> dt.datetime | None:
        """Return when the socket last got an automatic response (naive UTC), or None."""
        at_ms = self._find(ws).answered_at_ms
        return None if at_ms is None else dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=at_ms)

    def _find(self, ws: object) -> _Socket:
        socket = ws.sink if isinstance(ws, WebSocket) else None
        if not isinstance(socket, _Socket) or socket.hibernation is not self:
            raise JsException("only hibernatable websockets can have tags.")
        return socket

    def forget(self, socket: _Socket) -> None:
        """The close or error event of a socket is over."""
        if socket in self._sockets:
            del self._sockets[socket]
            for name in socket.tags:
                listed = self._by_tag[name]
                del listed[socket]
                if not listed:
                    del self._by_tag[name]
            self._lists.clear()

    def set_auto_response(self, pair: object) -> None:
        """Set the automatic response; a missing argument unsets it."""
        if pair is not None and not isinstance(pair, WebSocketRequestResponsePair):
            raise JsTypeError(
                "Failed to execute 'setWebSocketAutoResponse' on 'DurableObjectState': parameter 1 is not of type "
                "'WebSocketRequestResponsePair'."
            )
        self.auto_response = pair

    def set_event_timeout(self, timeout_ms: object) -> None:
        """Limit how long one socket event may take; 0 or nothing unsets it."""
        number = 0 if timeout_ms is None or isinstance(timeout_ms, JsNull) else int(float(js_string(timeout_ms)))
        if number > _MAX_EVENT_TIMEOUT_MS:
            raise JsException(f"Event timeout should not exceed {_MAX_EVENT_TIMEOUT_MS} ms.")
        self.event_timeout_ms = number or None

    def drop_all(self) -> None:
        """The object was reset: cut every connection."""
        for socket in list(self._sockets):
            self.forget(socket)
            socket.ws.drop()

    def close_all(self, code: int, reason: str) -> None:
        """The runtime stops: close every connection with a code."""
        for socket in list(self._sockets):
            self.forget(socket)
            socket.ws.close_by_runtime(code, reason)


def _tags(tags: object) -> tuple[str, ...]:
    to_py = getattr(tags, "to_py", None)
    given = to_py() if callable(to_py) else tags
    if given is None or isinstance(given, JsNull):
        return ()
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise JsTypeError(
            "Failed to execute 'acceptWebSocket' on 'DurableObjectState': parameter 2 is not of type 'Array'."
        )
    named = ["null" if tag is None else js_string(tag) for tag in cast("Iterable[object]", given)]
    names = tuple(dict.fromkeys(named))
    if len(names) > _MAX_TAGS:
        raise JsException(f"a Hibernatable WebSocket cannot have more than {_MAX_TAGS} tags")
    for name in names:
        if len(name.encode("utf-8", "replace")) > _MAX_TAG_BYTES:
            raise JsException(f'"{name}" is longer than the max tag length ({_MAX_TAG_BYTES} characters).')
    return names
