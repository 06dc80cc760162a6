"""Owner of tasks that belong to no request: timers of user code, an ASGI application's side of a stream or socket.

`waitUntil` is not for them, it ends after a while. They live until they are done or the event loop stops.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from workers.compat import stacks

__all__ = ["start"]

_log = logging.getLogger(__name__)
_running: set[asyncio.Task[None]] = set()


async def _run(work: Coroutine[Any, Any, object], name: str) -> None:
    try:
        await (stacks.stacked(work) if stacks.is_armed() else work)
    except Exception:  # a task root
        _log.exception("%s failed", name)


def start(work: Coroutine[Any, Any, object], name: str) -> asyncio.Task[None]:
    """Run `work` in the caller's context; a failure is logged under `name`. Cancel the task to stop it."""
    task = asyncio.get_running_loop().create_task(_run(work, name), name=name)
    # The loop itself keeps only a weak reference.
    _running.add(task)
    task.add_done_callback(_running.discard)
    return task
