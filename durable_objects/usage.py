"""What the objects of a node use: counters that the hot path adds to, and frozen pictures of them for everybody else.

A `Usage` belongs to one object and outlives its instances. `ObjectSnapshot` shows one object as it is now,
`ClassSnapshot` sums up a class, with the objects that are no longer loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["ClassSnapshot", "Figures", "ObjectSnapshot", "Usage"]


class Usage:
    """Counters of one object, or of many added up. Plain attributes: they are added to in every turn."""

    __slots__ = (
        "awake_s",
        "busy_s",
        "commits",
        "failures",
        "kept_awake",
        "reads",
        "rows_read",
        "rows_written",
        "turns",
        "wakes",
        "writes",
    )

    def __init__(self) -> None:
        self.wakes = 0
        """How often an instance was constructed."""
        self.turns: dict[str, int] = {}
        """Events begun, by kind: "rpc", "fetch", "alarm", "message", "close", "error", "event"."""
        self.failures = 0
        """Events that ended with an exception."""
        self.commits = 0
        """Implicit transactions that reached the disk."""
        self.reads = 0
        """Storage operations that only read: `get`, `list`, a SELECT."""
        self.writes = 0
        """Storage operations that may change something."""
        self.rows_read = 0
        self.rows_written = 0
        self.awake_s = 0.0
        """Time that an instance was in memory, without the one that is there now."""
        self.busy_s = 0.0
        """Time in which an event was running, without those that run now."""
        self.kept_awake: dict[str, int] = {}
        """Why the object could not hibernate when its time had come, and how often."""

    def obstructed(self, why: str) -> None:
        """Count one time that the object had to stay in memory although it was idle."""
        self.kept_awake[why] = self.kept_awake.get(why, 0) + 1

    def add(self, other: Usage) -> None:
        """Add the counters of another one."""
        self.wakes += other.wakes
        self.failures += other.failures
        self.commits += other.commits
        self.reads += other.reads
        self.writes += other.writes
        self.rows_read += other.rows_read
        self.rows_written += other.rows_written
        self.awake_s += other.awake_s
        self.busy_s += other.busy_s
        for mine, theirs in ((self.turns, other.turns), (self.kept_awake, other.kept_awake)):
            for name, count in theirs.items():
                mine[name] = mine.get(name, 0) + count

    def figures(self, *, awake_s: float = 0.0, busy_s: float = 0.0) -> Figures:
        """Return a picture of the counters, with the times of an instance that is in memory now added."""
        return Figures(
            turns=MappingProxyType(dict(self.turns)),
            kept_awake=MappingProxyType(dict(self.kept_awake)),
            awake_s=self.awake_s + awake_s,
            busy_s=self.busy_s + busy_s,
            wakes=self.wakes,
            failures=self.failures,
            commits=self.commits,
            reads=self.reads,
            writes=self.writes,
            rows_read=self.rows_read,
            rows_written=self.rows_written,
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """A picture of a `Usage`, see its attributes."""

    wakes: int
    turns: Mapping[str, int]
    failures: int
    commits: int
    reads: int
    writes: int
    rows_read: int
    rows_written: int
    awake_s: float
    busy_s: float
    kept_awake: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ObjectSnapshot:
    """One loaded object: it has an instance, hibernating sockets, or both."""

    unique_key: str
    """"<worker>-<Class>": its namespace."""
    id: str
    name: str | None
    is_awake: bool
    """True when an instance is in memory."""
    sockets: int
    """Hibernatable sockets."""
    accepted_sockets: int
    """Sockets of `accept()`, which keep the object in memory."""
    obstacle: str | None
    """Why it could not hibernate now; None when it could, or does."""
    usage: Figures


@dataclass(frozen=True, slots=True)
class ClassSnapshot:
    """All objects of one class since the host began."""

    unique_key: str
    loaded: int
    """Objects that have an instance or sockets now."""
    awake: int
    sockets: int
    usage: Figures
