"""setTimeout, setInterval and queueMicrotask on the event loop; callbacks run as the Worker that set them."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
from collections.abc import Callable
from typing import Any

from workers.compat import background

__all__ = ["clearInterval", "clearTimeout", "queueMicrotask", "setInterval", "setTimeout"]

_ids = itertools.count(1)
_timers: dict[int, asyncio.TimerHandle] = {}
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
        _timers.pop(number, None)
        _call(callback, args)

    _timers[number] = asyncio.get_running_loop().call_later(max(0, milliseconds or 0) / 1000, fire)
    return number


def setInterval(callback: Callable[..., Any], milliseconds: float = 0, *args: Any) -> int:
    """Call `callback(*args)` again and again; the result stops it when given to `clearInterval`."""
    number = next(_ids)
    delay_s = max(1, milliseconds or 0) / 1000
    loop = asyncio.get_running_loop()

    def fire() -> None:
        _timers[number] = loop.call_later(delay_s, fire)
        _call(callback, args)

    _timers[number] = loop.call_later(delay_s, fire)
    return number


def clearTimeout(number: int | None = None) -> None:
    """Stop a timer; one that is over is ignored."""
    handle = _timers.pop(number, None) if number is not None else None
    if handle is not None:
        handle.cancel()


clearInterval = clearTimeout


def queueMicrotask(callback: Callable[[], Any]) -> None:
    """Call `callback()` as soon as the current code is done."""
    asyncio.get_running_loop().call_soon(_call, callback, ())
