"""What crosses between objects: copies of values, errors, and stubs of what stays where it is.

Values are copied by structured clone. Responses, streams and stubs pass by reference; a function or an `RpcTarget`
crosses as a stub. A call is issued when it is made, not when it is awaited, so calls reach their receiver in order; the
result of a call may be used before it is known: `stub.m().inc()`.
"""

from __future__ import annotations

import asyncio
import contextvars
import datetime as dt
import functools
import inspect
import types
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, Protocol, Self, cast

from durable_objects.crossing import cross
from durable_objects.errors import ObjectReset, ReceiverHasNoMethod
from durable_objects.gates import Outlet
from durable_objects.methods import reach
from workers.blob import Blob
from workers.compat import background
from workers.compat import web as js
from workers.compat.deep import deeply
from workers.compat.js_string import js_string, whole
from workers.compat.proxies import (
    JsDict,
    JsException,
    JsNull,
    JsProxy,
    JsTypeError,
    MemberList,
    PairList,
    PyProxy,
    error_parts,
)
from workers.compat.structured_clone import DataCloneError, error_facts
from workers.compat.websocket import WebSocket, current_owner
from workers.entrypoints import RpcTarget
from workers.formdata import FormData
from workers.request import Request
from workers.response import FetchResponse, Response

__all__ = ["Link", "Member", "RpcPromise", "TargetStub", "clone", "cross", "fail", "send"]

_ATOMS = frozenset({str, int, bool, type(None)})
_BY_REFERENCE = (Request, FetchResponse, Blob, FormData)
_FUNCTIONS = (PyProxy, types.FunctionType, types.MethodType, types.BuiltinFunctionType, functools.partial)
_DISPOSED = "RPC stub used after being disposed."


# -- calls


class Link(Protocol):
    """The way to something that is called from afar. Arguments are copies already."""

    def call(self, path: tuple[str, ...], args: tuple[Any, ...]) -> asyncio.Future[Any]:
        """Call the method at `path` now."""
        ...

    def read(self, path: tuple[str, ...]) -> asyncio.Future[Any]:
        """Read the property at `path` now."""
        ...


