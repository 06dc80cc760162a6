"""setTimeout, setInterval and queueMicrotask on the event loop; callbacks run as the Worker that set them."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
from collections.abc import Callable
from typing import Any

from workers.compat import background
from workers.compat.websocket import Owner, current_owner

__all__ = ["clearInterval", "clearTimeout", "queueMicrotask", "setInterval", "setTimeout"]

_ids = itertools.count(1)
_timers: dict[int, tuple[asyncio.TimerHandle, Owner | None]] = {}
"""What is set, with the Durable Object that it keeps in memory."""
_log = logging.getLogger(__name__)


async def _awaited(result: Any) -> None:
    await result


def _call(callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        result = callback(*args)
    except Exception:  # a task root: nobody waits for a timer
        _log.exception("a timer's callback failed")
        return
    if inspect.isawaitable(result):
        background.start(_awaited(result), "timer")


def setTimeout(callback: Callable[..., Any], milliseconds: float = 0, *args: Any) -> int:
    """Call `callback(*args)` once, later; the result stops it when given to `clearTimeout`."""
    number = next(_ids)

    def fire() -> None:
        _forget(number)
        _call(callback, args)

    _set(number, max(0, milliseconds or 0) / 1000, fire)
    return number


def setInterval(callback: Callable[..., Any], milliseconds: float = 0, *args: Any) -> int:
    """Call `callback(*args)` again and again; the result stops it when given to `clearInterval`."""
    number = next(_ids)
    delay_s = max(1, milliseconds or 0) / 1000

    def fire() -> None:
        rung = _timers[number]
        _set(number, delay_s, fire)
        _release(rung)
        _call(callback, args)

    _set(number, delay_s, fire)
    return number


def _set(number: int, delay_s: float, fire: Callable[[], None]) -> None:
    timer = asyncio.get_running_loop().call_later(delay_s, fire)
    owner = current_owner.get()
    _timers[number] = (timer, owner)
    if owner is not None:
        owner.started(timer)


def _release(timer: tuple[asyncio.TimerHandle, Owner | None]) -> None:
    handle, owner = timer
    if owner is not None:
        owner.stopped(handle)


def _forget(number: int) -> asyncio.TimerHandle | None:
    timer = _timers.pop(number, None)
    if timer is None:
        return None
    _release(timer)
    return timer[0]


def clearTimeout(number: int | None = None) -> None:
    """Stop a timer; one that is over is ignored."""
    handle = _forget(number) if number is not None else None
    if handle is not None:
        handle.cancel()


clearInterval = clearTimeout


def queueMicrotask(callback: Callable[[], Any]) -> None:
    """Call `callback()` as soon as the current code is done."""
    asyncio.get_running_loop().call_soon(_call, callback, ())
