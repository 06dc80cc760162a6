from __future__ import annotations

import json
from typing import Any

import pytest

from durable_objects.realtime.core.delivery import (
    KINDS,
    Backlog,
    Bounds,
    Kind,
    Lane,
    Policy,
    default_policy,
    key_of,
    merge_tokens,
)

OWN = Bounds(bytes=100, frames=4)
NOW = 1_700_000_000_000


def lane(policy: Policy, *, size: int = 1000, frames: int = 3, channel: str = "room/1") -> Lane:
    return Lane(channel, Kind.EVENT, policy, Bounds(size, frames))


def event(name: str, data: Any = None, **more: Any) -> str:
    return json.dumps({"type": "event", "topic": "room/1", "event": name, "data": data, **more})


def put(backlog: Backlog, to: Lane | None, *frames: str) -> None:
    for frame in frames:
        assert backlog.put(frame, len(frame), to)


def taken(backlog: Backlog) -> list[Any]:
    return [frame if frame[0] != "{" else json.loads(frame) for frame in backlog.take(NOW)]


def notice(kind: str, dropped: int) -> dict[str, Any]:
    return {"type": kind, "channel": "room/1", "dropped": dropped, "timestamp": NOW}


def test_what_fits_waits_in_order_over_all_lanes() -> None:
    backlog, one, two = Backlog(OWN), lane(Policy.RESYNC), lane(Policy.DROP_OLDEST)
    put(backlog, one, "a")
    put(backlog, two, "b")
    put(backlog, None, "answer")
    put(backlog, one, "c")
    assert (backlog.frames, backlog.bytes) == (4, 9)
    assert taken(backlog) == ["a", "b", "answer", "c"]
    assert (backlog.frames, backlog.bytes) == (0, 0)
    assert taken(backlog) == []


def test_resync_drops_all_of_its_lane_and_what_follows_and_says_so_once() -> None:
    backlog, table, other = Backlog(OWN), lane(Policy.RESYNC), lane(Policy.DROP_OLDEST)
    put(backlog, other, "kept")
    put(backlog, table, "1", "2", "3", "4")
    put(backlog, other, "kept too")
    assert taken(backlog) == ["kept", "kept too", notice("resync", 4)]
    put(backlog, table, "5")
    assert taken(backlog) == ["5"]


def test_drop_oldest_keeps_the_newest_and_tells_how_many_are_missing_before_them() -> None:
    backlog = Backlog(OWN)
    put(backlog, lane(Policy.DROP_OLDEST), *"abcde")
    assert taken(backlog) == [notice("dropped", 2), "c", "d", "e"]


def test_a_frame_bigger_than_the_bound_is_dropped_itself() -> None:
    backlog = Backlog(OWN)
    put(backlog, lane(Policy.DROP_OLDEST, size=5), "a", "much too big")
    assert taken(backlog) == [notice("dropped", 2)]


def test_one_lane_never_drops_frames_of_another() -> None:
    backlog, one, two = Backlog(OWN), lane(Policy.DROP_OLDEST), lane(Policy.DROP_OLDEST, channel="room/1")
    put(backlog, one, "a", "b", "c")
    put(backlog, two, "late")
    assert taken(backlog) == ["a", "b", "c", notice("dropped", 1)]


def test_conflate_keeps_the_latest_of_each_key() -> None:
    backlog = Backlog(OWN)
    moves = [event("cursor", {"x": n}, userId="ann" if n % 2 else "bob") for n in range(20)]
    put(backlog, lane(Policy.CONFLATE), *moves)
    assert taken(backlog) == [json.loads(moves[18]), json.loads(moves[19])]


def test_conflate_drops_the_oldest_keys_when_there_are_too_many() -> None:
    backlog = Backlog(OWN)
    put(backlog, lane(Policy.CONFLATE), *(event("cursor", n, userId=f"user {n}") for n in range(5)))
    first, *rest = taken(backlog)
    assert first == notice("dropped", 2)
    assert [frame["data"] for frame in rest] == [2, 3, 4]


