"""SQL text: split into statements, tell what each one is, name the tables it touches. Pure; the only door to sqlglot.

Running a statement needs only its kind, which its leading keyword tells. sqlglot is asked for table names and is
imported at that moment: it costs 100 times what the keyword costs, and it cannot parse everything SQLite can. What
SQLite really does is never decided here (see `d1.engine.authorizer` and `d1.capture`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

__all__ = [
    "Kind",
    "Script",
    "Statement",
    "Tables",
    "Token",
    "is_only_comment",
    "parameter_count",
    "parse",
    "quote_name",
    "tables",
    "tokens",
]

CACHE_SIZE: Final = 4096
_LONGEST_CACHED: Final = 10_000
"""Longer texts mostly carry literals of their own and would fill the memory."""


class Kind(Enum):
    """What running a statement involves."""

    READ = "read"
    """Changes nothing: needs no transaction."""
    WRITE = "write"
    """INSERT, UPDATE, DELETE, REPLACE, also behind WITH."""
    DDL = "ddl"
    """CREATE, ALTER, DROP."""
    PRAGMA = "pragma"
    OTHER = "other"
    """Everything else, including what SQLite will refuse; runs inside a transaction."""
    EMPTY = "empty"
    """Not a statement: only comments, or nothing."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a text."""

    text: str
    verb: str
    """Leading keyword in upper case; for WITH, the keyword of the main statement."""
    kind: Kind
    parameter_names: tuple[str, ...] = ()
    """Names with their prefix, by first appearance, when the statement uses named parameters only."""
    can_replace: bool = False
    """The word REPLACE is in the text, so rows may vanish without a DELETE."""
    can_update: bool = False
    """The word UPDATE is in the text."""
    is_plain: bool = False
    """All or nothing by itself: a read, or a write without the words FAIL, ROLLBACK and RETURNING."""
    is_bulk: bool = False
    """One step of it may be long by itself and cannot be interrupted: schema work, checks, a DELETE without WHERE,
    counting all rows."""


@dataclass(frozen=True, slots=True)
class Script:
    """A text split into statements, with what its runner needs to know at once."""

    statements: tuple[Statement, ...]
    """At least one, which may be of kind EMPTY."""
    plain: Statement | None
    """The only statement, when it is all or nothing by itself and takes its parameters by position."""
    is_plain_read: bool
    is_bulk: bool
    """One step of one of the statements may be long by itself."""
    only_reads: bool
    touches_schema: bool
    """Something else than reads and writes of rows is in it."""


@dataclass(frozen=True, slots=True)
class Tables:
    """Names of the tables that a statement mentions; what triggers and foreign keys touch is not among them."""

    read: frozenset[str]
    written: frozenset[str]


@dataclass(frozen=True, slots=True)
class Token:
    """A lexical unit; `offset` counts characters from the start of the text."""

    text: str
    offset: int

    @property
    def is_comment(self) -> bool:
        """Whether SQLite skips it."""
        return self.text.startswith(("--", "/*"))


_TOKEN: Final = re.compile(
    r"""[xX]?'(?:[^']|'')*(?:'|\Z) | "(?:[^"]|"")*(?:"|\Z) | `(?:[^`]|``)*(?:`|\Z) | \[[^\]]*(?:\]|\Z)
    | --[^\n]* | /\*.*?(?:\*/|\Z)
    | \?\d* | [@$:\#][\w$:]+(?:\([^)\s]*\))?
    | [^\W\d][\w$]* | 0[xX][0-9a-fA-F]+ | (?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?
    | ->>? | \|\| | <[=<>]? | >[=>]? | [!=]= | [^ \t\n\f\r]""",
    re.S | re.X,
)
_SPACE: Final = " \t\n\f\r"
"""What SQLite skips."""
_LEADING: Final = re.compile(r"(?:[ \t\n\f\r;]+|--[^\n]*(?:\n|\Z)|/\*.*?(?:\*/|\Z))*([A-Za-z]*)", re.S)
_COMMENT_LINE: Final = re.compile(r"^\s+--[^\n\r\u2028\u2029]*", re.M)
_NAMED: Final = re.compile(r"[:@$][A-Za-z_]")
_REPLACE: Final = re.compile(r"\breplace\b", re.I)
_UPDATE: Final = re.compile(r"\bupdate\b", re.I)
_NOT_PLAIN: Final = re.compile(r"\b(?:fail|rollback|returning)\b", re.I)
_COUNT_ALL: Final = re.compile(r"\bcount\s*\(\s*\*?\s*\)", re.I)
_WHERE: Final = re.compile(r"\bwhere\b", re.I)

