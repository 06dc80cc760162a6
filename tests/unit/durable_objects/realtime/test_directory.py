from __future__ import annotations

from random import Random
from typing import Any

from durable_objects.realtime.core.settings import RealtimeSettings, TopicClass
from durable_objects.realtime.directory import Directory


class Namespace:
    def __init__(self, name: str) -> None:
        self.name = name

    def getByName(self, topic: str) -> tuple[str, str]:
        return self.name, topic


class Clock:
    def now_ms(self) -> int:
        return 5


def directory(**settings: Any) -> Directory:
    given = RealtimeSettings("demo", topics=(TopicClass("chat/*", "Room"),), **settings)
    names = {"TopicObject": Namespace("TopicObject"), "Room": Namespace("Room")}
    return Directory(given, names, None, clock=Clock(), random=Random(1))


def test_a_topic_lives_in_the_namespace_of_its_class():
    assert directory().stub("chat/x") == ("Room", "chat/x")
    assert directory().stub("doc/x") == ("TopicObject", "doc/x")


def test_names_are_read_with_the_project_of_the_server_and_of_the_client():
    found = directory(slug="slug", database="DB")
    assert found.topic("chat/x/demo").text == found.topic("chat/x/slug").text == "chat/x"
    assert found.topic("chat/x/p1", ["p1"]).text == found.room("x/p1", ["p1"]).text == found.chat("x").text == "chat/x"
    assert found.topic("orders").text == "table:DB.orders"


def test_ids_differ():
    found = directory()
    assert len({found.new_id() for _ in range(100)}) == 100
