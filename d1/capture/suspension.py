"""A transaction that changes too much to be told row by row."""

from __future__ import annotations

from contextlib import AbstractContextManager

__all__ = ["Suspended"]


class Suspended:
    """A transaction of which only the written tables are gathered."""

    def __init__(self, schema: dict[str, tuple[str, ...]], gathering: AbstractContextManager[set[str]]) -> None:
        """Take the captured tables with their columns as they are, and what gathers the written ones."""
        self.schema = schema
        self._gathering = gathering
        self._written: set[str] = set()

    def start(self) -> None:
        """Begin to gather."""
        self._written = self._gathering.__enter__()

    def end(self) -> set[str]:
        """Return the names, in lower case."""
        self._gathering.__exit__(None, None, None)
        return {name.lower() for name in self._written}
