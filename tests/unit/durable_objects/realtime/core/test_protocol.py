from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d1.changes import Commit, RowChange
from durable_objects.realtime.core.access import Connection
from durable_objects.realtime.core.codes import Code, Malformed, RealtimeError
from durable_objects.realtime.core.history import History
from durable_objects.realtime.core.protocol import (
    Chat,
    Ping,
    Publish,
    Subscribe,
    decode,
    dumps,
    error_frame,
    pong_frame,
)
from durable_objects.realtime.core.table_events import table_event
from durable_objects.realtime.core.topic import Broadcast, Leg, Publication, Reply, Topic

FRAMES = Path(__file__).parents[4] / "golden" / "frames"
NOW = 1_700_000_000_000


def golden(name: str) -> dict[str, Any]:
    return json.loads((FRAMES / f"{name}.json").read_text())["frame"]


def read(frame: object, **limits: int) -> Any:
    return decode(json.dumps(frame), max_bytes=limits.get("max_bytes", 10_000))


@pytest.mark.parametrize("path", sorted(FRAMES.glob("client_*.json")), ids=lambda path: path.stem)
def test_every_frame_of_a_client_is_read_with_all_its_fields(path: Path):
    frame = golden(path.stem)
    assert read(frame).model_dump(exclude_unset=True) == frame


def written_frames() -> dict[str, str]:
    """All the frames that a topic writes, by the name of their golden file."""
    topic = Topic(History("e1"))
    ann = Leg("1", Connection("c-ann", "ann"))
    topic.attach(ann)
    frames = {"pong": pong_frame()}
    frames["subscribed"] = replies(topic.subscribe(ann, "chat/general/demo", NOW))[0]
    said = '{"text":"hé","n":9007199254740993}'
    frames["event"], frames["ack"] = broadcast_and_ack(topic, ann, Publication("message", said, "p-1"))
    topic.history.remember("ann", topic.history.repeated("ann", "p-1"))  # type: ignore[arg-type]
    fresh = Topic(History("e1"))
    fresh.attach(ann)
    frames["event_persisted"], frames["ack_persisted"] = broadcast_and_ack(
        resubscribed(fresh, ann), ann, Publication("message", said, "p-1", persist=True)
    )
    chat = Publication(
        "chat_message", '{"text":"hi","metadata":{"mood":"good"}}', None, True, "chat", room_id="general"
    )
    fresh = Topic(History("e1"))
    frames["chat_message"], _ = broadcast_and_ack(resubscribed(fresh, ann), ann, chat)
    return frames | table_frames() | presence_frames() | {"error": error_frame(bad_publish())}


def resubscribed(topic: Topic, leg: Leg) -> Topic:
    leg.spellings.clear()
    topic.attach(leg)
    topic.subscribe(leg, "chat/general/demo", NOW)
    return topic


def table_frames() -> dict[str, str]:
    changes = {
        "db_change_insert": RowChange(0, "INSERT", "orders", {"id": 1, "note": None, "blob": b"\x00\xff"}, None),
        "db_change_update": RowChange(1, "UPDATE", "orders", {"id": 1, "total": 2.5}, {"id": 1, "total": float("inf")}),
        "db_change_delete": RowChange(2, "DELETE", "orders", None, {"id": 1}),
        "resync": RowChange(0, "RESYNC", "orders", None, None),
    }
    commit = Commit(7, "DB", tuple(changes.values()), NOW)
    topic = Topic(History("e1"))
    leg = Leg("1", Connection("c"))
    topic.attach(leg)
    topic.subscribe(leg, "table/orders/demo", NOW)
    events = [event for change in changes.values() if (event := table_event(change, commit)) is not None]
    return dict(zip(changes, broadcasts(topic.tell_changes(events)), strict=True))


def presence_frames() -> dict[str, str]:
    topic = Topic(History("e1"))
    ann = Leg("1", Connection("c-ann", "ann"))
    topic.attach(ann)
    topic.subscribe(ann, "room/1", NOW)
    frames = {"presence_join": broadcasts(topic.track(ann, {"name": "Ann"}, NOW))[0]}
    frames["presence_sync"] = replies(topic.subscribe(ann, "room/1", NOW))[1]
    frames["presence_update"] = broadcasts(topic.track(ann, {"name": "Anna"}, NOW))[0]
    frames["presence_leave"] = broadcasts(topic.untrack(ann, NOW))[0]
    return frames


def broadcast_and_ack(topic: Topic, leg: Leg, publication: Publication) -> tuple[str, str]:
    effects = topic.publish(publication, leg, NOW)
    return broadcasts(effects)[0], replies(effects)[0]


def replies(effects: list[Any]) -> list[str]:
    return [effect.text for effect in effects if isinstance(effect, Reply)]


def broadcasts(effects: list[Any]) -> list[str]:
    return [text for effect in effects if isinstance(effect, Broadcast) for _, text in effect.frames]


