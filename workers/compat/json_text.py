"""JSON as JavaScript reads and writes it: JSON.parse with V8's error texts, JSON.stringify's compact form.

Parsing is the standard library's; only when it refuses a text is that text walked once more to say what V8 says.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn, cast

from workers.compat.proxies import JsDict, JsMap, JsNull, JsSyntaxError

__all__ = ["iso_time", "js_json", "parse_json", "stringify"]

_SPACE = re.compile(r"[ \t\r\n]*")
_STRING_RUN = re.compile(r'[^"\\\x00-\x1f]*')
_WORDS = {"t": "true", "f": "false", "n": "null"}
_CONTEXT = 10


def js_json(value: object, indent: int | str | None = None) -> str:
    """Serialise as JSON.stringify does: without spaces, non-ASCII characters as they are."""
    separators = (",", ": " if indent else ":")
    return json.dumps(value, ensure_ascii=False, separators=separators, indent=indent or None)


def iso_time(value: datetime) -> str:
    """Return a date as JSON has it: `2024-01-02T03:04:05.678Z`."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"


def stringify(value: Any, space: int | str | None = None) -> str | None:
    """Serialise a JavaScript value as JSON.stringify does; undefined (`None`) and functions give None.

    Inside objects members without a value are dropped, inside arrays they are null.
    """
    if value is None or callable(value):
        return None
    return js_json(_jsonable(value), space)


def _jsonable(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return (int(value) if value.is_integer() and abs(value) < 1e21 else value) if math.isfinite(value) else None
    if isinstance(value, JsNull) or callable(value):
        return None
    if isinstance(value, datetime):
        return iso_time(value)
    if isinstance(value, JsMap):
        return {}
    if isinstance(value, Mapping):
        members = cast(Mapping[Any, Any], value).items()
        return {str(name): _jsonable(item) for name, item in members if item is not None and not callable(item)}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in cast(Iterable[Any], value)]
    to_json = getattr(value, "toJSON", None)
    return _jsonable(to_json()) if callable(to_json) else {}


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def parse_json(text: str) -> Any:
    """Parse as JSON.parse does; objects in the result are readable by attribute.

    Raises:
        JsSyntaxError: With the text of V8.
    """
    try:
        return JsDict.wrap(json.loads(text, parse_constant=_refuse))
    except ValueError:
        _Walk(text).document()
        raise


class _Walk:
    """Finds the first mistake in a text and raises what V8 raises for it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def _next(self) -> str:
        """Skip white space and return the next character, empty at the end."""
        match = _SPACE.match(self._text, self._at)
        assert match is not None
        self._at = match.end()
        return self._text[self._at : self._at + 1]

    def _fail(self, message: str) -> NoReturn:
        before = self._text[: self._at]
        line = before.count("\n") + 1
        column = self._at - (before.rfind("\n") + 1) + 1
        raise JsSyntaxError(f"{message} in JSON at position {self._at} (line {line} column {column})")

    def _unexpected(self) -> NoReturn:
        text, at = self._text, self._at
        if at >= len(text):
            raise JsSyntaxError("Unexpected end of JSON input")
        if text[at] == '"':
            self._fail("Unexpected string")
        if text[at] in "-0123456789":
            self._fail("Unexpected number")
        if text in ("NaN", "Infinity", "undefined", "[object Object]"):
            raise JsSyntaxError(f'"{text}" is not valid JSON')
        start, end, head, tail = 0, len(text), "", ""
        if len(text) > 2 * _CONTEXT:
            if at >= _CONTEXT:
                start, head = at - _CONTEXT, "..."
            if at < len(text) - _CONTEXT:
                end, tail = at + _CONTEXT, "..."
        raise JsSyntaxError(f"Unexpected token '{text[at]}', {head}\"{text[start:end]}\"{tail} is not valid JSON")

    def document(self) -> None:
        self._value()
        if self._next():
            before = self._text[: self._at]
            line, column = before.count("\n") + 1, self._at - (before.rfind("\n") + 1) + 1
            raise JsSyntaxError(
                f"Unexpected non-whitespace character after JSON at position {self._at} (line {line} column {column})"
            )

    def _value(self) -> None:
        char = self._next()
        if char == "{":
            self._object()
        elif char == "[":
            self._array()
        elif char == '"':
            self._string()
        elif char and char in "-0123456789":
            self._number()
        elif char in _WORDS:
            for expected in _WORDS[char]:
                if self._text[self._at : self._at + 1] != expected:
                    self._unexpected()
                self._at += 1
        else:
            self._unexpected()

    def _object(self) -> None:
        self._at += 1
        if self._next() == "}":
            self._at += 1
            return
        is_first = True
        while True:
            if self._next() != '"':
                self._fail("Expected property name or '}'" if is_first else "Expected double-quoted property name")
            self._string()
            if self._next() != ":":
                # V8 names the colon for the first property only.
                if is_first:
                    self._fail("Expected ':' after property name")
                self._unexpected()
            self._at += 1
            self._value()
            char = self._next()
            if char == "}":
                self._at += 1
                return
            if char != ",":
                self._fail("Expected ',' or '}' after property value")
            self._at += 1
            is_first = False

    def _array(self) -> None:
        self._at += 1
        if self._next() == "]":
            self._at += 1
            return
        while True:
            self._value()
            char = self._next()
            if char == "]":
                self._at += 1
                return
            if char != ",":
                self._fail("Expected ',' or ']' after array element")
            self._at += 1

    def _string(self) -> None:
        self._at += 1
        while True:
            match = _STRING_RUN.match(self._text, self._at)
            assert match is not None
            self._at = match.end()
            char = self._text[self._at : self._at + 1]
            if char == '"':
                self._at += 1
                return
            if not char:
                self._fail("Unterminated string")
            if char != "\\":
                self._fail("Bad control character in string literal")
            self._escape()

    def _escape(self) -> None:
        self._at += 1
        char = self._text[self._at : self._at + 1]
        if not char:
            self._unexpected()
        if char == "u":
            for _ in range(4):
                self._at += 1
                digit = self._text[self._at : self._at + 1]
                if not digit or digit not in "0123456789abcdefABCDEF":
                    self._fail("Bad Unicode escape")
        elif char not in '"\\/bfnrt':
            self._fail("Bad escaped character")
        self._at += 1

    def _digits(self) -> bool:
        start = self._at
        while self._text[self._at : self._at + 1] in tuple("0123456789"):
            self._at += 1
        return self._at > start

    def _number(self) -> None:
        if self._text[self._at] == "-":
            self._at += 1
            if self._text[self._at : self._at + 1] not in tuple("0123456789"):
                self._fail("No number after minus sign")
        if self._text[self._at] == "0":
            self._at += 1
            if self._text[self._at : self._at + 1] in tuple("0123456789"):
                self._fail("Unexpected number")
        else:
            self._digits()
        if self._text[self._at : self._at + 1] == ".":
            self._at += 1
            if not self._digits():
                self._fail("Unterminated fractional number")
        if self._text[self._at : self._at + 1] in ("e", "E"):
            self._at += 1
            if self._text[self._at : self._at + 1] in ("+", "-"):
                self._at += 1
            if not self._digits():
                self._fail("Exponent part is missing a number")
