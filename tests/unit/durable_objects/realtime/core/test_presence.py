from __future__ import annotations

from durable_objects.realtime.core.presence import Presence, PresenceChange


def test_a_user_joins_once_and_leaves_with_the_last_connection():
    presence = Presence()
    assert presence.track("ann", "1", {"a": 1}) == PresenceChange("join", "ann", "1", {"a": 1})
    assert presence.track("ann", "2", {"a": 1}) is None
    assert presence.untrack("ann", "1") is None
    assert presence.untrack("ann", "2") == PresenceChange("leave", "ann", "2", {"a": 1})
    assert presence.snapshot() == []


def test_only_a_changed_state_is_told():
    presence = Presence()
    presence.track("ann", "1", {"a": 1})
    assert presence.track("ann", "1", {"a": 1}) is None
    assert presence.track("ann", "1", {"a": 2}) == PresenceChange("update", "ann", "1", {"a": 2})


def test_when_the_newest_connection_goes_the_one_before_is_seen_again():
    presence = Presence()
    presence.track("ann", "1", {"at": "home"})
    presence.track("ann", "2", {"at": "work"})
    assert presence.untrack("ann", "2") == PresenceChange("update", "ann", "1", {"at": "home"})


def test_the_snapshot_lists_users_with_their_connections():
    presence = Presence()
    presence.track("ann", "1", {"a": 1})
    presence.track("bob", "2", {})
    presence.track("ann", "3", {"a": 3})
    assert presence.snapshot() == [
        {"userId": "ann", "state": {"a": 3}, "connections": ["1", "3"]},
        {"userId": "bob", "state": {}, "connections": ["2"]},
    ]


def test_state_keys_are_also_at_the_top_of_the_data_but_hide_nothing():
    change = PresenceChange("join", "ann", "1", {"name": "Ann", "userId": "eve"})
    assert change.data() == {
        "name": "Ann",
        "userId": "ann",
        "connectionId": "1",
        "state": {"name": "Ann", "userId": "eve"},
    }


def test_untracking_what_is_not_present_says_nothing():
    presence = Presence()
    assert presence.untrack("ann", "1") is None
    assert not presence.was_used
