"""What waits for a slow client, against a model that keeps everything and applies the policies with plain lists."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from durable_objects.realtime.core.delivery import Backlog, Bounds, Kind, Lane, Policy, key_of, merge_tokens

BOUNDS = Bounds(bytes=900, frames=6)
OWN = Bounds(bytes=300, frames=4)
LANES = [Lane(f"room/{policy}", Kind.EVENT, policy, BOUNDS) for policy in Policy]

said = st.tuples(
    st.sampled_from([*LANES, None]),
    st.sampled_from(["ai:token", "ai:done", "move", "presence:update"]),
    st.integers(0, 2),
    st.text("ab", max_size=60),
)
steps = st.lists(said | st.none(), max_size=60)  # None: the client reads


class Model:
    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.waiting: list[tuple[Lane | None, str]] = []
        self.dropped: dict[Lane, int] = {}
        self.broken: set[Lane] = set()

    def of(self, lane: Lane | None) -> list[str]:
        return [text for owner, text in self.waiting if owner is lane]

    def fits(self, text: str, bounds: Bounds, others: Sequence[str]) -> bool:
        return sum(map(len, others)) + len(text) <= bounds.bytes and len(others) < bounds.frames

    def room(self, lane: Lane | None, text: str) -> bool:
        if lane is None:
            return not self.of(None) or self.fits(text, OWN, self.of(None))
        return self.fits(text, lane.bounds, [kept for owner, kept in self.waiting if owner is not None])

    def put(self, lane: Lane | None, text: str) -> bool:
        if lane is None:
            if not self.room(None, text):
                return False
            self.waiting.append((None, text))
            return True
        if lane in self.broken:
            self.dropped[lane] += 1
            return True
        if lane.policy is Policy.CONFLATE:
            self.waiting = [
                (owner, kept) for owner, kept in self.waiting if owner is not lane or key_of(kept) != key_of(text)
            ]
        if not self.room(lane, text) and not self.squeeze(lane, text):
            return lane.policy is not Policy.CLOSE
        self.waiting.append((lane, text))
        return True

    def squeeze(self, lane: Lane, text: str) -> bool:
        if lane.policy is Policy.CLOSE:
            return False
        if lane.policy is Policy.COALESCE:
            self.merge(lane)
        if lane.policy is Policy.RESYNC:
            self.broken.add(lane)
        while self.of(lane) and (lane in self.broken or not self.room(lane, text)):
            del self.waiting[next(at for at, (owner, _) in enumerate(self.waiting) if owner is lane)]
            self.dropped[lane] = self.dropped.get(lane, 0) + 1
        if lane in self.broken or not self.room(lane, text):
            self.dropped[lane] = self.dropped.get(lane, 0) + 1
            return False
        return True

    def merge(self, lane: Lane) -> None:
        """Merged frames stand where the first of them stood."""
        out: list[tuple[Lane | None, str]] = []
        open_at: int | None = None
        for owner, text in self.waiting:
            if owner is lane and open_at is not None:
                both = merge_tokens([out[open_at][1], text])
                if len(both) == 1:
                    out[open_at] = (lane, str(both[0]))
                    continue
            if owner is lane:
                open_at = len(out)
            out.append((owner, text))
        self.waiting = out

    def take(self) -> list[Any]:
        for lane in LANES:
            if lane.policy is Policy.COALESCE:
                self.merge(lane)
        out: list[Any] = []
        told: set[Lane] = set()
        for lane, text in self.waiting:
            if lane is not None and lane in self.dropped and lane not in told:
                told.add(lane)
                out.append((lane.channel, self.dropped[lane]))
            out.append(text)
        out += [(lane.channel, count) for lane, count in self.dropped.items() if lane not in told]
        self.clear()
        return out


def readable(frames: list[str | bytes]) -> list[Any]:
    out: list[Any] = []
    for frame in frames:
        told = json.loads(frame)
        if told["type"] in ("dropped", "resync"):
            policy = told["channel"].removeprefix("room/")
            assert told["type"] == ("resync" if policy == Policy.RESYNC else "dropped")
            out.append((told["channel"], told["dropped"]))
        else:
            out.append(frame)
    return out


def sorted_notices(frames: list[Any]) -> list[Any]:
    """Notices at the end of the queue have no order among them."""
    at = len(frames)
    while at and isinstance(frames[at - 1], tuple):
        at -= 1
    return [*frames[:at], *sorted(frames[at:])]


@settings(max_examples=300, deadline=None)
@given(steps)
def test_the_queue_does_what_its_policies_say(script: list[Any]) -> None:
    backlog, model = Backlog(OWN), Model()
    for n, step in enumerate([*script, None]):
        if step is None:
            assert sorted_notices(readable(backlog.take(n))) == sorted_notices(model.take())
            assert (backlog.bytes, backlog.frames) == (0, 0)
            continue
        lane, name, user, data = step
        text = json.dumps(
            {"type": "event", "topic": "t", "event": name, "userId": user, "data": {"token": data}},
            separators=(",", ":"),
        )
        assert backlog.put(text, len(text), lane) == model.put(lane, text)
        assert backlog.bytes <= BOUNDS.bytes + max(OWN.bytes, 200)
        assert backlog.frames <= BOUNDS.frames + OWN.frames
