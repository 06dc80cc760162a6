"""What crosses between objects: copies of values, errors, and which methods may be called.

Values are copied by structured clone; live objects (responses, streams, stubs, functions) pass by reference.
"""

from __future__ import annotations

import datetime as dt
import inspect
import types
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, cast

from durable_objects.errors import ReceiverHasNoMethod
from workers.blob import Blob
from workers.compat import web as js
from workers.compat.js_string import js_string, whole
from workers.compat.proxies import (
    JsDict,
    JsException,
    JsNull,
    JsProxy,
    JsTypeError,
    PyProxy,
    error_parts,
)
from workers.compat.structured_clone import DataCloneError
from workers.compat.websocket import WebSocket
from workers.entrypoints import DurableObject
from workers.formdata import FormData
from workers.request import Request
from workers.response import FetchResponse, Response

__all__ = ["FunctionStub", "call_fetch", "clone", "cross", "positional_limit", "reach", "receiver"]

_NO_FETCH = "Handler does not export a fetch() function."
_RESERVED = frozenset({"alarm", "webSocketMessage", "webSocketClose", "webSocketError", "dup"})
_NO_RPC = (
    "The receiving Durable Object does not support RPC, because its class was not declared with "
    "`extends DurableObject`. In order to enable RPC, make sure your class extends the special class `DurableObject`, "
    'which can be imported from the module "cloudflare:workers".'
)
_ATOMS = frozenset({str, int, bool, type(None)})
_BY_REFERENCE = (Request, FetchResponse, Blob, FormData)


class FunctionStub:
    """A function that crossed: calling it gives an awaitable, its arguments and result are copied."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    async def __call__(self, *args: object) -> Any:
        """Call the function with copies and return a copy of its result."""
        try:
            result = self._function(*[clone(argument) for argument in args])
            return clone(await result if inspect.isawaitable(result) else result)
        except Exception as error:
            raise cross(error) from None


def clone(value: Any) -> Any:
    """Return the copy of `value` that the other side gets.

    Raises:
        DataCloneError: It holds an instance of a class that cannot be copied.
        JsTypeError: It holds a tuple, a bytearray or an awaitable, which the SDK refuses.
    """
    if value.__class__ in _ATOMS:
        return value
    return _Copier().copy(value)


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
            items: list[Any] = []
            self._done[id(cast(object, value))] = items
            items.extend(self.copy(item) for item in cast("list[Any]", value))
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
    if isinstance(value, _BY_REFERENCE) or getattr(cast(type, value.__class__), "__rpc_stub__", False):
        return value
    if isinstance(value, (PyProxy, FunctionStub, types.FunctionType, types.MethodType, types.BuiltinFunctionType)):
        return value if isinstance(value, FunctionStub) else FunctionStub(value)
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
    kind = {"TypeError": JsTypeError}.get(name, JsException)
    return kind(message, name=name, cause=getattr(error, "cause", None))


# -- errors


@lru_cache(maxsize=256)
def _crossing_class(kind: type[BaseException]) -> type[BaseException] | None:
    """Return a class that both `except <original class>` and `except JsException` catch."""
    if issubclass(kind, JsException):
        return kind
    members = {"__str__": kind.__str__, "__repr__": kind.__repr__, "__module__": kind.__module__}
    try:
        return cast(
            "type[BaseException]",
            types.new_class(kind.__name__, (kind, JsException), {}, lambda body: body.update(members)),
        )
    except TypeError:  # the two layouts do not mix
        return None


# DIFFERS: in production a Python exception arrives as a JsException named PythonError with the traceback as message.
def cross(error: BaseException, **properties: object) -> BaseException:
    """Return the error as the caller sees it: same class, name, message, cause and own properties, plus `properties`.

    A Python exception is also a `JsException` on the caller's side, as every remote error is in a Python Worker.
    """
    kind = _crossing_class(type(error))
    name, message = error_parts(error)
    if kind is None:
        return JsException(message, name=name, **properties)
    crossed = kind.__new__(kind, *error.args)  # not __init__: the user's own may want other arguments
    crossed.args = error.args
    crossed.__dict__.update(error.__dict__)
    own = dict(cast("dict[str, object]", getattr(error, "properties", {})))
    own.update(properties)
    cause = getattr(error, "cause", None) or error.__cause__
    for attribute, value in {"name": name, "message": message, "cause": cause, "properties": own, **own}.items():
        setattr(crossed, attribute, value)  # not through __dict__: NameError and others have a `name` of their own
    crossed.__cause__ = error.__cause__
    crossed.__suppress_context__ = True
    return crossed.with_traceback(error.__traceback__)


# -- methods


def receiver(cls: type, name: str) -> property | None:
    """Return None when RPC may call `name` on instances of `cls`, or the property when it may read it.

    Raises:
        JsTypeError: The class takes no RPC, the name is reserved, or there is no such method on the class.
    """
    found = _receiver(cls, name)
    if isinstance(found, Exception):
        raise cross(found)
    return found


@lru_cache(maxsize=4096)
def _receiver(cls: type, name: str) -> property | Exception | None:
    if not issubclass(cls, DurableObject):
        return JsTypeError(_NO_RPC)
    if name in _RESERVED:
        return JsTypeError(f"'{name}' is a reserved method and cannot be called over RPC.")
    if name == "constructor":
        return JsTypeError("Illegal constructor")
    if not (name.startswith("__") and name.endswith("__")):
        for kind in cls.__mro__:
            if kind in (DurableObject, object):
                break
            member = kind.__dict__.get(name)
            if isinstance(member, types.FunctionType):
                return None
            if isinstance(member, property):
                return member
            if member is not None:
                break
    return ReceiverHasNoMethod(name)


@lru_cache(maxsize=4096)
def positional_limit(cls: type, name: str) -> int | None:
    """Return how many arguments the handler `name` takes besides self, -1 for any number, None if there is none."""
    function = getattr(cls, name, None)
    if not callable(function):
        return None
    parameters = list(inspect.signature(function).parameters.values())
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return -1
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.kind in kinds for parameter in parameters) - 1


def reach(target: Any, path: tuple[str, ...]) -> Any:
    """Return the method, or the value of the property, that RPC reaches by `path`."""
    value = target
    for position, name in enumerate(path):
        if position == 0:
            getter = receiver(cast(type, target.__class__), name)
            value = getattr(target, name) if getter is None else getter.__get__(target)
        elif isinstance(value, dict):
            value = cast("dict[str, Any]", value)[name]
        else:
            value = getattr(value, name)
    return value


def call_fetch(target: Any, request: Request) -> Any:
    """Call the `fetch` handler of an object; return an awaitable of its `workers.Response`."""
    handler = getattr(target, "fetch", None)
    if not callable(handler):
        raise JsException(_NO_FETCH)
    limit = positional_limit(cast(type, target.__class__), "fetch")
    return _checked_response(handler() if limit == 0 else handler(request), request)


async def _checked_response(result: Any, request: Request) -> Response:
    answer = await result if inspect.isawaitable(result) else result
    if isinstance(answer, js.Response):
        answer = Response(answer)
    if isinstance(answer, Response):
        return answer
    if isinstance(answer, FetchResponse):
        return Response(answer.js_object)
    raise JsException("Incorrect type for Promise: the Promise did not resolve to 'Response'.", name="TypeError")
