"""The stream of committed changes of one database: how they are numbered, logged, and told from foreign ones."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from d1.changes import Commit, RowChange
from d1.engine.change_log import ChangeLog, LogBounds
from d1.engine.connection import Connection
from d1.engine.footprint import Footprint, Since, WalIndex

__all__ = ["Stream"]

_log = logging.getLogger(__name__)


class Stream:
    """Numbers the changes of commits, logs them when it has bounds, and notices commits of other connections.

    Used by the thread that runs the transaction. The order of calls: `is_foreign` after BEGIN, `prepare` before COMMIT,
    `committed` or `rolled_back` after it.
    """

    def __init__(self, path: Path, database: str) -> None:
        """Look at the file before it is opened; `open` follows when it is."""
        self.epoch = secrets.token_hex(8)
        self.offset = 0
        """Number of the latest committed change."""
        self._seen: bytes | int = b""
        self._seen_commits = 0
        self._txn = 0
        self._path = path
        self._database = database
        self._bounds: LogBounds | None = None
        self._footprint = Footprint(path)
        self._index: WalIndex | None = None
        self._connection: Connection
        self._hide: Callable[[int], None]
        self._log: ChangeLog | None = None
        self._is_written = False

    def open(self, connection: Connection, hide: Callable[[int], None]) -> None:
        """Take the open connection, which has read the file; `hide` is told how many rows the log has written."""
        self._connection = connection
        self._hide = hide
        self._index = WalIndex.open(self._path)

    @property
    def is_foreign(self) -> bool:
        """Whether another connection has committed since `see`; inside a transaction."""
        index = self._index
        return (index.state() if index is not None else self._version()) != self._seen

    def look(self) -> tuple[bytes | int, int]:
        """Return what `see` takes note of; inside a transaction."""
        if self._index is not None:
            return self._index.state(), self._index.commits()
        return self._version(), 0

    def see(self, found: tuple[bytes | int, int]) -> None:
        """Take note of the commits of other connections until a `look`."""
        self._seen, self._seen_commits = found

    # one transaction

    def _version(self) -> int:
        connection = self._connection
        return connection.tagged_rows(connection.data_version_sql)[0][0]

    def prepare(self, changes: Sequence[RowChange], at_ms: int) -> Commit | None:
        """Write changes, numbered from `offset` on, to the log; they count from COMMIT on."""
        if not changes:
            return None
        commit = Commit(self._txn + 1, self._database, tuple(changes), at_ms)
        if self._log is not None:
            self._is_written = True
            connection = self._connection
            before = connection.total_changes
            try:
                self._log.write(commit)
            finally:
                self._hide(connection.total_changes - before)
            self._footprint.intend(self.offset + len(changes))
        return commit

    def committed(self, commit: Commit | None, *, is_write: bool) -> None:
        """Take note that COMMIT has returned, in a transaction that began with nothing unseen."""
        if commit is not None:
            self.offset, self._txn = self.offset + len(commit.changes), commit.txn
            if self._log is not None:
                self._log.committed(commit)
        self._is_written = False
        index = self._index
        if is_write and index is not None:
            state, commits = index.state(), index.commits()
            # when another connection has committed right after, `seen` must not cover it
            if commits == self._seen_commits + 1 or commits == 0:
                self._seen, self._seen_commits = state, commits
                self._footprint.committed(self.offset, state)

    def rolled_back(self) -> None:
        """Forget what the transaction wrote to the log."""
        if self._is_written and self._log is not None:
            self._is_written = False
            self._log.load()

    @contextmanager
    def _hidden(self) -> Generator[None]:
        before = self._connection.total_changes
        try:
            yield
        finally:
            self._hide(self._connection.total_changes - before)

    # tables that are followed; each inside a transaction

    @property
    def is_logged(self) -> bool:
        """Whether changes are logged."""
        return self._bounds is not None

    @property
    def has_history(self) -> bool:
        """Whether there is a log to read from."""
        return self._log is not None

    def follow(self, table: str) -> None:
        """Log a table's changes from now on."""
        if self._bounds is not None:
            self._is_written = True
            with self._hidden():
                if self._log is None:
                    self._log = ChangeLog(self._connection, self._bounds)
                    self._log.create(self.offset)
                self._log.follow(table)

    def leave(self, table: str, now_ms: int) -> None:
        """Take note that nobody follows a table any more; it is logged until `forget`."""
        if self._log is not None:
            with self._hidden():
                self._log.leave(table, now_ms)

    def forget(self, table: str) -> None:
        """Log a table's changes no more."""
        if self._log is not None:
            with self._hidden():
                self._log.forget(table)

    def keep_notes(self, *, is_captured: bool) -> None:
        """Begin or end the notes that tell the next run whether the file is as this one left it; after COMMIT."""
        log, footprint, seen = self._log, self._footprint, self._seen
        if log is None:
            return
        self.epoch = log.epoch
        if not is_captured or not isinstance(seen, bytes):
            footprint.stop()
        elif not footprint.is_kept:
            footprint.start(self.offset, seen)

    def start_log(self, bounds: LogBounds, now_ms: int) -> tuple[list[str], Since]:
        """Log from now on, and go on with the log of an earlier run, inside a transaction.

        Returns the tables to capture again, and what happened to the file since then.
        """
        self._bounds = bounds
        log = ChangeLog(self._connection, bounds)
        if not log.load():
            return [], Since.NOTHING
        since = self._footprint.compare(self._index, log.offset)
        self._log, self._is_written = log, True
        self.offset, self._txn = log.offset, log.txn
        with self._hidden():
            tables = log.tables(now_ms)
            if since is Since.REPLACED:
                log.create(log.offset)
        if tables and since is not Since.NOTHING:
            _log.warning("database %s changed while it was not served: %s", self._database, since.value)
        return tables, since

    def disown(self) -> None:
        """Leave the log of an earlier run alone: it could not be gone on with, so the next one is another history."""
        self._log = None

    def close(self) -> None:
        """Note how the closed file looks; no connection of this process may be left."""
        self._footprint.close()
        if self._index is not None:
            self._index.close()
            self._index = None
