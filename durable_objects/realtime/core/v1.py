"""What a client that negotiated flarelet-v1 is sent, beside the frames of the public protocol.

Every event has a position, a subscription says where it begins, and one that continues says whether all is there. The
frames' shapes are the models of `told`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from durable_objects.realtime.core.history import Position
from durable_objects.realtime.core.presence import Occupancy
from durable_objects.realtime.core.protocol import dumps

__all__ = [
    "PROTOCOL",
    "PROTOCOL_MSGPACK",
    "gap",
    "occupancy",
    "position_fields",
    "positioned",
    "presence_diff",
    "presence_snapshot",
    "recovered",
    "snapshot",
    "subscribed",
    "transaction",
    "welcome",
]

PROTOCOL: Final = "flarelet-v1"
"""The subprotocol a client offers, and the server selects, for these frames as JSON text."""
PROTOCOL_MSGPACK: Final = "flarelet-v1.msgpack"
"""The same frames, both ways, as binary MessagePack."""


def position_fields(epoch: str, offset: int) -> str:
    """Return a position as members of a JSON object, beginning with a comma."""
    return f',"epoch":"{epoch}","offset":{offset}'


def positioned(rest: str, epoch: str, offset: int) -> str:
    """Return the rest of a frame with its position."""
    return f"{rest[:-1]}{position_fields(epoch, offset)}}}" if offset else rest


def welcome(connection: str, user: str | None, limits: Mapping[str, object]) -> str:
    """Return the first frame of a connection."""
    return dumps({"type": "welcome", "protocol": PROTOCOL, "connectionId": connection, "userId": user, **limits})


def subscribed(spelling: str, at: Position) -> str:
    """Return the confirmation of a subscription: everything after the position will be told."""
    return f'{{"type":"subscribed","topic":{dumps(spelling)}{position_fields(at.epoch, at.offset)}}}'


def transaction(spelling: str, place: str, epoch: str, offset: int) -> str:
    """Return the end of a transaction whose last change is not seen by who saw earlier ones."""
    return f'{{"type":"transaction","topic":{dumps(spelling)}{place}{position_fields(epoch, offset)}}}'


def snapshot(spelling: str, rows: Sequence[str], at: Position, *, part: int, is_last: bool) -> str:
    """Return a part of a table's rows, which are JSON text, as they were at a position."""
    place = f'{position_fields(at.epoch, at.offset)},"part":{part},"last":{"true" if is_last else "false"}'
    return f'{{"type":"snapshot","topic":{dumps(spelling)},"rows":[{",".join(rows)}]{place}}}'


def recovered(spelling: str, to: Position, count: int) -> str:
    """Return the verdict that nothing is missing; `count` frames that were missed follow."""
    return f'{{"type":"recovered","topic":{dumps(spelling)}{position_fields(to.epoch, to.offset)},"count":{count}}}'


def gap(spelling: str, after: Position | None, to: Position | None, reason: str, count: int = 0) -> str:
    """Return the verdict that events between two positions may be missing; `count` that are there follow.

    An unknown position is None.
    """
    start = None if after is None else {"epoch": after.epoch, "offset": after.offset}
    end = None if to is None else {"epoch": to.epoch, "offset": to.offset}
    return dumps({"type": "gap", "topic": spelling, "from": start, "to": end, "reason": reason, "count": count})


def presence_snapshot(
    spelling: str,
    epoch: str,
    version: int,
    users: Sequence[Mapping[str, Any]],
    occupancy: Occupancy,
    *,
    id: str | None = None,
) -> str:
    """Return who is present, as a new subscriber or a query with this `id` is told."""
    frame = _presence(spelling, epoch, version, "snapshot", occupancy) | {"users": users}
    return dumps(frame if id is None else frame | {"id": id})


def presence_diff(
    spelling: str, epoch: str, version: int, diff: Mapping[str, Sequence[Any]], occupancy: Occupancy
) -> str:
    """Return what changed since the version before."""
    return dumps(_presence(spelling, epoch, version, "diff", occupancy) | dict(diff))


def occupancy(spelling: str, epoch: str, version: int, occupancy: Occupancy) -> str:
    """Return how many are present, for who did not ask who they are."""
    return dumps(_presence(spelling, epoch, version, "occupancy", occupancy))


def _presence(spelling: str, epoch: str, version: int, kind: str, occupancy: Occupancy) -> dict[str, Any]:
    count = {"users": occupancy.users, "connections": occupancy.connections}
    return {
        "type": "presence",
        "topic": spelling,
        "kind": kind,
        "epoch": epoch,
        "version": version,
        "occupancy": count,
    }