def send(begin: Callable[[asyncio.Future[Any]], None]) -> asyncio.Future[Any]:
    """Issue a call by `begin(future)`, after the writes of the object that makes it; return its result to come."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    owner = current_owner.get()
    if owner is not None and owner.held:
        # The caller is an object with uncommitted writes: its call is output too.
        owner.hold(lambda: begin(future), lambda: _lose(future))
    else:
        begin(future)
    return future


def _lose(future: asyncio.Future[Any]) -> None:
    """The call was never sent: the writes it waited for were not committed."""
    fail(future, ObjectReset("The calling Durable Object was reset before this call was sent."))


def fail(future: asyncio.Future[Any], error: BaseException) -> None:
    """End a call with an error, unless it has ended."""
    if not future.done():
        future.set_exception(error)
        future.exception()  # read once, so that a call nobody awaits is no complaint


def _pass_on(source: asyncio.Future[Any], future: asyncio.Future[Any]) -> None:
    if future.done():
        return
    if source.cancelled():
        future.cancel()
        return
    error = source.exception()
    if error is None:
        future.set_result(source.result())
    else:
        fail(future, error)


def _copied(args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
    given = (*args, options) if options else args  # keywords become one trailing object, as in the SDK
    return tuple([clone(argument) for argument in given])


class Member:
    """`stub.name`: call it as a method or await it as a property."""

    __slots__ = ("_link", "_path")

    def __init__(self, link: Link, path: tuple[str, ...]) -> None:
        self._link = link
        self._path = path

    def __call__(self, *args: object, **options: object) -> RpcPromise:
        """Issue the call with copies of the arguments."""
        return RpcPromise(self._link.call(self._path, _copied(args, options)))

    def __await__(self) -> Generator[Any, None, Any]:
        return self._link.read(self._path).__await__()

    def __getattr__(self, name: str) -> Member:
        if name.startswith("__"):
            raise AttributeError(name)
        return Member(self._link, (*self._path, name))


class RpcPromise:
    """The result of a call: awaitable, and usable for further calls before it is known."""

    __slots__ = ("_future", "_pipe")

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self._future = future
        self._pipe: _Pipe | None = None

    def __await__(self) -> Generator[Any, None, Any]:
        return self._future.__await__()

    def __call__(self, *args: object, **options: object) -> RpcPromise:
        """Call the function that the result is."""
        return Member(self.__link(), ())(*args, **options)

    def __getattr__(self, name: str) -> Member:
        if name.startswith("__") or name == "then":
            raise AttributeError(name)
        return Member(self.__link(), (name,))

    def __link(self) -> _Pipe:
        if self._pipe is None:
            self._pipe = _Pipe(self._future)
        return self._pipe


class _Pipe:
    """The way to a value that is not known yet: what is asked meanwhile is asked in order when it is."""

    __slots__ = ("_source", "_waiting")

    def __init__(self, source: asyncio.Future[Any]) -> None:
        self._source = source
        self._waiting: list[tuple[contextvars.Context, Callable[[], None], asyncio.Future[Any]]] = []

    def call(self, path: tuple[str, ...], args: tuple[Any, ...]) -> asyncio.Future[Any]:
        return self._ask(path, args)

    def read(self, path: tuple[str, ...]) -> asyncio.Future[Any]:
        return self._ask(path, None)

    def _ask(self, path: tuple[str, ...], args: tuple[Any, ...] | None) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def ask() -> None:
            try:
                _ask_value(self._source.result(), path, args, future)
            except Exception as error:  # the task root of a call: its caller gets the error
                fail(future, cross(error, remote=True))

        if self._source.done() and not self._waiting:
            self._answer(ask, future)
        else:
            if not self._waiting:
                self._source.add_done_callback(self._known)
            self._waiting.append((contextvars.copy_context(), ask, future))
        return future

    def _answer(self, ask: Callable[[], None], future: asyncio.Future[Any]) -> None:
        if self._source.cancelled() or self._source.exception() is not None:
            _pass_on(self._source, future)
        else:
            ask()

    def _known(self, _source: asyncio.Future[Any]) -> None:
        position = 0
        while position < len(self._waiting):  # what is asked meanwhile joins the end
            context, ask, future = self._waiting[position]
            context.run(self._answer, ask, future)
            position += 1
        self._waiting.clear()


def _ask_value(value: Any, path: tuple[str, ...], args: tuple[Any, ...] | None, future: asyncio.Future[Any]) -> None:
    """Read `path` from `value`, or call it; from a stub on, that is a call of its own."""
    for position, name in enumerate(path):
        link = _link_of(value)
        if link is not None:
            rest = path[position:]
            value = link.read(rest) if args is None else link.call(rest, args)
            args = None
            break
        value = _member(value, name)
    if args is not None:
        link = _link_of(value)
        if link is None and not callable(value):
            raise _not_callable(path)
        value = value(*args) if link is None else link.call((), args)
    if isinstance(value, asyncio.Future):
        cast("asyncio.Future[Any]", value).add_done_callback(lambda source: _pass_on(source, future))
    elif inspect.isawaitable(value):
        background.start(_settle(value, future), "pipelined call")
    else:
        future.set_result(value)


def _not_callable(path: tuple[str, ...]) -> JsTypeError:
    return JsTypeError(f'"{".".join(path) or "(this)"}" is not a function.')


def _link_of(value: Any) -> Link | None:
    found = getattr(cast(type, value.__class__), "__rpc_link__", None)
    return None if found is None else found(value)


def _member(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        if name in value:
            return cast("dict[str, Any]", value)[name]
    elif not name.startswith("_") and hasattr(value, name):
        return getattr(value, name)
    raise ReceiverHasNoMethod(name)


async def _settle(awaitable: Any, future: asyncio.Future[Any]) -> None:
    try:
        result = await awaitable
    except Exception as error:  # the task root of a call: its caller gets the error
        fail(future, error)
    else:
        if not future.done():
            future.set_result(result)


# -- stubs


class _Export:
    """A function or an `RpcTarget` that was handed out, with whom it belongs to: an object, or a Worker's event."""

    __slots__ = ("_context", "_owner", "_target", "references")

    def __init__(self, target: Any) -> None:
        owner = current_owner.get()
        self._target = target
        self._owner = owner if isinstance(owner, Outlet) else None
        self._context = contextvars.copy_context() if self._owner is None else None
        self.references = 0
        if self._owner is not None:
            self._owner.exports += 1

    def call(self, path: tuple[str, ...], args: tuple[Any, ...]) -> asyncio.Future[Any]:
        method = self._reach(path)
        return self._start(lambda: method()(*args))

    def read(self, path: tuple[str, ...]) -> asyncio.Future[Any]:
        return self._start(self._reach(path))

    def _reach(self, path: tuple[str, ...]) -> Callable[[], Any]:
        target = self._target  # now: the stub may be gone when the call begins

        def find() -> Any:
            if not path and isinstance(target, RpcTarget):
                raise _not_callable(path)
            return reach(target, path)

        return find

    def _start(self, work: Callable[[], Any]) -> asyncio.Future[Any]:
        owner, context = self._owner, self._context
        if owner is not None:
            return send(lambda future: owner.call(work, future))
        assert context is not None

        def begin(future: asyncio.Future[Any]) -> None:
            context.copy().run(background.start, _run(work, future), "call of a function")

        return send(begin)

    def release(self) -> None:
        self.references -= 1
        if not self.references:
            self._target = None
            if self._owner is not None:
                self._owner.exports -= 1


async def _run(work: Callable[[], Any], future: asyncio.Future[Any]) -> None:
    try:
        result = work()
        answer = clone(await result if inspect.isawaitable(result) else result)
    except Exception as error:  # a task root: the caller gets the error
        fail(future, cross(error, remote=True))
    else:
        if not future.done():
            future.set_result(answer)


