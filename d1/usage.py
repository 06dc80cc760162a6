"""How near a program comes to D1's limits: it is warned once a statement, and the highest figures are kept.

Looking costs a running statement next to nothing: a text is examined when it is first seen, and of its parameters only
the lengths are looked at. Limits that SQLite checks by itself are not checked again here; calls an invocation are.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from d1.errors import TOO_MANY_CALLS, Failure
from d1.limits import LIMITS, NEAR, PLANS, Limit, Plan
from d1.sql import tokens
from workers.compat.ambient import invocation

__all__ = ["Facts", "Peak", "Usage"]

_log = logging.getLogger(__name__)

_EXAMINED_CHARACTERS: Final = 10_000
"""Longer texts mostly hold literals, and taking them apart would cost more than running them."""
_KEPT: Final = 4096
_SHOWN: Final = 100
_FEW_COMMAS: Final = 24
_PATTERN_WORD: Final = re.compile(r"\b(?:like|glob)\b", re.I)
_COMPOUND_WORD: Final = re.compile(r"\b(?:union|intersect|except)\b", re.I)
_COMPOUND: Final = frozenset({"UNION", "INTERSECT", "EXCEPT"})
_CONSTRAINTS: Final = frozenset({"CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"})
_NOT_FUNCTIONS: Final = frozenset(
    {"IN", "VALUES", "AS", "OVER", "FROM", "SELECT", "AND", "OR", "NOT", "ON", "KEY", "USING"}
)
_NAME: Final = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest figure seen for a limit."""

    limit: Limit
    value: int
    sql: str
    """The statement it belongs to, shortened; empty when it belongs to none."""


@dataclass(slots=True)
class Facts:
    """What matters about one text each time it runs."""

    long: int
    """Characters from which on a text or BLOB parameter is worth a look."""
    patterns: frozenset[int]
    """Places of the parameters that are LIKE or GLOB patterns."""
    is_new: bool = True
    """Whether the width of its rows is not known yet."""


class Usage:
    """Figures of one database since it was opened. Belongs to the loop's thread."""

    def __init__(self, database: str, plan: Plan = PLANS["paid"]) -> None:
        self.plan = plan
        self.answered = 0
        """Calls that were answered without an error: what bookmarks count."""
        self.peaks: dict[str, Peak] = {}
        """Limit's name -> highest figure. Arguments of functions and columns of new tables are counted in texts only
        that have many commas, so their peaks may be lower than what really was."""
        self._database = database
        self._limits = {entry.name: _on(plan, entry) for entry in LIMITS if entry.is_watched}
        self._near = {name: int(NEAR * _stated(entry)) for name, entry in self._limits.items()}
        self._most_calls = 0
        self._most_parameters = 0
        self._near_parameters = self._near["bound_parameters"]
        self._facts: dict[int, Facts] = {}
        self._warned: dict[tuple[str, int], None] = {}

    def count_call(self) -> None:
        """Count one call of the running invocation.

        DIFFERS(d1-calls): production counts other subrequests with them.

        Raises:
            Failure: It may not make so many.
        """
        running = invocation.get(None)
        if running is None:
            return
        running.d1_calls = count = running.d1_calls + 1
        if count > self._most_calls:
            if count > self.plan.queries:
                raise Failure(TOO_MANY_CALLS)
            self._most_calls = count
            self._see("queries", count, "")

    def before(self, sql: str, parameters: Sequence[object]) -> Facts:
        """Look at a statement that is about to run and return what is known of its text."""
        facts = self._facts.get(hash(sql))
        if facts is None:
            facts = self._examine(sql)
        if parameters:
            long = facts.long
            for value in parameters:
                kind = type(value)
                if (kind is str or kind is bytes) and len(value) >= long:  # pyright: ignore[reportArgumentType]
                    self._look_at_values(facts, sql, parameters)
                    break
            if len(parameters) > self._most_parameters or len(parameters) >= self._near_parameters:
                self._most_parameters = max(self._most_parameters, len(parameters))
                self._see("bound_parameters", len(parameters), sql)
        return facts

    def after(self, sql: str, columns: int, duration_ms: float) -> None:
        """Look at what a statement did: worth calling the first time a text has run, and after a long one."""
        self._see("columns", columns, sql)
        self._see("query_seconds", int(duration_ms / 1000), sql)

    def see_size(self, size_bytes: int) -> None:
        """Take note of the database's size."""
        self._see("database_bytes", size_bytes, "")

    # looking

    def _see(self, name: str, value: int, sql: str) -> None:
        peak = self.peaks.get(name)
        if peak is None or value > peak.value:
            self.peaks[name] = Peak(self._limits[name], value, _shortened(sql))
        if value >= self._near[name]:
            self._warn(name, value, sql)

    def _warn(self, name: str, value: int, sql: str) -> None:
        key = (name, hash(sql))
        if key in self._warned:
            return
        if len(self._warned) >= _KEPT:
            del self._warned[next(iter(self._warned))]
        self._warned[key] = None
        entry = self._limits[name]
        _log.warning(
            "%s: near a limit of D1: %s of %s %s%s",
            self._database,
            f"{value:,}",
            f"{_stated(entry):,}",
            entry.unit,
            f" in {_shortened(sql)!r}" if sql else "",
        )

    def _look_at_values(self, facts: Facts, sql: str, parameters: Sequence[object]) -> None:
        for place, value in enumerate(parameters):
            if isinstance(value, str | bytes):
                size = len(value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value)
                self._see("value_bytes", size, sql)
                if place in facts.patterns:
                    self._see("pattern_bytes", size, sql)

    def _examine(self, sql: str) -> Facts:
        self._see("statement_bytes", len(sql.encode("utf-8", "surrogatepass")), sql)
        patterns: frozenset[int] = frozenset()
        has_patterns = _PATTERN_WORD.search(sql) is not None
        if len(sql) <= _EXAMINED_CHARACTERS and (
            has_patterns or sql.count(",") >= _FEW_COMMAS or _COMPOUND_WORD.search(sql) is not None
        ):
            patterns = self._take_apart(sql)
        long = self._near["pattern_bytes"] // 4 if patterns else self._near["value_bytes"] // 4
        facts = Facts(long, patterns)
        if len(self._facts) >= _KEPT:
            del self._facts[next(iter(self._facts))]
        self._facts[hash(sql)] = facts
        return facts

    def _take_apart(self, sql: str) -> frozenset[int]:
        """Count what only the tokens of a text tell; return the places of parameters that are patterns."""
        words = [token.text for token in tokens(sql) if not token.is_comment]
        patterns: set[int] = set()
        names: dict[str, int] = {}
        for index, word in enumerate(words):
            if word[0] in "?:@$" and (len(word) > 1 or word == "?"):
                place = _place(word, names)
                if index and words[index - 1].upper() in ("LIKE", "GLOB"):
                    patterns.add(place)
            elif word[0] == "'" and index and words[index - 1].upper() in ("LIKE", "GLOB"):
                self._see("pattern_bytes", len(word[1:-1].replace("''", "'").encode("utf-8", "surrogatepass")), sql)
        self._see("compound_terms", _most_terms(words), sql)
        arguments, columns = _counts_in_parentheses(words)
        if arguments:
            self._see("function_arguments", arguments, sql)
        if columns:
            self._see("columns", columns, sql)
        return frozenset(patterns)


