"""Notices that a Worker's source or configuration was changed.

The system tells of changes in the folders concerned (watchfiles), and each time the files' ages are compared: what is
no change of a file that counts is none. Where the system tells nothing, as with some network folders, the comparison
is made now and then all the same.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["Bell", "SourceWatch"]

_BEFORE_TOLD_S = 0.1  # between two looks until the system tells of changes
_WHEN_TOLD_S = 2.0
_NEVER_TOLD_S = 0.25
_START_AFTER_S = 0.3  # importing watchfiles would slow the first answers
_STEP_MS = 15
_MOST_FILES = 5_000
_SKIPPED = frozenset({"node_modules", "__pycache__", "python_modules"})
_SETTINGS = (".dev.vars", ".env")
_SOURCE = (".py", ".html", ".jinja", ".jinja2", ".j2")

_log = logging.getLogger(__name__)


class Bell:
    """Wakes the command: something may have changed, or it shall stop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.stopping = False

    def ring(self) -> None:
        """Wake the command to look around."""
        self._event.set()

    def stop(self) -> None:
        """Wake the command to stop."""
        self.stopping = True
        self._event.set()

    async def wait(self, timeout_s: float | None = None) -> None:
        """Wait until it rings, or for a while."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return
        if not self.stopping:
            self._event.clear()


class SourceWatch:
    """The files of projects: their configurations, their variables and the source in their folders."""

    def __init__(self, configs: Iterable[Path], bell: Bell) -> None:
        self._configs, self._bell = list(configs), bell
        self._folders: list[Path] = []
        self._seen = self._look()
        self._teller: _Teller | None = None

    def follow(self, folders: Iterable[Path] | None = None) -> None:
        """Name the folders of source, or keep the ones named last; count what they hold now as seen."""
        if folders is not None:
            self._folders = list(folders)
        self._seen = self._look()

    def follow_too(self, folders: Iterable[Path]) -> None:
        """Name further folders; a file that was changed since `follow` counts as changed."""
        self._folders += [folder for folder in folders if folder not in self._folders]
        self._seen = {**self._look(), **self._seen}

    async def changed(self) -> str | None:
        """Wait for a change and return the file's name; None when the bell says to stop."""
        loop = asyncio.get_running_loop()
        starting = loop.call_later(_START_AFTER_S if self._teller is None else 0, self._listen, loop)
        try:
            while True:
                now = self._look()
                if now != self._seen:
                    name = _first_difference(self._seen, now)
                    self._seen = now
                    return name
                await self._bell.wait(self._teller.interval_s if self._teller is not None else _BEFORE_TOLD_S)
                if self._bell.stopping:
                    return None
        finally:
            starting.cancel()

    def close(self) -> None:
        """Stop listening to the system."""
        if self._teller is not None:
            self._teller.stop()
            self._teller = None

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        folders = self._watched()
        if self._teller is None or self._teller.folders != folders:
            self.close()
            self._teller = _Teller(folders, loop, self._bell)

    def _watched(self) -> frozenset[str]:
        found = {str(config.parent) for config in self._configs}
        for folder in self._folders:
            found.update(parent for parent, _ in _walk(str(folder)))
        return frozenset(folder for folder in found if os.path.isdir(folder))

    def _look(self) -> dict[str, int]:
        files = list(self._configs)
        for folder in {config.parent for config in self._configs}:
            if folder.is_dir():
                files += [path for path in folder.iterdir() if path.name.startswith(_SETTINGS)]
        found = {str(path): _modified(str(path)) for path in files}
        for folder in self._folders:
            for parent, names in _walk(str(folder)):
                for name in names:
                    path = os.path.join(parent, name)
                    found[path] = _modified(path)
                    if len(found) >= _MOST_FILES:
                        return found
        return found


class _Teller:
    """A thread that rings the bell when the system tells of a change in one of some folders."""

    def __init__(self, folders: frozenset[str], loop: asyncio.AbstractEventLoop, bell: Bell) -> None:
        self.folders = folders
        self.interval_s = _BEFORE_TOLD_S
        self._loop, self._bell = loop, bell
        self._stop = threading.Event()
        threading.Thread(target=self._run, name="source-watch", daemon=True).start()

    def stop(self) -> None:
        """Let the thread end."""
        self._stop.set()

    def _run(self) -> None:
        try:
            from watchfiles import watch

            logging.getLogger("watchfiles").setLevel(logging.WARNING)
            changes = watch(
                *self.folders,
                watch_filter=None,
                debounce=10 * _STEP_MS,
                step=_STEP_MS,
                rust_timeout=1_000,
                yield_on_timeout=True,
                stop_event=self._stop,
                raise_interrupt=False,
                recursive=False,
                ignore_permission_denied=True,
            )
            for told in changes:
                if told or self.interval_s == _BEFORE_TOLD_S:
                    self.interval_s = _WHEN_TOLD_S
                    self._loop.call_soon_threadsafe(self._bell.ring)
        except Exception as error:  # a thread's root: no watchfiles here, too many folders for the system, loop closed
            self.interval_s = _NEVER_TOLD_S
            if not self._stop.is_set():
                _log.debug("the system tells nothing of changed files: %s", error)


def _walk(folder: str) -> Iterator[tuple[str, list[str]]]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED and not name.startswith(".")]
        yield parent, [name for name in files if name.endswith(_SOURCE)]


def _modified(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0  # gone, or not there yet


def _first_difference(before: dict[str, int], after: dict[str, int]) -> str:
    changed = [path for path in {**before, **after} if before.get(path) != after.get(path)]
    return Path(changed[0]).name
