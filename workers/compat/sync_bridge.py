"""`run_sync`: synchronous code waits for asynchronous results.

In the event loop's own thread stacks are switched (`stacks.py`). Code that a framework runs in a thread, such as the
synchronous endpoints of an ASGI application, hands the awaitable to the loop and blocks only its thread.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from workers.compat import ambient, stacks
from workers.compat.proxies import JsDict

__all__ = ["can_run_sync", "enable", "run_sync"]

_home: ContextVar[asyncio.AbstractEventLoop | None] = ContextVar("workers_home_loop", default=None)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _whole(awaitable: Awaitable[Any]) -> Any:
    """Wait for what a thread will look at: what is made late, as the figures of a query are, is made in the loop."""
    result: Any = await awaitable
    if isinstance(result, JsDict):
        for part in result.values():
            if isinstance(part, JsDict):
                len(part)
    return result


def enable() -> None:
    """Let threads that copy the current context (asgiref's `sync_to_async`, `asyncio.to_thread`) use `run_sync`.

    `waitUntil` works in them too.
    """
    loop = asyncio.get_running_loop()
    _home.set(loop)
    running = ambient.current.get(None)
    if running is not None:
        owner = running

        def wait_until(awaitable: Awaitable[object]) -> None:
            if _runs_here():
                owner.wait_until(awaitable)
            else:  # the Worker's tasks belong to the loop's thread
                loop.call_soon_threadsafe(owner.wait_until, awaitable)

        ambient.current.set(replace(running, wait_until=wait_until))


def _runs_here() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def can_run_sync() -> bool:
    """Say whether `run_sync` would work here."""
    return stacks.has_stack() or not _runs_here()


def run_sync(awaitable: Awaitable[Any]) -> Any:
    """Wait for an awaitable in synchronous code.

    Raises:
        RuntimeError: The event loop runs in this very thread, and this code was not called by a handler of a Worker.
    """
    if stacks.has_stack():
        return stacks.wait(awaitable)
    if _runs_here():
        if inspect.iscoroutine(awaitable):
            awaitable.close()
        raise RuntimeError(
            "run_sync cannot wait here: it works in the handlers and tasks of a Worker that had imported run_sync when "
            "the event began (import it at the top of a module). Use `await` here."
        )
    home = _home.get()
    if home is None:
        return asyncio.run(_awaited(awaitable))
    return asyncio.run_coroutine_threadsafe(_whole(awaitable), home).result()
