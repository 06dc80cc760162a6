"""`pyodide`, `pyodide.ffi`, `pyodide.http`, `pyodide.code` and `pyodide.webloop`, as user code imports them.

`run_sync` works in threads (`sync_bridge.py`) and, from the first import of it on, below async handlers (`stacks.py`).
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, NoReturn

from workers.compat import outbound, proxies, stacks
from workers.compat.buffers import JsBuffer, Uint8Array
from workers.compat.proxies import JsException, PyProxy
from workers.compat.sync_bridge import can_run_sync, run_sync
from workers.compat.web import Request, Response

__all__ = ["FetchResponse", "create_once_callable", "modules", "pyfetch", "relaxed_call"]

VERSION = "0.28.3"


def create_once_callable(target: Callable[..., Any], /, **_options: Any) -> PyProxy:
    """Wrap a function that JavaScript calls at most once."""
    return PyProxy(target, once=True)


def destroy_proxies(pyproxies: Any, /) -> None:
    """Destroy the proxies that `to_js(..., pyproxies=...)` collected."""
    for proxy in pyproxies:
        proxy.destroy()


def relaxed_call(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function, dropping arguments it has no parameter for."""
    parameters = inspect.signature(func).parameters.values()
    kinds = {parameter.kind for parameter in parameters}
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        args = args[: sum(parameter.kind in positional for parameter in parameters)]
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        names = {parameter.name for parameter in parameters}
        kwargs = {name: value for name, value in kwargs.items() if name in names}
    return func(*args, **kwargs)


def relaxed_wrap(func: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function so that it ignores surplus arguments."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return relaxed_call(func, *args, **kwargs)

    return wrapper


def _no_javascript(code: str) -> NoReturn:
    raise JsException(f"JavaScript code cannot be run here: {code[:60]!r}")


class FetchResponse:
    """What `pyfetch` returns."""

    def __init__(self, url: str, js_response: Response, abort_controller: Any = None, abort_signal: Any = None) -> None:
        self._url = url
        self.js_response = js_response

    @property
    def url(self) -> str:
        """The URL it came from."""
        return self.js_response.url or self._url

    @property
    def status(self) -> int:
        """The status code."""
        return self.js_response.status

    @property
    def status_text(self) -> str:
        """The text after the status code."""
        return self.js_response.statusText

    @property
    def ok(self) -> bool:
        """Whether the status is in the 200s."""
        return self.js_response.ok

    @property
    def redirected(self) -> bool:
        """Whether a redirect was followed."""
        return self.js_response.redirected

    @property
    def headers(self) -> dict[str, str]:
        """The headers, repeated ones joined."""
        return self.js_response.headers.to_py()

    @property
    def body_used(self) -> bool:
        """Whether the body was read."""
        return self.js_response.bodyUsed

    def _unread(self) -> Response:
        if self.js_response.bodyUsed:
            raise OSError("Response body is already used")
        return self.js_response

    def clone(self) -> FetchResponse:
        """Return a copy with a body of its own."""
        return FetchResponse(self._url, self._unread().clone())

    def raise_for_status(self) -> None:
        """Raise OSError when the status is 400 or more."""
        if 400 <= self.status < 600:
            kind = "Client" if self.status < 500 else "Server"
            raise OSError(f"{self.status} {kind} Error: {self.status_text} for url: {self.url}")

    async def buffer(self) -> JsBuffer:
        """Read the body as an ArrayBuffer."""
        return await self._unread().arrayBuffer()

    async def bytes(self) -> bytes:
        """Read the body as bytes."""
        return await self._unread().read()

    async def memoryview(self) -> memoryview:
        """Read the body as a memoryview."""
        return memoryview(await self._unread().read())

    async def text(self) -> str:
        """Read the body as text."""
        return await self._unread().text()

    async def string(self) -> str:
        """Read the body as text."""
        return await self.text()

    async def json(self, **kwargs: Any) -> Any:
        """Read the body as JSON; keyword arguments go to `json.loads`."""
        return json.loads(await self.text(), **kwargs)


async def pyfetch(
    request: str | Request, /, *, signal: Any = None, fetcher: Any = None, **kwargs: Any
) -> FetchResponse:
    """Send a request; keyword arguments are the options of JavaScript's fetch.

    Raises:
        OSError: The network failed.
    """
    try:
        response = await outbound.fetch(request, signal=signal, fetcher=fetcher, **kwargs)
    except JsException as error:
        raise OSError(error.message) from error
    return FetchResponse(request if isinstance(request, str) else request.url, response)


class WebLoop:
    """Stands for Pyodide's event loop class; attributes may be patched onto it."""


def _module(name: str, **members: Any) -> ModuleType:
    module = ModuleType(name, f"`{name}` on plain CPython.")
    vars(module).update(members)
    return module


def _run_sync_on_demand(name: str) -> Any:
    """Give `run_sync` to a Worker that imports it, and have its handlers driven so that it works."""
    if name != "run_sync":
        raise AttributeError(f"module 'pyodide.ffi' has no attribute {name!r}")
    stacks.arm()
    return run_sync


def _typed(data: bytes | bytearray | memoryview) -> Any:
    """Return bytes as a Uint8Array, other buffers as the array of their format."""
    if isinstance(data, memoryview) and data.format not in ("B", "c"):
        from workers.compat import typed_arrays

        kinds = [kind for kind in vars(typed_arrays).values() if getattr(kind, "format", None) == data.format]
        if kinds:
            return kinds[0](data)
    return Uint8Array(data)


def modules() -> dict[str, ModuleType]:
    """Return fresh modules by their full names."""
    ffi_names = ("JsDict", "JsException", "JsNull", "JsProxy", "create_proxy", "jsnull")
    ffi = _module("pyodide.ffi", **{name: getattr(proxies, name) for name in ffi_names})
    vars(ffi).update(
        JsArray=proxies.JsArray,
        JsBuffer=JsBuffer,
        JsMap=proxies.JsMap,
        ConversionError=JsException,
        to_js=partial(proxies.to_js, bytes_converter=_typed),
        can_run_sync=can_run_sync,
        create_once_callable=create_once_callable,
        destroy_proxies=destroy_proxies,
        __getattr__=_run_sync_on_demand,
    )
    http = _module("pyodide.http", pyfetch=pyfetch, FetchResponse=FetchResponse, _jsfetch=outbound.fetch)
    code = _module("pyodide.code", relaxed_call=relaxed_call, relaxed_wrap=relaxed_wrap, run_js=_no_javascript)
    webloop = _module("pyodide.webloop", WebLoop=WebLoop)
    package = _module("pyodide", __version__=VERSION, __path__=[], ffi=ffi, http=http, code=code, webloop=webloop)
    return {module.__name__: module for module in (package, ffi, http, code, webloop)}
