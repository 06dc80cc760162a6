"""What a WebSocket joins and carries: its consumers, messages, events, and the checks of what may be sent."""

from __future__ import annotations

from asyncio import TimerHandle
from collections.abc import Callable
from typing import Any, Protocol, cast

from workers.compat.js_string import js_string
from workers.compat.proxies import JsException

__all__ = ["BinaryMessage", "BlobMessage", "Event", "Owner", "Sink", "close_arguments", "sendable"]

_MAX_REASON_BYTES = 123
_UNSENDABLE_CODES = frozenset({1004, 1005, 1006, 1015})


class Sink(Protocol):
    """Consumer of what the peer end sent; called synchronously, in order."""

    def message(self, data: str | bytes) -> None:
        """One message, the very object that was given to `send`."""
        ...

    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        """The peer closed: 1005 when it named no code; 1006 and not clean when it vanished."""
        ...


class Owner(Protocol):
    """A Durable Object instance that `accept()`ed an end: its output gate and its events."""

    held: bool
    """True while writes are not committed: what is sent now must wait."""

    def hold(self, release: Callable[[], None], lost: Callable[[], None] | None = None) -> None:
        """Call `release` after the pending commit, in order; `lost` when it fails."""
        ...

    def hold_message(self, receiver: Any, data: str | bytes) -> None:
        """Give `data` to the sink of the end `receiver` after the pending commit, in order with the rest."""
        ...

    def dispatch(self, event: Callable[[], object], /) -> None:
        """Run `event` as a turn of the object; an awaitable result is awaited in it."""
        ...

    def attach(self, ws: Any) -> None:
        """Note a live accepted socket: it keeps the object in memory and dies with it."""
        ...

    def detach(self, ws: Any) -> None:
        """Note that an accepted socket is closed."""
        ...

    def started(self, timer: TimerHandle) -> None:
        """Note a timer that the object has set: it keeps the object in memory and dies with it."""
        ...

    def stopped(self, timer: TimerHandle) -> None:
        """Note that a timer rang or was cleared."""
        ...


class BinaryMessage(bytes):
    """A received ArrayBuffer: bytes, with the conversions of a JavaScript buffer proxy."""

    __slots__ = ()

    def to_bytes(self) -> bytes:
        """Return plain bytes."""
        return bytes(self)

    def to_py(self, **_options: object) -> memoryview:
        """Return a memoryview, as Pyodide does for buffers."""
        return memoryview(self)

    def tobytes(self) -> bytes:
        """Return plain bytes, under the name that memoryview uses."""
        return bytes(self)

    def to_memoryview(self) -> memoryview:
        """Return a memoryview."""
        return memoryview(self)

    @property
    def byteLength(self) -> int:
        """Number of bytes."""
        return len(self)


# DIFFERS(blob-events): production's Blob is not readable as bytes without awaiting.
class BlobMessage(BinaryMessage):
    """Binary event data where `binaryType` is "blob": a Blob that can also be read at once, as bytes."""

    __slots__ = ()

    type = ""

    @property
    def size(self) -> int:
        """Number of bytes."""
        return len(self)

    async def arrayBuffer(self) -> BinaryMessage:
        """Return the content."""
        return BinaryMessage(self)

    async def bytes(self) -> BinaryMessage:
        """Return the content."""
        return BinaryMessage(self)

    async def text(self) -> str:
        """Return the content as UTF-8 text."""
        return str(memoryview(self), "utf-8", "replace")


class Event:
    """What a listener receives: `type` and `target`, with `data`, `code`/`reason`/`wasClean` or `error`/`message`."""

    def __init__(self, type_: str, target: object, **fields: object) -> None:
        self.type = type_
        self.target = target
        self.__dict__.update(fields)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None


def sendable(value: Any) -> str | bytes:
    """Return the message for `value`: text and buffers as they are, anything else as its JavaScript string."""
    if isinstance(value, BlobMessage):
        return "[object Blob]"
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(cast(bytes, value))
    to_bytes = getattr(value, "to_bytes", None)
    if callable(to_bytes) and not isinstance(value, int):
        return bytes(cast(bytes, to_bytes()))
    return js_string(value)


def close_arguments(code: object, reason: object) -> tuple[int, str]:
    """Return the code (1005: none) and the reason of a `close()` call.

    Raises:
        JsException: `InvalidAccessError` or `SyntaxError` for what may not be sent.
    """
    text = "" if reason is None else js_string(reason)
    if code is None:
        if reason is not None:
            raise JsException(
                "If you specify a WebSocket close reason, you must also specify a code.",
                name="InvalidAccessError",
                code=15,
            )
        return 1005, ""
    try:
        number = int(float(js_string(code))) if not isinstance(code, bool) else int(code)
    except (ValueError, OverflowError):
        number = 0
    if not 1000 <= number <= 4999 or number in _UNSENDABLE_CODES:
        raise JsException(f"Invalid WebSocket close code: {number}.", name="InvalidAccessError", code=15)
    if len(text.encode("utf-8", "replace")) > _MAX_REASON_BYTES:
        raise JsException(
            f"WebSocket close reason must not be longer than {_MAX_REASON_BYTES} bytes when UTF-8 encoded.",
            name="SyntaxError",
            code=12,
        )
    return number, text
