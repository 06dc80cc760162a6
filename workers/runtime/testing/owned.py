"""A context that is entered and left by a task of its own.

Fixtures are set up in one task and torn down in another, but what an application opens must be closed by the task that
opened it, so it gets an owner.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar

__all__ = ["Owned"]

Value = TypeVar("Value")


class Owned(Generic[Value]):
    """The value of an async context manager, entered by `enter` and left by `leave` from whatever task."""

    def __init__(self, manager: AbstractAsyncContextManager[Value]) -> None:
        self._manager = manager
        self._leave = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        """The owner, once there is one."""

    async def enter(self) -> Value:
        """Enter; whatever entering raises is raised here."""
        loop = asyncio.get_running_loop()
        entered: asyncio.Future[Value] = loop.create_future()
        self.task = loop.create_task(self._own(entered), name="flarelet")
        return await entered

    async def _own(self, entered: asyncio.Future[Value]) -> None:
        try:
            async with self._manager as value:
                entered.set_result(value)
                await self._leave.wait()
        except BaseException as error:  # a task root: the error belongs to who enters, or who leaves
            if entered.done():
                raise
            entered.set_exception(error)

    async def leave(self) -> None:
        """Leave; whatever leaving raises is raised here. Idempotent."""
        self._leave.set()
        if self.task is not None:
            await self.task
