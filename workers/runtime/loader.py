"""Imports a user's Worker from unmodified source, in a module space of its own.

A Worker's modules are found beside its main module and in `python_modules/`. They live in `sys.modules` while it
is loaded and leave it again when it is unloaded, so that two Workers may both have an `entry.py`: import
statements inside a Worker's modules always resolve to that Worker's own files.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.machinery
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from workers.compat import http_clients
from workers.compat.install import NAMES
from workers.runtime.tracebacks import Report, make_report
from workers.runtime.vendored import FOLDER_NAMES, foreign_packages, vendored_folders

__all__ = ["LoadError", "ModuleSpace", "exported_classes"]

# The two that Cloudflare does not have: a Worker may call a module of its own so. It is loaded under another name, as
# the runtime goes on to need what is called that.
_SHARED_NAMES = frozenset({"durable_objects", "d1"})
_OWN_NAME = "_worker_own_"
# Names the runtime itself answers to: a vendored copy of them in python_modules/ must not take their place.
_RUNTIME_NAMES = frozenset({"workers", "durable_objects", "d1", *(name.partition(".")[0] for name in NAMES)})

# Frameworks that keep what they serve in their modules: each Worker, and each start of one, has them for itself.
_ONE_A_PROCESS = frozenset({"django"})

_NOT_SOURCE = frozenset({"__pycache__", "node_modules", "python_modules", "venv"})
_MOST_LOOKED_AT = 500
_MOST_COMPILED = 2000

_compiled: dict[str, tuple[tuple[int, int], CodeType | None]] = {}


class LoadError(Exception):
    """The Worker's source cannot be loaded. The text is one line; `report` and `detail` (the traceback) say more."""

    def __init__(self, line: str, detail: str = "", report: Report | None = None) -> None:
        super().__init__(line)
        self.detail = detail
        self.report = report


class _Loader(importlib.machinery.SourceFileLoader):
    """Runs a module whose import statements go through its own space."""

    def __init__(self, name: str, path: str, space: ModuleSpace) -> None:
        super().__init__(name, path)
        self._space = space

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        module.__dict__["__builtins__"] = self._space.builtins
        super().exec_module(module)

    def get_code(self, fullname: str) -> CodeType | None:
        """Return the compiled source; the same file is compiled once a process, as each test loads the Worker anew."""
        stat = os.stat(self.path)
        age = stat.st_mtime_ns, stat.st_size
        known = _compiled.get(self.path)
        if known is None or known[0] != age:
            if len(_compiled) >= _MOST_COMPILED:
                _compiled.clear()
            known = _compiled[self.path] = age, super().get_code(fullname)
        return known[1]

    def path_stats(self, path: str) -> dict[str, float]:
        """Return the file's size and age, finer than the whole seconds by which bytecode is usually judged.

        Two edits within a second are nothing unusual when a Worker starts again after each.
        """
        stat = os.stat(path)
        return {"mtime": stat.st_mtime_ns // 1_000, "size": stat.st_size}


class _Finder:
    """Finds modules in a space's folders, before anything else on `sys.path` can."""

    def __init__(self, space: ModuleSpace) -> None:
        self._space = space

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return where a module of the Worker is, None for modules of anybody else."""
        if fullname.partition(".")[0] in _RUNTIME_NAMES:
            return None
        if path is None and fullname.startswith(_OWN_NAME):
            return self._space.own_spec(fullname.removeprefix(_OWN_NAME), fullname)
        self._space.adopt_folders()
        roots = self._space.roots_for(fullname) if path is None else [one for one in path if self._space.holds(one)]
        if not roots:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, list(roots), target)
        if spec is None or (spec.origin is not None and not self._space.holds(spec.origin)):
            return None
        if isinstance(spec.loader, importlib.machinery.SourceFileLoader) and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin, self._space)
        return spec


class _Vendored:
    """A folder of packages as it was when the Worker was loaded."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._age = os.stat(folder).st_mtime_ns

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Vendored) and (other._folder, other._age) == (self._folder, self._age)

    __hash__ = None  # type: ignore[assignment] - compared only

    @cached_property
    def foreign(self) -> frozenset[str]:
        """Names of packages that cannot be run here."""
        return foreign_packages(self._folder)


