from __future__ import annotations

from durable_objects.realtime.core.session import Identity, Kept, Session, Sessions


def session(user: str, *topics: str) -> Session:
    made = Session(f"{user}-{topics}", Identity("p", "", user, "agent"))
    for topic in topics:
        made.topics[topic] = Kept({topic: None})
    return made


def sessions(max_sessions: int = 10, max_topics: int = 100) -> Sessions:
    return Sessions(max_sessions=max_sessions, max_topics=max_topics)


def test_the_oldest_session_goes_first():
    kept, (first, second, third) = sessions(max_sessions=2), [session(name, "t") for name in "abc"]
    assert kept.keep(first) == kept.keep(second) == []
    assert kept.keep(third) == [first]
    assert sessions(max_topics=1).keep(huge := session("a", "t", "u")) == [huge]


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