_READS: Final = frozenset({"SELECT", "VALUES", "EXPLAIN"})
_WRITES: Final = frozenset({"INSERT", "UPDATE", "DELETE", "REPLACE"})
_DDL: Final = frozenset({"CREATE", "ALTER", "DROP"})
_QUICK_PRAGMAS: Final = re.compile(r"\bpragma\s+(?!quick_check|integrity_check|foreign_key_check|optimize)", re.I)


def tokens(sql: str) -> Iterator[Token]:
    """Split `sql` as SQLite's tokenizer does, comments included; never fails."""
    for match in _TOKEN.finditer(sql):
        yield Token(match.group(), match.start())


def quote_name(name: str) -> str:
    """Quote an identifier."""
    return '"' + name.replace('"', '""') + '"'


def is_only_comment(sql: str) -> bool:
    """Tell whether D1 drops this text silently: blank, or indented comment lines only."""
    head = sql.lstrip()
    if head and not head.startswith("--"):
        return False
    return not _COMMENT_LINE.sub("", sql).strip()


def parse(sql: str) -> Script:
    """Split a text into its statements.

    A comment after the last semicolon counts as an (EMPTY) statement of its own, whitespace does not.
    """
    return _cached_parse(sql) if len(sql) <= _LONGEST_CACHED else _parse(sql)


def _parse(sql: str) -> Script:
    if "\0" in sql:
        statements = (Statement(sql, "", Kind.EMPTY),)
    else:
        first, *others = _split(sql) if ";" in sql else [sql]
        # offsets in error texts count from the start of a statement, not of the space before it
        statements = (_describe(first), *(_describe(part.lstrip(_SPACE)) for part in others))
    only = statements[0] if len(statements) == 1 else None
    plain = only if only is not None and only.is_plain and not only.parameter_names else None
    return Script(
        statements,
        plain=plain,
        is_plain_read=plain is not None and plain.kind is Kind.READ,
        is_bulk=any(statement.is_bulk for statement in statements),
        only_reads=all(statement.kind is Kind.READ for statement in statements),
        touches_schema=any(statement.kind not in (Kind.READ, Kind.WRITE) for statement in statements),
    )


_cached_parse = lru_cache(CACHE_SIZE)(_parse)


def _split(sql: str) -> list[str]:
    parts: list[str] = []
    start, seen, in_trigger = 0, [""], False
    for token in tokens(sql):
        if token.is_comment:
            continue
        word = token.text.upper()
        if word == ";" and seen == [""]:
            continue  # an empty statement belongs to the one after it
        if word == ";" and (not in_trigger or seen[-2:] == [";", "END"]):
            parts.append(sql[start : token.offset + 1])
            start, seen, in_trigger = token.offset + 1, [""], False
            continue
        seen.append(word)
        if word == "TRIGGER" and seen[:2] == ["", "CREATE"]:
            in_trigger = len(seen) == 3 or seen[2:-1] in (["TEMP"], ["TEMPORARY"])
        del seen[:-4]
        if not in_trigger and len(seen) == 4 and seen[0]:
            seen[0] = "*"  # past the first words: no longer CREATE .. TRIGGER
    if sql[start:].strip(_SPACE):
        parts.append(sql[start:])
    return parts or [sql]


def _describe(text: str) -> Statement:
    match = _LEADING.match(text)
    verb = match.group(1).upper() if match else ""
    if not verb:
        blank = not any(not token.is_comment and token.text != ";" for token in tokens(text))
        return Statement(text, "", Kind.EMPTY if blank else Kind.OTHER)
    if verb == "WITH":
        verb = _main_verb(text)
    kind = _kind(verb)
    return Statement(
        text,
        verb,
        kind,
        _parameter_names(text) if _NAMED.search(text) else (),
        can_replace=kind is Kind.WRITE and _REPLACE.search(text) is not None,
        can_update=kind is Kind.WRITE and (verb == "UPDATE" or _UPDATE.search(text) is not None),
        is_plain=kind is Kind.READ or (kind is Kind.WRITE and _NOT_PLAIN.search(text) is None),
        is_bulk=_is_bulk(verb, kind, text),
    )


