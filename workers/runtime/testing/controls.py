"""Hands on Durable Objects from outside: run code inside one, fire its alarm, evict it, list what is stored.

The semantics and the texts of errors are those of the module `cloudflare:test`.
https://developers.cloudflare.com/workers/testing/vitest-integration/test-apis/#durable-objects
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

from durable_objects.actor import Actor
from durable_objects.host import Host
from durable_objects.ids import DurableObjectId
from durable_objects.namespace import DurableObjectNamespace
from durable_objects.stub import DurableObjectStub, actor_behind
from workers.compat.proxies import JsException, JsTypeError
from workers.runtime.app import App
from workers.runtime.dispatch import accepted

__all__ = ["evict", "evict_all", "list_ids", "run_alarm", "run_inside", "stub_of"]

_EVICTION_LIMIT_S: Final = 10.0
_LOOK_S: Final = 0.002


def _actor(stub: object, helper: str) -> Actor:
    if not isinstance(stub, DurableObjectStub):
        raise JsTypeError(f"Failed to execute '{helper}': parameter 1 is not of type 'DurableObjectStub'.")
    return actor_behind(stub)


async def run_inside(stub: object, callback: Callable[..., Any]) -> Any:
    """Call `callback(instance, state)` inside an object, as one of its events; return what it returns, uncopied.

    A callback that takes one argument gets the instance alone.

    Raises:
        JsTypeError: An argument is of another kind.
        Exception: Whatever the callback raised, unchanged.
    """
    actor = _actor(stub, "runInDurableObject")
    if not callable(callback):
        raise JsTypeError("Failed to execute 'runInDurableObject': parameter 2 is not of type 'function'.")
    count = accepted(callback, 2)
    instance = actor.wake()
    raised: list[Exception] = []

    async def event(target: Any) -> Any:
        try:
            result = callback(*(target, instance.state)[:count])
            return await result if inspect.isawaitable(result) else result
        except Exception as error:  # it is the test's own, and must not be changed by crossing the stub
            raised.append(error)
            return None

    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    instance.submit("fetch", event, answer)
    result = await answer
    if raised:
        raise raised[0]
    return result


async def run_alarm(stub: object) -> bool:
    """Run an object's alarm now, if one is set; say whether one was.

    The alarm is deleted first and its handler called without arguments, once: no retry.

    Raises:
        Exception: Whatever the handler raised.
    """
    _actor(stub, "runDurableObjectAlarm")

    async def fire(target: Any, state: Any) -> bool:
        if await state.storage.getAlarm() is None:
            return False
        await state.storage.deleteAlarm()
        result = target.alarm()
        if inspect.isawaitable(result):
            await result
        return True

    return await run_inside(stub, fire)


def list_ids(host: Host, namespace: object) -> list[DurableObjectId]:
    """Return the ids of all objects of a namespace that have stored something.

    Raises:
        JsTypeError: The argument is no namespace.
    """
    if not isinstance(namespace, DurableObjectNamespace):
        raise JsTypeError(
            "Failed to execute 'listDurableObjectIds': parameter 1 is not of type 'DurableObjectNamespace'."
        )
    return [namespace.idFromString(text) for text in host.stored_ids(namespace.unique_key)]


async def evict(stub: object, *, web_sockets: str = "hibernate") -> None:
    """Take an object out of memory gracefully: stored data stays, and with "hibernate" its hibernatable sockets do.

    Waits for events that are running.

    Raises:
        JsException: It is not running, or something kept it in memory for 10 s.
    """
    actor = _actor(stub, "evictDurableObject")
    if actor.instance is None:
        raise JsException("Cannot evict Durable Object: it is not running.")
    await _evict(actor, web_sockets)


async def _evict(actor: Actor, web_sockets: str) -> None:
    if web_sockets not in ("hibernate", "close"):
        raise JsTypeError(f"webSockets must be 'hibernate' or 'close', not {web_sockets!r}")
    if web_sockets == "close":
        actor.hibernation.close_all(1012, "")
    loop = asyncio.get_running_loop()
    limit_s = loop.time() + _EVICTION_LIMIT_S
    # Events end in tasks of their own: each gets its turns of the loop until the object is at rest.
    while actor.instance is not None and not actor.instance.evict():
        if loop.time() >= limit_s:
            obstacle = actor.snapshot().obstacle or "an event is still running"
            raise JsException(f"Timed out waiting to evict Durable Object: {obstacle}.")
        await asyncio.sleep(_LOOK_S)


async def evict_all(host: Host, *, web_sockets: str = "hibernate") -> None:
    """Take every object that is running out of memory, as `evict` does."""
    for found in host.classes():
        for actor in host.actors(found.unique_key):
            if actor.instance is not None:
                await _evict(actor, web_sockets)


def stub_of(app: App, script_name: str, class_name: str, options: Mapping[str, Any]) -> DurableObjectStub:
    """Return a stub of the object of a class that has the `name` or the `id` of the options.

    Raises:
        TypeError: No binding of that Worker is for the class.
    """
    for worker in app.workers:
        for value in vars(worker.isolate.env).values():
            if isinstance(value, DurableObjectNamespace) and value.unique_key == f"{script_name}-{class_name}":
                return value.getByName(options["name"]) if "name" in options else value.get(_id(value, options["id"]))
    raise TypeError(f"there is no Durable Object binding for the class {class_name!r} of the Worker {script_name!r}")


def _id(namespace: DurableObjectNamespace, given: object) -> DurableObjectId:
    return given if isinstance(given, DurableObjectId) else namespace.idFromString(given)
