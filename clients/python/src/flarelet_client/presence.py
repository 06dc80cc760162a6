"""Who is present on one topic: a list and the changes after it, each with a version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from flarelet_client.listeners import Listeners
from flarelet_client.types import Occupancy, Payload

__all__ = ["Member", "Presence"]

Told = tuple[str, dict[str, Any]]
"""An event of the public protocol that a frame stands for: its name and its data."""


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody present on a topic, with the ids of the user's connections."""

    user_id: str
    state: Mapping[str, Any] = field(default_factory=dict[str, Any])
    connections: tuple[str, ...] = ()

    @classmethod
    def from_frame(cls, user: dict[str, Any]) -> Member:
        """Read a user of a presence frame."""
        return cls(user["userId"], user.get("state") or {}, tuple(user.get("connections") or ()))


class Presence:
    """A live map of members by user id; `members` is replaced, never changed."""

    def __init__(self) -> None:
        self._members: Mapping[str, Member] = MappingProxyType({})
        self._occupancy = Occupancy()
        self._listeners: Listeners[Mapping[str, Member]] = Listeners()
        self._version: tuple[str, int] | None = None

    @property
    def members(self) -> Mapping[str, Member]:
        """Everybody present, by user id."""
        return self._members

    @property
    def occupancy(self) -> Occupancy:
        """How many are present; known even when who they are is not asked for."""
        return self._occupancy

    def on_change(self, callback: Callable[[Mapping[str, Member]], object]) -> Callable[[], None]:
        """Call `callback(members)` at every change; return a function that stops it."""
        return self._listeners.add(callback)

    def follow(self, frame: dict[str, Any]) -> list[Told] | None:
        """Follow a `presence` frame; return the events it stands for, by the names of the public protocol.

        None when frames before it are missing and the whole list must be asked for.
        """
        kind, epoch, version = frame["kind"], frame["epoch"], frame["version"]
        known = self._version if self._version is not None and self._version[0] == epoch else None
        if kind == "diff" and (known is None or known[1] != version - 1):
            return [] if known is not None and known[1] >= version else None
        if kind == "snapshot" and known is not None and known[1] > version:
            return []
        self._version = (epoch, version)
        self._occupancy = Occupancy(**frame["occupancy"])
        match kind:
            case "snapshot":
                return self._whole(frame["users"])
            case "diff":
                return self._changed(frame)
            case _:
                self._listeners.tell(self._members)
                return []

    def follow_event(self, payload: Payload) -> None:
        """Follow an event of a server that speaks the public protocol only; other events are ignored."""
        data = payload.data
        members = dict(self._members)
        match payload.event:
            case "presence:sync":
                found = [Member.from_frame(user) for user in data.get("users", [])]
                members = {member.user_id: member for member in found}
            case "presence:join" | "presence:update":
                members[data["userId"]] = Member.from_frame(data)
            case "presence:leave":
                members.pop(data["userId"], None)
            case _:
                return
        self._become(members)

    def clear(self) -> None:
        """Forget everybody."""
        self._version = None
        self._occupancy = Occupancy()
        if self._members:
            self._become({})

    def _whole(self, users: list[dict[str, Any]]) -> list[Told]:
        was_empty = not self._members
        found = [Member.from_frame(user) for user in users]
        self._become({member.user_id: member for member in found})
        return [] if was_empty and not users else [("presence:sync", {"users": users})]

    def _changed(self, frame: dict[str, Any]) -> list[Told]:
        joins: list[dict[str, Any]] = frame.get("joins") or []
        updates: list[dict[str, Any]] = frame.get("updates") or []
        leaves: list[str] = frame.get("leaves") or []
        members = dict(self._members)
        gone = [members.pop(user, None) or Member(user) for user in leaves]
        for user in (*joins, *updates):
            members[user["userId"]] = Member.from_frame(user)
        self._become(members)
        left = [{**member.state, "userId": member.user_id, "state": dict(member.state)} for member in gone]
        return [
            *(("presence:join", {**user["state"], **user}) for user in joins),
            *(("presence:update", {**user["state"], **user}) for user in updates),
            *(("presence:leave", data) for data in left),
        ]

    def _become(self, members: dict[str, Member]) -> None:
        self._members = MappingProxyType(members)
        self._listeners.tell(self._members)
