"""Whether a file is as this process left it: while it is open, and from one run to the next.

SQLite keeps the number and checksum of the latest commit in the header of the WAL index (the `-shm` file,
https://www.sqlite.org/walformat.html). Reading it costs a tenth of `PRAGMA data_version`, and it can be compared with
what was there in an earlier run. After every own commit it is noted in a small file beside the database, through a
memory map, so that the note survives the death of the process.

POSIX drops all locks a process holds on a file when it closes any descriptor of it, SQLite's own among them. So the
descriptors of the WAL index are closed only when every connection of this process to the database is closed.
"""

from __future__ import annotations

import mmap
import os
import struct
from enum import Enum
from pathlib import Path
from typing import Final

__all__ = ["Footprint", "Since", "WalIndex"]

_INDEX_VERSION: Final = 3007000
_NOTE: Final = struct.Struct("=8sQQ24sQQQ")
"""Magic, offset, intended offset, WAL state; inode of the database, and its size and time of change when nothing was in
the WAL: at the start, and after a clean end."""
_OFFSETS: Final = struct.Struct("=QQ24s")
_INTENT: Final = struct.Struct("=Q")
_INTENT_AT: Final = 16
_SIZE_AND_TIME: Final = struct.Struct("=QQ")
_MAGIC: Final = b"flare\0\0\1"
_WAL_HEADER: Final = 32
_FRAME_HEADER: Final = 24


class Since(Enum):
    """What happened to a file since the note was made."""

    NOTHING = "nothing"
    WRITTEN = "another process wrote"
    REPLACED = "this is another history: another file, an older copy, or the note is missing"


class WalIndex:
    """The header of the WAL index of an open database."""

    def __init__(self, descriptor: int, header: mmap.mmap) -> None:
        self._descriptor = descriptor
        self._header = header
        self._words = memoryview(header).cast("I")

    @classmethod
    def open(cls, database: Path) -> WalIndex | None:
        """Map the header; `None` where it is not to be had, for example of a database in memory."""
        try:
            descriptor = os.open(database.with_name(database.name + "-shm"), os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError:
            return None
        try:
            index = cls(descriptor, mmap.mmap(descriptor, 48, access=mmap.ACCESS_READ))
        except (OSError, ValueError):
            return None  # the descriptor stays open, see above
        version, is_set = struct.unpack_from("=I8xB", index._header)
        return index if version == _INDEX_VERSION and is_set else None

    def state(self) -> bytes:
        """Return what names the latest commit: a counter, flags, and from byte 8 on what stays over restarts."""
        return self._header[8:40]

    def commits(self) -> int:
        """Return the counter of commits alone; it wraps around at 2^32."""
        return self._words[2]

    def page_bytes(self) -> int:
        """Return the size of a page."""
        (size,) = struct.unpack_from("=H", self._header, 14)
        return 65536 if size == 1 else size

    def close(self) -> None:
        """Give map and descriptor back; no connection of this process may be left."""
        self._words.release()
        self._header.close()
        os.close(self._descriptor)


_ORDER: Final = "little" if struct.pack("=H", 1) == b"\1\0" else "big"


class Footprint:
    """The note about one database file."""

    def __init__(self, database: Path) -> None:
        """Look at the file and the note as they are before the database is opened."""
        self._database = database
        self._path = database.with_name(database.name + "-flarelet")
        self._before = _identity(database)
        self._wal_state = b""
        self._map: mmap.mmap | None = None

    def compare(self, index: WalIndex | None, offset: int) -> Since:
        """Say what happened since the note; the database is open, and its log ends at `offset`."""
        try:
            note = self._path.read_bytes()
        except OSError:
            return Since.REPLACED
        if len(note) != _NOTE.size or index is None:
            return Since.REPLACED
        magic, noted, intended, wal_state, inode, size, changed = _NOTE.unpack(note)
        if magic != _MAGIC or inode != self._before[0] or offset < noted or offset not in (noted, intended):
            return Since.REPLACED
        state = index.state()[8:]
        frames = int.from_bytes(state[:4], _ORDER)
        if frames == 0:
            return Since.NOTHING if (size, changed) == self._before[1:] and offset == noted else Since.WRITTEN
        if state == wal_state and offset == noted:
            return Since.NOTHING
        # killed between COMMIT and the note: then exactly one commit has come, and the log has what was announced.
        # A commit that logged nothing cannot be told from a foreign one then, and counts as one.
        is_own = noted < offset == intended and _commits(self._database, index, wal_state) == 1
        return Since.NOTHING if is_own else Since.WRITTEN

    def start(self, offset: int, state: bytes) -> None:
        """Begin to take notes."""
        inode, size, changed = _identity(self._database)
        note = _NOTE.pack(_MAGIC, offset, offset, state[8:], inode, size, changed)
        if self._map is None:
            with self._path.open("w+b") as file:
                file.write(note)
                file.flush()
                self._map = mmap.mmap(file.fileno(), _NOTE.size)
        else:
            self._map[:] = note

    @property
    def is_kept(self) -> bool:
        """Whether notes are taken."""
        return self._map is not None

    def intend(self, offset: int) -> None:
        """Note where the log ends if the COMMIT that follows succeeds."""
        if self._map is not None:
            _INTENT.pack_into(self._map, _INTENT_AT, offset)

    def committed(self, offset: int, state: bytes) -> None:
        """Note an own commit."""
        if self._map is not None:
            _OFFSETS.pack_into(self._map, 8, offset, offset, state[8:])

    def stop(self) -> None:
        """Take no more notes and remove the note: nothing is logged."""
        if self._map is not None:
            self._map.close()
            self._map = None
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Note how the closed file looks; the connections are closed."""
        if self._map is not None:
            _, size, changed = _identity(self._database)
            self._map[-16:] = _SIZE_AND_TIME.pack(size, changed)
            self._map.close()
            self._map = None


def _identity(file: Path) -> tuple[int, int, int]:
    try:
        found = file.stat()
    except OSError:
        return 0, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns


def _commits(database: Path, index: WalIndex, since: bytes) -> int:
    """Count the commits in the WAL after a state; 0 when it cannot be told."""
    state = index.state()[8:]
    latest, seen = int.from_bytes(state[:4], _ORDER), int.from_bytes(since[:4], _ORDER)
    if state[16:] != since[16:]:
        # the first salt, stored as big-endian, grows by one when the WAL begins anew
        if int.from_bytes(state[16:20], "big") != (int.from_bytes(since[16:20], "big") + 1) & 0xFFFFFFFF:
            return 0
        seen = 0
    stride = _FRAME_HEADER + index.page_bytes()
    found = 0
    # unlike the WAL index, the WAL carries no locks: it may be opened and closed
    with database.with_name(database.name + "-wal").open("rb") as wal:
        for frame in range(seen, latest):
            wal.seek(_WAL_HEADER + frame * stride + 4)
            found += wal.read(4) != b"\0\0\0\0"
    return found
