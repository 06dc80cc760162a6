"""When and how the implicit transactions of a node's objects commit: those of one loop round together.

A commit waits for the disk. What several objects wrote in the same round of the loop is committed on several threads at
once while the loop waits: the syncs of different files overlap, and nothing else can run between the first and the
last. Where syncs cost nothing, as on a file system in memory, threads would only cost.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from durable_objects.storage.transaction import Transactions

__all__ = ["Commits"]

_THREADS: Final = 16
_SLOW_S: Final = 0.0001
"""A commit that takes longer than this waits for a disk."""
_LOOK_AGAIN: Final = 64
"""After so many rounds on threads one commit is timed alone again."""


class _Writer(Protocol):
    """An instance that has written."""

    transactions: Transactions

    def begin_commit(self) -> bool:
        """Get ready; False when there is nothing to commit (any more)."""
        ...

    def end_commit(self, error: Exception | None) -> None:
        """Let the output out, or reset the object."""
        ...


class Commits:
    """Runs the commits of one host."""

    def __init__(self) -> None:
        self._planned: list[_Writer] = []
        self._threads: ThreadPoolExecutor | None = None
        self._took_s = 0.0
        self._rounds = 0

    def plan(self, writer: _Writer, loop: asyncio.AbstractEventLoop) -> None:
        """Commit what `writer` wrote after the turns that run now: as soon as they end, or await more than storage."""
        self._planned.append(writer)
        if len(self._planned) == 1:
            loop.call_soon(self._run)

    def _run(self) -> None:
        planned, self._planned = self._planned, []
        writers = [writer for writer in planned if writer.begin_commit()]
        self._rounds += 1
        if len(writers) > 1 and self._took_s > _SLOW_S and self._rounds % _LOOK_AGAIN:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(_THREADS, "commit")
            errors = list(self._threads.map(_commit, writers))
            for writer, error in zip(writers, errors, strict=True):
                writer.end_commit(error)
            return
        for writer in writers:
            began_s = time.perf_counter()
            error = _commit(writer)
            self._took_s = time.perf_counter() - began_s
            writer.end_commit(error)

    def close(self) -> None:
        """Stop the threads."""
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None


def _commit(writer: _Writer) -> Exception | None:
    try:
        writer.transactions.commit()
    except Exception as error:  # it is the writer's: the other commits of the round go on
        return error
    return None
