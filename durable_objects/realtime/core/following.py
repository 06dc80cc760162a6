"""How a client wants to follow a topic, as its `subscribe` frame says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from durable_objects.realtime.core.codes import Code, RealtimeError
from durable_objects.realtime.core.history import Position
from durable_objects.realtime.core.names import TopicName
from durable_objects.realtime.core.protocol import Subscribe, SubscribeV1
from durable_objects.realtime.core.row_lens import lens_of

__all__ = ["how_of", "since_of", "wants_rows"]


def how_of(frame: Subscribe, name: TopicName) -> Mapping[str, Any] | None:
    """Return the options of the subscription; None for the way of public clients, whose filters mean nothing.

    Raises:
        RealtimeError: BAD_FILTER.
    """
    if not isinstance(frame, SubscribeV1):
        return None
    how: dict[str, Any] = {"v": 1}
    if frame.presence != "full":
        how["presence"] = frame.presence
    if frame.event is not None:
        how["event"] = [frame.event] if isinstance(frame.event, str) else frame.event
    if frame.filter is not None or frame.columns is not None:
        if not name.is_table:
            raise RealtimeError(Code.BAD_FILTER, "only tables have rows to filter and columns to choose", "filter")
        given = {"filter": frame.filter, "columns": frame.columns}
        how |= {key: value for key, value in given.items() if value is not None}
        lens_of(how)  # so that a bad filter is told at once
    return how


def since_of(frame: Subscribe) -> Position | None:
    """Return the position after which the client wants everything."""
    since = frame.since if isinstance(frame, SubscribeV1) else None
    return None if since is None else Position(since.epoch, since.offset)


def wants_rows(frame: Subscribe, name: TopicName) -> bool:
    """Whether the client wants a table's rows first."""
    return isinstance(frame, SubscribeV1) and frame.snapshot and name.is_table
