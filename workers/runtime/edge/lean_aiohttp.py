"""aiohttp without its client, until somebody needs that.

The edge uses three modules of aiohttp. Importing any of them runs the package's `__init__`, which imports the client
and reads this machine's certificates: a tenth of a server's start, for what most Workers never use. So the package is
put in place empty; its `__init__` runs when something else of it is asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, cast

__all__ = ["prepare"]

_VERSION = re.compile(r'^__version__ = "([^"]+)"', re.MULTILINE)


class _Lean(ModuleType):
    """The package before its `__init__` has run."""

    def __getattr__(self, name: str) -> object:
        if not name.startswith("_") and importlib.util.find_spec(f"aiohttp.{name}") is not None:
            return importlib.import_module(f"aiohttp.{name}")
        self._fill()
        return getattr(self, name)

    def __dir__(self) -> list[str]:
        self._fill()
        return dir(self)

    def _fill(self) -> None:
        spec = self.__spec__
        cast(Any, self).__class__ = ModuleType
        assert spec is not None
        assert spec.loader is not None
        spec.loader.exec_module(self)


def prepare() -> None:
    """Put the empty package in place, unless aiohttp is imported already or is not built as expected."""
    if "aiohttp" in sys.modules:
        return
    spec = importlib.util.find_spec("aiohttp")
    if spec is None or spec.origin is None or spec.submodule_search_locations is None:
        return
    version = _VERSION.search(Path(spec.origin).read_text(encoding="utf-8"))
    if version is not None:
        sys.modules["aiohttp"] = _package(spec, version[1])


def _package(spec: ModuleSpec, version: str) -> ModuleType:
    package = _Lean("aiohttp")
    package.__spec__, package.__loader__, package.__file__ = spec, spec.loader, spec.origin
    package.__package__, package.__path__ = "aiohttp", list(spec.submodule_search_locations or ())
    package.__dict__["__version__"] = version  # which modules of the package ask for while they are imported
    return package