def _kind(verb: str) -> Kind:
    if verb in _READS:
        return Kind.READ
    if verb in _WRITES:
        return Kind.WRITE
    if verb in _DDL:
        return Kind.DDL
    return Kind.PRAGMA if verb == "PRAGMA" else Kind.OTHER


def _is_bulk(verb: str, kind: Kind, text: str) -> bool:
    if kind is Kind.DDL:
        return True
    if kind is Kind.PRAGMA:
        return _QUICK_PRAGMAS.search(text) is None
    if kind is Kind.READ:
        return _COUNT_ALL.search(text) is not None
    return verb in {"ANALYZE", "REINDEX"} or (verb == "DELETE" and _WHERE.search(text) is None)


def _main_verb(text: str) -> str:
    """Return the verb after the common table expressions; they are the only parenthesised parts before it."""
    depth = 0
    for token in tokens(text):
        if token.text == "(":
            depth += 1
        elif token.text == ")":
            depth -= 1
        elif depth == 0 and (word := token.text.upper()) in _READS | _WRITES:
            return word
    return "WITH"


def _parameter_names(text: str) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for token in tokens(text):
        if token.text[0] == "?":
            return ()
        if token.text[0] in ":@$#" and len(token.text) > 1:
            names[token.text] = None
    return tuple(names)


def parameter_count(text: str) -> int:
    """Return how many values a statement takes: `?3` alone takes three."""
    highest = 0
    names: set[str] = set()
    for token in tokens(text):
        if token.text[0] == "?":
            highest = max(highest, int(token.text[1:])) if token.text[1:] else highest + 1
        elif token.text[0] in ":@$#" and len(token.text) > 1 and token.text not in names:
            names.add(token.text)
            highest += 1
    return highest


@lru_cache(CACHE_SIZE)
def tables(sql: str) -> Tables | None:
    """Return the tables that a statement names, `None` when sqlglot cannot tell (then ask SQLite).

    For reads and writes; DDL and EXPLAIN are `None` too. sqlglot is imported here and not at the top: 150 ms that most
    programs never need.
    """
    script = parse(sql)
    if script.touches_schema or any(statement.verb == "EXPLAIN" for statement in script.statements):
        return None
    import sqlglot
    from sqlglot import expressions
    from sqlglot.errors import SqlglotError

    try:
        trees = sqlglot.parse(_palatable(sql), dialect="sqlite")
    except SqlglotError:
        return None
    read: set[str] = set()
    written: set[str] = set()
    for tree in trees:
        if tree is None or isinstance(tree, expressions.Command):
            return None
        defined = {cte.alias_or_name.lower() for cte in tree.find_all(expressions.CTE)}
        found = list(tree.find_all(expressions.Table))
        if found and isinstance(tree, expressions.Insert | expressions.Update | expressions.Delete):
            written.add(found.pop(0).name)
        read.update(table.name for table in found if table.name.lower() not in defined)
    return Tables(frozenset(read), frozenset(written))


_CONFLICT: Final = frozenset({"ROLLBACK", "ABORT", "REPLACE", "FAIL", "IGNORE"})


def _palatable(sql: str) -> str:
    """Rewrite what sqlglot's sqlite dialect rejects, keeping the tables: `?1`, `REPLACE INTO`, `UPDATE OR x`.

    Comments are left out: it takes some of them for part of a name.
    """
    significant = [token for token in tokens(sql) if not token.is_comment]
    out: list[str] = []
    position, before, last = 0, "", ""
    for index, token in enumerate(significant):
        gap = sql[position : token.offset]
        out.append(" " if "-" in gap or "/" in gap else gap)
        position = token.offset + len(token.text)
        text, word = token.text, token.text.upper()
        following = significant[index + 1].text.upper() if index + 1 < len(significant) else ""
        if text[0] == "?":
            text = "?"
        elif word == "REPLACE" and last not in {"OR", "CONFLICT"} and following == "INTO":
            text = "INSERT OR REPLACE"
        elif (word == "OR" and last == "UPDATE") or (word in _CONFLICT and (before, last) == ("UPDATE", "OR")):
            text = ""
        before, last = last, word
        out.append(text)
    return "".join(out)
