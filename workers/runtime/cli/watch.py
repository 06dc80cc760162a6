"""Notices that a Worker's source or configuration was changed, by looking at times of modification."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["SourceWatch"]

_INTERVAL_S = 0.4
_SKIPPED = frozenset({"node_modules", "__pycache__", "python_modules"})
_SETTINGS = (".dev.vars", ".env")
_MOST_FILES = 5_000


class SourceWatch:
    """The files of one project: its configuration, its variables and every Python file of its folders."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self._folders: list[Path] = []
        self._seen = self._look()

    def follow(self, folders: Iterable[Path]) -> None:
        """Name the folders of source, and count what they hold now as seen."""
        self._folders = list(folders)
        self._seen = self._look()

    async def changed(self, wake: asyncio.Event) -> str | None:
        """Wait for a change and return the file's name; None when `wake` is set first."""
        while True:
            try:
                async with asyncio.timeout(_INTERVAL_S):
                    await wake.wait()
                return None
            except TimeoutError:
                pass
            now = self._look()
            if now != self._seen:
                name = _first_difference(self._seen, now)
                self._seen = now
                return name

    def _look(self) -> dict[str, int]:
        files = [self._config]
        if self._config.parent.is_dir():
            files += [path for path in self._config.parent.iterdir() if path.name.startswith(_SETTINGS)]
        found = {str(path): _modified(str(path)) for path in files}
        for folder in self._folders:
            for path in _python_files(str(folder)):
                found[path] = _modified(path)
                if len(found) >= _MOST_FILES:
                    return found
        return found


def _python_files(folder: str) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED and not name.startswith(".")]
        yield from (os.path.join(parent, name) for name in files if name.endswith(".py"))


def _modified(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0  # gone, or not there yet


def _first_difference(before: dict[str, int], after: dict[str, int]) -> str:
    changed = [path for path in {**before, **after} if before.get(path) != after.get(path)]
    return Path(changed[0]).name
