"""Who is present on one topic, kept from `presence:*` events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from flarelet_client.listeners import Listeners
from flarelet_client.types import Payload

__all__ = ["Member", "Presence"]

_STALE_S = 1.0  # after `subscribed` the server sends the whole list only if there is one; then the old list is dropped


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody present on a topic."""

    user_id: str
    state: Mapping[str, Any]


class Presence:
    """A live map of members by user id; `members` is replaced, never changed."""

    def __init__(self) -> None:
        self._members: Mapping[str, Member] = MappingProxyType({})
        self._listeners: Listeners[Mapping[str, Member]] = Listeners()
        self._stale: asyncio.TimerHandle | None = None

    @property
    def members(self) -> Mapping[str, Member]:
        """Everybody present, by user id."""
        return self._members

    def on_change(self, callback: Callable[[Mapping[str, Member]], object]) -> Callable[[], None]:
        """Call `callback(members)` at every change; return a function that stops it."""
        return self._listeners.add(callback)

    def expect_sync(self) -> None:
        """Note that the subscription was confirmed: what is known is of an earlier connection."""
        if self._members:
            self._settle()
            self._stale = asyncio.get_running_loop().call_later(_STALE_S, self.clear)

    def follow(self, payload: Payload) -> None:
        """Follow one event; events that are not of presence are ignored."""
        data = payload.data
        members = {} if self._stale is not None else dict(self._members)
        match payload.event:
            case "presence:sync":
                users = [Member(user["userId"], user.get("state") or {}) for user in data.get("users", [])]
                members = {member.user_id: member for member in users}
            case "presence:join" | "presence:update":
                members[data["userId"]] = Member(data["userId"], data.get("state") or {})
            case "presence:leave":
                members.pop(data["userId"], None)
            case _:
                return
        self._become(members)

    def clear(self) -> None:
        """Forget everybody."""
        if self._members or self._stale is not None:
            self._become({})

    def _become(self, members: dict[str, Member]) -> None:
        self._settle()
        self._members = MappingProxyType(members)
        self._listeners.tell(self._members)

    def _settle(self) -> None:
        if self._stale is not None:
            self._stale.cancel()
            self._stale = None
