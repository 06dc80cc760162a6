"""A KV namespace on disk: one row for each key in SQLite, its value in a file of its own.

Files and tables are miniflare's: `<root>/miniflare-KVNamespaceObject/<id>.sqlite` and `<root>/<namespace>/blobs/`.
A blob's name cannot be guessed and its content never changes; a key's row names the blob that counts. So whoever reads
while another process writes sees the old value or the new one, never a mixture.
"""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from durable_objects.clock import Clock
from durable_objects.ids import IdFactory

__all__ = ["KvEntry", "KvStore", "TooLong"]

_KEY = "miniflare-KVNamespaceObject"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS _mf_entries (key TEXT PRIMARY KEY, blob_id TEXT NOT NULL, expiration INTEGER, metadata TEXT);
CREATE INDEX IF NOT EXISTS _mf_entries_expiration_idx ON _mf_entries(expiration);
"""
_BUSY_S = 5.0
_CHUNK = 256 * 1024
_UNSAFE = re.compile(r"[?<>*\"'^/\\:|\x00-\x1f\x80-\x9f]")
_DOTS = re.compile(r"(^|/|\\)(\.+)(?=/|\\|$)")
_WINDOWS_NAME = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


class TooLong(Exception):
    """A streamed value grew beyond the limit; `length` is what had come by then."""

    def __init__(self, length: int) -> None:
        super().__init__(f"{length} bytes")
        self.length = length


@dataclass(frozen=True, slots=True)
class KvEntry:
    """One key. `expiration_ms` counts from the Unix epoch, `metadata` is JSON text."""

    key: str
    blob: str
    expiration_ms: int | None
    metadata: str | None


def _folder_name(namespace: str) -> str:
    """Return the folder of a namespace as miniflare names it: what file systems refuse becomes `_`."""
    safe = _DOTS.sub(lambda found: f"{found[1]}{'_' * len(found[2])}", namespace)
    safe = _UNSAFE.sub("_", safe)
    safe = "_" if _WINDOWS_NAME.fullmatch(safe) else safe
    start, end = len(safe) - len(safe.lstrip(" ")), len(safe) - len(safe.rstrip(" "))
    safe = "_" * start + safe.strip(" ") + "_" * (end if safe.strip(" ") else 0)
    return quote(safe[:255], safe="-_.!~*'()")


class KvStore:
    """The entries of one namespace. Nothing is opened before the first call."""

    def __init__(
        self, root: Path, namespace: str, clock: Clock, random_bytes: Callable[[int], bytes] = os.urandom
    ) -> None:
        """Describe the namespace with that id under `root`, the state's `kv` folder."""
        self._file = root / _KEY / f"{IdFactory(_KEY).from_name(namespace)}.sqlite"
        self._blobs = root / _folder_name(namespace) / "blobs"
        self._clock = clock
        self._random_bytes = random_bytes
        self._connection: sqlite3.Connection | None = None

    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._blobs.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._file, isolation_level=None, timeout=_BUSY_S)
            try:
                connection.execute("PRAGMA page_size = 4096")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.executescript(_SCHEMA)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # -- entries

    def find(self, key: str) -> KvEntry | None:
        """Return the entry of a key; one whose time is over is removed and not there."""
        row = self._db().execute(
            "SELECT key, blob_id, expiration, metadata FROM _mf_entries WHERE key = ?", (key,)
        ).fetchone()  # fmt: skip
        if row is None:
            return None
        entry = KvEntry(*row)
        if entry.expiration_ms is not None and entry.expiration_ms <= self._clock.now_ms():
            self.delete(key)
            return None
        return entry

    def _commit(self, key: str, blob: str, expiration_ms: int | None, metadata: str | None) -> None:
        db = self._db()
        db.execute("BEGIN IMMEDIATE")
        try:
            old = db.execute("SELECT blob_id FROM _mf_entries WHERE key = ?", (key,)).fetchone()
            db.execute("INSERT OR REPLACE INTO _mf_entries VALUES (?, ?, ?, ?)", (key, blob, expiration_ms, metadata))
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            self._drop(blob)
            raise
        if old is not None:
            self._drop(old[0])

    def delete(self, key: str) -> None:
        """Remove a key, whether it is there or not."""
        for (blob,) in self._db().execute("DELETE FROM _mf_entries WHERE key = ? RETURNING blob_id", (key,)).fetchall():
            self._drop(blob)

    def erase(self) -> None:
        """Remove every key."""
        for (blob,) in self._db().execute("DELETE FROM _mf_entries RETURNING blob_id").fetchall():
            self._drop(blob)

    def list(self, prefix: str, after: str, limit: int) -> list[KvEntry]:
        """Return up to `limit` entries behind the key `after`, in order of their bytes; expired ones are removed."""
        db, now = self._db(), self._clock.now_ms()
        for (blob,) in db.execute("DELETE FROM _mf_entries WHERE expiration < ? RETURNING blob_id", (now,)).fetchall():
            self._drop(blob)
        rows = db.execute(
            "SELECT key, blob_id, expiration, metadata FROM _mf_entries WHERE key > ?2 AND key >= ?1 "
            "AND substr(key, 1, length(?1)) = ?1 ORDER BY key LIMIT ?3",
            (prefix, after, limit),
        )
        return [KvEntry(*row) for row in rows.fetchall()]

    # -- values

    def _new_blob(self) -> str:
        return self._random_bytes(32).hex() + f"{self._clock.now_ms():016x}"

    def _drop(self, blob: str) -> None:
        with suppress(OSError):  # a reader on Windows, or somebody removed it: it is out of use either way
            (self._blobs / blob).unlink()

    def _path(self, blob: str) -> Path:
        return self._blobs / Path(blob).name

    def put(self, key: str, value: bytes, expiration_ms: int | None = None, metadata: str | None = None) -> None:
        """Set a value that is at hand."""
        self._db()
        blob = self._new_blob()
        try:
            self._path(blob).write_bytes(value)
        except BaseException:
            self._drop(blob)
            raise
        self._commit(key, blob, expiration_ms, metadata)

    async def put_stream(
        self, key: str, chunks: AsyncIterator[bytes], expiration_ms: int | None, metadata: str | None, limit: int
    ) -> None:
        """Set a value as it comes in.

        Raises:
            TooLong: It has more than `limit` bytes; the key keeps its old value.
        """
        self._db()
        blob, length = self._new_blob(), 0
        try:
            with self._path(blob).open("wb") as file:
                async for chunk in chunks:
                    length += len(chunk)
                    if length > limit:
                        raise TooLong(length)
                    file.write(chunk)
        except BaseException:
            self._drop(blob)
            raise
        self._commit(key, blob, expiration_ms, metadata)

    async def read(self, entry: KvEntry) -> bytes | None:
        """Return the value of an entry; None when its blob is gone, as after a newer write."""
        path = self._path(entry.blob)
        try:
            if path.stat().st_size <= _CHUNK:
                return path.read_bytes()
            return await asyncio.get_running_loop().run_in_executor(None, path.read_bytes)
        except FileNotFoundError:
            return None

    def open(self, entry: KvEntry) -> tuple[int, AsyncIterator[bytes]] | None:
        """Return the size and the chunks of a value; None when its blob is gone."""
        try:
            file = self._path(entry.blob).open("rb")
        except FileNotFoundError:
            return None

        async def chunks() -> AsyncIterator[bytes]:
            with file:
                while chunk := await asyncio.get_running_loop().run_in_executor(None, file.read, _CHUNK):
                    yield chunk

        return os.fstat(file.fileno()).st_size, chunks()
