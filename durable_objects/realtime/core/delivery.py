"""What waits for one socket whose client does not read as fast as it is told: bounded, by named policies.

Everything said is in a *lane*: one topic under one spelling, one kind of message. The queue of a socket keeps the order
over all lanes and is bounded in bytes and frames; a frame that does not fit is treated by the policy of its own lane:

- `resync`: the lane's frames are dropped, and all that follow; the client is told to read the state again.
- `drop_oldest`: the lane's oldest frames make room; the client is told how many it missed.
- `conflate`: only the latest frame of a key waits (who is present, where a cursor is); then as `drop_oldest`.
- `coalesce`: frames are merged into one (the tokens of a stream); then as `drop_oldest`.
- `close`: the socket is closed with 1013.

Not here: sockets, encoding, the clock, and the decision when a client is slow.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

from durable_objects.realtime.core.json_text import dumps, loads
from durable_objects.realtime.core.meter import METER

__all__ = [
    "KINDS",
    "Backlog",
    "Bounds",
    "Kind",
    "Lane",
    "Policy",
    "default_policy",
    "key_of",
    "merge_tokens",
]


class Policy(enum.StrEnum):
    """What happens to a frame that a socket's queue has no room for."""

    RESYNC = "resync"
    DROP_OLDEST = "drop_oldest"
    CONFLATE = "conflate"
    COALESCE = "coalesce"
    CLOSE = "close"


class Kind(enum.StrEnum):
    """What a frame of a topic is about."""

    TABLE = "table"
    STORED = "stored"
    EVENT = "event"
    PRESENCE = "presence"
    TOKENS = "tokens"


KINDS: dict[Kind, Policy] = {
    Kind.TABLE: Policy.RESYNC,
    Kind.STORED: Policy.RESYNC,
    Kind.EVENT: Policy.DROP_OLDEST,
    Kind.PRESENCE: Policy.CONFLATE,
    Kind.TOKENS: Policy.COALESCE,
}
"""The policy of each kind of message unless the operator chose another for the topic."""


