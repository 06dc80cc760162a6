"""Packages that lie in a Worker's folder, as `pywrangler sync` lays them out.

`python_modules/` holds what is deployed. A package with compiled parts is compiled for WebAssembly there and cannot be
run here; its native twin is taken from `.venv-workers/` or from the environment that flarelet runs in, and so is every
package that insists on one version of such a twin.

DIFFERS(wasm-packages): Cloudflare runs what is compiled for WebAssembly.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["FOLDER_NAMES", "foreign_packages", "vendored_folders"]

FOLDER_NAMES = frozenset({"python_modules", "site-packages", ".venv", ".venv-workers", "venv"})
"""Names of folders in which packages of others lie."""

_WASM = ("wasm32", "emscripten", "pyodide")
_PINNED = re.compile(r"^Requires-Dist: ([\w.-]+)[^;\n]*?==", re.MULTILINE)
_SEPARATORS = re.compile(r"[-_.]+")


def vendored_folders(source: Path) -> Iterator[str]:
    """Yield the folders of packages that belong to the Worker whose main module lies in `source`."""
    for parent in (source, source.parent):
        if (parent / "python_modules").is_dir():
            yield str(parent / "python_modules")
    for parent in (source, source.parent):
        environment = parent / ".venv-workers"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        for packages in (environment / "lib" / version / "site-packages", environment / "Lib" / "site-packages"):
            if packages.is_dir():
                yield str(packages)


def foreign_packages(folder: str) -> frozenset[str]:
    """Return the names under which a folder's packages are imported that cannot be run here."""
    distributions = {_normal(name): files for name, files in _distributions(folder)}
    compiled = {name for name, (files, _) in distributions.items() if any(_is_wasm(file) for file in files)}
    replaced = compiled | {
        name
        for name, (_, metadata) in distributions.items()
        if any(_normal(pinned) in compiled for pinned in _PINNED.findall(metadata))
    }
    found = {top for name in replaced for top in _top_names(distributions[name][0])}
    return frozenset(found | set(_compiled_without_record(folder)))


def _distributions(folder: str) -> Iterator[tuple[str, tuple[list[str], str]]]:
    for entry in os.scandir(folder):
        if not entry.name.endswith(".dist-info"):
            continue
        record, metadata = _text(entry.path, "RECORD"), _text(entry.path, "METADATA")
        files = [line.partition(",")[0] for line in record.splitlines()]
        yield entry.name.partition("-")[0], (files, metadata.partition("\n\n")[0])


def _text(folder: str, name: str) -> str:
    try:
        return Path(folder, name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _normal(name: str) -> str:
    return _SEPARATORS.sub("-", name).lower()


def _is_wasm(file: str) -> bool:
    return file.endswith(".so") and any(mark in file for mark in _WASM)


def _top_names(files: list[str]) -> Iterator[str]:
    for file in files:
        top, slash, _ = file.partition("/")
        if slash and not top.endswith((".dist-info", ".data", ".libs")) and top not in ("..", "__pycache__"):
            yield top
        elif not slash and top.endswith((".py", ".so")):
            yield top.partition(".")[0]


def _compiled_without_record(folder: str) -> Iterator[str]:
    """Yield packages whose top folder holds a module for WebAssembly, whatever their records say."""
    for entry in os.scandir(folder):
        if entry.is_file() and _is_wasm(entry.name):
            yield entry.name.partition(".")[0]
        elif entry.is_dir() and entry.name.isidentifier() and any(map(_is_wasm, os.listdir(entry.path))):
            yield entry.name
