from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from durable_objects.realtime.core.presence import Presence

steps = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob"]),
        st.sampled_from(["1", "2", "3"]),
        st.none() | st.fixed_dictionaries({"at": st.integers(0, 2)}),
    ),
    max_size=40,
)


@given(steps)
def test_what_is_told_leads_an_observer_to_what_is_so(moves: list[tuple[str, str, dict[str, int] | None]]):
    presence = Presence()
    trackers: dict[str, list[tuple[str, dict[str, int]]]] = {}
    seen: dict[str, object] = {}
    for user, connection, state in moves:
        mine = [entry for entry in trackers.get(user, []) if entry[0] != connection]
        if state is None:
            change = presence.untrack(user, connection)
        else:
            change = presence.track(user, connection, state)
            mine.append((connection, state))
        trackers[user] = mine
        if change is not None:
            assert (change.verb == "join") == (change.user not in seen)
            if change.verb == "leave":
                del seen[change.user]
            else:
                assert seen.get(change.user) != change.state
                seen[change.user] = change.state
        expected = {name: entries[-1][1] for name, entries in trackers.items() if entries}
        assert seen == expected
        snapshot = presence.snapshot()
        assert {entry["userId"]: entry["state"] for entry in snapshot} == expected
        assert {entry["userId"]: entry["connections"] for entry in snapshot} == {
            name: [entry[0] for entry in entries] for name, entries in trackers.items() if entries
        }