def test_presence_of_a_user_is_one_key_whatever_happened() -> None:
    joined = event("presence:join", {"userId": "ann", "state": {}})
    left = event("presence:leave", {"userId": "ann"})
    assert key_of(joined) == key_of(left) != key_of(event("presence:leave", {"userId": "bob"}))
    assert key_of("not json") == key_of(b"binary") == ""


def test_coalesce_merges_missed_tokens_into_one_frame() -> None:
    backlog = Backlog(OWN)
    tokens = [event("ai:token", {"token": f"t{n} "}) for n in range(50)]
    put(backlog, lane(Policy.COALESCE, size=100_000), *tokens, event("ai:done", {}))
    merged, done = taken(backlog)
    assert merged["data"]["token"] == "".join(f"t{n} " for n in range(50))
    assert done["event"] == "ai:done"


def test_tokens_are_not_merged_across_streams_or_other_events() -> None:
    frames = [
        event("ai:token", {"token": "a", "stream": "1"}),
        event("ai:token", {"token": "b", "stream": "1"}),
        event("ai:token", {"token": "c", "stream": "2"}),
        event("ai:done", {"stream": "2"}),
        event("ai:token", {"token": "d", "stream": "2"}),
    ]
    merged = [json.loads(frame) for frame in merge_tokens(frames)]
    assert [frame["data"].get("token") for frame in merged] == ["ab", "c", None, "d"]


def test_a_merged_frame_says_which_tokens_it_holds() -> None:
    frames = [event("ai:token", {"token": text, "index": n}) for n, text in enumerate("abc")]
    (merged,) = [json.loads(frame) for frame in merge_tokens(frames)]
    assert merged["data"] == {"token": "abc", "index": 0, "lastIndex": 2}


def test_coalesced_text_that_outgrows_the_bound_drops_its_oldest() -> None:
    backlog = Backlog(OWN)
    put(backlog, lane(Policy.COALESCE, size=400), *(event("ai:token", {"token": "x" * 90}) for _ in range(9)))
    assert backlog.bytes <= 400
    first, *_ = taken(backlog)
    assert first["type"] == "dropped"


def test_a_negotiated_client_is_told_a_gap_up_to_the_latest_it_missed() -> None:
    backlog = Backlog(OWN)
    to = Lane("room/1", Kind.EVENT, Policy.DROP_OLDEST, Bounds(1000, 2), is_v1=True)
    put(backlog, to, *(event("e", n, epoch="x", offset=n) for n in range(5)))
    gap, *rest = taken(backlog)
    assert gap == {
        "type": "gap",
        "topic": "room/1",
        "from": None,
        "to": {"epoch": "x", "offset": 2},
        "reason": "slow",
        "count": 0,
    }
    assert [frame["offset"] for frame in rest] == [3, 4]


def test_close_asks_for_the_end() -> None:
    backlog, to = Backlog(OWN), lane(Policy.CLOSE)
    put(backlog, to, "a", "b", "c")
    assert not backlog.put("d", 1, to)


def test_frames_without_a_lane_have_bounds_of_their_own() -> None:
    backlog = Backlog(OWN)
    put(backlog, lane(Policy.DROP_OLDEST), "a", "b", "c")
    put(backlog, None, *"1234")
    assert not backlog.put("5", 1, None)
    assert Backlog(OWN).put("x" * 101, 101, None)  # alone, even a big one waits


@pytest.mark.parametrize(
    ("kind", "chosen", "policy"),
    [
        *((kind, None, policy) for kind, policy in KINDS.items()),
        (Kind.EVENT, Policy.CONFLATE, Policy.CONFLATE),
        (Kind.TABLE, Policy.CLOSE, Policy.CLOSE),
        (Kind.PRESENCE, Policy.RESYNC, Policy.CONFLATE),
        (Kind.TOKENS, Policy.DROP_OLDEST, Policy.COALESCE),
        (Kind.TOKENS, Policy.CLOSE, Policy.CLOSE),
    ],
)
def test_the_policy_of_a_kind(kind: Kind, chosen: Policy | None, policy: Policy) -> None:
    assert default_policy(kind, chosen) is policy
