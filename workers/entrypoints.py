"""The classes a Worker derives from, and the decorator of the older function style."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

from workers.compat import web as js
from workers.request import Request

__all__ = ["DurableObject", "DurableObjectAbort", "RpcTarget", "WorkerEntrypoint", "WorkflowEntrypoint", "handler"]

_Handler = TypeVar("_Handler", bound=Callable[..., Any])


class DurableObjectAbort(BaseException):
    """Ends a Durable Object's turn after `ctx.abort()`; not an `Exception`, so user code does not catch it."""


class WorkerEntrypoint:
    """Base of a stateless entrypoint: handlers `fetch`, `scheduled`, `queue`, and methods callable by RPC.

    Attributes:
        ctx: The execution context (`waitUntil`, `passThroughOnException`, `props`).
        env: The bindings, read as attributes.
    """

    ctx: Any
    env: Any

    def __init__(self, ctx: Any, env: Any) -> None:
        self.ctx = ctx
        self.env = env


class DurableObject:
    """Base of a Durable Object: one instance an id, with storage, alarms and sockets of its own.

    Attributes:
        ctx: The object's state: `id`, `storage`, `acceptWebSocket`, `blockConcurrencyWhile`, ...
        env: The bindings of the Worker it belongs to.
    """

    ctx: Any
    env: Any

    def __init__(self, ctx: Any, env: Any) -> None:
        self.ctx = ctx
        self.env = env


# DIFFERS(rpc-target): the Python SDK has no such class; JavaScript has it in "cloudflare:workers".
class RpcTarget:
    """Base of what crosses RPC by reference: the other side gets a stub of it and calls its methods here."""


class WorkflowEntrypoint:
    """Base of a Workflow: override `run(event, step)`."""

    ctx: Any
    env: Any

    def __init__(self, ctx: Any, env: Any) -> None:
        self.ctx = ctx
        self.env = env

    async def run(self, event: Any, step: Any) -> Any:
        """Run one instance of the Workflow."""
        raise NotImplementedError(f"{type(self).__name__} does not define run(event, step)")


def handler(func: _Handler) -> _Handler:
    """Mark a module-level handler such as `on_fetch(request, env, ctx)`: a JavaScript request arrives as `Request`."""

    def prepared(args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (Request(args[0]), *args[1:]) if args and isinstance(args[0], js.Request) else args

    if inspect.iscoroutinefunction(func):

        @functools.wraps(func)
        async def run_async(*args: Any, **kwargs: Any) -> Any:
            return await func(*prepared(args), **kwargs)

        return cast(_Handler, run_async)

    @functools.wraps(func)
    def run(*args: Any, **kwargs: Any) -> Any:
        return func(*prepared(args), **kwargs)

    return cast(_Handler, run)
