"""What a Durable Object runtime reports about itself; every hook is a no-op unless someone listens."""

from __future__ import annotations

from typing import Protocol

from durable_objects.usage import ObjectSnapshot

__all__ = ["NullObserver", "Observer"]


class Observer(Protocol):
    """Receiver of lifecycle facts. Hooks are called on the event loop and must return at once."""

    def object_started(self, unique_key: str, object_id: str) -> None:
        """An instance was constructed."""
        ...

    def object_stopped(self, unique_key: str, object_id: str, reason: str) -> None:
        """An instance was dropped: "evicted", "closed" or the text of the error that broke it."""
        ...

    def object_used(self, snapshot: ObjectSnapshot) -> None:
        """An instance was dropped: what its object has used so far."""
        ...

    def kept_awake(self, unique_key: str, object_id: str, why: str) -> None:
        """An object was idle for long enough to hibernate, and could not."""
        ...

    def event_finished(self, unique_key: str, kind: str, failed: bool) -> None:
        """One event ended; `kind` is "rpc", "fetch", "alarm", "message", "close" or "error"."""
        ...

    def committed(self, unique_key: str) -> None:
        """One implicit transaction reached the disk."""
        ...


class NullObserver:
    """Observer that ignores everything."""

    def object_started(self, unique_key: str, object_id: str) -> None:
        """Ignore."""

    def object_stopped(self, unique_key: str, object_id: str, reason: str) -> None:
        """Ignore."""

    def object_used(self, snapshot: ObjectSnapshot) -> None:
        """Ignore."""

    def kept_awake(self, unique_key: str, object_id: str, why: str) -> None:
        """Ignore."""

    def event_finished(self, unique_key: str, kind: str, failed: bool) -> None:
        """Ignore."""

    def committed(self, unique_key: str) -> None:
        """Ignore."""
