"""Figures of what a Worker runs on, databases and Durable Objects, in the form that realtime's endpoint writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from d1.database import D1Database, engine_of
from durable_objects.host import Host
from durable_objects.realtime.core.meter import Sample
from durable_objects.usage import ClassSnapshot

__all__ = ["figures"]


def figures(host: Host, databases: Iterable[D1Database]) -> Iterator[Sample]:
    """Yield the figures of all databases and of all classes of objects."""
    for database in databases:
        labels = {"database": database.name}
        writes = engine_of(database).writes
        yield Sample("flarelet_d1_commits_total", "counter", "Committed calls of D1 that wrote.", writes, labels)
    classes = host.classes()
    yield from _of_now(classes)
    yield from _counted(classes)


def _of_now(classes: list[ClassSnapshot]) -> Iterator[Sample]:
    for name, meaning in (
        ("loaded", "Objects that have an instance or sockets."),
        ("awake", "Objects whose instance is in memory."),
        ("sockets", "Hibernatable sockets of objects."),
    ):
        for each in classes:
            value = getattr(each, name)
            yield Sample(f"flarelet_objects_{name}", "gauge", meaning, value, {"class": each.unique_key})


def _counted(classes: list[ClassSnapshot]) -> Iterator[Sample]:
    for each in classes:
        for kind, count in sorted(each.usage.turns.items()):
            labels = {"class": each.unique_key, "kind": kind}
            yield Sample("flarelet_object_turns_total", "counter", "Events of objects.", count, labels)
    for name, meaning in (
        ("wakes", "Instances constructed."),
        ("failures", "Events that ended with an exception."),
        ("commits", "Transactions of objects on the disk."),
        ("rows_read", "Rows that objects read."),
        ("rows_written", "Rows that objects wrote."),
        ("awake_s", "Seconds that instances were in memory."),
        ("busy_s", "Seconds in which an event ran."),
    ):
        written = f"flarelet_object_{name.removesuffix('_s')}{'_seconds' if name.endswith('_s') else ''}_total"
        for each in classes:
            yield Sample(written, "counter", meaning, getattr(each.usage, name), {"class": each.unique_key})
