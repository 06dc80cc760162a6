"""Which methods and properties of an object RPC reaches, and how handlers are called."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, cast

from durable_objects.errors import ReceiverHasNoMethod
from workers.compat import web as js
from workers.compat.proxies import JsException, JsTypeError
from workers.entrypoints import DurableObject, RpcTarget
from workers.request import Request
from workers.response import FetchResponse, Response

__all__ = ["call_fetch", "positional_limit", "reach", "receiver"]

_NO_FETCH = "Handler does not export a fetch() function."
_RESERVED = frozenset({"alarm", "webSocketMessage", "webSocketClose", "webSocketError", "dup"})
_RECEIVERS = (DurableObject, RpcTarget)
_NO_RPC = (
    "The receiving Durable Object does not support RPC, because its class was not declared with "
    "`extends DurableObject`. In order to enable RPC, make sure your class extends the special class `DurableObject`, "
    'which can be imported from the module "cloudflare:workers".'
)


def receiver(cls: type, name: str) -> property | None:
    """Return None when RPC may call `name` on instances of `cls`, or the property when it may read it.

    Raises:
        JsTypeError: The class takes no RPC, the name is reserved, or there is no such method on the class.
    """
    found = _receiver(cls, name)
    if found is None or isinstance(found, property):
        return found
    raise found()


@lru_cache(maxsize=4096)
def _receiver(cls: type, name: str) -> property | Callable[[], Exception] | None:
    if not issubclass(cls, _RECEIVERS):
        return partial(JsTypeError, _NO_RPC)
    if name in _RESERVED:
        return partial(JsTypeError, f"'{name}' is a reserved method and cannot be called over RPC.")
    if name == "constructor":
        return partial(JsTypeError, "Illegal constructor")
    if not (name.startswith("__") and name.endswith("__")):
        for kind in cls.__mro__:
            if kind is object or kind in _RECEIVERS or name.startswith(f"_{kind.__name__.lstrip('_')}__"):
                break  # the last: a private name, which Python writes so
            member = kind.__dict__.get(name)
            if isinstance(member, types.FunctionType):
                return None
            if isinstance(member, property):
                return member
            if member is not None:
                break
    return partial(ReceiverHasNoMethod, name)


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
    """Return the method, or the value of the property, that RPC reaches by `path`; a function is its own end."""
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
