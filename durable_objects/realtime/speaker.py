"""How a room speaks to the groups of its topic: to each group as a crowd, each kind of message in a lane of its own.

A crowd is made when a group is first spoken to and kept with it until its legs change, so that a broadcast costs the
same however many there are. The lane tells the sockets at the other end what to do while a client does not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from durable_objects.realtime.core.audience import Group
from durable_objects.realtime.core.delivery import Bounds, Kind, Lane, Policy, default_policy
from durable_objects.realtime.core.meter import METER
from workers.compat.crowd import Crowd, speak

__all__ = ["Speaker"]

_CROWD_MIN = 8  # below, going to each socket is cheaper than keeping a crowd
_LANES_KEPT = 1_024


class Speaker:
    """Speaks to groups of legs, whose sockets are found in a mapping by leg id."""

    __slots__ = ("_bounds", "_chosen", "_lanes", "_sockets")

    def __init__(self, sockets: Mapping[str, Any]) -> None:
        self._sockets = sockets
        self._chosen: Policy | None = None
        self._bounds = Bounds()
        self._lanes: dict[tuple[str, Kind, bool], Lane] = {}

    def configure(self, delivery: str | None, bounds: Bounds) -> None:
        """Set the policy that the operator chose for the topic, if any, and what may wait for one socket."""
        chosen = None if delivery is None else Policy(delivery)
        if (chosen, bounds) != (self._chosen, self._bounds):
            self._chosen, self._bounds = chosen, bounds
            self._lanes.clear()

    def tell(self, group: Group, text: str, kind: Kind, but: str | None) -> None:
        """Send a frame to every leg of a group but one."""
        key = group.spelling, kind, group.is_v1
        lane = self._lanes.get(key) or self._lane(*key)
        sockets, legs = self._sockets, group.legs
        METER.said += 1
        METER.deliveries += len(legs)
        if len(legs) < _CROWD_MIN:
            for leg_id in legs:
                if leg_id != but:
                    speak(sockets[leg_id], text, lane)
            return
        crowd: Crowd | None = group.crowd
        if crowd is None:
            crowd = group.crowd = Crowd([sockets[leg_id] for leg_id in legs])
        crowd.send(text, lane, None if but is None else sockets.get(but))

    def _lane(self, spelling: str, kind: Kind, is_v1: bool) -> Lane:
        if len(self._lanes) >= _LANES_KEPT:
            self._lanes.clear()
        lane = Lane(spelling, kind, default_policy(kind, self._chosen), self._bounds, is_v1)
        self._lanes[spelling, kind, is_v1] = lane
        return lane
