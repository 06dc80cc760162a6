"""Declarative access rules: may this caller do this on this topic, and which rows of a table may it see?

Rules are looked at in their order. A rule speaks when its pattern fits the topic, the caller has one of its roles and
all of its claims, and it allows or denies the action; the first that speaks decides. Where none speaks, the settings
say what holds. A secret key is only bound by rules that name the role "secret".

`{claim}` in a pattern stands for a claim of the caller's token: `inbox/{sub}` is everybody's own inbox. A caller
without that claim, or with one that is neither a text nor an integer, is not meant by the rule. `"{claim}"` in `rows`
stands for a text, a number, true, false or a list of these; a caller without it is refused, never shown all rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, cast

from durable_objects.realtime.core.settings import AccessRule, RealtimeSettings

__all__ = ["ACTIONS", "ROLES", "RuleAction", "Verdict", "check_rule", "decide"]

RuleAction = Literal["subscribe", "publish", "presence", "history", "table-read"]
ACTIONS = frozenset({"subscribe", "publish", "presence", "history", "table-read"})
ROLES = frozenset({"open", "public", "secret", "jwt"})

_PLACE = re.compile(r"\{([^{}]+)\}")
_GLOB = re.compile(r"[*?\[]")
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it is allowed; for `table-read` also the filter that rows must pass, None for all rows.

    `is_meant`: a rule says so, or there is nobody to keep out; not only the default.
    """

    is_allowed: bool
    rows: Mapping[str, Any] | None = None
    is_meant: bool = False


_YES = Verdict(True)
_MEANT = Verdict(True, is_meant=True)
_NO = Verdict(False)


def decide(
    settings: RealtimeSettings, action: RuleAction, topic: str, role: str, claims: Mapping[str, Any] | None
) -> Verdict:
    """Decide on one action of one caller; `topic` is the canonical name."""
    for rule in settings.rules:
        if (action in rule.deny or action in rule.allow) and role in rule.roles:
            verdict = _verdict(rule, action, topic, claims or {})
            if verdict is not None:
                return verdict
    if role == "secret":
        return _MEANT
    default = settings.table_access if action == "table-read" else settings.topic_access
    if default != "allow":
        return _NO
    return _MEANT if role == "open" else _YES


def check_rule(rule: AccessRule) -> None:
    """Look for mistakes in a rule that would make it say something else than was meant.

    Raises:
        ValueError: There is one.
    """
    if not rule.allow and not rule.deny:
        raise ValueError(f"rule for {rule.pattern!r} neither allows nor denies anything")
    for name, given, known in (
        ("action", rule.allow | rule.deny, ACTIONS),
        ("role", rule.roles, ROLES),
    ):
        if unknown := given - known:
            raise ValueError(
                f"rule for {rule.pattern!r}: unknown {name} {min(unknown)!r}; known: {', '.join(sorted(known))}"
            )
    if both := rule.allow & rule.deny:
        raise ValueError(f"rule for {rule.pattern!r} both allows and denies {min(both)}")
    if rule.rows is not None and "table-read" not in rule.allow:
        raise ValueError(f"rule for {rule.pattern!r} has rows, but does not allow table-read")


def _verdict(rule: AccessRule, action: RuleAction, topic: str, claims: Mapping[str, Any]) -> Verdict | None:
    pattern = _filled(rule.pattern, claims)
    if pattern is None or not fnmatchcase(topic, pattern):
        return None
    if not all(_holds(claims, name, wanted) for name, wanted in rule.claims):
        return None
    if action in rule.deny:
        return _NO
    if action != "table-read" or rule.rows is None:
        return _MEANT
    rows = _rows(rule.rows, claims)
    return _NO if rows is _MISSING else Verdict(True, cast("Mapping[str, Any]", rows), is_meant=True)


def _filled(pattern: str, claims: Mapping[str, Any]) -> str | None:
    """Return the pattern with claims in their places, which match only themselves."""
    parts: list[str] = []
    end = 0
    for place in _PLACE.finditer(pattern):
        value = _claim(claims, place[1])
        if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
            return None
        parts += [pattern[end : place.start()], _GLOB.sub(r"[\g<0>]", str(value))]
        end = place.end()
    return "".join(parts) + pattern[end:] if parts else pattern


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim by its name, or by a path of names joined by dots."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return _MISSING
        value = cast("Mapping[str, Any]", value)[part]
    return value


def _holds(claims: Mapping[str, Any], name: str, wanted: object) -> bool:
    """Whether a claim is what a rule wants, or one of what it wants; a claim that is a list needs one that fits."""
    given = _claim(claims, name)
    if given is _MISSING:
        return False
    wishes = cast("list[Any]", wanted) if isinstance(wanted, list) else [wanted]
    values = cast("list[Any]", given) if isinstance(given, list) else [given]
    return any(type(value) is type(wish) and value == wish for value in values for wish in wishes)


def _plain(value: Any) -> Any:
    """Return a claim that is a value or a list of values; an object could be a comparison of its own making."""
    if isinstance(value, list):
        parts = cast("list[Any]", value)
        return parts if all(isinstance(part, (str, int, float)) for part in parts) else _MISSING
    return value if isinstance(value, (str, int, float)) else _MISSING


def _rows(template: Any, claims: Mapping[str, Any]) -> Any:
    """Return a row policy with claims in their places; `_MISSING` when the caller lacks one."""
    if isinstance(template, str):
        place = _PLACE.fullmatch(template)
        return template if place is None else _plain(_claim(claims, place[1]))
    if isinstance(template, Mapping):
        filled = {name: _rows(value, claims) for name, value in cast("Mapping[str, Any]", template).items()}
        return _MISSING if any(value is _MISSING for value in filled.values()) else filled
    if isinstance(template, list):
        values = [_rows(value, claims) for value in cast("list[Any]", template)]
        return _MISSING if any(value is _MISSING for value in values) else values
    return template
