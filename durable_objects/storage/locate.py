"""Where in a statement SQLite stopped: Python's sqlite3 does not expose `sqlite3_error_offset`.

Only error paths come here. A syntax error is located by asking SQLite itself: the culprit is the first token named in
the message whose preceding text is still a viable beginning of a statement.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator

__all__ = ["error_offset", "split_statements", "tokens"]

_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*(?:\n|$)|/\*.*?(?:\*/|$))"""
    r"""|'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]"""
    r"""|\?\d*|[:@$][A-Za-z0-9_$]+|[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_$\u0080-\U0010ffff]*"""
    r"""|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|<>|<=|>=|==|!=|\|\||<<|>>|->>|->|.""",
    re.S,
)
_NAMED = re.compile(
    r"""(?:no such column|no such function|not authorized to use function|ambiguous column name): (.+)"""
    r"""|(?:wrong number of arguments to|too many arguments on) function ([^(]+)(?:\(\))?"""
)


def error_offset(connection: sqlite3.Connection, sql: str, message: str) -> int | None:
    """Return the UTF-8 offset of the error that `message` tells about `sql`, or None when SQLite gives none."""
    position = _position(connection, sql, message)
    return None if position is None else len(sql[:position].encode("utf-8", "replace"))


def _position(connection: sqlite3.Connection, sql: str, message: str) -> int | None:
    if message.startswith('near "') and message.endswith('": syntax error'):
        return _syntax_error(connection, sql, message[len('near "') : -len('": syntax error')])
    if message.startswith('unrecognized token: "'):
        found = sql.find(message[len('unrecognized token: "') : -1])
        return found if found >= 0 else None
    if message.startswith("variable number must be between ?1 and ?"):
        limit = int(message.rpartition("?")[2])
        numbers = (token for token in tokens(sql) if re.fullmatch(r"\?\d+", token[0]))
        return next((token.start() for token in numbers if not 1 <= int(token[0][1:]) <= limit), None)
    if message == "too many SQL variables":
        variables = [token.start() for token in tokens(sql) if token[0][0] in "?:@$"]
        return variables[100] if len(variables) > 100 else None
    named = _NAMED.fullmatch(message)
    return None if named is None else _name(sql, (named[1] or named[2]).strip())


def tokens(sql: str) -> Iterator[re.Match[str]]:
    """Iterate over the tokens of a text, without white space and comments."""
    return (match for match in _TOKEN.finditer(sql) if match["space"] is None)


def _name(sql: str, name: str) -> int | None:
    wanted = name.split(".")[0].lower()
    for token in tokens(sql):
        if token[0].strip('"`[]').lower() == wanted:
            return token.start()
    return None


def _syntax_error(connection: sqlite3.Connection, sql: str, culprit: str) -> int | None:
    for token in tokens(sql):
        before, after = sql[: token.start()], sql[: token.end()]
        if token[0] == culprit and _is_viable(connection, before) and not _is_viable(connection, after):
            return token.start()
    return None


def _is_viable(connection: sqlite3.Connection, beginning: str) -> bool:
    if not beginning.strip():
        return True
    try:
        connection.execute("EXPLAIN " + beginning).close()
    except sqlite3.Error as error:
        return "syntax error" not in str(error)
    return True


def split_statements(sql: str) -> list[str]:
    """Split at the semicolons that end statements; the last piece is what follows the last of them, if it is not blank.

    A CREATE TRIGGER body keeps its inner semicolons. A piece of comments only counts as a piece.
    """
    pieces: list[str] = []
    start = 0
    for token in _TOKEN.finditer(sql):
        if token[0] == ";" and sqlite3.complete_statement(sql[start : token.end()]):
            pieces.append(sql[start : token.end()])
            start = token.end()
    if sql[start:].strip():
        pieces.append(sql[start:])
    return pieces
