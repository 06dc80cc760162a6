"""Python's own `datetime.now()` and `time.time()` under a test's clock, by time-machine where that is installed.

https://time-machine.readthedocs.io/
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from workers.runtime.virtual_time import VirtualTime

__all__ = ["follow_machine_time"]


def follow_machine_time(clock: VirtualTime) -> Callable[[], None]:
    """Make the process's date follow `clock`; return what ends it. Without time-machine nothing happens."""
    try:
        time_machine: Any = importlib.import_module("time_machine")
    except ImportError:
        return lambda: None
    travel = time_machine.travel(clock.now(), tick=False)
    traveller = travel.start()

    def follow(now_ms: int) -> None:
        traveller.move_to(now_ms / 1000)

    clock.followers.append(follow)

    def stop() -> None:
        clock.followers.remove(follow)
        travel.stop()

    return stop
