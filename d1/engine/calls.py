"""What goes into the engine and what comes out of it: plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from d1.changes import SqlValue

__all__ = ["Outcome", "Query"]


@dataclass(slots=True)
class Query:
    """One member of a call: a text (usually one statement) and the parameters of its last statement."""

    sql: str
    parameters: tuple[SqlValue, ...] = ()


@dataclass(slots=True)
class Outcome:
    """What one query did. Rows are as SQLite gives them, not yet converted."""

    sql: str
    description: Sequence[Sequence[Any]] | None
    """One entry a column, its name first; `None` when the statement returns no rows by its nature."""
    rows: list[tuple[Any, ...]]
    changes: int
    last_row_id: int
    duration_ms: float
    is_size_changed: bool = False

    @property
    def is_changed(self) -> bool:
        """Whether production would say so: schema work that fits into the present pages does not count."""
        return self.changes != 0 or self.is_size_changed

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return [column[0] for column in self.description] if self.description else []
