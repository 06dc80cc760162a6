"""Which rows a transaction changed: triggers, their log, and how it is read."""

from __future__ import annotations

from d1.capture.capture import Capture, CaptureBounds, TooManyChanges

__all__ = ["Capture", "CaptureBounds", "TooManyChanges"]