def _on(plan: Plan, entry: Limit) -> Limit:
    values = {"queries": plan.queries, "database_bytes": plan.database_bytes}
    return replace(entry, value=values[entry.name], plan=plan.name) if entry.name in values else entry


def _stated(entry: Limit) -> int:
    return entry.documented or entry.value


def _shortened(sql: str) -> str:
    line = " ".join(sql[: 4 * _SHOWN].split())
    return line if len(line) <= _SHOWN and len(sql) <= 4 * _SHOWN else line[:_SHOWN] + "..."


def _place(word: str, names: dict[str, int]) -> int:
    """Return the place of a parameter's value, from 0; `names` remembers those of the same statement."""
    if word[0] == "?" and word[1:].isdigit():
        place = int(word[1:]) - 1
    elif word != "?" and word in names:
        return names[word]
    else:
        place = max(names.values(), default=-1) + 1
    names[word if word != "?" else f"?{place + 1}"] = place
    return place


def _most_terms(words: Sequence[str]) -> int:
    """Return the terms of the longest compound SELECT; each level of parentheses has its own."""
    counts, most = [1], 1
    for word in words:
        if word == "(":
            counts.append(1)
        elif word == ")" and len(counts) > 1:
            counts.pop()
        elif word.upper() in _COMPOUND:
            counts[-1] += 1
            most = max(most, counts[-1])
    return most


def _counts_in_parentheses(words: Sequence[str]) -> tuple[int, int]:
    """Return the most arguments of a function call, and the columns of a table that is created."""
    is_table = [word.upper() for word in words[:2]] == ["CREATE", "TABLE"]
    open_lists: list[list[int]] = []  # [index of the word before, entries, entries that are constraints]
    most = columns = 0
    for index, word in enumerate(words):
        if word == "(":
            open_lists.append([index - 1, 1, 0])
        elif word == "," and open_lists:
            open_lists[-1][1] += 1
        elif word == ")" and open_lists:
            before, entries, constraints = open_lists.pop()
            name = words[before] if before >= 0 else ""
            if is_table and not open_lists and not columns:
                columns = entries - constraints
            elif _NAME.fullmatch(name) and name.upper() not in _NOT_FUNCTIONS and not _is_target(words, before):
                most = max(most, entries)
        if len(open_lists) == 1 and words[index - 1] in ("(", ",") and word.upper() in _CONSTRAINTS:
            open_lists[-1][2] += 1
    return most, columns


def _is_target(words: Sequence[str], index: int) -> bool:
    """Tell whether a name before a list is a table with its columns and no function."""
    before = [word.upper() for word in words[max(0, index - 3) : index]]
    return bool(before) and (before[-1] in ("INTO", "ON", "WITH", "REFERENCES", "RECURSIVE", "TABLE", "EXISTS", "."))
