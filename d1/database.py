"""`env.DB`: the D1 database binding and its sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final, NoReturn

from d1 import errors
from d1.engine import Engine, Outcome, Query
from d1.errors import D1DumpError, D1Error, D1ExecError, D1ObjectError, D1UsageError, Failure, ObjectFailure
from d1.sql import is_only_comment
from d1.statement import D1PreparedStatement, D1Result, Tracker, as_error, query_of, result_of
from workers.compat.proxies import JsDict

__all__ = ["D1Database", "D1DatabaseSession", "engine_of"]

_FIRST_UNCONSTRAINED: Final = "first-unconstrained"
_FIRST_PRIMARY: Final = "first-primary"
_UNDEFINED: Final = object()


class D1Database:
    """The binding of one database.

    https://developers.cloudflare.com/d1/worker-api/d1-database/
    """

    __slots__ = ("_engine", "name")

    def __init__(self, engine: Engine, name: str = "DB") -> None:
        self._engine = engine
        self.name = name

    def prepare(self, query: str) -> D1PreparedStatement:
        """Return a statement; the text is looked at only when it runs."""
        return D1PreparedStatement(self._engine, query)

    async def batch(self, statements: Iterable[D1PreparedStatement]) -> list[D1Result]:
        """Run statements in order in one transaction and return their results.

        Members that are only an indented comment are dropped, so the list may be shorter.

        Raises:
            D1Error: One of them failed; then nothing was stored.
        """
        return await _batch(self._engine, statements, None)

    async def exec(self, query: object = _UNDEFINED) -> JsDict:
        """Run every line of a text as a statement of its own, all in one transaction.

        Returns `count` (lines that were run) and `duration` (ms).

        Raises:
            D1ExecError: A line failed; then nothing was stored.
        """
        if not isinstance(query, str):
            _refuse_exec(query)
        lines = query.strip().split("\n")
        members = [Query(line) for line in lines if not is_only_comment(line)]
        if not members:
            raise D1ExecError(f"Error in line 1: {lines[0]}: {errors.NO_STATEMENTS}")
        try:
            outcomes = await _run(self._engine, members)
        except ObjectFailure as failure:
            raise D1ObjectError(failure.reason) from failure
        except Failure as failure:
            # production names the first line whichever failed
            raise D1ExecError(f"Error in line 1: {lines[0]}: {failure.reason}") from failure
        return JsDict(count=len(outcomes), duration=sum(outcome.duration_ms for outcome in outcomes))

    def withSession(self, constraint: str | None = None) -> D1DatabaseSession:
        """Start a session: `first-primary`, `first-unconstrained` (default), or a bookmark of an earlier session."""
        return D1DatabaseSession(self._engine, constraint)

    with_session = withSession

    async def dump(self) -> NoReturn:
        """Fail as production does: dumps of this kind ended with the alpha."""
        raise D1DumpError(404)

    def __repr__(self) -> str:
        return f"D1Database({self.name!r})"


class D1DatabaseSession(Tracker):
    """A sequence of calls that see each other's writes; here every call sees every earlier write anyway."""

    __slots__ = ("_bookmark", "_engine")

    def __init__(self, engine: Engine, constraint: str | None = None) -> None:
        self._engine = engine
        given = (constraint or "").strip() or _FIRST_UNCONSTRAINED
        self._bookmark = None if given in {_FIRST_PRIMARY, _FIRST_UNCONSTRAINED} else given

    def prepare(self, query: str) -> D1PreparedStatement:
        """Return a statement whose runs belong to this session."""
        return D1PreparedStatement(self._engine, query, (), self)

    async def batch(self, statements: Iterable[D1PreparedStatement]) -> list[D1Result]:
        """Run statements as `D1Database.batch` does, as part of this session."""
        return await _batch(self._engine, statements, self)

    def getBookmark(self) -> str | None:
        """Return how far this session has seen the database; `None` before its first call."""
        return self._bookmark

    get_bookmark = getBookmark

    def advance(self) -> None:
        """Move the bookmark to the present state of the database; it never moves back."""
        # the calls before this one, reads too; DIFFERS(bookmark-count): since the file was opened
        latest = f"00000000-{self._engine.usage.answered - 1:08x}-00000000-{0:032x}"
        if self._bookmark is None or _collation(latest) > _collation(self._bookmark):
            self._bookmark = latest


def engine_of(database: D1Database) -> Engine:
    """Return what runs a database's statements, for tools that look inside."""
    return database._engine  # pyright: ignore[reportPrivateUsage] - one file; users must not find it on the binding


async def _batch(engine: Engine, statements: Iterable[D1PreparedStatement], tracker: Tracker | None) -> list[Any]:
    queries = [query_of(statement) for statement in statements]
    members = [query for query in queries if not is_only_comment(query.sql)]
    if not members:
        raise D1Error(errors.NO_STATEMENTS)
    try:
        outcomes = await _run(engine, members)
    except Failure as failure:
        raise as_error(failure) from failure
    if tracker is not None:
        tracker.advance()
    return [result_of(engine, outcome) for outcome in outcomes]


async def _run(engine: Engine, members: list[Query]) -> list[Outcome]:
    usage = engine.usage
    usage.count_call()
    for member in members:
        usage.before(member.sql, member.parameters)
    try:
        answer = engine.run(members)
        outcomes = await answer if isinstance(answer, asyncio.Future) else answer
    except MemoryError as error:
        raise Failure(errors.OUT_OF_MEMORY) from error
    usage.answered += 1
    for outcome in outcomes:
        usage.after(outcome.sql, len(outcome.description or ()), outcome.duration_ms)
    return outcomes


def _refuse_exec(query: object) -> NoReturn:
    if query is _UNDEFINED or query is None:
        value = "undefined" if query is _UNDEFINED else "null"
        raise D1UsageError(f"Cannot read properties of {value} (reading 'trim')")
    raise D1UsageError("query.trim is not a function")


_PUNCTUATION: Final = "_-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$"
"""In the order of JavaScript's collation."""


def _collation(text: str) -> list[tuple[int, int | str]]:
    """Order texts roughly as JavaScript's localeCompare: space, punctuation, digits, letters regardless of case."""
    return [_weight(char) for char in text]


def _weight(char: str) -> tuple[int, int | str]:
    if char.isspace():
        return 0, ord(char)
    if char in _PUNCTUATION:
        return 1, _PUNCTUATION.index(char)
    return (2, char) if char.isdigit() else (3, char.casefold())
