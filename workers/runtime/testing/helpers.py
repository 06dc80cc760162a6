"""The helpers of `cloudflare:test` as functions: they act on the application that the test's fixtures run.

https://developers.cloudflare.com/workers/testing/vitest-integration/test-apis/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from durable_objects.ids import DurableObjectId
from durable_objects.namespace import DurableObjectNamespace
from workers.runtime.testing import controls
from workers.runtime.testing.miniflare import Miniflare

__all__ = [
    "abort_all_durable_objects",
    "current",
    "evict_all_durable_objects",
    "evict_durable_object",
    "list_durable_object_ids",
    "reset",
    "run_durable_object_alarm",
    "run_in_durable_object",
]

current: ContextVar[Miniflare] = ContextVar("flarelet_miniflare")
"""The instance of the test that is running."""


def _miniflare() -> Miniflare:
    found = current.get(None)
    if found is None:
        raise RuntimeError("no Worker runs here: use one of the fixtures env, worker, miniflare in the test")
    return found


async def run_in_durable_object(stub: object, callback: Callable[..., Any]) -> Any:
    """Call `callback(instance, state)` inside an object, as one of its events; return what it returns, uncopied.

    Raises:
        JsTypeError: An argument is of another kind.
        Exception: Whatever the callback raised, unchanged.
    """
    return await controls.run_inside(stub, callback)


async def run_durable_object_alarm(stub: object) -> bool:
    """Run an object's alarm now, if one is set; say whether one was.

    Raises:
        Exception: Whatever the handler raised.
    """
    return await controls.run_alarm(stub)


async def list_durable_object_ids(namespace: DurableObjectNamespace) -> list[DurableObjectId]:
    """Return the ids of all objects of a namespace that have stored something."""
    return await _miniflare().list_durable_object_ids(namespace)


async def evict_durable_object(
    stub: object, options: Mapping[str, Any] | None = None, /, *, web_sockets: str = "hibernate"
) -> None:
    """Take an object out of memory gracefully; stored data stays, and unless "close" its hibernatable sockets do.

    Raises:
        JsException: It is not running, or something kept it in memory for 10 s.
    """
    await controls.evict(stub, web_sockets=(options or {}).get("webSockets", web_sockets))


async def evict_all_durable_objects(
    options: Mapping[str, Any] | None = None, /, *, web_sockets: str = "hibernate"
) -> None:
    """Take every object that is running out of memory."""
    await _miniflare().evict_all_durable_objects(options, web_sockets=web_sockets)


async def abort_all_durable_objects() -> None:
    """Break every instance: what is not committed is lost, stored data stays."""
    await _miniflare().abort_all_durable_objects()


async def reset() -> None:
    """Delete all data of all bindings; the bindings stay."""
    await _miniflare().reset()
