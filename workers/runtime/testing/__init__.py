"""The test kit: Workers, Durable Objects, D1, KV and realtime in a test's own process.

The fixtures (`env`, `worker`, `miniflare`, `realtime`, `clock`) come from the pytest plugin by themselves. What is
imported from here is resolved when it is first used, so that a test run pays for what it needs only.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from d1.migrations import apply_d1_migrations, read_d1_migrations
    from workers.runtime.testing.contexts import (
        create_execution_context,
        create_message_batch,
        create_scheduled_controller,
        get_queue_result,
        wait_on_execution_context,
    )
    from workers.runtime.testing.helpers import (
        abort_all_durable_objects,
        evict_all_durable_objects,
        evict_durable_object,
        list_durable_object_ids,
        reset,
        run_durable_object_alarm,
        run_in_durable_object,
    )
    from workers.runtime.testing.miniflare import Bindings, Miniflare
    from workers.runtime.testing.process import DevProcess
    from workers.runtime.testing.realtime import RealtimeTestClient
    from workers.runtime.testing.serve import serve
    from workers.runtime.testing.sockets import ClientSocket
    from workers.runtime.testing.worker import TestWorker
    from workers.runtime.virtual_time import Deadlock, VirtualTime

__all__ = [
    "Bindings",
    "ClientSocket",
    "Deadlock",
    "DevProcess",
    "Miniflare",
    "RealtimeTestClient",
    "TestWorker",
    "VirtualTime",
    "abort_all_durable_objects",
    "apply_d1_migrations",
    "create_execution_context",
    "create_message_batch",
    "create_scheduled_controller",
    "evict_all_durable_objects",
    "evict_durable_object",
    "get_queue_result",
    "list_durable_object_ids",
    "read_d1_migrations",
    "reset",
    "run_durable_object_alarm",
    "run_in_durable_object",
    "serve",
    "wait_on_execution_context",
]

_HOMES = {
    "apply_d1_migrations": "d1.migrations",
    "read_d1_migrations": "d1.migrations",
    "Deadlock": "workers.runtime.virtual_time",
    "VirtualTime": "workers.runtime.virtual_time",
    "Bindings": "workers.runtime.testing.miniflare",
    "Miniflare": "workers.runtime.testing.miniflare",
    "DevProcess": "workers.runtime.testing.process",
    "RealtimeTestClient": "workers.runtime.testing.realtime",
    "serve": "workers.runtime.testing.serve",
    "ClientSocket": "workers.runtime.testing.sockets",
    "TestWorker": "workers.runtime.testing.worker",
    **dict.fromkeys(
        (
            "create_execution_context",
            "create_message_batch",
            "create_scheduled_controller",
            "get_queue_result",
            "wait_on_execution_context",
        ),
        "workers.runtime.testing.contexts",
    ),
    **dict.fromkeys(
        (
            "abort_all_durable_objects",
            "evict_all_durable_objects",
            "evict_durable_object",
            "list_durable_object_ids",
            "reset",
            "run_durable_object_alarm",
            "run_in_durable_object",
        ),
        "workers.runtime.testing.helpers",
    ),
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


class _Package(ModuleType):
    """The package, in which `serve` is the function although a submodule has that name too."""

    def __setattr__(self, name: str, value: Any) -> None:
        # The import system binds a loaded submodule here; that would hide the function from then on.
        if name not in _HOMES or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
