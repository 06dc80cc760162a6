"""Who is present on a topic: users, each with one or more connections and their state.

Rules: a user joins with the first connection that tracks and leaves with the last one; what others see of a user is the
state of the connection that tracked last; `update` is said only when that visible state changed. A connection without
a user id is a user of its own, named by the connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

__all__ = ["EVENT_NAMES", "Occupancy", "Presence", "PresenceChange", "Verb"]

Verb = Literal["join", "update", "leave"]
State = Mapping[str, Any]

EVENT_NAMES: Mapping[str, str] = {
    "join": "presence:join",
    "update": "presence:update",
    "leave": "presence:leave",
    "sync": "presence:sync",
}
"""Names of presence events on the wire. Only `presence:join` is attested by the public clients."""


@dataclass(frozen=True, slots=True)
class PresenceChange:
    """One visible change. For `leave`, `state` is the last one seen."""

    verb: Verb
    user: str
    connection: str
    state: State

    def data(self) -> dict[str, Any]:
        """Return the event's data; state keys are also at the top, where they do not hide the fixed ones."""
        fixed = {"userId": self.user, "connectionId": self.connection, "state": self.state}
        return {**self.state, **fixed}


class Occupancy(NamedTuple):
    """How many are present."""

    users: int
    connections: int


class Presence:
    """The members of one topic."""

    def __init__(self) -> None:
        self._users: dict[str, dict[str, State]] = {}
        self._connections = 0
        self.was_used = False
        """Whether anybody was ever present in this life of the object: then an empty snapshot tells something."""

    def __contains__(self, user: str) -> bool:
        return user in self._users

    def track(self, user: str, connection: str, state: State) -> PresenceChange | None:
        """Be present with `state`, or change it; the newest tracker's state is what others see."""
        self.was_used = True
        connections = self._users.get(user)
        if connections is None or connection not in connections:
            self._connections += 1
        if connections is None:
            self._users[user] = {connection: state}
            return PresenceChange("join", user, connection, state)
        before = _visible(connections)
        connections.pop(connection, None)
        connections[connection] = state
        return PresenceChange("update", user, connection, state) if state != before else None

    def untrack(self, user: str, connection: str) -> PresenceChange | None:
        """End one connection's presence; unknown connections are ignored."""
        connections = self._users.get(user)
        if connections is None or connection not in connections:
            return None
        before = _visible(connections)
        del connections[connection]
        self._connections -= 1
        if not connections:
            del self._users[user]
            return PresenceChange("leave", user, connection, before)
        after = _visible(connections)
        return PresenceChange("update", user, next(reversed(connections)), after) if after != before else None

    def restore(self, user: str, connection: str, state: State) -> None:
        """Put back a member that was present before the object slept; says nothing to anybody."""
        self.track(user, connection, state)

    def snapshot(self) -> list[dict[str, Any]]:
        """Return all users in the order they joined: `[{userId, state, connections: [id]}]`."""
        return [_member(user, connections) for user, connections in self._users.items()]

    def occupancy(self) -> Occupancy:
        """Return how many users are present, and on how many connections."""
        return Occupancy(len(self._users), self._connections)

    def diff(self, touched: Mapping[str, bool]) -> Mapping[str, list[Any]] | None:
        """Return what became of users, given whether they were present before; None when all is as it was.

        `{joins: [member], updates: [member], leaves: [userId]}`, where a member is as in `snapshot`.
        """
        joins: list[Any] = []
        updates: list[Any] = []
        leaves: list[Any] = []
        for user, was_there in touched.items():
            connections = self._users.get(user)
            if connections is not None:
                (updates if was_there else joins).append(_member(user, connections))
            elif was_there:
                leaves.append(user)
        return {"joins": joins, "updates": updates, "leaves": leaves} if joins or updates or leaves else None


def _member(user: str, connections: dict[str, State]) -> dict[str, Any]:
    return {"userId": user, "state": _visible(connections), "connections": list(connections)}


def _visible(connections: dict[str, State]) -> State:
    return connections[next(reversed(connections))]
