from __future__ import annotations

from durable_objects.realtime.core.history import History, Position, Receipt


def append(history: History, now_ms: int, id: str | None = None):
    return history.append(id=id, user_id="u", event="e", data="1", now_ms=now_ms)


def test_created_at_grows_strictly_even_when_the_clock_does_not():
    history = History("e1")
    assert [append(history, now).created_at for now in (10, 10, 5, 50)] == [10, 11, 12, 50]


def test_offsets_count_from_one_without_gaps():
    history = History("e1")
    assert [append(history, 1).position.offset for _ in range(3)] == [1, 2, 3]


def test_a_message_without_an_id_is_named_after_its_place():
    assert append(History("e1"), 1).id == "e1-1"


def test_a_stored_log_is_continued_where_it_ends():
    old = History("e1")
    stored = [append(old, 10, "a"), append(old, 10, "b")]
    history = History("new")
    history.continue_from(reversed(stored))
    assert history.repeated("u", "a") == Receipt("a", 10, Position("e1", 1), is_stored=True)
    following = append(history, 1)
    assert (following.position, following.created_at) == (Position("e1", 3), 12)


def test_an_empty_log_keeps_its_own_epoch():
    history = History("e1")
    history.continue_from([])
    assert history.position == Position("e1", 0)


def test_a_repeated_id_is_recognised_per_user_within_the_window():
    history = History("e1", window=2)
    for name in ("a", "b", "c"):
        history.remember("u", Receipt(name, 1))
    assert history.repeated("u", "a") is None
    assert history.repeated("u", "b") is not None
    assert history.repeated("other", "b") is None
    assert history.repeated("u", None) is None


def test_an_append_that_was_not_stored_is_taken_back():
    history = History("e1")
    append(history, 10)
    message = append(history, 10, "a")
    history.remember("u", Receipt("a", 10))
    history.undo(message)
    assert history.repeated("u", "a") is None
    assert append(history, 10).position.offset == 2
