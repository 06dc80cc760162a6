"""Makes `js`, `pyodide` and the SDK's top-level aliases importable while a Worker is loaded, and only then.

A finder answers for the names, so nothing is built before a Worker imports it.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

from workers.compat import ambient

__all__ = ["NAMES", "install"]

# The SDK's own aliases are named, not imported: they stand above this package.
_ALIASES = {"js": "workers.compat.js", "asgi": "workers.asgi", "wsgi": "workers.wsgi"}
_PYODIDE = {"pyodide", "pyodide.ffi", "pyodide.http", "pyodide.code", "pyodide.webloop"}
_OWN = {"_cloudflare_compat_flags", "_pyodide_entrypoint_helper"}

NAMES = frozenset({*_ALIASES, *_PYODIDE, *_OWN})
"""The modules that exist for a loaded Worker."""

_finder: _Finder | None = None
_installed = 0


class _Flags(ModuleType):
    """`_cloudflare_compat_flags`: every flag is an attribute, true when it is on."""

    def __init__(self, flags: Iterable[str]) -> None:
        super().__init__("_cloudflare_compat_flags")
        self.__dict__.update({flag.replace("-", "_"): True for flag in flags})

    def __getattr__(self, name: str) -> bool:
        if name.startswith("__"):
            raise AttributeError(name)
        return False


def _entrypoint_helper() -> ModuleType:
    module = ModuleType("_pyodide_entrypoint_helper")

    def patch_wait_until(context: Any) -> None:
        """Accept the call: `waitUntil` takes coroutines here without a patch."""

    vars(module).update(patchWaitUntil=patch_wait_until, patch_env_helper=ambient.patched_env)
    return module


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds and builds the modules."""

    def __init__(self, flags: Iterable[str]) -> None:
        self.flags = set(flags)
        self._pyodide: dict[str, ModuleType] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Answer for our names."""
        if fullname not in NAMES:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=fullname == "pyodide")

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Return the module of a name."""
        if spec.name == "_cloudflare_compat_flags":
            return _Flags(self.flags)
        if spec.name == "_pyodide_entrypoint_helper":
            return _entrypoint_helper()
        if spec.name in _PYODIDE:
            if not self._pyodide:
                self._pyodide = importlib.import_module("workers.compat.pyodide").modules()
            return self._pyodide[spec.name]
        # A module of its own, so that the import system does not rename the real one.
        alias = ModuleType(spec.name)
        members = vars(importlib.import_module(_ALIASES[spec.name]))
        alias.__dict__.update({name: value for name, value in members.items() if not name.startswith("__")})
        return alias

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run: the module is complete."""


def install(flags: Iterable[str] = ()) -> Callable[[], None]:
    """Make the modules importable; return the function that undoes it.

    Several Workers may be loaded at once: the modules go when the last one has undone it. `flags` are the compatibility
    flags that are on, seen in `_cloudflare_compat_flags`.
    """
    global _finder, _installed
    if _finder is None:
        _finder = _Finder(flags)
        sys.meta_path.insert(0, _finder)
    _finder.flags.update(flags)
    _installed += 1
    is_done = False

    def uninstall() -> None:
        nonlocal is_done
        global _finder, _installed
        if is_done:
            return
        is_done = True
        _installed -= 1
        if _installed == 0 and _finder is not None:
            sys.meta_path.remove(_finder)
            _finder = None
            for name in NAMES:
                sys.modules.pop(name, None)

    return uninstall