class ModuleSpace:
    """The modules of one Worker."""

    def __init__(self, main: Path, after: ModuleSpace | None = None) -> None:
        """Describe the Worker whose main module is the file `main`.

        Args:
            main: The main module's file.
            after: An unloaded space of the same Worker before its source was changed. Its vendored packages go on
                in this one: importing them again takes long, and compiled ones cannot be imported twice.
        """
        self.main = main
        folder = main.parent
        self.roots = [str(folder)]
        self._vendored = {root: _Vendored(root) for root in vendored_folders(folder)}
        self.roots += self._vendored
        # Functions hold on to the dict they were made with: those of kept modules have to find this space in it.
        self.builtins: dict[str, Any] = vars(builtins).copy() if after is None else after.builtins
        self.builtins["__import__"] = self._import
        self._modules: dict[str, ModuleType] = {} if after is None else after._kept_modules(self._vendored)
        self._set_aside_modules: dict[str, ModuleType] = {}
        self._foreign_folders: frozenset[str] = frozenset()
        self._foreign_modules: frozenset[str] = frozenset()
        self._finder = _Finder(self)

    def holds(self, path: str) -> bool:
        """Say whether a file or folder belongs to this Worker."""
        return any(path == root or path.startswith(root.rstrip("/\\") + sep) for root in self.roots for sep in "/\\")

    @property
    def source_folders(self) -> list[str]:
        """The folders of the Worker's own source, without those of packages."""
        return [root for root in self.roots if root not in self._vendored]

    def roots_for(self, name: str) -> list[str]:
        """Return the folders to look for a top-level module in.

        Raises:
            ModuleNotFoundError: The only place where it is has it compiled for WebAssembly.
        """
        foreign = [root for root, vendored in self._vendored.items() if name in vendored.foreign]
        if not foreign:
            return self.roots
        roots = [root for root in self.roots if root not in foreign]
        places = [*roots, *(entry for entry in sys.path if entry not in foreign)]
        if importlib.machinery.PathFinder.find_spec(name, places) is None:
            raise ModuleNotFoundError(
                f"{name!r} in {self.shown(foreign[0])} is compiled for WebAssembly; install it for this Python too",
                name=name,
            )
        return roots

    def is_source(self, path: str) -> bool:
        """Say whether a file is the Worker's own source, not a package that lies in its folders."""
        if not self.holds(path):
            return False
        folder = str(self.main.parent) + os.sep
        inner = path[len(folder) :] if path.startswith(folder) else path
        return FOLDER_NAMES.isdisjoint(re.split(r"[/\\]", inner))

    def adopt_folders(self) -> None:
        """Count folders that the Worker itself put on `sys.path` as its own."""
        for entry in sys.path:
            if entry not in self._foreign_folders and entry not in self.roots:
                self.roots.append(entry)

    def load(self) -> ModuleType:
        """Import the main module; the space stays active until `unload`.

        Raises:
            LoadError: The file is missing, does not compile, or raises while it is imported.
        """
        if not self.main.is_file():
            raise LoadError(f"{self.main}: no such file")
        name = self.main.stem
        if name in _RUNTIME_NAMES or not name.isidentifier():
            raise LoadError(f"{self.main.name} cannot be a Worker's main module: choose another file name")
        _switch(self)
        self._set_aside(name)
        try:
            return importlib.import_module(name)
        except Exception as error:  # a task root: whatever user code raises while it is imported
            report = self.report(error)
            where = report.own.where if report.own is not None else self.shown(str(self.main))
            self.unload()
            raise LoadError(
                f"{where}: {report.headline}", "".join(traceback.format_exception(error)), report
            ) from error
        except BaseException:
            self.unload()
            raise

    def unload(self) -> None:
        """Take the Worker's modules out of the process's module table."""
        if _active is self:
            _switch(None)

    def report(self, error: BaseException) -> Report:
        """Describe an exception with the Worker's own frames first."""
        return make_report(error, self.is_source, self.shown)

    def mentions(self, pattern: re.Pattern[bytes]) -> bool:
        """Say whether the source beside the main module, vendored packages apart, has a match of `pattern`."""
        looked_at = 0
        for folder, folders, files in os.walk(self.main.parent):
            folders[:] = [name for name in folders if name[:1] != "." and name not in _NOT_SOURCE]
            for name in files:
                if not name.endswith(".py"):
                    continue
                looked_at += 1
                if looked_at > _MOST_LOOKED_AT:
                    return False
                try:
                    text = Path(folder, name).read_bytes()
                except OSError:
                    continue
                if pattern.search(text) is not None:
                    return True
        return False

    def shown(self, path: str) -> str:
        """Return a path as it is shown, from the folder above the main module's: `src/entry.py`."""
        for folder in (self.main.parent.parent, Path.cwd()):
            if Path(path).is_relative_to(folder):
                return Path(path).relative_to(folder).as_posix()
        return path

    # -- sharing sys.modules with other Workers

    def _enter(self) -> None:
        self._foreign_folders = frozenset(sys.path) - set(self.roots)
        sys.meta_path.insert(0, self._finder)
        sys.path[:0] = self.roots
        for name, module in self._modules.items():
            self._set_aside(name)
            sys.modules[name] = module
        self._foreign_modules = frozenset(sys.modules) - frozenset(self._modules)
        self._modules = {}

    def _leave(self) -> None:
        self.adopt_folders()
        sys.meta_path.remove(self._finder)
        for root in self.roots:
            if root in sys.path:
                sys.path.remove(root)
        imported = [(name, module) for name, module in sys.modules.items() if name not in self._foreign_modules]
        self._modules = {name: module for name, module in imported if self._owns(module)}
        for name in self._modules:
            del sys.modules[name]
        sys.modules.update(self._set_aside_modules)
        self._set_aside_modules = {}

    def _kept_modules(self, vendored: Mapping[str, _Vendored]) -> dict[str, ModuleType]:
        """Return the modules of vendored packages, for another space; not those of a folder that was changed."""
        same = [root for root, found in vendored.items() if self._vendored.get(root) == found]
        folders = tuple(root + os.sep for root in same)
        return {
            name: module
            for name, module in self._modules.items()
            if (getattr(module, "__file__", None) or "").startswith(folders)
            and folders
            and name.partition(".")[0] not in _ONE_A_PROCESS
        }

    def _owns(self, module: ModuleType) -> bool:
        if module.__name__.partition(".")[0] in _ONE_A_PROCESS:
            return True
        origin = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", [])), None)
        return isinstance(origin, str) and self.holds(origin)

    def _set_aside(self, top: str) -> None:
        """Make room for a module of this Worker where another program's module has its name."""
        if top not in sys.modules:
            return
        for name in [name for name in sys.modules if name == top or name.startswith(top + ".")]:
            if not self._owns(sys.modules[name]):
                self._set_aside_modules[name] = sys.modules.pop(name)
                self._foreign_modules -= {name}

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Stand in for `__import__` in the Worker's modules."""
        global _active
        previous = _active
        if previous is not self:
            _switch(self)
        try:
            top = name.partition(".")[0]
            # A module of the standard library keeps its name, as it does for any script once it is imported.
            if level == 0 and top in _SHARED_NAMES and self.own_spec(top, top) is not None:
                name = _OWN_NAME + name
            elif level == 0 and top in sys.modules and top not in _RUNTIME_NAMES | sys.stdlib_module_names:
                self._prefer_own(top)
            module = builtins.__import__(name, globals, locals, fromlist or (), level)
            if level == 0 and top in http_clients.NAMES:
                http_clients.adapt()
            return module
        finally:
            if previous is not self:
                _switch(previous)

    def own_spec(self, name: str, fullname: str) -> importlib.machinery.ModuleSpec | None:
        """Return the spec, under a name of choice, of a top-level module that lies beside the main module."""
        found = importlib.machinery.PathFinder.find_spec(name, self.roots[:1])
        if found is None or found.origin is None or not found.origin.endswith(".py"):
            return None
        loader = _Loader(fullname, found.origin, self)
        return importlib.util.spec_from_file_location(
            fullname, found.origin, loader=loader, submodule_search_locations=found.submodule_search_locations
        )

    def _prefer_own(self, top: str) -> None:
        if not self._owns(sys.modules[top]) and self._finder.find_spec(top) is not None:
            self._set_aside(top)


_active: ModuleSpace | None = None
"""The space whose modules are in `sys.modules` now."""


def _switch(space: ModuleSpace | None) -> None:
    global _active
    if _active is not None:
        _active._leave()  # pyright: ignore[reportPrivateUsage] - one file, one mechanism
    _active = space
    if space is not None:
        space._enter()  # pyright: ignore[reportPrivateUsage] - as above


def exported_classes(module: ModuleType, bases: tuple[type, ...]) -> dict[str, type]:
    """Return the classes a main module exports: names in `__all__`, else public ones, that derive from a base."""
    names: Sequence[str] = getattr(module, "__all__", None) or [name for name in vars(module) if name[:1] != "_"]
    found: dict[str, type] = {}
    for name in names:
        value = getattr(module, name, None)
        if isinstance(value, type) and issubclass(value, bases) and value not in bases:
            found[name] = value
    return found
