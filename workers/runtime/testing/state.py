"""State folders of tests: one prepared template, and clones of it that cost next to nothing and leave no trace.

A clone's files are hard links to the template's. SQLite writes what a test does to the write-ahead log beside the
clone's link, and the log is thrown away with the clone: the file itself must never be written. A *keeper* sees to it:
a read transaction that was open before anybody wrote holds every checkpoint back, and a second, read-only connection
stays until the last so that no connection that could write is ever the last one to close, which would checkpoint too.
So a test on a database of 10 MB costs as little as one on an empty one.
https://sqlite.org/wal.html#ckpt
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

__all__ = ["ScratchFolder", "StateTemplate"]

_MEMORY: Final = Path("/dev/shm")
_PREFIX: Final = "flarelet-tests-"
_ROOM_BYTES: Final = 512 * 1024 * 1024

_SQLITE: Final = ".sqlite"
_SQLITE_SIDE_FILES: Final = ("-wal", "-shm", "-journal")


class ScratchFolder:
    """Where a test session keeps state: in memory where there is room, because tests wait for every commit."""

    def __init__(self, otherwise: Path) -> None:
        """Use a folder below `otherwise` when the machine has no file system in memory, or a small one.

        Folders of processes that were killed are removed.
        """
        in_memory = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _ROOM_BYTES
        place = _MEMORY if in_memory else otherwise
        for folder in place.glob(f"{_PREFIX}*"):
            if not _is_alive(folder.name.removeprefix(_PREFIX).partition("-")[0]):
                shutil.rmtree(folder, ignore_errors=True)
        self.path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=place))

    def make(self) -> Path:
        """Return a new folder in it."""
        return Path(tempfile.mkdtemp(dir=self.path))

    def remove(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.path, ignore_errors=True)


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except OSError:  # somebody else's
        pass
    return True


class StateTemplate:
    """A state folder that tests start from. Fill `folder` while nothing is cloned; use `clone` afterwards."""

    def __init__(self, root: Path) -> None:
        """Keep the template and its clones under `root`, a folder on one file system."""
        self.folder = root / "template"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._clones = root / "clones"
        self._clones.mkdir(exist_ok=True)
        self._is_linked = False

    @contextmanager
    def clone(self) -> Generator[Path, None, None]:
        """Give a folder with the template's content for the time of the block; nothing written there survives it.

        Only one clone at a time is made of links, a second one inside its block is a copy: SQLite takes two names of
        one file in one process for the same database.
        """
        folder = Path(tempfile.mkdtemp(dir=self._clones))
        with ExitStack() as keepers:
            keepers.callback(shutil.rmtree, folder, ignore_errors=True)
            links = not self._is_linked
            if links:
                self._is_linked = True
                keepers.callback(setattr, self, "_is_linked", False)
            for source, target in _copy_tree(self.folder, folder):
                if links and _link(source, target):
                    if target.suffix == _SQLITE:
                        keepers.enter_context(_held_back(target))
                else:
                    shutil.copyfile(source, target)
            yield folder


def _copy_tree(source: Path, target: Path) -> Generator[tuple[Path, Path], None, None]:
    """Make the folders of `source` below `target`; yield its files with where they go."""
    for place, folders, files in os.walk(source):
        here = target / Path(place).relative_to(source)
        for name in folders:
            (here / name).mkdir()
        for name in files:
            if not name.endswith(_SQLITE_SIDE_FILES):
                yield Path(place, name), here / name


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        return False
    return True


@contextmanager
def _held_back(path: Path) -> Generator[None, None, None]:
    """Keep what is written to the write-ahead log of a database from being moved into the file."""
    with (
        # closed last: it cannot lock the file for writing, so closing it moves nothing
        closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)) as reader,
        closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as holder,
    ):
        if holder.execute("PRAGMA journal_mode=WAL").fetchone() != ("wal",):  # pragma: no cover - a broken template
            raise RuntimeError(f"{path.name} cannot be opened with a write-ahead log")
        holder.execute("BEGIN")
        holder.execute("SELECT count(*) FROM sqlite_master").fetchone()
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield
