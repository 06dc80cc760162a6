"""What links know of the client they serve: a live connection, or one that is away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from durable_objects.realtime.core.access import Connection
from durable_objects.realtime.core.codes import RealtimeError

__all__ = ["Client"]


class Client(Protocol):
    """The client's socket, as its links see it."""

    identity: Connection

    @property
    def send(self) -> Callable[[str | bytes], None]:
        """Sends a frame to the client, the very object that was given; does nothing once the client is gone."""
        ...

    def tell(self, error: RealtimeError) -> None:
        """Send an error frame to the client and log it."""
        ...

    def close(self, code: int, reason: str) -> None:
        """End the connection."""
        ...

    def link_failed(self, topic: str, link: object) -> None:
        """Forget a link that could not be opened, or that nothing depends on after a refusal."""
        ...
