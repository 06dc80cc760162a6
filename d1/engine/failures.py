"""SQLite's exceptions -> production's error texts: `<message>[ at offset N]: SQLITE_X[ (extended: SQLITE_X_Y)]`.

Python does not expose `sqlite3_error_offset`, so the offset is found again in the text: the message names the
token, and where the token occurs several times, preparing prefixes of the statement tells which one SQLite means.
Offsets count UTF-8 bytes.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from itertools import pairwise
from typing import Final

from d1 import errors
from d1.engine.authorizer import ABSENT_TABLES, ALLOWED_FUNCTIONS, DENIED_FUNCTIONS, FUNCTION_GROUPS, Authorizer
from d1.limits import limit
from d1.sql import Statement, Token, parameter_count, tokens

__all__ = ["Probe", "explain", "is_busy", "is_full", "is_interrupted", "is_undecodable"]

_COLUMN: Final = re.compile(r"(?:no such column|ambiguous column name): (.+)\Z", re.S)
_NEAR: Final = re.compile(r'near "(.*)": syntax error\Z', re.S)
_TOKEN: Final = re.compile(r'unrecognized token: "(.*)"\Z', re.S)
_VARIABLE: Final = re.compile(r"variable number must be between")

_LATER_CODES: Final = {3091: "SQLITE_CONSTRAINT_DATATYPE"}
"""Codes that Python's driver has no name for."""

_EXISTS: Final = re.compile(r"(?:table|view) (.+) already exists\Z", re.S)
_LATER_ARGUMENT: Final = re.compile(r"second argument to (\w+)\(\) must be")
_PATH: Final = re.compile(r"JSON path error near '(.*)'\Z", re.S)
_DATABASE: Final = re.compile(r"unknown database (\S+)\Z")
_MOST_MENTIONS: Final = 20
_TERM: Final = re.compile(r"(\d+)\w\w ORDER BY term out of range")
_COMPOUND: Final = re.compile(r"\b(?:union|intersect|except)\b", re.I)
_CLAUSES: Final = frozenset(
    {"SELECT", "FROM", "JOIN", "ON", "WHERE", "GROUP", "ORDER", "HAVING", "LIMIT", "SET", "VALUES", "USING"}
)
_ABOUT_PRESENT_FUNCTION: Final = ("not authorized to use function: ", "wrong number of arguments to function ")
_FUNCTION_MESSAGES: Final = (
    "no such function: ",
    "not authorized to use function: ",
    "wrong number of arguments to function ",
    "too many arguments on function ",
    "misuse of aggregate: ",
    "misuse of aggregate function ",
    "FILTER may not be used with non-aggregate ",
    "misuse of window function ",
)

Probe = Callable[[str], str | None]


def explain(error: sqlite3.Error, statement: Statement, authorizer: Authorizer, probe: Probe) -> str:
    """Return the reason in production's words.

    Args:
        error: What SQLite raised for `statement`.
        authorizer: Knows what was refused during the preparation.
        probe: Prepares a text without running it and returns SQLite's message, `None` when it is correct.
    """
    message = str(error)
    name = getattr(error, "sqlite_errorname", None)
    if name is None:
        return _driver_reason(error, message)
    if name == "SQLITE_AUTH" and authorizer.denied_transaction:
        return errors.TRANSACTION_STATEMENT
    if authorizer.denied_table.lower() in ABSENT_TABLES and "prohibited" in message:
        message, name = f"no such table: {authorizer.denied_table}", "SQLITE_ERROR"
    if message.startswith(_ABOUT_PRESENT_FUNCTION):
        function = message.rpartition(" ")[2].removesuffix("()")
        if function.lower() not in ALLOWED_FUNCTIONS | DENIED_FUNCTIONS:
            message = f"no such function: {function}"
    if match := _PATH.match(message):
        message = f"bad JSON path: '{_whole_path(match.group(1), statement.text)}'"
    if name == "SQLITE_ERROR":
        offset = _offset(message, statement.text, probe)
        if offset is not None:
            message = f"{message} at offset {offset}"
    return message + _code_text(error, name)


def _whole_path(rest: str, sql: str) -> str:
    """Return the path that an older SQLite names only from the faulty place on."""
    literals = [token.text[1:-1].replace("''", "'") for token in tokens(sql) if token.text[0] == "'"]
    return next((literal for literal in literals if literal.endswith(rest) and rest), rest)


