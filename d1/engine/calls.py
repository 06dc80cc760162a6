"""What goes into the engine and what comes out of it: plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from d1.changes import SqlValue

__all__ = ["Outcome", "Query"]


@dataclass(frozen=True, slots=True)
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
    is_changed: bool
    duration_ms: float

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return [column[0] for column in self.description] if self.description else []
