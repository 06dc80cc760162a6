"""Rows read and written by a query of the engine: `d1.rows` asked through the inspector."""

from __future__ import annotations

import re
import sqlite3
from typing import Final

from d1.engine.calls import Outcome
from d1.engine.inspector import Inspector
from d1.rows import Work
from d1.rows import estimate_rows as estimate

__all__ = ["estimate_rows"]

_MAY_DO_NOTHING: Final = re.compile(r"\bif\s+(?:not\s+)?exists\b", re.I)


def estimate_rows(inspector: Inspector, outcome: Outcome) -> tuple[int, int]:
    """Return (rows read, rows written) of a query; a rough figure when its tables have changed or gone since."""
    is_schema_changed = outcome.is_changed or _MAY_DO_NOTHING.search(outcome.sql) is None
    work = Work(outcome.sql, len(outcome.rows), outcome.changes, is_schema_changed)
    try:
        inspector.refresh()
        return estimate(inspector.rows, work)
    except sqlite3.Error:  # the schema is not what it was
        return max(work.returned, work.changed, 1), work.changed
