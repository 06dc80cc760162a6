"""Stack switching: synchronous code deep inside an async handler waits for an awaitable, and the event loop goes on.

A handler's coroutine is driven inside a greenlet. `wait`, called anywhere below it, drives its awaitable there and
hands what that waits for across to the task that drives the handler, as if the handler itself had awaited it. So
cancellation, time limits and the input gate of a Durable Object apply as to any `await`.

Only for Workers that use `run_sync`: until one asks for it (`arm`) no handler is driven like that, as it would add a
third to the time that a small request takes.

DIFFERS(run-sync): a task that a Worker starts itself (asyncio.create_task, a TaskGroup) has no stack to switch.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from typing import Any

from workers.compat import ambient

__all__ = ["arm", "call", "has_stack", "is_armed", "stacked", "wait"]

_greenlet: Any = None  # the greenlet module, imported when the first Worker needs it


def arm() -> None:
    """Drive handlers so that `wait` works in them, from the next event on."""
    global _greenlet
    if _greenlet is None:
        import greenlet

        _greenlet = greenlet
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    if loop.get_task_factory() is None:
        loop.set_task_factory(_task)


def _task(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any] | Generator[Any, Any, Any], **options: Any
) -> asyncio.Task[Any]:
    """Make a task: in one that a Worker starts `wait` works too."""
    context: Context | None = options.get("context")
    worker = ambient.current.get(None) if context is None else context.get(ambient.current)
    if worker is not None and asyncio.iscoroutine(work):
        task = asyncio.Task(_stacked_task(work), loop=loop, **options)
        task.add_done_callback(lambda _: work.close())  # one that was cancelled before it began is not begun any more
        return task
    return asyncio.Task(work, loop=loop, **options)  # pyright: ignore[reportArgumentType] - what the loop was given


async def _stacked_task(work: Coroutine[Any, Any, Any]) -> Any:
    return await stacked(work)


def is_armed() -> bool:
    """Say whether handlers are driven by `stacked` now."""
    return _greenlet is not None


def has_stack() -> bool:
    """Say whether `wait` works here."""
    return _greenlet is not None and getattr(_greenlet.getcurrent(), "drives_handler", False)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _drive(awaitable: Awaitable[Any]) -> Any:
    """Run an awaitable to its end in this greenlet; each suspension goes to the greenlet's parent."""
    here = _greenlet.getcurrent()
    # By class: a promise of a Durable Object's answer seems to have every attribute, `send` too.
    steps = awaitable if asyncio.iscoroutine(awaitable) else _awaited(awaitable)
    value: object = None
    error: BaseException | None = None
    try:
        while True:
            try:
                waited = steps.send(value) if error is None else steps.throw(error)
            except StopIteration as stop:
                return stop.value
            value = error = None
            try:
                value = here.parent.switch(waited)
            except BaseException as raised:  # whatever it is, it belongs to the awaitable
                error = raised
    finally:
        error = None  # an exception and the frame that holds it would keep each other alive


@types.coroutine
def stacked(coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Drive `coroutine` in a greenlet of its own, in which `wait` works."""
    child = _greenlet.greenlet(_drive)
    child.drives_handler = True
    # A greenlet starts with an empty context; the handler's is the one of the task that drives it.
    child.gr_context = _greenlet.getcurrent().gr_context
    waited = child.switch(coroutine)
    while not child.dead:
        try:
            value = yield waited
        except BaseException as raised:  # whatever it is, it belongs to the coroutine
            child.parent = _greenlet.getcurrent()
            waited = child.throw(raised)
        else:
            child.parent = _greenlet.getcurrent()
            waited = child.switch(value)
    return waited


async def _called(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    result = function(*args)
    return await result if hasattr(result, "__await__") else result


async def call(function: Callable[..., Any], *args: Any) -> Any:
    """Call a handler, synchronous or not, so that `wait` works in it; return its result."""
    work = _called(function, args)
    return await (work if has_stack() else stacked(work))


def wait(awaitable: Awaitable[Any]) -> Any:
    """Wait for an awaitable in synchronous code below `stacked`."""
    return _drive(awaitable)
