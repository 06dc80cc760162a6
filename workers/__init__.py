"""The official Cloudflare Workers API for Python, on plain CPython.

Names are resolved when first used, so that `import workers` loads nothing else. `env` and `wait_until` belong to the
Worker that is running; they may be imported once, at module level.
https://developers.cloudflare.com/workers/languages/python/
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workers.blob import Blob, BlobEnding, BlobValue, File
    from workers.compat.ambient import EnvProxy
    from workers.compat.ambient import wait_until as wait_until
    from workers.entrypoints import DurableObject, WorkerEntrypoint, WorkflowEntrypoint, handler
    from workers.entrypoints import RpcTarget as RpcTarget
    from workers.fetch import fetch
    from workers.formdata import FormData, FormDataValue
    from workers.request import Request
    from workers.response import FetchResponse, Response
    from workers.rpc import python_from_rpc, python_to_rpc
    from workers.types import Body, Context, FetchKwargs, Headers, JSBody, RequestInitCfProperties
    from workers.utils import import_from_javascript, patch_env

    env: EnvProxy
    waitUntil = wait_until

__all__ = [
    "Blob",
    "BlobEnding",
    "BlobValue",
    "Body",
    "Context",
    "DurableObject",
    "FetchKwargs",
    "FetchResponse",
    "File",
    "FormData",
    "FormDataValue",
    "Headers",
    "JSBody",
    "Request",
    "RequestInitCfProperties",
    "Response",
    "WorkerEntrypoint",
    "WorkflowEntrypoint",
    "env",
    "fetch",
    "handler",
    "import_from_javascript",
    "patch_env",
    "python_from_rpc",
    "python_to_rpc",
    "waitUntil",
    "wait_until",
]

_MODULES = {
    "Blob": "blob",
    "BlobEnding": "blob",
    "BlobValue": "blob",
    "Body": "types",
    "Context": "types",
    "DurableObject": "entrypoints",
    "FetchKwargs": "types",
    "FetchResponse": "response",
    "File": "blob",
    "FormData": "formdata",
    "FormDataValue": "formdata",
    "Headers": "types",
    "JSBody": "types",
    "Request": "request",
    "RequestInitCfProperties": "types",
    "Response": "response",
    "RpcTarget": "entrypoints",
    "WorkerEntrypoint": "entrypoints",
    "WorkflowEntrypoint": "entrypoints",
    "fetch": "fetch",
    "handler": "entrypoints",
    "import_from_javascript": "utils",
    "patch_env": "utils",
    "python_from_rpc": "rpc",
    "python_to_rpc": "rpc",
}
_SUBMODULES = {"asgi", "rpc", "utils", "workflows", "wsgi"}


def __getattr__(name: str) -> Any:
    value: Any
    if name in _MODULES:
        value = getattr(importlib.import_module(f"workers.{_MODULES[name]}"), name)
    elif name in ("wait_until", "waitUntil"):
        value = importlib.import_module("workers.compat.ambient").wait_until
    elif name == "env":
        value = importlib.import_module("workers.compat.ambient").EnvProxy()
    elif name in _SUBMODULES:
        return importlib.import_module(f"workers.{name}")
    else:
        raise AttributeError(f"module 'workers' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """The package, in which `fetch` is the function although a submodule has that name too."""

    def __setattr__(self, name: str, value: Any) -> None:
        # The import system binds a loaded submodule here; that would replace the function.
        if name != "fetch" or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
