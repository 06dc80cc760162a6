from __future__ import annotations

from typing import Any

import pytest

from durable_objects.realtime.core.rules import check_rule, decide
from durable_objects.realtime.core.settings import AccessRule, RealtimeSettings


def rule(pattern: str, *, allow: str = "", deny: str = "", **more: Any) -> AccessRule:
    if "to" in more:
        more["roles"] = frozenset(more.pop("to").split())
    return AccessRule(pattern, frozenset(allow.split()), frozenset(deny.split()), **more)


def may(settings: RealtimeSettings, action: Any, topic: str, role: str = "public", /, **claims: Any) -> bool:
    return decide(settings, action, topic, role, claims or None).is_allowed


def settings(*rules: AccessRule, **more: Any) -> RealtimeSettings:
    for entry in rules:
        check_rule(entry)
    return RealtimeSettings("demo", database="DB", rules=rules, **more)


def test_without_rules_the_default_holds():
    assert may(settings(), "publish", "chat/x")
    assert not may(settings(topic_access="deny"), "publish", "chat/x")
    assert may(settings(topic_access="deny"), "table-read", "table:DB.orders")
    assert not may(settings(table_access="deny"), "table-read", "table:DB.orders")
    assert may(settings(table_access="deny", topic_access="deny"), "table-read", "table:DB.orders", "secret")


def test_the_first_rule_that_speaks_decides():
    given = settings(
        rule("news/*", allow="subscribe history"),
        rule("news/*", deny="publish subscribe"),
        rule("*", allow="publish"),
        topic_access="deny",
    )
    assert may(given, "subscribe", "news/today")
    assert not may(given, "publish", "news/today")
    assert may(given, "publish", "chat/x")
    assert not may(given, "presence", "chat/x")


def test_a_rule_is_for_its_roles_and_a_secret_key_only_bound_when_it_is_named():
    given = settings(
        rule("a/*", deny="publish"), rule("b/*", deny="publish", to="secret"), rule("c", allow="publish", to="jwt")
    )
    assert not may(given, "publish", "a/1", "public")
    assert not may(given, "publish", "a/1", "open")
    assert may(given, "publish", "a/1", "secret")
    assert not may(given, "publish", "b/1", "secret")
    assert may(given, "publish", "b/1", "public")


def test_claims_must_all_hold():
    given = settings(
        rule("admin/*", allow="subscribe", claims=(("role", "admin"), ("org.tier", ["gold", 2]))), topic_access="deny"
    )
    assert may(given, "subscribe", "admin/x", "jwt", role="admin", org={"tier": "gold"})
    assert may(given, "subscribe", "admin/x", "jwt", role=["user", "admin"], org={"tier": 2})
    assert may(given, "subscribe", "admin/x", "jwt", **{"role": "admin", "org.tier": "gold"})
    for claims in (
        {"role": "admin"},
        {"role": "user", "org": {"tier": "gold"}},
        {"role": "admin", "org": {"tier": True}},
    ):
        assert not may(given, "subscribe", "admin/x", "jwt", **claims)
    assert not may(given, "subscribe", "admin/x", "public")


def test_a_claim_in_a_pattern_matches_itself_only():
    given = settings(rule("inbox/{sub}/*", allow="subscribe"), topic_access="deny")
    assert may(given, "subscribe", "inbox/ann/new", "jwt", sub="ann")
    assert may(given, "subscribe", "inbox/7/new", "jwt", sub=7)
    assert may(given, "subscribe", "inbox/a*[x]?/new", "jwt", sub="a*[x]?")
    for sub in ("*", "b?b", "[b]ob", "bo*", "", True, None, ["bob"], {"a": 1}):
        assert not may(given, "subscribe", "inbox/bob/new", "jwt", sub=sub)
    assert not may(given, "subscribe", "inbox/bob/new")


def test_rows_are_filled_with_claims():
    given = settings(
        rule(
            "table:DB.orders",
            allow="table-read",
            rows={"or": [{"owner": "{sub}"}, {"team": {"in": "{teams}"}}], "n": 1},
        )
    )
    verdict = decide(given, "table-read", "table:DB.orders", "jwt", {"sub": "ann", "teams": ["a", 2]})
    assert verdict.rows == {"or": [{"owner": "ann"}, {"team": {"in": ["a", 2]}}], "n": 1}


@pytest.mark.parametrize("sub", [None, {"ne": 0}, [{"ne": 0}], [["x"]]])
def test_who_lacks_a_claim_of_a_row_policy_sees_nothing(sub: object):
    given = settings(rule("table:*", allow="table-read", rows={"owner": "{sub}"}), rule("table:*", allow="table-read"))
    assert not decide(given, "table-read", "table:DB.orders", "jwt", {"sub": sub}).is_allowed
    assert not decide(given, "table-read", "table:DB.orders", "jwt", None).is_allowed


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (rule("a"), "neither allows nor denies"),
        (rule("a", allow="subscrbe"), "unknown action 'subscrbe'"),
        (rule("a", allow="publish", to="publc"), "unknown role 'publc'"),
        (rule("a", allow="publish", deny="publish"), "both allows and denies publish"),
        (rule("a", allow="subscribe", rows={}), "does not allow table-read"),
    ],
)
def test_rules_that_cannot_be_meant_are_told(wrong: AccessRule, why: str):
    with pytest.raises(ValueError, match=why):
        check_rule(wrong)
