from __future__ import annotations

from durable_objects.realtime.core.history import Position
from durable_objects.realtime.core.session import Identity, Kept, Session, Sessions, Tape


def session(user: str, *topics: str) -> Session:
    made = Session(Identity("p", b"", user, "agent"))
    for topic in topics:
        made.topics[topic] = Kept((topic,), None, Tape(100, 0))
    return made


def sessions(max_sessions: int = 10, max_topics: int = 100, max_bytes: int = 1_000) -> Sessions:
    return Sessions(max_sessions=max_sessions, max_topics=max_topics, max_bytes=max_bytes)


def test_the_oldest_session_goes_first():
    kept, (first, second, third) = sessions(max_sessions=2), [session(name, "t") for name in "abc"]
    assert kept.keep(first) == kept.keep(second) == []
    assert kept.keep(third) == [first]
    assert sessions(max_topics=1).keep(huge := session("a", "t", "u")) == [huge]


def test_bytes_are_counted_over_all_sessions():
    kept, first, second = sessions(max_bytes=10), session("a", "t"), session("b", "t")
    kept.keep(first)
    kept.keep(second)
    assert kept.grew(first, 6) == []
    assert kept.grew(second, 6) == [first]
    assert kept.grew(first, 100) == []


def test_a_session_is_taken_up_once():
    kept, only = sessions(), session("a", "t")
    kept.keep(only)
    assert kept.claim(only.identity) == ([only], [only])
    assert kept.claim(only.identity) == ([], [])


def test_who_has_a_kept_topic_already_leaves_the_session_to_others():
    kept, only = sessions(), session("a", "t", "u")
    kept.keep(only)
    assert kept.claim(only.identity, ["t"]) == ([only], [])
    assert kept.claim(only.identity, ["other"]) == ([only], [only])


def test_windows_with_different_topics_all_get_the_union():
    kept, first, second = sessions(), session("a", "t"), session("a", "u")
    kept.keep(first)
    kept.keep(second)
    assert kept.claim(first.identity) == ([first, second], [])
    assert kept.claim(first.identity) == ([first, second], [first, second])


def test_a_full_tape_keeps_what_came_first():
    tape = Tape(10, 0)
    assert [tape.hold("12345"), tape.hold("123456"), tape.hold("1")] == [5, 0, 0]
    assert (tape.frames, tape.is_cut) == (["12345"], True)


def test_a_tape_that_somebody_reads_is_cut_no_more():
    tape = Tape(1, 0)
    tape.begin_reading()
    assert tape.hold("12") == 2
    assert not tape.is_cut


def test_a_reader_gets_what_was_held_when_it_joined():
    tape = Tape(10, 0)
    tape.hold("a")
    tape.mark("m")
    tape.hold("b")
    assert tape.until("m") == (["a"], False)
    assert tape.until("unknown") == (["a", "b"], False)


def test_the_position_of_a_tape_is_that_of_its_newest_stored_message():
    tape = Tape(1_000, 0)
    assert tape.position() is None
    for text in ('{"epoch":"e","offset":1}', '{"epoch":"e","offset":2}', '{"data":{"epoch":"x"}}'):
        tape.hold(text)
    assert tape.position() == Position("e", 2)
