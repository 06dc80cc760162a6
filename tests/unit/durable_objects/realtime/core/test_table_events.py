from __future__ import annotations

import json

from d1.changes import Commit, RowChange
from durable_objects.realtime.core.table_events import lost_events, row_json, table_event


def rest(change: RowChange) -> dict[str, object]:
    event = table_event(change, Commit(3, "DB", (change,), 99))
    assert event is not None
    return json.loads("{" + event.rest[1:])


def test_a_blob_is_its_bytes_an_infinity_is_null_and_a_big_integer_keeps_its_digits():
    row = {
        "blob": b"\x01\xff",
        "inf": float("-inf"),
        "big": 2**62 + 1,
        "text": "é",
        "none": None,
        "real": 5.0,
        "half": 0.5,
    }
    text = row_json(row)
    assert text == '{"blob":[1,255],"inf":null,"big":4611686018427387905,"text":"é","none":null,"real":5,"half":0.5}'


def test_a_delete_carries_the_old_row_as_data_and_no_new_row():
    frame = rest(RowChange(0, "DELETE", "t", None, {"id": 5}))
    assert frame["data"] == frame["old"] == {"id": 5}
    assert "new" not in frame


def test_an_insert_has_no_old_row_and_an_update_has_one():
    assert "old" not in rest(RowChange(0, "INSERT", "t", {"id": 5}, None))
    frame = rest(RowChange(2, "UPDATE", "t", {"id": 5}, {"id": 4}))
    assert (frame["data"], frame["new"], frame["old"]) == ({"id": 5}, {"id": 5}, {"id": 4})
    assert (frame["seq"], frame["txn"], frame["timestamp"]) == (2, 3, 99)


def test_a_change_of_the_schema_says_nothing_and_a_lost_change_asks_to_read_again():
    schema = RowChange(0, "SCHEMA", "t", None, None)
    assert table_event(schema, Commit(1, "DB", (schema,), 1)) is None
    resync = table_event(RowChange(0, "RESYNC", "t", None, None), Commit(1, "DB", (), 1))
    assert resync is not None
    assert resync.kind == lost_events(5).kind == "resync"
