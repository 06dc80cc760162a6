from __future__ import annotations

import json
from typing import Any

import pytest

from durable_objects.realtime.core.access import Connection
from durable_objects.realtime.core.audience import Leg
from durable_objects.realtime.core.codes import RealtimeError
from durable_objects.realtime.core.history import History
from durable_objects.realtime.core.publication import Publication
from durable_objects.realtime.core.table_events import TableEvent
from durable_objects.realtime.core.topic import Broadcast, PresenceMoved, Remember, Reply, Store, Topic


def room(**options: Any) -> Topic:
    return Topic(History("e1"), **options)


def joined(topic: Topic, name: str, *spellings: str, user: str | None = None) -> Leg:
    leg = Leg(name, Connection(f"c-{name}", user))
    topic.attach(leg)
    for spelling in spellings:
        topic.subscribe(leg, spelling, 1)
    return leg


def kinds(effects: list[Any]) -> list[type]:
    return [type(effect) for effect in effects]


def heard(topic: Topic, effects: list[Any]) -> dict[str, list[tuple[str, str]]]:
    """What each leg receives: type and topic of every frame."""
    frames: dict[str, list[tuple[str, str]]] = {}
    for effect in effects:
        if isinstance(effect, Reply):
            targets = [(effect.leg, effect.text)]
        elif isinstance(effect, Broadcast):
            targets = [(leg, text) for group, text in effect.frames for leg in group.legs if leg != effect.but]
        else:
            continue
        for leg, text in targets:
            frame = json.loads(text)
            frames.setdefault(leg, []).append((frame["type"], frame.get("topic", "")))
    return frames


def test_every_subscriber_is_addressed_in_its_own_spelling_once_per_spelling():
    topic = room()
    joined(topic, "a", "orders")
    joined(topic, "b", "table/orders/p1", "orders")
    effects = topic.publish(Publication("e", "1"), None, 5)
    assert heard(topic, effects) == {
        "a": [("event", "orders")],
        "b": [("event", "orders"), ("event", "table/orders/p1")],
    }


def test_the_text_of_a_spelling_is_one_object():
    topic = room()
    for name in "abc":
        joined(topic, name, "chat/x")
    (broadcast,) = topic.publish(Publication("e", "1"), None, 5)
    assert isinstance(broadcast, Broadcast)
    assert len(broadcast.frames) == 1


def test_a_message_is_stored_before_it_is_told_and_acknowledged_last():
    topic = room()
    leg = joined(topic, "a", "chat/x")
    effects = topic.publish(Publication("e", "1", "id1", persist=True), leg, 5)
    assert kinds(effects) == [Store, Broadcast, Reply]


def test_a_repeated_id_is_acknowledged_but_neither_stored_nor_told_again():
    topic = room()
    leg = joined(topic, "a", "chat/x")
    first = topic.publish(Publication("e", "1", "id1", persist=True), leg, 5)
    again = topic.publish(Publication("e", "1", "id1", persist=True), leg, 9)
    assert kinds(again) == [Reply]
    ack, repeated = json.loads(first[-1].text), json.loads(again[0].text)  # type: ignore[union-attr]
    assert repeated == ack | {"duplicate": True}


def test_publishing_needs_no_subscription_and_an_acknowledgement_has_no_topic():
    topic = room()
    leg = joined(topic, "a")
    joined(topic, "b", "chat/x")
    effects = topic.publish(Publication("e", "1", "id1"), leg, 5)
    assert heard(topic, effects) == {"b": [("event", "chat/x")], "a": [("ack", "")]}


def test_the_sender_hears_itself_unless_the_topic_does_not_echo():
    for echo, expected in ((True, {"a", "b"}), (False, {"b"})):
        topic = room(echo=echo)
        leg = joined(topic, "a", "chat/x")
        joined(topic, "b", "chat/x")
        assert set(heard(topic, topic.publish(Publication("e", "1"), leg, 5))) == expected


def test_subscribing_again_is_confirmed_again_but_delivers_once():
    topic = room()
    leg = joined(topic, "a", "chat/x")
    assert kinds(topic.subscribe(leg, "chat/x", 1)) == [Reply]
    assert heard(topic, topic.publish(Publication("e", "1"), None, 5)) == {"a": [("event", "chat/x")]}


