"""SQL files: their statements, the line each one begins on, and the transaction that dumps wrap around them. Pure.

The rules are those of SQLite's own shell: a semicolon ends a statement unless it stands in quotes, in a comment or
inside a trigger, which ends with `; END;`. Dollar quotes are respected because Cloudflare's tool does; SQLite has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["Part", "ScriptError", "read", "split", "without_comments", "without_transaction"]


@dataclass(frozen=True, slots=True)
class Part:
    """One statement of a file, without its semicolon and without comments before it."""

    sql: str
    line: int
    """Line on which it begins, from 1."""
    end: int = 0
    """Characters of the file up to and including it: how far reading has come."""


class ScriptError(ValueError):
    """The file as a whole cannot be run; `line` is where that shows."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.reason, self.line = reason, line


_COMMENT: Final = r"--[^\n]*+(?:\n|\Z) | /\*(?:[^*]|\*(?!/))*+(?:\*/|\Z)"
# What runs to the end of the text is unfinished, so every quote may also end there.
_PIECE: Final = re.compile(
    rf"""(?: [^;'"`\[\-/$]++ | '[^']*+(?:'|\Z) | "[^"]*+(?:"|\Z) | `[^`]*+(?:`|\Z) | \[[^\]]*+(?:\]|\Z)
    | {_COMMENT} | \$(?P<tag>\w*)\$(?:(?!\$(?P=tag)\$).)*+\$(?P=tag)\$ | [\-/$] )*+""",
    re.S | re.X,
)
_TRIVIA: Final = re.compile(rf"(?: \s++ | {_COMMENT} )*+", re.X)
_GAP: Final = rf"(?: \s++ | {_COMMENT} )++"
_TRIGGER: Final = re.compile(
    rf"(?: \s++ | {_COMMENT} )*+ (?: explain {_GAP} (?: query {_GAP} plan {_GAP} )? )?"
    rf"create {_GAP} (?: temp(?:orary)? {_GAP} )? trigger \b",
    re.I | re.X,
)
_QUOTED_OR_COMMENT: Final = re.compile(
    r"""(?P<kept> '[^']*+' | "[^"]*+" | `[^`]*+` | \[[^\]]*+\] ) | --[^\n]* | (?P<block> /\*.*?(?:\*/|\Z) )""",
    re.S | re.X,
)
_BEGIN: Final = re.compile(r"begin(?:\s+(?:deferred|immediate|exclusive))?(?:\s+transaction)?", re.I)
_COMMIT: Final = re.compile(r"(?:commit|end)(?:\s+transaction)?", re.I)
_LONGEST_TRANSACTION_WORDS: Final = 64


def split(sql: str) -> list[Part]:
    """Return the statements of a text; what is only comments is none."""
    return list(read([sql]))


def read(chunks: Iterable[str]) -> Iterator[Part]:
    """Return the statements of a text that comes in pieces, each as soon as it is complete."""
    buffer, line, passed = "", 1, 0
    for chunk in chunks:
        buffer += chunk
        start = 0
        while (stop := _end_of_statement(buffer, start)) is not None:
            part = _part(buffer[start : stop - 1], line, passed + stop)
            line += buffer.count("\n", start, stop)
            start = stop
            if part is not None:
                yield part
        buffer = buffer[start:]
        passed += start
    part = _part(buffer, line, passed + len(buffer))
    if part is not None:
        yield part


def _end_of_statement(text: str, start: int) -> int | None:
    """Return the place after the semicolon that ends the statement at `start`, `None` while it is incomplete."""
    stop = _end_of_piece(text, start)
    if stop == len(text):
        return None
    if _TRIGGER.match(text, start) is None:
        return stop + 1
    while True:
        start, stop = stop + 1, _end_of_piece(text, stop + 1)
        if stop == len(text):
            return None
        if without_comments(text[start:stop]).upper() == "END":
            return stop + 1


def _end_of_piece(text: str, start: int) -> int:
    match = _PIECE.match(text, start)
    return match.end() if match is not None else start


def _part(text: str, line: int, end: int) -> Part | None:
    match = _TRIVIA.match(text)
    head = match.end() if match is not None else 0
    sql = text[head:].rstrip()
    return Part(sql, line + text.count("\n", 0, head), end) if sql else None


def without_comments(sql: str) -> str:
    """Return the text without its comments and the space around it."""
    return _QUOTED_OR_COMMENT.sub(lambda match: match["kept"] or (" " if match["block"] else ""), sql).strip()


def without_transaction(parts: Iterable[Part]) -> Iterator[Part]:
    """Leave out one `BEGIN TRANSACTION` and its `COMMIT`: whoever runs a file does so in a transaction of his own.

    Raises:
        ScriptError: The file holds several transactions, which cannot be all or nothing.
    """
    has_begun = has_ended = False
    for part in parts:
        is_short = len(part.sql) <= _LONGEST_TRANSACTION_WORDS
        if is_short and _BEGIN.fullmatch(part.sql):
            if has_begun:
                raise ScriptError(
                    "the file holds several transactions; D1 runs it in one of its own, so remove BEGIN and COMMIT",
                    part.line,
                )
            has_begun = True
        elif is_short and has_begun and not has_ended and _COMMIT.fullmatch(part.sql):
            has_ended = True
        else:
            yield part
