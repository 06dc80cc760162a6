"""Transactions of one object: the implicit one that coalesces a turn's writes, and savepoints inside it.

States: clean -> (first write) -> open -> commit | rollback -> clean. While an async transaction runs (`pins` > 0) the
implicit commit is put off, so that what it wrote so far stays revocable.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Awaitable, Callable

from durable_objects.errors import CommitFailed, ConstraintsLeftViolated
from durable_objects.storage.files import ObjectFile, storage_error
from workers.compat.proxies import JsException

__all__ = ["Transactions"]

_log = logging.getLogger(__name__)


class Transactions:
    """Opens, nests and ends transactions on one file; `on_open` is told about each first write."""

    __slots__ = ("_depth", "_file", "_on_open", "_settled", "alarm_touched", "is_open", "pins")

    def __init__(self, file: ObjectFile, on_open: Callable[[], None], settled: Callable[[], Awaitable[None]]) -> None:
        self._file = file
        self._settled = settled
        self._on_open = on_open
        self._depth = 0
        self.is_open = False
        self.pins = 0
        self.alarm_touched = False

    def write(self) -> None:
        """Announce a write: the first one opens the implicit transaction.

        Raises:
            CommitFailed: SQLite ended the transaction itself, as it does when the disk is full in the middle of it.
        """
        if self.is_open:
            if not self._file.connection.in_transaction:  # this write would be committed without the earlier ones
                raise CommitFailed("internal error; reference = transaction lost")
        else:
            self._file.connection.execute("BEGIN")
            self.is_open = True
            self._on_open()

    def push(self) -> str:
        """Open a savepoint and return its name."""
        self.write()
        self._depth += 1
        name = f"_cf_savepoint_{self._depth}"
        self._file.run(f"SAVEPOINT {name}")
        return name

    def pin(self) -> str:
        """Open the savepoint of an async transaction and put the implicit commit off."""
        name = self.push()
        self.pins += 1
        return name

    def unpin(self, name: str, *, keep: bool) -> None:
        """End an async transaction; the put-off commit is announced again."""
        self.pins -= 1
        if keep:
            self.release(name)
        else:
            self.revert(name)
        if self.is_open and not self.pins:
            self._on_open()

    def settled(self) -> Awaitable[None]:
        """Return an awaitable that is done when nothing written so far is uncommitted."""
        return self._settled()

    def release(self, name: str) -> None:
        """Keep what was done since the savepoint."""
        self._depth -= 1
        if self.is_open:
            self._file.run(f"RELEASE {name}")

    def revert(self, name: str) -> None:
        """Undo what was done since the savepoint and end it."""
        self._depth -= 1
        if self.is_open:
            self._file.run(f"ROLLBACK TO {name}")
            self._file.run(f"RELEASE {name}")
            self._file.forget_tables()

    def commit(self) -> None:
        """Make the implicit transaction durable.

        Raises:
            ConstraintsLeftViolated: A deferred constraint does not hold; everything was rolled back.
            CommitFailed: SQLite could not commit; everything was rolled back.
        """
        try:
            self._file.connection.execute("COMMIT")
        except sqlite3.IntegrityError as error:
            self.rollback()
            raise ConstraintsLeftViolated(storage_error(error).message) from None
        except sqlite3.Error as error:  # among them: a write statement whose rows nobody read to the end
            _log.error("object storage could not commit: %s", error)
            self.rollback()
            reference = storage_error(error).message.encode().hex()[:24]
            raise CommitFailed(f"internal error; reference = {reference}") from None
        self.is_open = False
        self._depth = 0

    def rollback(self) -> None:
        """Undo everything since the last commit; harmless when nothing is open."""
        if self.is_open:
            self.is_open = False
            self._depth = 0
            self._file.forget_tables()
            connection = self._file.connection
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def run_sync(self, function: Callable[[], object]) -> object:
        """Run `function` inside a savepoint: an exception undoes what it did and goes on."""
        name = self.push()
        try:
            result = function()
        except BaseException:
            self.revert(name)
            raise
        self.release(name)
        return result

    def refuse_inside(self, operation: str) -> None:
        """Refuse an operation that no transaction may contain."""
        if self._depth:
            raise JsException(f"Cannot call {operation}() within a transaction")