def test_after_unsubscribing_nothing_is_heard():
    topic = room()
    leg = joined(topic, "a", "chat/x")
    topic.unsubscribe(leg, "chat/x", 1)
    assert topic.publish(Publication("e", "1"), None, 5) == []
    assert topic.unsubscribe(leg, "chat/x", 1) == []


def test_a_subscriber_sees_who_is_present_when_there_is_or_was_anybody():
    topic = room()
    ann = joined(topic, "a", user="ann")
    bob = joined(topic, "b")
    assert heard(topic, topic.subscribe(bob, "room/1", 1)) == {"b": [("subscribed", "room/1")]}
    topic.track(ann, {}, 2)
    assert len(heard(topic, topic.subscribe(bob, "room/1", 3))["b"]) == 2
    topic.untrack(ann, 4)
    sync = topic.subscribe(bob, "room/1", 5)[-1]
    assert isinstance(sync, Reply)
    assert json.loads(sync.text)["data"] == {"users": []}


def test_presence_ends_with_the_last_subscription_or_with_the_leg():
    topic = room()
    watcher = joined(topic, "w", "room/1")
    for end in (lambda leg: topic.unsubscribe(leg, "room/1", 9), lambda leg: topic.detach(leg.id, 9)):
        leg = joined(topic, "a", "room/1", user="ann")
        topic.track(leg, {"x": 1}, 5)
        effects = end(leg)
        moves = [effect.change.verb for effect in effects if isinstance(effect, PresenceMoved)]
        assert moves == ["leave"]
        assert heard(topic, effects)[watcher.id] == [("event", "room/1")]


def test_a_topic_is_rebuilt_from_what_its_legs_remember():
    topic = room()
    leg = joined(topic, "a", "chat/x", "chat/x/p", user="änn")
    effects = topic.track(leg, {"x": [1]}, 5)
    remembered = next(effect.attachment for effect in effects if isinstance(effect, Remember))
    woken = room()
    woken.restore(Leg.from_attachment(remembered))
    assert woken.legs["a"] == leg
    assert woken.presence.snapshot() == topic.presence.snapshot()
    assert heard(woken, woken.publish(Publication("e", "1"), None, 5)) == heard(
        topic, topic.publish(Publication("e", "1"), None, 5)
    )


def test_row_changes_are_told_in_order_and_a_lost_one_without_a_topic():
    topic = room()
    assert topic.tell_changes([TableEvent("db_change", ',"seq":0}')]) == []
    joined(topic, "a", "orders")
    events = [TableEvent("db_change", ',"seq":0}'), TableEvent("resync", "}"), TableEvent("db_change", ',"seq":1}')]
    assert heard(topic, topic.tell_changes(events)) == {
        "a": [("db_change", "orders"), ("resync", ""), ("db_change", "orders")]
    }


def test_one_leg_cannot_have_endless_spellings():
    topic = room(max_spellings=1)
    leg = joined(topic, "a", "orders")
    with pytest.raises(RealtimeError, match="1 spellings"):
        topic.subscribe(leg, "orders/", 1)


def test_what_is_kept_of_a_leg_fits_its_socket_or_is_refused_without_a_trace():
    topic = room()
    leg = joined(topic, "a", "room/1", "room/1/")
    with pytest.raises(RealtimeError, match="16000 fit"):
        topic.track(leg, {"x": "€" * 3_000}, 1)
    assert (leg.state, topic.presence.snapshot()) == (None, [])
    topic.track(leg, {"x": "€" * 2_640}, 1)
    with pytest.raises(RealtimeError, match="16000 fit"):
        topic.subscribe(leg, "€" * 80, 1)
    assert list(leg.spellings) == ["room/1", "room/1/"]
    assert list(topic.audience("€" * 80)) == []


def test_a_leg_that_is_gone_is_detached_once():
    topic = room()
    leg = joined(topic, "a", "chat/x")
    assert topic.detach(leg.id, 1) == []
    assert topic.detach(leg.id, 1) == []
    assert list(topic.audience("chat/x")) == []
