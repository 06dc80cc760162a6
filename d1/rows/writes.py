"""What writes and schema work read and write: an entry for each row, and for each index that a change touches."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

from d1.rows.look import Look, Table, Work
from d1.rows.plan import Plan
from d1.sql import Statement, tables, tokens

__all__ = ["schema_work", "write"]

_LITERAL: Final = r"'(?:[^']|'')*'|-?\d+(?:\.\d+)?|NULL"
_GIVEN: Final = re.compile(rf"(\w+)\s*=\s*({_LITERAL})(?=\s*(?:,|\Z))", re.I)
_ROW: Final = re.compile(r"\binto\s+\S+?\s*\(([^()]*)\)\s*values\s*\(([^()]*)\)", re.I)
_INSERTED: Final = re.compile(r"\binto\s+\S+?\s*\(([^)]*)\)|\bdefault\s+(values)", re.I)
_SET: Final = re.compile(r"\bset\b(.*?)(?:\bwhere\b|\breturning\b|\bfrom\b|\Z)", re.I | re.S)
_ASSIGNED: Final = re.compile(r"(\w+)\s*=")
_WORD: Final = re.compile(r"\w+")


def write(look: Look, statement: Statement, work: Work) -> tuple[int, int]:
    """Return (rows read, rows written) of an INSERT, UPDATE, DELETE or REPLACE."""
    named = tables(statement.text)
    target = next(iter(named.written), "") if named is not None else ""
    table = look.describe(target)
    returned = work.returned if re.search(r"\breturning\b", statement.text, re.I) else 0
    changed = _own_changes(table, statement, work.changed)
    others = work.changed - changed
    if table.is_virtual:
        return (0, 1) if work.changed else (0, 0)
    if statement.verb in ("UPDATE", "DELETE"):
        read = Plan(look, statement, work, before=changed if statement.verb == "DELETE" else 0).read()
        extra, written = (
            _update(look, table, statement, changed)
            if statement.verb == "UPDATE"
            else _delete(table, statement, changed)
        )
        if statement.verb == "DELETE":
            read, extra = (0, 0) if extra < 0 else (read or changed, extra)
            extra += look.looks_for_children(table.name, max(changed - 1, 0)) if changed else 0
        return read + extra + returned, written + others
    reads_source = named is not None and bool(named.read)
    source = Plan(look, statement, work, before=0).read() if reads_source else 0
    if named is not None and target in named.read:
        source += changed
    looks = max(changed, 1) if table.id_column and _gives(statement.text, table.id_column) else 0
    if not looks and changed and table.has_rowid and (statement.can_replace or statement.can_update):
        looks = 1  # the row that was in the way
    listed = _INSERTED.search(statement.text)
    given = set(_WORD.findall((listed.group(1) or "").lower())) if listed and listed.group(1) else None
    parents = sum(given is None or column in given for column in table.parents)
    counter = 1 if table.counts_ids else 0
    literals = _inserted_literals(statement.text)
    partial = sum(round(changed * look.share_of_written(one, literals)) for one in table.partial)
    written = changed * (1 + len(table.indexes)) + partial + (counter if changed else 0)
    return source + looks + counter + parents * changed + returned, written + others


def _own_changes(table: Table, statement: Statement, changed: int) -> int:
    """Return the part of the changed rows that is not the triggers' doing: each is taken to change one row a row."""
    verb = "INSERT" if statement.verb == "REPLACE" else statement.verb
    firing = len(re.findall(rf"\b(?:before|after)?\s*\b{verb}\b(?:\s+of\s+[\w,\s]+)?\s+on\b", table.triggers, re.I))
    return changed if not firing else -(-changed // (1 + firing))


def _update(look: Look, table: Table, statement: Statement, changed: int) -> tuple[int, int]:
    """Return what an UPDATE reads besides finding its rows, and what it writes."""
    text = _outermost(statement.text)
    match = _SET.search(text)
    assigned = set(_assigned(match.group(1), statement.text)) if match else set[str]()
    if assigned - table.generated and table.generated:
        assigned |= table.generated
    indexed = sum(bool(index & assigned) for index in table.indexes)
    where = text[match.end() - 5 :] if match else ""
    searched = {word.lower() for word in _WORD.findall(where)}
    is_single = bool(table.id_column) and re.search(rf"\b{table.id_column}\s*=(?!=)", where, re.I) is not None
    moves_what_it_searches = any(index & assigned & searched for index in table.indexes)
    is_two_pass = changed > 1 and (moves_what_it_searches or re.search(r"\breturning\b|\bfrom\b", text, re.I))
    extra = (2 if table.has_rowid else 1) * changed if is_two_pass and not is_single else 0
    if not table.has_rowid and changed > 1 and assigned & searched:
        extra = changed
    extra += changed * len(table.parents & assigned)
    literals = {name.lower(): literal for name, literal in _GIVEN.findall(match.group(1))} if match else {}
    partial = sum(
        round(changed * look.share_of_written(one, literals))
        for one in table.partial
        if (one.words | one.columns) & assigned
    )
    return extra, changed * (1 + indexed) + partial


def _inserted_literals(sql: str) -> dict[str, str]:
    """Return column -> literal of the first row that an INSERT gives."""
    match = _ROW.search(sql)
    if match is None:
        return {}
    values = re.findall(rf"\s*({_LITERAL}|[^,]+?)\s*(?:,|\Z)", match.group(2), re.I)
    pairs = zip(_WORD.findall(match.group(1).lower()), values, strict=False)
    return {name: value for name, value in pairs if re.fullmatch(_LITERAL, value, re.I)}


def _outermost(text: str) -> str:
    """Return the text without what stands in parentheses."""
    while (inner := re.sub(r"\([^()]*\)", " ", text)) != text:
        text = inner
    return text


def _assigned(outer: str, text: str) -> list[str]:
    names = [name.lower() for name in _ASSIGNED.findall(outer)]
    row = re.search(r"\bset\s*\(([^)]*)\)\s*=", text, re.I)
    return names + [name.lower() for name in _WORD.findall(row.group(1))] if row else names


def _delete(table: Table, statement: Statement, changed: int) -> tuple[int, int]:
    """Return what a DELETE reads besides finding its rows (-1: it finds none, the table is cut), and what it writes."""
    text = statement.text
    has_where = re.search(r"\bwhere\b", text, re.I) is not None
    has_returning = re.search(r"\breturning\b", text, re.I) is not None
    is_plain = not table.has_keys and not table.triggers and not has_returning
    if not has_where and is_plain:
        return -1, changed
    is_single = bool(table.id_column) and re.search(rf"\b{table.id_column}\s*=(?!=)", text, re.I) is not None
    return (0 if is_plain or is_single else changed), changed


def _gives(sql: str, column: str) -> bool:
    """Tell whether an INSERT gives `column` a value: it is listed, or nothing is listed."""
    listed = _INSERTED.search(sql)
    return listed is None or column in _WORD.findall((listed.group(1) or "").lower())


def schema_work(look: Look, statement: Statement, work: Work) -> tuple[int, int]:
    """Return (rows read, rows written) of a CREATE, ALTER or DROP."""
    words = [token.text for token in tokens(statement.text) if not token.is_comment]
    kinds = [word.upper() for word in words[:6]]
    entries = look.schema_rows()
    if statement.verb == "CREATE":
        return _creation(look, kinds, words, work)
    if not work.is_schema_changed:
        return 0, 0
    if statement.verb == "DROP":
        return entries + 2, 0
    table = look.table_name(words[words.index("ADD") - 1]) if "ADD" in words else None
    if "ADD" in kinds or table is not None:
        return entries + 2, 1
    if "DROP" in kinds:
        size = look.size(words[2].strip('"`[]')) if look.table_name(words[2].strip('"`[]')) else 0
        return 7 * entries + 1 + 2 * size, entries + 1 + size
    return 7 * entries + 1, entries + 1


def _creation(look: Look, kinds: list[str], words: list[str], work: Work) -> tuple[int, int]:
    if not work.is_schema_changed:
        return 0, 0
    if "TRIGGER" in kinds:
        return 0, 1
    if "INDEX" in kinds:
        place = next((n for n, word in enumerate(words) if word.upper() == "ON"), len(words) - 2)
        table = look.table_name(words[place + 1].strip('"`[]'))
        size = look.size(table) if table is not None else 0
        return 2 * size + 2, size + 1
    ends = (word for word, after in pairwise(words[2:]) if after == "(" or after.upper() == "AS")
    name = next(ends, "").strip('"`[]')
    if "TABLE" in kinds and "AS" in [word.upper() for word in words[3:7]]:
        size = look.size(name) if look.table_name(name) else 0
        return size + 1, size + 2
    own = look.rows("SELECT count(*) FROM main.sqlite_schema WHERE type='index' AND sql IS NULL AND tbl_name=?", name)
    return 1, 2 + own[0][0]
