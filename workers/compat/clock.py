"""The wall clock that `Date.now()` and file dates read; a test or a simulator sets its own for a context."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime

__all__ = ["now_ms", "source"]


def _system_ms() -> float:
    return datetime.now(UTC).timestamp() * 1000


source: ContextVar[Callable[[], float]] = ContextVar("workers_clock", default=_system_ms)


def now_ms() -> int:
    """Return whole milliseconds since 1970 by the clock of this context."""
    return int(source.get()())
