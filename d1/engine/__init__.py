"""One SQLite file with one writer: transactions, limits, permissions, a FIFO line and off-loop execution."""

from __future__ import annotations

from d1.capture import CaptureBounds
from d1.engine.calls import Outcome, Query
from d1.engine.change_log import LogBounds
from d1.engine.engine import Engine
from d1.engine.line import InlineExecutor

__all__ = ["CaptureBounds", "Engine", "InlineExecutor", "LogBounds", "Outcome", "Query"]
