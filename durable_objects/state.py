"""`ctx`: what an instance is given as its window on identity, storage, gates and sockets."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from durable_objects.errors import ObjectReset
from durable_objects.hibernation import Hibernation, WebSocketRequestResponsePair
from durable_objects.ids import DurableObjectId
from durable_objects.storage.object_storage import DurableObjectStorage
from durable_objects.storage.sql import Rows
from workers.compat.ambient import Ambient
from workers.compat.js_string import js_string
from workers.compat.proxies import JsNull
from workers.entrypoints import DurableObjectAbort

__all__ = ["DurableObjectState", "ObjectClass", "Turns"]

_ABORTED = "Application called abort() to reset Durable Object."


@dataclass(frozen=True)
class ObjectClass:
    """What a namespace runs: `cls(ctx, env)`, in the Worker that `ambient` describes.

    `unique_key` is "<worker>-<Class>": the directory of its files and the key of its ids.
    """

    unique_key: str
    cls: type
    env: object
    is_sqlite: bool = True
    ambient: Ambient | None = None
    deletes_alarm: bool = True
    """Whether `deleteAll` deletes the alarm too: the compatibility flag delete_all_deletes_alarm."""


class Turns(Protocol):
    """What the state asks of the instance that runs the object's code."""

    def wait_until(self, awaitable: Awaitable[object]) -> None:
        """Run in the background; a failure is logged and breaks nothing."""
        ...

    def block(self, callback: Callable[[], Any]) -> Awaitable[Any]:
        """Run `callback` while no other event runs."""
        ...

    def reset(self, error: Exception) -> None:
        """Drop the instance: what runs fails with `error`, what is not committed is lost."""
        ...


class DurableObjectState:
    """The object's `ctx`. camelCase names are Cloudflare's; snake_case aliases stand beside them."""

    def __init__(
        self, object_id: DurableObjectId, storage: DurableObjectStorage, hibernation: Hibernation, turns: Turns
    ) -> None:
        self.id = object_id
        self.storage = storage
        self.props: dict[str, Any] = {}
        self.exports: dict[str, Any] = {}
        self._hibernation = hibernation
        self._turns = turns

    def waitUntil(self, awaitable: Awaitable[object]) -> None:
        """Keep working on `awaitable` after the event is answered."""
        self._turns.wait_until(awaitable)

    def blockConcurrencyWhile(self, callback: Callable[[], Any]) -> Awaitable[Any]:
        """Run `callback` while no other event or continuation runs; an exception, or 30 seconds, reset the object.

        It runs whether or not the result is awaited; in `__init__` it delays the first event.
        """
        return self._turns.block(callback)

    def abort(self, reason: object = None) -> NoReturn:
        """Reset the object at once: uncommitted writes, memory and connections are lost."""
        text = _ABORTED if reason is None or isinstance(reason, JsNull) else js_string(reason)
        self._turns.reset(ObjectReset(text))
        raise DurableObjectAbort(text)

    @property
    def lasting(self) -> dict[str, Any]:
        """Memory that stays while the object sleeps and has sockets. Not part of Cloudflare's API: for realtime."""
        if self._hibernation.lasting is None:
            self._hibernation.lasting = {}
        return self._hibernation.lasting

    # -- hibernatable sockets

    def acceptWebSocket(self, ws: object, tags: object = None) -> None:
        """Own one end of a WebSocketPair, with up to 10 tags; its events arrive at `webSocketMessage` and so on."""
        self._hibernation.accept(ws, tags)

    def getWebSockets(self, tag: object = None) -> Rows:
        """Return the sockets: newest first, with a tag oldest first."""
        if tag is None:
            return Rows(self._hibernation.sockets())
        return Rows(self._hibernation.sockets("null" if isinstance(tag, JsNull) else js_string(tag)))

    def getTags(self, ws: object) -> Rows:
        """Return the tags that a socket was accepted with."""
        return Rows(self._hibernation.tags(ws))

    def setWebSocketAutoResponse(self, pair: object = None) -> None:
        """Answer one exact text with another, without waking the object; nothing unsets it."""
        self._hibernation.set_auto_response(pair)

    def getWebSocketAutoResponse(self) -> WebSocketRequestResponsePair | None:
        """Return the automatic response."""
        return self._hibernation.auto_response

    def getWebSocketAutoResponseTimestamp(self, ws: object) -> dt.datetime | None:
        """Return when a socket was last answered automatically."""
        return self._hibernation.answered_at(ws)

    def setHibernatableWebSocketEventTimeout(self, timeout_ms: object = None) -> None:
        """Limit how long one socket event may take, in milliseconds; 0 or nothing unsets it."""
        self._hibernation.set_event_timeout(timeout_ms)

    def getHibernatableWebSocketEventTimeout(self) -> int | None:
        """Return that limit in milliseconds."""
        return self._hibernation.event_timeout_ms

    wait_until = waitUntil
    block_concurrency_while = blockConcurrencyWhile
    accept_web_socket = acceptWebSocket
    accept_websocket = acceptWebSocket
    get_web_sockets = getWebSockets
    get_websockets = getWebSockets
    get_tags = getTags
    set_web_socket_auto_response = setWebSocketAutoResponse
    get_web_socket_auto_response = getWebSocketAutoResponse
    get_web_socket_auto_response_timestamp = getWebSocketAutoResponseTimestamp
    set_hibernatable_web_socket_event_timeout = setHibernatableWebSocketEventTimeout
    get_hibernatable_web_socket_event_timeout = getHibernatableWebSocketEventTimeout
