"""Realtime client for asyncio: table changes, pub/sub, presence and history over one WebSocket."""

from __future__ import annotations

from flarelet_client.channel import Channel
from flarelet_client.client import FlareletClient, create_client
from flarelet_client.errors import RealtimeError
from flarelet_client.presence import Member, Presence
from flarelet_client.realtime import RealtimeClient
from flarelet_client.server import RealtimeServer, StreamEnd
from flarelet_client.types import (
    Ack,
    ChannelOptions,
    Gap,
    HistoryMessage,
    Occupancy,
    Payload,
    Position,
    Recovered,
    Status,
)

__all__ = [
    "Ack",
    "Channel",
    "ChannelOptions",
    "FlareletClient",
    "Gap",
    "HistoryMessage",
    "Member",
    "Occupancy",
    "Payload",
    "Position",
    "Presence",
    "RealtimeClient",
    "RealtimeError",
    "RealtimeServer",
    "Recovered",
    "Status",
    "StreamEnd",
    "create_client",
]
