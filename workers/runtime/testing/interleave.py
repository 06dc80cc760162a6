"""Another order of what is ready, chosen by a seed: for finding what works only because asyncio happens to be fair.

Tasks that are ready in the same pass of the loop may run in any order; asyncio runs them in the order they became
ready. An `Interleaving` shuffles that: the events of Durable Objects and the tasks of the test and of the Worker. What
Cloudflare promises stays true: events that reach one object begin in the order they were sent.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import defaultdict, deque
from pathlib import Path
from random import Random
from typing import Any, Final, cast

from workers.runtime.virtual_time import VirtualTime

__all__ = ["Interleaving"]

_TURN: Final = "Instance._turn"
_ROOT: Final = Path(__file__).resolve().parents[3]
# Tasks of the runtime's own stay in their places: nothing promises that these may run in another order.
_RUNTIME: Final = (str(_ROOT / "durable_objects"), str(_ROOT / "workers" / "runtime"))
_TESTING: Final = str(Path(__file__).parent)


class Interleaving:
    """Shuffles the ready tasks of a loop in virtual time, the same way for the same seed."""

    def __init__(self, time: VirtualTime, loop: asyncio.AbstractEventLoop, seed: int) -> None:
        self.seed = seed
        self._time = time
        self._loop: Any = loop
        self._random = Random(seed)

    def start(self) -> None:
        """Begin to shuffle."""
        self._time.before_pass.append(self._shuffle)

    def stop(self) -> None:
        """Let the loop's own order be."""
        self._time.before_pass.remove(self._shuffle)

    def _shuffle(self) -> None:
        ready: deque[Any] = self._loop._ready
        if len(ready) < 2:
            return
        handles = list(ready)
        keys = [_key(handle) for handle in handles]
        waiting: dict[object, deque[Any]] = defaultdict(deque)
        for handle, key in zip(handles, keys, strict=True):
            if key is not None:
                waiting[key].append(handle)
        if len(waiting) < 2:
            return
        drawn = [key for key in keys if key is not None]
        self._random.shuffle(drawn)
        order = iter(drawn)
        ready.clear()
        for handle, key in zip(handles, keys, strict=True):
            ready.append(handle if key is None else waiting[next(order)].popleft())


def _key(handle: Any) -> object:
    """Return what a handle must stay in order with, None when it must stay where it is."""
    owner: Any = getattr(handle._callback, "__self__", None)
    if not isinstance(owner, asyncio.Task) or handle._cancelled:
        return None
    task = cast("asyncio.Task[Any]", owner)
    coroutine: Any = task.get_coro()
    if getattr(coroutine, "__qualname__", "") == _TURN:
        if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
            return id(coroutine.cr_frame.f_locals["self"])  # one object's events begin in order
        return id(task)
    code = getattr(coroutine, "cr_code", None)
    if code is None or (code.co_filename.startswith(_RUNTIME) and not code.co_filename.startswith(_TESTING)):
        return None
    return id(task)