def default_policy(kind: Kind, chosen: Policy | None) -> Policy:
    """Return the policy of `kind` on a topic for which the operator chose `chosen`.

    The choice is about what is published and about row changes; presence and token streams have a meaning of their own
    to go by, unless slow clients are to be closed altogether.
    """
    if chosen is None or (kind in (Kind.PRESENCE, Kind.TOKENS) and chosen is not Policy.CLOSE):
        return KINDS[kind]
    return chosen


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may wait for one socket."""

    bytes: int = 1_048_576
    frames: int = 1_024


@dataclass(frozen=True, slots=True, eq=False)
class Lane:
    """One kind of message of one topic under one spelling."""

    channel: str
    kind: Kind
    policy: Policy
    bounds: Bounds
    is_v1: bool = False
    """Its clients negotiated flarelet-v1."""

    def notice(self, dropped: int, last: str | bytes, now_ms: int) -> str:
        """Return the frame that tells a client what it missed, `last` the latest of it.

        For public clients it carries no `topic`, which old ones misread.
        """
        if self.is_v1:
            frame = _read(last) or {}
            known = "epoch" in frame and "offset" in frame
            to = {"epoch": frame["epoch"], "offset": frame["offset"]} if known else None
            return dumps({"type": "gap", "topic": self.channel, "from": None, "to": to, "reason": "slow", "count": 0})
        kind = "resync" if self.policy is Policy.RESYNC else "dropped"
        return f'{{"type":"{kind}","channel":{dumps(self.channel)},"dropped":{dropped},"timestamp":{now_ms}}}'


class _Waiting:
    """One frame that waits."""

    __slots__ = ("data", "key", "lane", "size")

    def __init__(self, lane: Lane | None, data: str | bytes, size: int) -> None:
        self.lane, self.data, self.size = lane, data, size
        self.key: str | None = None


# Ordered dictionaries, not plain ones: the first entry of a plain one is far behind the gaps of those that left.
_Queue = OrderedDict[_Waiting, None]


class _LaneState:
    __slots__ = ("by_key", "dropped", "entries", "is_broken", "last")

    def __init__(self) -> None:
        self.entries = _Queue()
        self.by_key: dict[str, _Waiting] = {}
        self.dropped = 0
        self.last: str | bytes = ""
        """The latest that was dropped."""
        self.is_broken = False

    def drop(self, data: str | bytes) -> None:
        self.dropped += 1
        self.last = data


class Backlog:
    """The queue of one socket. Frames without a lane (answers, pongs) are kept up to bounds of their own."""

    __slots__ = ("__weakref__", "_lanes", "_own", "_own_bytes", "_own_frames", "_queue", "bytes", "frames")

    def __init__(self, own: Bounds) -> None:
        self._own = own
        self._own_bytes = self._own_frames = 0
        self._queue = _Queue()
        self._lanes: dict[Lane, _LaneState] = {}
        METER.backlogs.add(self)
        self.bytes = 0
        """What waits, in bytes and in frames."""
        self.frames = 0

    def put(self, data: str | bytes, size: int, lane: Lane | None) -> bool:
        """Let a frame wait; False when the socket is to be closed instead."""
        if lane is None:
            return self._put_own(data, size)
        state = self._lanes.get(lane)
        if state is None:
            state = self._lanes[lane] = _LaneState()
        if state.is_broken:
            state.drop(data)
            return True
        entry = _Waiting(lane, data, size)
        if lane.policy is Policy.CONFLATE:
            self._supersede(state, entry)
        if not self._fits(lane, size):
            if lane.policy is Policy.CLOSE:
                METER.dropped[lane.policy] += 1
                return False
            if lane.policy is Policy.COALESCE:
                self._merge(state)
            state.is_broken = lane.policy is Policy.RESYNC
            if not self._make_room(state, lane, size):
                state.drop(data)
                return True
        self._append(state, entry)
        return True

    @property
    def has_dropped(self) -> bool:
        """Whether anything that should wait here was dropped."""
        return any(state.dropped for state in self._lanes.values())

    def take(self, now_ms: int) -> list[str | bytes]:
        """Return all that waits, in order, with a notice where a lane missed something; the queue is empty then."""
        out: list[str | bytes] = []
        for state in self._lanes.values():
            self._merge(state)
        missed = {lane: (state.dropped, state.last) for lane, state in self._lanes.items() if state.dropped}
        for lane, (count, _) in missed.items():
            METER.dropped[lane.policy] += count
        for entry in self._queue:
            lane = entry.lane
            if lane is not None and lane in missed:
                out.append(lane.notice(*missed.pop(lane), now_ms))
            out.append(entry.data)
        out += [lane.notice(dropped, last, now_ms) for lane, (dropped, last) in missed.items()]
        self._queue.clear()
        self._lanes.clear()
        self.bytes = self.frames = self._own_bytes = self._own_frames = 0
        return out

    def _put_own(self, data: str | bytes, size: int) -> bool:
        own = self._own
        if self._own_frames and (self._own_bytes + size > own.bytes or self._own_frames >= own.frames):
            return False
        self._own_bytes += size
        self._own_frames += 1
        self._append(None, _Waiting(None, data, size))
        return True

    def _fits(self, lane: Lane, size: int) -> bool:
        bounds = lane.bounds
        return self.bytes - self._own_bytes + size <= bounds.bytes and self.frames - self._own_frames < bounds.frames

    def _append(self, state: _LaneState | None, entry: _Waiting) -> None:
        self._queue[entry] = None
        self.bytes += entry.size
        self.frames += 1
        if state is not None:
            state.entries[entry] = None
            if entry.key is not None:
                state.by_key[entry.key] = entry

    def _remove(self, state: _LaneState, entry: _Waiting) -> None:
        del self._queue[entry], state.entries[entry]
        self.bytes -= entry.size
        self.frames -= 1
        if entry.key is not None:
            del state.by_key[entry.key]

    def _make_room(self, state: _LaneState, lane: Lane, size: int) -> bool:
        """Drop the lane's oldest frames until `size` fits, all of a broken lane; False: the new one is dropped too."""
        while state.entries and (state.is_broken or not self._fits(lane, size)):
            oldest = next(iter(state.entries))
            self._remove(state, oldest)
            state.drop(oldest.data)
        return not state.is_broken and self._fits(lane, size)

    def _supersede(self, state: _LaneState, entry: _Waiting) -> None:
        entry.key = key_of(entry.data)
        older = state.by_key.get(entry.key)
        if older is not None:
            self._remove(state, older)

    def _merge(self, state: _LaneState) -> None:
        first = next(iter(state.entries), None)
        if first is None or first.lane is None or first.lane.policy is not Policy.COALESCE:
            return
        entries = iter(list(state.entries))
        for run in _runs([entry.data for entry in state.entries]):
            first, *others = islice(entries, len(run))
            if not others:
                continue
            for entry in others:
                self._remove(state, entry)
            first.data = _joined(run)
            before, first.size = first.size, len(first.data.encode("utf-8", "replace"))
            self.bytes += first.size - before


