"""A stub: the caller's handle on one object. `await stub.method(...)`, `await stub.prop`, `await stub.fetch(...)`.

A call is issued when it is made, not when it is awaited, so calls reach the object in order. A call's result may be
used before it is known: `stub.m().inc()`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Generator
from typing import Any, Protocol, cast

from durable_objects.errors import ObjectReset
from durable_objects.ids import DurableObjectId
from durable_objects.rpc import clone, cross
from workers.compat import web as js
from workers.compat.proxies import JsException
from workers.compat.websocket import current_owner
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


class RpcPromise:
    """The result of a call: awaitable, and usable for further calls before it is known."""

    __slots__ = ("_future",)

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self._future = future

    def __await__(self) -> Generator[Any, None, Any]:
        return self._future.__await__()

    def __getattr__(self, name: str) -> _Pipelined:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Pipelined(self, name)


class _Pipelined:
    """A member of a value that is not known yet: awaitable and callable."""

    __slots__ = ("_name", "_source")

    def __init__(self, source: Any, name: str) -> None:
        self._source = source
        self._name = name

    def __await__(self) -> Generator[Any, None, Any]:
        return self._read().__await__()

    async def _read(self) -> Any:
        value = await self._source
        return cast("dict[str, Any]", value)[self._name] if isinstance(value, dict) else getattr(value, self._name)

    async def __call__(self, *args: object) -> Any:
        result = (await self._read())(*args)
        return await result if inspect.isawaitable(result) else result

    def __getattr__(self, name: str) -> _Pipelined:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Pipelined(self, name)


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
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        owner = current_owner.get()
        if owner is not None and owner.held:
            # The caller is an object with uncommitted writes: its call is output too.
            owner.hold(lambda: self._send(begin, future), lambda: _lose(future))
        else:
            self._send(begin, future)
        return future

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


class _Member:
    """`stub.name`: call it as a method or await it as a property."""

    __slots__ = ("_link", "_path")

    def __init__(self, link: _Link, path: tuple[str, ...]) -> None:
        self._link = link
        self._path = path

    def __call__(self, *args: object, **options: object) -> RpcPromise:
        given = (*args, options) if options else args  # keywords become one trailing object, as in the SDK
        return RpcPromise(self._link.call(self._path, tuple([clone(argument) for argument in given])))

    def __await__(self) -> Generator[Any, None, Any]:
        return self._link.read(self._path).__await__()

    def __getattr__(self, name: str) -> _Member:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Member(self._link, (*self._path, name))


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

    def __getattr__(self, name: str) -> _Member:
        if name.startswith("__") or name == "then":  # JavaScript would take an object with `then` for a promise
            raise AttributeError(name)
        return _Member(self.__link, (name,))

    def __repr__(self) -> str:
        return f"DurableObjectStub({self.id!r})"


def _lose(future: asyncio.Future[Any]) -> None:
    """The call was never sent: the writes it waited for were not committed."""
    if not future.done():
        future.set_exception(ObjectReset("The calling Durable Object was reset before this call was sent."))
        future.exception()
