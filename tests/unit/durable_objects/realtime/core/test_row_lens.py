from __future__ import annotations

import json
from typing import Any

import pytest

from d1.changes import Commit, RowChange
from durable_objects.realtime.core.codes import RealtimeError
from durable_objects.realtime.core.row_lens import lens_of
from durable_objects.realtime.core.table_events import table_event

OPEN, SHUT = {"id": 1, "status": "open", "n": 1}, {"id": 1, "status": "shut", "n": 1}
FILTER = {"filter": {"status": "open"}}


def rest(kind: Any, data: Any, old: Any) -> str:
    change = RowChange(5, kind, "t", data, old)
    event = table_event(change, Commit(2, "DB", (change,), 9))
    assert event is not None
    return event.rest


def seen(options: dict[str, Any], kind: str, data: Any, old: Any = None) -> dict[str, Any] | None:
    lens = lens_of(options)
    assert lens is not None
    told = lens.change(rest(kind, data, old))
    return None if told is None else json.loads("{" + told[1:])


def test_who_sees_everything_needs_no_lens():
    assert lens_of(None) is None
    assert lens_of({"v": 1, "filter": None, "event": ["a"]}) is None


def test_changes_inside_are_told_as_they_are_and_outside_not_at_all():
    whole = rest("INSERT", OPEN, None)
    lens = lens_of(FILTER)
    assert lens is not None
    assert lens.change(whole) is whole
    assert seen(FILTER, "INSERT", SHUT) is None
    assert seen(FILTER, "DELETE", None, SHUT) is None
    assert seen(FILTER, "UPDATE", SHUT, SHUT | {"n": 2}) is None
    deleted, updated = seen(FILTER, "DELETE", None, OPEN), seen(FILTER, "UPDATE", OPEN, OPEN | {"n": 2})
    assert deleted is not None
    assert deleted["data"] == deleted["old"] == OPEN
    assert updated is not None
    assert (updated["operation"], updated["old"]) == ("UPDATE", OPEN | {"n": 2})


def test_a_row_enters_and_leaves():
    told = seen(FILTER, "UPDATE", OPEN, SHUT)
    assert told is not None
    assert {name: told[name] for name in ("operation", "data", "new", "entered", "seq", "txn", "timestamp")} == {
        "operation": "INSERT",
        "data": OPEN,
        "new": OPEN,
        "entered": True,
        "seq": 5,
        "txn": 2,
        "timestamp": 9,
    }
    assert "old" not in told
    told = seen(FILTER, "UPDATE", SHUT, OPEN)
    assert told is not None
    assert (told["operation"], told["data"], told["old"], told["left"]) == ("DELETE", OPEN, OPEN, True)
    assert "new" not in told


def test_a_policy_holds_beside_the_filter():
    both = FILTER | {"rows": {"n": 1}}
    assert seen(both, "INSERT", OPEN) is not None
    assert seen(both, "INSERT", OPEN | {"n": 2}) is None
    told = seen(both, "UPDATE", OPEN | {"n": 2}, OPEN)
    assert told is not None
    assert '"n":2' not in json.dumps(told).replace(" ", "")


def test_chosen_columns_are_all_that_is_told():
    columns = {"columns": ["ID", "n", "nothing"]}
    told = seen(columns, "UPDATE", OPEN | {"n": 2}, OPEN)
    assert told is not None
    assert told["data"] == told["new"] == {"id": 1, "n": 2}
    assert told["old"] == {"id": 1, "n": 1}
    assert seen(columns, "UPDATE", SHUT, OPEN) is None
    told = seen(columns | FILTER, "UPDATE", OPEN, SHUT)
    assert told is not None
    assert (told["data"], told["entered"]) == ({"id": 1, "n": 1}, True)


def test_all_who_see_the_same_share_a_lens_and_its_answer():
    first, second = lens_of(FILTER | {"v": 1}), lens_of({"filter": {"status": "open"}})
    assert first is second
    assert first is not None
    change = rest("UPDATE", OPEN, SHUT)
    assert first.change(change) is first.change(change)


def test_a_bad_filter_is_told():
    with pytest.raises(RealtimeError):
        lens_of({"filter": {"a": {"like": "b"}}})
