"""Errors of Workflows."""

from __future__ import annotations

__all__ = ["NonRetryableError"]


class NonRetryableError(Exception):
    """Raised in a Workflow step: the step fails at once, without the retries its configuration allows."""
