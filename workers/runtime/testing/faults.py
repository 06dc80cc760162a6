"""Faults on demand: a commit that fails, a request that gets no answer, sockets that are cut.

Each fault is planned by a call and happens as often as it was told to; what it does to the Worker is what the real
fault does.
"""

from __future__ import annotations

import fnmatch
import sqlite3
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

from durable_objects.storage.files import OpenFiles
from workers.compat import web
from workers.compat.proxies import JsException
from workers.runtime.testing.sockets import ClientSocket

__all__ = ["Faults"]


class _Plan:
    """Something that fails `times` times after it went well `after` times."""

    def __init__(self, times: int, after: int) -> None:
        self.times = times
        self.after = after

    def strikes(self) -> bool:
        """Count one try; say whether it fails."""
        if self.after > 0:
            self.after -= 1
            return False
        if self.times <= 0:
            return False
        self.times -= 1
        return True


class Faults:
    """The faults of one instance."""

    def __init__(self) -> None:
        self._commits: list[_Plan] = []
        self._fetches: list[tuple[str, _Plan, Exception | Callable[[web.Request], Any]]] = []
        self._sockets: weakref.WeakSet[ClientSocket] = weakref.WeakSet()

    def fail_commit(self, *, times: int = 1, after: int = 0) -> None:
        """Let the next commits of Durable Object storage fail, as on a broken disk, after `after` that succeed.

        The turn is rolled back, its callers get an internal error, and the object starts anew.
        """
        self._commits.append(_Plan(times, after))

    def fail_fetch(
        self,
        pattern: str = "*",
        error: Exception | None = None,
        *,
        answer: Callable[[Any], Any] | None = None,
        times: int = 1,
        after: int = 0,
    ) -> None:
        """Let outgoing requests to URLs that match a glob fail.

        Args:
            pattern: Such as `https://api.example.com/*`.
            error: What `fetch` raises; "Network connection lost." by default.
            answer: A function from `Request` to `Response` that answers instead.
            times: How many requests it concerns.
            after: How many requests go well first.
        """
        self._fetches.append((pattern, _Plan(times, after), answer or error or JsException("Network connection lost.")))

    def cut_sockets(self) -> int:
        """Cut every WebSocket that the test has opened, without a close frame; return how many there were."""
        open_ones = [socket for socket in self._sockets if socket.is_open]
        for socket in open_ones:
            socket.abort()
        return len(open_ones)

    # -- for the instance

    def watch(self, socket: ClientSocket) -> None:
        """Count a socket as one that `cut_sockets` cuts."""
        self._sockets.add(socket)

    def install(self, files: OpenFiles) -> None:
        """Stand between Durable Objects and their disk."""
        plans = self._commits

        class Connection(_Connection):
            commits = plans

        files.connection = Connection

    def planned(self, url: str) -> Exception | Callable[[web.Request], Any] | None:
        """Return what happens to a request instead of its being sent."""
        for pattern, plan, outcome in self._fetches:
            if fnmatch.fnmatchcase(url, pattern) and plan.strikes():
                return outcome
        return None


class _Connection(sqlite3.Connection):
    """A database on a disk that may refuse to commit."""

    commits: ClassVar[list[_Plan]]

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Run a statement; a COMMIT may fail."""
        if sql.startswith("COMMIT") and any(plan.strikes() for plan in self.commits):
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = "SQLITE_IOERR_WRITE"  # pyright: ignore[reportAttributeAccessIssue]
            raise error
        return super().execute(sql, parameters)
