"""AbortController and AbortSignal, and running a request that a signal can end.

https://dom.spec.whatwg.org/#aborting-ongoing-activities
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from workers.compat.proxies import JsDict, JsException, JsProxy

__all__ = ["AbortController", "AbortSignal", "guarded"]

_Result = TypeVar("_Result")


class AbortSignal(JsProxy):
    """Says whether, and why, an operation should stop."""

    __slots__ = ("_listeners", "aborted", "onabort", "reason")

    def __init__(self) -> None:
        self.aborted = False
        self.reason: Any = None
        self.onabort: Callable[[Any], object] | None = None
        self._listeners: list[Callable[[Any], object]] = []

    @classmethod
    def abort(cls, reason: Any = None) -> AbortSignal:
        """Return a signal that is aborted already."""
        signal = cls()
        signal.trigger(reason)
        return signal

    @classmethod
    def timeout(cls, milliseconds: float) -> AbortSignal:
        """Return a signal that aborts with a TimeoutError after a while."""
        signal = cls()
        error = JsException("The operation was aborted due to timeout", name="TimeoutError", code=23, retryable=True)
        asyncio.get_running_loop().call_later(milliseconds / 1000, signal.trigger, error)
        return signal

    @classmethod
    def any(cls, signals: Iterable[AbortSignal]) -> AbortSignal:
        """Return a signal that aborts with the first of several."""
        joined = cls()
        for signal in signals:
            if signal.aborted:
                joined.trigger(signal.reason)
            else:
                signal.addEventListener("abort", lambda _event, source=signal: joined.trigger(source.reason))
        return joined

    def trigger(self, reason: Any = None) -> None:
        """Abort, once."""
        if self.aborted:
            return
        self.aborted = True
        self.reason = JsException("The operation was aborted", name="AbortError", code=20) if reason is None else reason
        event = JsDict(type="abort", target=self)
        for listener in [*self._listeners, *([self.onabort] if self.onabort is not None else [])]:
            listener(event)

    def throwIfAborted(self) -> None:
        """Raise the reason if the signal is aborted."""
        if self.aborted:
            raise self.reason if isinstance(self.reason, BaseException) else JsException(self.reason)

    def addEventListener(self, kind: str, listener: Callable[[Any], object], options: object = None) -> None:
        """Call `listener(event)` on "abort"."""
        if kind == "abort":
            self._listeners.append(listener)

    def removeEventListener(self, kind: str, listener: Callable[[Any], object], options: object = None) -> None:
        """Undo `addEventListener`."""
        if kind == "abort" and listener in self._listeners:
            self._listeners.remove(listener)


class AbortController(JsProxy):
    """Owner of a signal."""

    __slots__ = ("signal",)

    def __init__(self) -> None:
        self.signal = AbortSignal()

    def abort(self, reason: Any = None) -> None:
        """Abort the signal."""
        self.signal.trigger(reason)


async def guarded(signal: Any, work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run `work`; when the signal aborts, cancel it and raise the signal's reason. `signal` may be None."""
    if not isinstance(signal, AbortSignal):
        return await work
    try:
        signal.throwIfAborted()
    except BaseException:
        work.close()
        raise
    task = asyncio.get_running_loop().create_task(work)

    def stop(_event: object) -> None:
        task.cancel()

    signal.addEventListener("abort", stop)
    try:
        return await task
    except asyncio.CancelledError:
        if signal.aborted and task.cancelled():
            signal.throwIfAborted()
        raise
    finally:
        task.cancel()
        signal.removeEventListener("abort", stop)
