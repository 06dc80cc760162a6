"""Durable Objects: actors with storage, alarms and sockets. Names are loaded when they are first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from durable_objects.clock import Clock, SystemClock
    from durable_objects.errors import ObjectReset
    from durable_objects.hibernation import WebSocketRequestResponsePair
    from durable_objects.host import Host
    from durable_objects.ids import DurableObjectId
    from durable_objects.namespace import DurableObjectNamespace
    from durable_objects.observer import NullObserver, Observer
    from durable_objects.realtime.topic_object import TopicObject
    from durable_objects.state import DurableObjectState, ObjectClass
    from durable_objects.stub import DurableObjectStub
    from durable_objects.usage import ClassSnapshot, Figures, ObjectSnapshot

__all__ = [
    "ClassSnapshot",
    "Clock",
    "DurableObjectId",
    "DurableObjectNamespace",
    "DurableObjectState",
    "DurableObjectStub",
    "Figures",
    "Host",
    "NullObserver",
    "ObjectClass",
    "ObjectReset",
    "ObjectSnapshot",
    "Observer",
    "SystemClock",
    "TopicObject",
    "WebSocketRequestResponsePair",
]

_HOMES = {
    "ClassSnapshot": "usage",
    "Clock": "clock",
    "DurableObjectId": "ids",
    "DurableObjectNamespace": "namespace",
    "DurableObjectState": "state",
    "DurableObjectStub": "stub",
    "Figures": "usage",
    "Host": "host",
    "NullObserver": "observer",
    "ObjectClass": "state",
    "ObjectReset": "errors",
    "ObjectSnapshot": "usage",
    "Observer": "observer",
    "SystemClock": "clock",
    "TopicObject": "realtime.topic_object",
    "WebSocketRequestResponsePair": "hibernation",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
