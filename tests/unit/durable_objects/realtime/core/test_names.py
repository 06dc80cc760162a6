from __future__ import annotations

import pytest

from durable_objects.realtime.core.codes import Code, RealtimeError
from durable_objects.realtime.core.names import canonical, chat_room, emit_room

PROJECTS = ("demo", "demo-slug")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("orders", "table:DB.orders"),
        ("Orders", "table:DB.orders"),
        ("table/orders", "table:DB.orders"),
        ("table/orders/", "table:DB.orders"),
        ("table/orders/demo", "table:DB.orders"),
        ("table/orders/demo-slug/demo", "table:DB.orders"),
        ("table/orders/another-slug/demo", "table:DB.orders"),
        ("table/demo/demo", "table:DB.demo"),
        ("table:DB.orders", "table:DB.orders"),
        ("orders/demo", "table:DB.orders"),
        ("chat/general", "chat/general"),
        ("chat/general/", "chat/general"),
        ("chat/general/demo", "chat/general"),
        ("chat/general/demo/demo-slug", "chat/general"),
        ("chat/demo/demo", "chat/demo"),
        ("chat/demo", "chat/demo"),
        ("chat/Général/demo", "chat/Général"),
        ("todos/shared/list", "todos/shared/list"),
        ("table/a/b/c", "table/a/b/c"),
    ],
)
def test_every_spelling_of_a_topic_has_one_canonical_name(typed: str, expected: str):
    assert canonical(typed, projects=PROJECTS, database="DB").text == expected


def test_a_canonical_name_is_canonical_already():
    for typed in ("orders", "chat/general/demo", "a/b"):
        name = canonical(typed, projects=PROJECTS, database="DB").text
        assert canonical(name, projects=PROJECTS, database="DB").text == name


def test_the_table_keeps_the_spelling_in_which_it_is_asked_for():
    name = canonical("Order Lines", projects=(), database=None)
    assert (name.table, name.text) == ("Order Lines", "table:order lines")


def test_a_client_without_a_project_does_not_lose_the_end_of_its_topic():
    assert canonical("chat/general", projects=("",), database=None).text == "chat/general"


@pytest.mark.parametrize("typed", ["", "/", "///", "a\nb", "chat/\x00", "chat/\ud800", "x" * 257, "é" * 129])
def test_a_name_that_names_nothing_or_too_much_is_refused(typed: str):
    with pytest.raises(RealtimeError) as caught:
        canonical(typed, projects=PROJECTS, database="DB")
    assert caught.value.code is Code.BAD_TOPIC
    assert caught.value.field == "topic"


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        ("general", "chat/general"),
        ("general/demo", "chat/general"),
        ("chat/general", "chat/general"),
        ("ai-chat/session", "ai-chat/session"),
        ("table/orders", "table:DB.orders"),
        ("table:DB.orders", "table:DB.orders"),
    ],
)
def test_a_bare_room_of_a_server_emit_is_a_chat_room(room: str, expected: str):
    assert emit_room(room, projects=PROJECTS, database="DB").text == expected


@pytest.mark.parametrize("room_id", ["general", "chat/general", "general/demo", "general/"])
def test_a_chat_room_is_found_by_its_bare_id(room_id: str):
    assert chat_room(room_id, projects=PROJECTS).text == "chat/general"
