"""What capture needs of the connection it works on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

__all__ = ["CaptureConnection"]


class CaptureConnection(Protocol):
    """What capture needs of the engine's connection; every statement through it is the engine's own."""

    own_prefix: str
    """Begins the names of TEMP objects; contains a random part that user SQL cannot guess."""

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows; TEXT that is not UTF-8 is decoded with replacement characters."""
        ...

    def tagged(self, sql: str) -> str:
        """Return the text under which `tagged_rows` runs a statement."""
        ...

    def tagged_rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement that `tagged` returned; otherwise like `rows`."""
        ...

    def change(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement and return the number of rows it changed."""
        ...

    def lifted_limits(self) -> AbstractContextManager[None]:
        """Lift the limits of user SQL: a log table has twice the columns of its table."""
        ...

    def set_capturing(self, is_on: bool) -> None:
        """Leave room in the limits for what the triggers add."""
        ...

    def written_tables(self) -> AbstractContextManager[set[str]]:
        """Gather the names of the tables that user statements may write, each at its first run inside."""
        ...

    def define(self, name: str, arguments: int, function: Callable[..., Any]) -> None:
        """Define an SQL function."""
        ...

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        ...

    @property
    def total_changes(self) -> int:
        """Rows changed since the connection was opened, the engine's own included."""
        ...
