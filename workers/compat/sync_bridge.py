"""Synchronous code that must wait for asynchronous results: it runs in a thread and asks the event loop.

A WSGI application reads its database synchronously. The application runs in a thread, the event loop goes on, and
`run_sync` hands the awaitable to the loop and blocks only the thread. In an async handler stacks are switched instead
(`stacks.py`).
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, copy_context
from dataclasses import replace
from functools import partial
from typing import Any, ParamSpec, TypeVar

from workers.compat import ambient, stacks

__all__ = ["SyncCalls", "can_run_sync", "enable", "run_sync"]

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

_home: ContextVar[asyncio.AbstractEventLoop | None] = ContextVar("workers_home_loop", default=None)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def enable() -> None:
    """Let threads that copy the current context (asgiref's `sync_to_async`, `asyncio.to_thread`) use `run_sync`."""
    _home.set(asyncio.get_running_loop())


class SyncCalls:
    """Calls of one piece of synchronous code, made in threads as the running Worker; `run_sync` works in them.

    They share one context, so that a context variable set in one call is there in the next, whichever thread makes it.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._context.run(self._prepare)

    def _prepare(self) -> None:
        _home.set(self._loop)
        running = ambient.current.get(None)
        if running is not None:
            loop, owner = self._loop, running

            def wait_until(awaitable: Awaitable[object]) -> None:
                # The Worker's tasks belong to the loop's thread.
                loop.call_soon_threadsafe(owner.wait_until, awaitable)

            ambient.current.set(replace(running, wait_until=wait_until))

    async def run(
        self, function: Callable[_Parameters, _Result], *args: _Parameters.args, **kwargs: _Parameters.kwargs
    ) -> _Result:
        """Make one call; the next must wait for its end."""
        call = partial(self._context.run, function, *args, **kwargs)
        return await self._loop.run_in_executor(None, call)


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
            "run_sync cannot wait here: it works below a handler of a Worker that had imported run_sync when the event "
            "began (import it at the top of a module), and not in tasks the Worker starts itself. Use `await` there."
        )
    home = _home.get()
    if home is None:
        return asyncio.run(_awaited(awaitable))
    return asyncio.run_coroutine_threadsafe(_awaited(awaitable), home).result()
