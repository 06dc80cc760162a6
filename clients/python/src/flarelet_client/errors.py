"""Errors: the server's numbered ones, and the client's own, which begin with 9."""

from __future__ import annotations

from typing import Any

__all__ = ["CLIENT_CODES", "RealtimeError", "client_error"]

CLIENT_CODES = {
    "QUEUE_FULL": 901,
    "TIMEOUT": 902,
    "DISCONNECTED": 903,
    "NOT_SERIALIZABLE": 904,
    "CONNECT_FAILED": 905,
    "HTTP": 906,
    "BAD_FRAME": 907,
    "BAD_OPTION": 908,
}
"""Numbers of what can go wrong on this side of the socket; the same in every client."""


class RealtimeError(Exception):
    """Something that went wrong, with a number that stays. `retry`: the same may succeed later.

    `ref` names what it is about, as far as known: `type`, `channel`, `id`, `field`.
    """

    def __init__(
        self, code: int, name: str, message: str, *, retry: bool = False, ref: dict[str, Any] | None = None
    ) -> None:
        super().__init__(f"{name} ({code}): {message}")
        self.code = code
        self.name = name
        self.message = message
        self.retry = retry
        self.ref = ref or {}


def client_error(name: str, message: str, *, retry: bool = False, **ref: Any) -> RealtimeError:
    """Make one of the client's own errors."""
    return RealtimeError(CLIENT_CODES[name], name, message, retry=retry, ref=ref)
