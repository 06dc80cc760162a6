"""`.dev.vars`: secrets for local development, in dotenv syntax."""

from __future__ import annotations

import re

__all__ = ["parse"]

_LINE = re.compile(
    r"""
    ^[ \t]*(?:export[ \t]+)?(?P<key>[\w.-]+)[ \t]*=[ \t]*
    (?:'(?P<single>[^']*)'|"(?P<double>(?:\\.|[^"\\])*)"|`(?P<back>[^`]*)`|(?P<bare>[^\n\#]*))
    [ \t]*(?:\#[^\n]*)?$
    """,
    re.VERBOSE | re.MULTILINE,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def parse(text: str) -> dict[str, str]:
    """Return the variables of a dotenv file; a later line wins over an earlier one.

    Quoted values may span lines; only double quotes know escapes. Lines that are not `NAME=value` are skipped, as
    dotenv does.
    """
    values: dict[str, str] = {}
    for match in _LINE.finditer(text.replace("\r\n", "\n")):
        values[match["key"]] = _value(match)
    return values


def _value(match: re.Match[str]) -> str:
    if match["double"] is not None:
        return _ESCAPE.sub(lambda found: _ESCAPES.get(found.group(1), found.group(1)), match["double"])
    for group in ("single", "back"):
        if match[group] is not None:
            return match[group]
    return match["bare"].strip()
