from __future__ import annotations

import pytest

from durable_objects.realtime.core.settings import RealtimeSettings, TopicClass


def test_the_first_matching_pattern_names_the_class_of_a_topic():
    settings = RealtimeSettings("demo", topics=(TopicClass("chat/vip-*", "Vip"), TopicClass("chat/*", "Room")))
    assert settings.class_for("chat/vip-1") == "Vip"
    assert settings.class_for("chat/general") == "Room"
    assert settings.class_for("doc/1") == "TopicObject"


def test_a_project_without_a_slug_has_one_name():
    assert RealtimeSettings("demo").projects == ("demo",)
    assert RealtimeSettings("demo", slug="d").projects == ("demo", "d")


@pytest.mark.parametrize("limits", [{"max_topics": 0}, {"history_limit": -1}, {"max_state_bytes": 9_000}])
def test_limits_that_cannot_work_are_refused_by_name(limits: dict[str, int]):
    with pytest.raises(ValueError, match=next(iter(limits))):
        RealtimeSettings("demo", **limits)  # type: ignore[arg-type]
