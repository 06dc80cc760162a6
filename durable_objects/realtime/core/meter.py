"""What realtime counts about itself, and how such figures are written for Prometheus.

The counters of a process are one `Meter`, plain attributes that the hot paths add to; everything that can be looked up
when somebody asks is not counted but looked up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol
from weakref import WeakSet

__all__ = ["METER", "Meter", "Sample", "exposition"]


class _Waiting(Protocol):
    bytes: int


class Meter:
    """Counters of one process."""

    __slots__ = (
        "accepted",
        "backlogs",
        "changes",
        "commits",
        "deliveries",
        "dropped",
        "gaps",
        "received",
        "recovered",
        "refused",
        "said",
    )

    def __init__(self) -> None:
        self.accepted: Counter[str] = Counter()
        """Connections that were let in, by role."""
        self.refused: Counter[str] = Counter()
        """Frames and clients that were refused, by the name of the error."""
        self.received = 0
        """Frames of clients."""
        self.said = 0
        """Frames that topics said to a group of subscribers, each written once."""
        self.deliveries = 0
        """The same, counted for each subscriber."""
        self.dropped: Counter[str] = Counter()
        """Frames that slow clients missed, by the policy of their lane."""
        self.recovered = 0
        """Subscriptions that continued with nothing missing."""
        self.gaps = 0
        """Subscriptions that were told that something may be missing."""
        self.commits = 0
        """Commits of the followed database that changed captured rows."""
        self.changes = 0
        """Row changes that were sent to topics of tables."""
        self.backlogs: WeakSet[_Waiting] = WeakSet()
        """The queues of sockets that are or were slow."""

    @property
    def queued_bytes(self) -> int:
        """What waits for slow clients now."""
        return sum([backlog.bytes for backlog in self.backlogs])


METER = Meter()
"""The counters of this process."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure. All samples of a name have the same kind and meaning, and come one after the other."""

    name: str
    kind: Literal["counter", "gauge"]
    meaning: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


def exposition(samples: Iterable[Sample]) -> str:
    """Write samples as Prometheus reads them (text format 0.0.4)."""
    lines: list[str] = []
    last = ""
    for sample in samples:
        if sample.name != last:
            last = sample.name
            meaning = sample.meaning.replace("\\", "\\\\").replace("\n", "\\n")
            lines += [f"# HELP {last} {meaning}", f"# TYPE {last} {sample.kind}"]
        labels = ",".join([f'{name}="{_escaped(value)}"' for name, value in sample.labels.items()])
        lines.append(f"{last}{{{labels}}} {_number(sample.value)}" if labels else f"{last} {_number(sample.value)}")
    return "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
