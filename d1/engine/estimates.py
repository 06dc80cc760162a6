"""Rows read and written, estimated: stock SQLite does not tell what production's patched one counts."""

from __future__ import annotations

from d1.engine.calls import Outcome
from d1.engine.inspector import Inspector

__all__ = ["estimate_rows"]


def estimate_rows(inspector: Inspector, outcome: Outcome) -> tuple[int, int]:
    """Return (rows read, rows written) of a query."""
    return len(outcome.rows), outcome.changes