def _code_text(error: sqlite3.Error, name: str) -> str:
    code = getattr(error, "sqlite_errorcode", 0)
    name = _LATER_CODES.get(code, name)
    primary = "_".join(name.split("_")[:2])
    return f": {primary}" if primary == name else f": {primary} (extended: {name})"


def _driver_reason(error: sqlite3.Error, message: str) -> str:
    """Explain what Python's driver refused before SQLite saw it."""
    if isinstance(error, sqlite3.ProgrammingError) and "bindings" in message:
        return errors.BINDING_COUNT
    if "too big" in message or "longer than" in message:
        return "string or blob too big: SQLITE_TOOBIG"
    if "too large" in message:
        return "statement too long: SQLITE_TOOBIG"
    return message


def _offset(message: str, sql: str, probe: Probe) -> int | None:
    """Return the offset that SQLite knows for this kind of message, `None` when it knows none."""
    place: int | None = None
    if match := _NEAR.match(message):
        place = _syntax_token(match.group(1), sql, probe)
    elif match := _TOKEN.match(message):
        place = _found(sql, match.group(1))
        place = next((token.offset for token in _significant(sql) if token.text == match.group(1)), place)
    elif match := _COLUMN.match(message):
        place = _column(match.group(1), sql, message, probe)
    elif match := _EXISTS.match(message):
        place = _name(match.group(1), sql)
    elif match := _DATABASE.match(message):
        place = _qualifier(match.group(1), sql)
    elif _VARIABLE.match(message):
        place = _bad_variable(sql)
    elif message == "too many SQL variables":
        place = _first_surplus_variable(sql)
    elif match := _TERM.match(message):
        place = _term(int(match.group(1)), sql) if _COMPOUND.search(sql) else None
    elif match := _LATER_ARGUMENT.match(message):
        place = _called(match.group(1), sql)
    else:
        for start in _FUNCTION_MESSAGES:
            if message.startswith(start):
                name = message.removeprefix(start).removesuffix("()")
                if name in FUNCTION_GROUPS["fts5"].split():
                    return None  # those count their arguments while they run
                is_misplaced = start in ("misuse of aggregate: ", "misuse of window function ")
                place = _called(name, sql, is_nested="aggregate function" in start, is_misplaced=is_misplaced)
    return _byte_offset(sql, place)


def _found(sql: str, text: str) -> int | None:
    place = sql.find(text)
    return place if place >= 0 else None


def _byte_offset(sql: str, place: int | None) -> int | None:
    return None if place is None else len(sql[:place].encode("utf-8", "replace"))


def _significant(sql: str) -> list[Token]:
    return [token for token in tokens(sql) if not token.is_comment]


def _syntax_token(text: str, sql: str, probe: Probe) -> int | None:
    """Find the occurrence at which the parser stopped: the first one whose prefix fails in the same way."""
    places = [token.offset for token in _significant(sql) if token.text == text]
    if len(places) == 1:
        return places[0]
    expected = f'near "{text}": syntax error'
    for place in places:
        if probe(sql[: place + len(text)]) == expected:
            return place
    return places[0] if places else None


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] in '"`[':
        return text[1:-1].replace('""', '"') if text[0] == '"' else text[1:-1]
    return text


def _column(name: str, sql: str, message: str, probe: Probe) -> int | None:
    """Find a column reference `x`, `t.x` or `main.t.x`; SQLite points at its first part.

    It knows no place for the target of an assignment, nor for anything inside the ON clause of a join.
    """
    found = _significant(sql)
    names = [_unquoted(token.text) for token in found]
    for parts in (name.split("."), [_unquoted(name)]):
        wanted = [part.lower() for part in parts]
        step = 2 * len(wanted) - 1
        places: list[int] = []
        for index in range(len(found) - step + 1):
            window = names[index : index + step]
            if [part.lower() for part in window[::2]] != wanted or any(dot != "." for dot in window[1::2]):
                continue
            if not (index and names[index - 1] == "." and len(wanted) == 1):
                places.append(index)
        if places:
            spans = [(found[index].offset, found[index + step - 1]) for index in places]
            index = places[
                _meant([(start, last.offset + len(last.text)) for start, last in spans], sql, message, probe)
            ]
            clause, is_target = _clause_before(names, index)
            return None if is_target or clause == "ON" else found[index].offset
    return None