def key_of(data: str | bytes) -> str:
    """Return what a frame is the latest state of: an event of a user, whatever else is alone."""
    frame = _read(data)
    if frame is None:
        return ""
    told = frame.get("data")
    user = frame.get("userId")
    if user is None and isinstance(told, dict):
        user = cast("dict[str, object]", told).get("userId")
    event = str(frame.get("event"))
    return dumps(["presence" if event.startswith("presence:") else event, user])


def merge_tokens(frames: Sequence[str | bytes]) -> list[str | bytes]:
    """Merge each run of `ai:token` events into one event that has the text of all, and the other fields of the last."""
    return [run[0][0] if len(run) == 1 else _joined(run) for run in _runs(frames)]


_Run = list[tuple["str | bytes", "dict[str, Any] | None"]]


def _runs(frames: Sequence[str | bytes]) -> list[_Run]:
    """Cut frames into runs that can be one frame: tokens that follow each other, anything else alone."""
    runs: list[_Run] = []
    last: dict[str, Any] | None = None
    for data in frames:
        frame = _token(data)
        if last is not None and frame is not None and _continues(last, frame):
            runs[-1].append((data, frame))
        else:
            runs.append([(data, frame)])
        last = frame
    return runs


def _joined(run: _Run) -> str:
    tokens = [frame for _, frame in run if frame is not None]
    first, last = tokens[0], tokens[-1]
    told: dict[str, Any] = {**last["data"], "token": "".join([frame["data"]["token"] for frame in tokens])}
    if "index" in told and "index" in first["data"]:
        told |= {"index": first["data"]["index"], "lastIndex": told.get("lastIndex", told["index"])}
    return dumps({**last, "data": told})


def _continues(before: dict[str, Any], after: dict[str, Any]) -> bool:
    names = ("topic", "userId")
    return all(before.get(name) == after.get(name) for name in names) and all(
        before["data"].get(name) == after["data"].get(name) for name in ("stream", "id")
    )


def _token(data: str | bytes) -> dict[str, Any] | None:
    if not isinstance(data, str) or '"ai:token"' not in data:
        return None
    frame = _read(data)
    if frame is None or frame.get("event") != "ai:token":
        return None
    told = frame.get("data")
    return frame if isinstance(told, dict) and isinstance(cast("dict[str, Any]", told).get("token"), str) else None


def _read(data: str | bytes) -> dict[str, Any] | None:
    try:
        frame = loads(data) if isinstance(data, str) else None
    except ValueError:
        return None
    return cast("dict[str, Any]", frame) if isinstance(frame, dict) else None