def bad_publish() -> RealtimeError:
    with pytest.raises(Malformed) as caught:
        read({"type": "publish", "topic": "chat/general", "event": 5, "id": "p-1"})
    return caught.value


def test_every_frame_of_the_server_is_as_written_down():
    written = {f"server_{name}": json.loads(text) for name, text in written_frames().items()}
    assert set(written) == {path.stem for path in FRAMES.glob("server_*.json")}
    for name, frame in written.items():
        assert frame == golden(name), name


def test_frames_are_compact_and_address_the_topic_first():
    assert written_frames()["event"].startswith('{"type":"event","topic":"chat/general/demo","event":')


def test_only_frames_that_public_clients_route_carry_a_topic():
    routed = {"event", "db_change", "chat_message", "subscribed"}
    for text in written_frames().values():
        frame = json.loads(text)
        assert ("topic" in frame) == (frame["type"] in routed)


@pytest.mark.parametrize(
    ("text", "code", "named"),
    [
        ("{", Code.NOT_JSON, "not JSON"),
        ("", Code.NOT_JSON, "not JSON"),
        ('{"type":"publish","data":NaN}', Code.NOT_JSON, "NaN"),
        ("[" * 100_000, Code.NOT_JSON, "nested"),
        ("1" * 5_000, Code.NOT_JSON, "not JSON"),
        ("[]", Code.NOT_AN_OBJECT, "array"),
        ("null", Code.NOT_AN_OBJECT, "null"),
        ("5", Code.NOT_AN_OBJECT, "number"),
        ("{}", Code.UNKNOWN_TYPE, "missing"),
        ('{"type":"dance"}', Code.UNKNOWN_TYPE, "dance"),
        ('{"type":7}', Code.UNKNOWN_TYPE, "7"),
        ('{"type":"subscribe"}', Code.BAD_FIELD, "topic"),
        ('{"type":"subscribe","topic":5}', Code.BAD_FIELD, "topic"),
        ('{"type":"subscribe","topic":"a","filter":"x"}', Code.BAD_FIELD, "filter"),
        ('{"type":"publish","topic":"a"}', Code.BAD_FIELD, "event"),
        ('{"type":"publish","topic":"a","event":""}', Code.BAD_FIELD, "event"),
        ('{"type":"publish","topic":"a","event":"e","persist":"yes"}', Code.BAD_FIELD, "persist"),
        ('{"type":"publish","topic":"a","event":"e","id":5}', Code.BAD_FIELD, "id"),
        ('{"type":"track","topic":"a","state":[]}', Code.BAD_FIELD, "state"),
        ('{"type":"chat","roomId":"a"}', Code.BAD_FIELD, "text"),
        ('{"type":"auth"}', Code.BAD_FIELD, "token"),
    ],
)
def test_a_malformed_frame_is_refused_by_name(text: str, code: Code, named: str):
    with pytest.raises(Malformed) as caught:
        decode(text, max_bytes=200_000)
    assert caught.value.code is code
    assert named in caught.value.message


def test_an_error_frame_says_which_frame_and_field_and_whether_to_retry():
    frame = json.loads(error_frame(bad_publish()))
    assert frame["ref"] == {"type": "publish", "field": "event", "channel": "chat/general", "id": "p-1"}
    assert (frame["code"], frame["retry"]) == (204, False)


@pytest.mark.parametrize(("text", "fits"), [("x" * 80, True), ("x" * 81, False), ("é" * 41, False)])
def test_the_size_of_a_frame_is_counted_in_bytes(text: str, fits: bool):
    frame = json.dumps({"type": "auth", "token": text}, ensure_ascii=False)
    limit = len(json.dumps({"type": "auth", "token": ""})) + 80
    if fits:
        decode(frame, max_bytes=limit)
        return
    with pytest.raises(Malformed) as caught:
        decode(frame, max_bytes=limit)
    assert caught.value.code is Code.TOO_BIG


def test_unknown_fields_and_an_absent_filter_are_accepted():
    assert isinstance(read({"type": "ping", "extra": 1}), Ping)
    assert read({"type": "subscribe", "topic": "a"}) == Subscribe(type="subscribe", topic="a")
    assert read({"type": "publish", "topic": "a", "event": "e"}) == Publish(type="publish", topic="a", event="e")
    assert read({"type": "chat", "roomId": "a", "text": ""}) == Chat(type="chat", roomId="a", text="")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(json_values | st.text(alphabet=["\ud800", "a", "é"]))
def test_written_json_can_be_encoded_and_read_back(value: object):
    text = dumps(value)
    assert json.loads(text.encode()) == value


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_whatever_a_client_sends_is_read_or_refused(text: str):
    try:
        decode(text, max_bytes=1_000)
    except Malformed as error:
        json.loads(error_frame(error).encode())
