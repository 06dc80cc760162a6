"""import_from_javascript and patch_env."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

from workers.compat import ambient

__all__ = ["import_from_javascript", "patch_env"]


def patch_env(d: Mapping[str, Any] | None = None, **kwds: Any) -> AbstractContextManager[None]:
    """Override bindings of `workers.env` within a `with` block, for tests and for per-request settings."""
    return ambient.patched_env({**(d or {}), **kwds})


def import_from_javascript(module_name: str) -> Any:
    """Import a module of the Workers runtime, `cloudflare:workers` or `cloudflare:sockets`.

    Raises:
        ImportError: `Failed to import '...': ...`
    """
    if module_name == "cloudflare:workers":
        return SimpleNamespace(env=ambient.EnvProxy(), waitUntil=ambient.wait_until, withEnv=_with_env)
    if module_name == "cloudflare:sockets":
        raise ImportError(f"Failed to import '{module_name}': outbound TCP sockets are not implemented")
    raise ImportError(f"Failed to import '{module_name}': No such module \"{module_name}\".")


def _with_env(bindings: Mapping[str, Any], function: Any) -> Any:
    with ambient.patched_env(bindings):
        return function()
