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
from workers.compat.proxies import JsException, JsProxy
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


class _Member:
    """`stub.name`: call it as a method or await it as a property."""

    __slots__ = ("_path", "_stub")

    def __init__(self, stub: DurableObjectStub, path: tuple[str, ...]) -> None:
        self._stub = stub
        self._path = path

    def __call__(self, *args: object) -> RpcPromise:
        return RpcPromise(self._stub.issue(self._path, tuple([clone(argument) for argument in args])))

    def __await__(self) -> Generator[Any, None, Any]:
        return self._stub.issue(self._path, None).__await__()

    def __getattr__(self, name: str) -> _Member:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Member(self._stub, (*self._path, name))


class DurableObjectStub(JsProxy):
    """Handle on one object. After a reset of the instance it talked to it stays broken: take a new stub."""

    is_rpc_stub = True

    def __init__(self, directory: Directory, object_id: DurableObjectId) -> None:
        self.id = object_id
        self.name = object_id.name
        self._directory = directory
        self._instance: _Instance | None = None

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
        return RpcPromise(self._start(lambda actor, instance, future: actor.fetch(instance, request, future)))

    def issue(self, path: tuple[str, ...], args: tuple[object, ...] | None) -> asyncio.Future[Any]:
        """Start a call (`args`) or a property read (None) and return its future."""
        if args is None:
            return self._start(lambda actor, instance, future: actor.read(instance, path, future))
        given = args
        return self._start(lambda actor, instance, future: actor.call(instance, path, given, future))

    def _start(self, begin: _Begin) -> asyncio.Future[Any]:
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

    def __getattr__(self, name: str) -> _Member:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Member(self, (name,))

    def __repr__(self) -> str:
        return f"DurableObjectStub({self.id!r})"


def _lose(future: asyncio.Future[Any]) -> None:
    """The call was never sent: the writes it waited for were not committed."""
    if not future.done():
        future.set_exception(ObjectReset("The calling Durable Object was reset before this call was sent."))
        future.exception()