class TargetStub:
    """Handle on a function or an `RpcTarget` of the other side: call it, or its members, and await the result.

    It is released by `destroy()`, at the end of a `with` block, or when nothing refers to it any more; `dup()` gives a
    second handle, released on its own. While one is held, the object that it leads to stays in memory.
    """

    __slots__ = ("__export", "__is_open")
    __rpc_stub__ = True

    def __init__(self, export: _Export) -> None:
        export.references += 1
        self.__export = export
        self.__is_open = True

    def __call__(self, *args: object, **options: object) -> RpcPromise:
        """Call the function with copies; the result is a copy."""
        return Member(self.__rpc_link__(), ())(*args, **options)

    def __getattr__(self, name: str) -> Member:
        if name.startswith("__") or name == "then":
            raise AttributeError(name)
        return Member(self.__rpc_link__(), (name,))

    def __rpc_link__(self) -> Link:
        if not self.__is_open:
            raise JsException(_DISPOSED)
        return self.__export

    def dup(self) -> TargetStub:
        """Return another handle on the same."""
        self.__rpc_link__()
        return TargetStub(self.__export)

    def destroy(self) -> None:
        """Release the handle: it cannot be used any more."""
        if self.__is_open:
            self.__is_open = False
            self.__export.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.destroy()

    def __del__(self) -> None:
        self.destroy()

    def __repr__(self) -> str:
        return "<RPC stub>"


# -- copies


def clone(value: Any) -> Any:
    """Return the copy of `value` that the other side gets.

    Raises:
        DataCloneError: It holds an instance of a class that cannot be copied.
        JsTypeError: It holds a tuple, a bytearray or an awaitable, which the SDK refuses.
    """
    if value.__class__ in _ATOMS:
        return value
    try:
        return _Copier().copy(value)
    except RecursionError:
        return deeply(lambda: _Copier().copy(value))


class _Copier:
    """One structured clone: shared and cyclic references stay so."""

    __slots__ = ("_done",)

    def __init__(self) -> None:
        self._done: dict[int, Any] = {}

    def copy(self, value: Any) -> Any:
        kind = value.__class__
        if kind in _ATOMS:
            return value
        known = self._done.get(id(value))
        if known is not None:
            return known
        if kind is float:
            return whole(value)
        if isinstance(value, Mapping):
            return self._copy_mapping(cast(object, value), cast("Mapping[Any, Any]", value))
        if isinstance(value, list):
            items: list[Any] = value.__class__() if isinstance(value, (MemberList, PairList)) else []
            self._done[id(cast(object, value))] = items
            items += [self.copy(item) for item in cast("list[Any]", value)]
            return items
        if isinstance(value, (set, frozenset)):
            return {self.copy(item) for item in cast("Iterable[Any]", value)}
        return _copy_other(value)

    def _copy_mapping(self, original: object, value: Mapping[Any, Any]) -> JsDict:
        found = JsDict()
        self._done[id(original)] = found
        for key, item in value.items():
            found[key if isinstance(key, str) else js_string(key)] = self.copy(item)
        return found


def _copy_other(value: Any) -> Any:
    if isinstance(value, (bytes, memoryview)):
        copied: Any = memoryview(bytes(cast(bytes, value)))
        return copied if isinstance(value, bytes) or value.format == "B" else copied.cast(value.format)
    if isinstance(value, (tuple, bytearray)):
        raise JsTypeError(f"{type(cast(object, value))} cannot be sent over RPC.")
    if isinstance(value, (str, int)):
        return value
    if isinstance(value, JsNull):
        return None
    if isinstance(value, dt.datetime):
        aware = value.astimezone(dt.timezone.utc) if value.tzinfo is not None else value  # noqa: UP017
        return aware.replace(tzinfo=None, microsecond=value.microsecond // 1000 * 1000)
    if isinstance(value, BaseException):
        return _copy_error(value)
    if isinstance(value, js.Response):
        return Response(value)
    if isinstance(value, js.Request):
        return Request(value)
    return _copy_live(value)


def _copy_live(value: Any) -> Any:
    if isinstance(value, TargetStub):
        return value.dup()
    if isinstance(value, _BY_REFERENCE) or getattr(cast(type, value.__class__), "__rpc_stub__", False):
        return value
    if isinstance(value, (RpcTarget, *_FUNCTIONS)):
        return TargetStub(_Export(value))
    name = type(value).__name__
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise JsTypeError(f"Awaitable {name} cannot be sent over RPC.")
    if isinstance(value, JsProxy) and not isinstance(value, WebSocket) and name not in {"URL", "DurableObjectId"}:
        return value
    raise DataCloneError(f'Could not serialize object of type "{name}". This type does not support serialization.')


def _copy_error(error: BaseException) -> JsException:
    name, message = error_parts(error)
    _, _, cause, own = error_facts(error)
    kind = {"TypeError": JsTypeError}.get(name, JsException)
    copied = kind(message, name=name, cause=None if cause is None else clone(cause))
    copied.properties = {key: clone(item) for key, item in own.items()}
    copied.__dict__.update(copied.properties)
    return copied
