"""Conversion of values that cross between Workers and objects: `python_to_rpc` on the way out, `python_from_rpc` in.

The form in between is the structured clone's: attribute dicts for objects, lists, sets, bytes, dates, JavaScript
errors, and the JavaScript-level web objects. Copying is the business of whoever carries the value.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from workers.blob import Blob, File
from workers.compat import blob as js_blob
from workers.compat import formdata as js_formdata
from workers.compat import web as js
from workers.compat.proxies import JsDict, JsException, JsNull, JsProxy, PyProxy, create_proxy
from workers.formdata import FormData
from workers.request import Request
from workers.response import FetchResponse, Response

__all__ = ["RpcStub", "python_from_rpc", "python_to_rpc"]

_SAFE_INTEGER = 2**53 - 1
_PLAIN = (str, bool, int, float, bytes)


class RpcStub:
    """A function of the other side: call it and await the result; arguments and results are converted."""

    __slots__ = ("_target",)

    def __init__(self, target: Callable[..., Any]) -> None:
        self._target = target

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function at the other side."""
        if kwargs:
            args = (*args, kwargs)
        result = self._target(*[python_from_rpc(python_to_rpc(value)) for value in args])
        if inspect.isawaitable(result):
            result = await result
        return python_from_rpc(python_to_rpc(result))

    def destroy(self) -> None:
        """Release the function."""
        if isinstance(self._target, PyProxy):
            self._target.destroy()


def python_to_rpc(value: Any, /) -> Any:
    """Convert a Python value for sending to a Worker or object.

    Dicts become objects, datetimes dates, exceptions errors, functions proxies; `workers` objects go down to their
    JavaScript level.

    Raises:
        TypeError: `<class 'tuple'> cannot be sent over RPC.`, also for bytearrays and awaitables.
        JsException: A `DataCloneError` for instances of other classes.
    """
    return _outward(value, {})


def _outward(value: Any, seen: dict[int, Any]) -> Any:
    if value is None or isinstance(value, _PLAIN):
        return value
    known = seen.get(id(value))
    if known is not None:
        return known
    if isinstance(value, Mapping) and not isinstance(value, FormData):
        fields = JsDict()
        seen[id(cast(object, value))] = fields
        for key, item in cast(Mapping[Any, Any], value).items():
            fields[str(key)] = _outward(item, seen)
        return fields
    if isinstance(value, list):
        items: list[Any] = []
        seen[id(cast(object, value))] = items
        items.extend(_outward(item, seen) for item in cast(list[Any], value))
        return items
    if isinstance(value, (set, frozenset)):
        return {_outward(item, seen) for item in cast(set[Any], value)}
    return _outward_object(value)


def _outward_object(value: Any) -> Any:
    if isinstance(value, (JsProxy, JsNull, JsException)):
        return value
    if isinstance(value, (Request, FetchResponse, Blob, FormData)):
        return value.js_object
    if isinstance(value, memoryview):
        return bytes(cast("memoryview[int]", value))
    if isinstance(value, datetime):
        # A Date counts whole milliseconds and has no zone; naive values are local time, as `timestamp()` reads them.
        return datetime.fromtimestamp(int(value.timestamp() * 1000) / 1000, UTC)
    if isinstance(value, BaseException):
        return JsException(str(value))
    if isinstance(value, RpcStub):
        return value
    if isinstance(value, (tuple, bytearray)):
        raise TypeError(f"{type(cast(object, value))} cannot be sent over RPC.")
    if inspect.isawaitable(value):
        raise TypeError(f"Awaitable {type(value)} cannot be sent over RPC.")
    if callable(value) and not isinstance(value, type):
        return create_proxy(value)
    raise JsException(
        f'Could not serialize object of type "{type(value).__name__}". This type does not support serialization.',
        name="DataCloneError",
    )


def python_from_rpc(value: Any, /) -> Any:
    """Convert a value that came from a Worker or object into Python.

    null is None, objects and Maps are attribute dicts, whole numbers int, bytes memoryviews, dates naive UTC datetimes,
    errors `Exception("Name: message")`, requests and responses the `workers` classes, functions awaitable callables.
    Streams, headers and other JavaScript objects pass unchanged.
    """
    return _inward(value, {})


def _inward(value: Any, seen: dict[int, Any]) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= _SAFE_INTEGER else value
    if isinstance(value, JsNull):
        return None
    known = seen.get(id(value))
    if known is not None:
        return known
    if isinstance(value, Mapping):
        fields = JsDict()
        seen[id(cast(object, value))] = fields
        for key, item in cast(Mapping[Any, Any], value).items():
            fields[str(key)] = _inward(item, seen)
        return fields
    if isinstance(value, (list, tuple)):
        items: list[Any] = []
        seen[id(cast(object, value))] = items
        items.extend(_inward(item, seen) for item in cast(list[Any], value))
        return items
    if isinstance(value, (set, frozenset)):
        return {_inward(item, seen) for item in cast(set[Any], value)}
    return _inward_object(value)


def _inward_object(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray)):
        return memoryview(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo is not None else value
    if isinstance(value, JsException):
        return Exception(str(value))
    if isinstance(value, js.Response):
        return Response(value)
    if isinstance(value, js.Request):
        return Request(value)
    if isinstance(value, js_blob.File):
        return File(value)
    if isinstance(value, js_blob.Blob):
        return Blob(value)
    if isinstance(value, js_formdata.FormData):
        return FormData(value)
    if isinstance(value, PyProxy) or inspect.isroutine(value):
        return RpcStub(value)
    return value