def _meant(spans: list[tuple[int, int]], sql: str, message: str, probe: Probe) -> int:
    """Tell which of several mentions of a column is the unknown one, by putting NULL in place of others.

    Where no value may stand, as in a list of columns, the column is defined and not looked up.
    """
    if not 1 < len(spans) <= _MOST_MENTIONS:
        return 0
    values = [number for number, span in enumerate(spans) if not _without(sql, [span], probe).startswith("near ")]
    if not values:
        return 0
    for number in values:
        if _without(sql, [spans[other] for other in values if other != number], probe) == message:
            return number
    return values[0]


def _without(sql: str, spans: list[tuple[int, int]], probe: Probe) -> str:
    """Return what SQLite says of the text with NULL in these places."""
    for start, end in reversed(spans):
        sql = f"{sql[:start]}NULL{sql[end:]}"
    return probe(sql) or ""


def _term(number: int, sql: str) -> int | None:
    """Find the n-th term of the last ORDER BY; SQLite knows its place in compound SELECTs only."""
    found = _significant(sql)
    starts = [
        index + 2
        for index, (token, after) in enumerate(pairwise(found))
        if (token.text.upper(), after.text.upper()) == ("ORDER", "BY")
    ]
    depth, place = 0, 1
    for token in found[starts[-1] :] if starts else ():
        if place == number:
            return token.offset
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        place += token.text == "," and depth == 0
    return None


def _name(name: str, sql: str) -> int | None:
    return next((token.offset for token in _significant(sql) if _unquoted(token.text).lower() == name.lower()), None)


def _qualifier(name: str, sql: str) -> int | None:
    """Find the name of a database before its dot."""
    pairs = pairwise(_significant(sql))
    return next((token.offset for token, dot in pairs if dot.text == "." and _unquoted(token.text) == name), None)


def _clause_before(names: list[str], index: int) -> tuple[str, bool]:
    """Return the clause in which a token stands, and whether it is the target of an assignment there."""
    for place in range(index - 1, -1, -1):
        word = names[place].upper()
        if word == "ON" and not any(before.upper() in {"FROM", "JOIN"} for before in names[:place]):
            continue  # CREATE INDEX .. ON, not a join
        if word in _CLAUSES and not (word == "ON" and names[place + 1 : place + 2] == ["CONFLICT"]):
            is_first = names[index - 1].upper() in {"SET", ","}
            return word, word == "SET" and is_first and names[index + 1 : index + 2] == ["="]
    return "", False


def _called(name: str, sql: str, *, is_nested: bool = False, is_misplaced: bool = False) -> int | None:
    """Find a call; of an aggregate inside an aggregate the inner one is meant, else the one in a clause without any."""
    found = _significant(sql)
    names = [_unquoted(token.text) for token in found]
    calls = [
        index
        for index, (this, following) in enumerate(pairwise([*names, ""]))
        if this.lower() == name.lower() and following == "("
    ]
    if not calls:
        return _name(name, sql)
    if is_nested:
        return found[calls[min(1, len(calls) - 1)]].offset
    misplaced = [
        index for index in calls if is_misplaced and _clause_before(names, index)[0] not in ("SELECT", "ORDER")
    ]
    return found[(misplaced or calls)[0]].offset


def _bad_variable(sql: str) -> int | None:
    for token in tokens(sql):
        if token.text[0] == "?" and token.text[1:] and not 1 <= int(token.text[1:]) <= limit("bound_parameters"):
            return token.offset
    return None


def _first_surplus_variable(sql: str) -> int | None:
    for token in tokens(sql):
        is_variable = token.text[0] in "?:@$#"
        if is_variable and parameter_count(sql[: token.offset + len(token.text)]) > limit("bound_parameters"):
            return token.offset
    return None


def is_interrupted(error: sqlite3.Error) -> bool:
    """Tell whether the progress handler stopped the statement."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT


def is_busy(error: sqlite3.Error) -> bool:
    """Tell whether another connection holds the write lock."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) == sqlite3.SQLITE_BUSY


def is_full(error: sqlite3.Error) -> bool:
    """Tell whether the file could not grow: it is as big as it may be, or the disk is full."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def is_undecodable(error: sqlite3.Error) -> bool:
    """Tell whether a TEXT value was not UTF-8."""
    return isinstance(error, sqlite3.OperationalError) and str(error).startswith("Could not decode")
