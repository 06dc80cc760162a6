"""A stub: the caller's handle on one object. `await stub.method(...)`, `await stub.prop`, `await stub.fetch(...)`.

A call is issued when it is made, not when it is awaited, so calls reach the object in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from durable_objects.ids import DurableObjectId
from durable_objects.rpc import Link, Member, RpcPromise, cross, send
from workers.compat import web as js
from workers.compat.proxies import JsException
from workers.request import Request

__all__ = ["DurableObjectStub", "RpcPromise"]


class _Instance(Protocol):
    broken: Exception | None


class _Target(Protocol):
    """The actor behind a stub."""

    def wake(self) -> Any: ...
    def call(
        self, instance: Any, path: tuple[str, ...], args: tuple[object, ...], future: asyncio.Future[Any]
    ) -> None: ...
    def read(self, instance: Any, path: tuple[str, ...], future: asyncio.Future[Any]) -> None: ...
    def fetch(self, instance: Any, request: Request, future: asyncio.Future[Any]) -> None: ...


_Begin = Callable[[_Target, Any, "asyncio.Future[Any]"], None]


class Directory(Protocol):
    """Finds the actor of an id; a retired actor is replaced by a new one."""

    def actor(self, object_id: DurableObjectId) -> Any:
        """Return the actor, creating it when it is not loaded."""
        ...


class _Link:
    """The way from one stub to its object. Apart from the stub, whose own names would shadow RPC methods."""

    __slots__ = ("_directory", "_instance", "id")

    def __init__(self, directory: Directory, object_id: DurableObjectId) -> None:
        self.id = object_id
        self._directory = directory
        self._instance: _Instance | None = None

    def call(self, path: tuple[str, ...], args: tuple[object, ...]) -> asyncio.Future[Any]:
        return self.start(lambda actor, instance, future: actor.call(instance, path, args, future))

    def read(self, path: tuple[str, ...]) -> asyncio.Future[Any]:
        return self.start(lambda actor, instance, future: actor.read(instance, path, future))

    def start(self, begin: _Begin) -> asyncio.Future[Any]:
        return send(lambda future: self._send(begin, future))

    def _send(self, begin: _Begin, future: asyncio.Future[Any]) -> None:
        known = self._instance
        if known is not None and known.broken is not None:
            future.set_exception(cross(known.broken))
            future.exception()  # read once, so that a call nobody awaits is no complaint
            return
        try:
            actor: _Target = self._directory.actor(self.id)
        except JsException as error:
            future.set_exception(error)
            future.exception()
            return
        self._instance = instance = actor.wake()
        begin(actor, instance, future)


class DurableObjectStub:
    """Handle on one object. After a reset of the instance it talked to it stays broken: take a new stub.

    Every attribute other than `id`, `name` and `fetch` is a method or property of the object.
    """

    __rpc_stub__ = True

    def __init__(self, directory: Directory, object_id: DurableObjectId) -> None:
        self.id = object_id
        self.name = object_id.name
        self.__link = _Link(directory, object_id)

    def fetch(self, resource: Any, /, **options: Any) -> RpcPromise:
        """Send an HTTP request to the object; `await` gives a `workers.Response` (with `.web_socket` after an upgrade).

        Raises:
            JsTypeError: The URL is not absolute.
        """
        if isinstance(resource, js.Request) and not options:
            request = Request(resource)
        elif isinstance(resource, Request) and not options:
            request = resource
        else:
            request = Request(resource, **options)
        return RpcPromise(self.__link.start(lambda actor, instance, future: actor.fetch(instance, request, future)))

    def __rpc_link__(self) -> Link:
        return self.__link

    def __getattr__(self, name: str) -> Member:
        if name.startswith("__") or name == "then":  # JavaScript would take an object with `then` for a promise
            raise AttributeError(name)
        return Member(self.__link, (name,))

    def __repr__(self) -> str:
        return f"DurableObjectStub({self.id!r})"


def actor_behind(stub: DurableObjectStub) -> Any:
    """Return the actor a stub leads to, for tools that look inside."""
    link: _Link = stub._DurableObjectStub__link  # pyright: ignore - the name is mangled
    return link._directory.actor(link.id)  # pyright: ignore[reportPrivateUsage] - one file, one mechanism
