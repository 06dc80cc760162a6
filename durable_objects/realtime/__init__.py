"""Realtime topics as Durable Objects: one object a topic, one socket a client, joined by in-memory legs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from durable_objects.realtime.binding import Realtime
    from durable_objects.realtime.core.access import Connection
    from durable_objects.realtime.core.codes import Refused
    from durable_objects.realtime.core.settings import RealtimeSettings, TopicClass
    from durable_objects.realtime.directory import TableWatch
    from durable_objects.realtime.gateway import RealtimeGateway
    from durable_objects.realtime.topic_object import TopicObject

__all__ = [
    "Connection",
    "Realtime",
    "RealtimeGateway",
    "RealtimeSettings",
    "Refused",
    "TableWatch",
    "TopicClass",
    "TopicObject",
]

_HOMES = {
    "Connection": "core.access",
    "Realtime": "binding",
    "RealtimeGateway": "gateway",
    "RealtimeSettings": "core.settings",
    "Refused": "core.codes",
    "TableWatch": "directory",
    "TopicClass": "core.settings",
    "TopicObject": "topic_object",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use: the pure core is imported without its shells."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
