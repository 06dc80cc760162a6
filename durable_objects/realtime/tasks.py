"""The owner of the endpoint's short tasks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

__all__ = ["Tasks"]

_log = logging.getLogger(__name__)


class Tasks:
    """Owner of the endpoint's short tasks (opening a leg, feeding a table): keeps them referenced, logs, cancels."""

    def __init__(self) -> None:
        self._live: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run `work` in the background, in a context of its own.

        A row change may be committed inside a turn of some Durable Object: work that inherited that turn's context
        would wait at that object's output gate.
        """
        task = asyncio.get_running_loop().create_task(work, name=name, context=Context())
        self._live.add(task)
        task.add_done_callback(self._finished)

    async def close(self) -> None:
        """Cancel what still runs and wait until it has ended."""
        live = list(self._live)
        for task in live:
            task.cancel()
        if live:
            await asyncio.wait(live)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._live.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("realtime task %s failed", task.get_name(), exc_info=error)
