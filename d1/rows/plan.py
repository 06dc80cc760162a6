"""What going through a query plan reads: nested loops over tables and indexes, sorts, and subqueries."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from d1.rows.look import Index, Look, Work
from d1.sql import Statement, parameter_count

__all__ = ["Plan"]

_STEP: Final = re.compile(r"(SCAN|SEARCH) (?:TABLE )?(\S+)(?: AS \S+)?(.*)")
_INDEX: Final = re.compile(r"USING (?:COVERING |AUTOMATIC |PARTIAL )*INDEX (\S+)")
_TERMS: Final = re.compile(r"\(([^()]*[=<>][^()]*)\)")
_LIMIT: Final = re.compile(r"\blimit\s+(\d+)(?:\s+offset\s+(\d+)|\s*,\s*(\d+))?\s*;?\s*\Z", re.I)
_NOT_ROW_BY_ROW: Final = re.compile(
    r"\b(?:group\s+by|distinct|limit|union|except|intersect|exists)\b|\b(?:count|sum|total|avg|min|max|group_concat)\s*\(",
    re.I,
)
_LEAST: Final = re.compile(r"\bm(?:ax|in)\s*\(\s*(\w+)\s*\)", re.I)
_LEAST_ALONE: Final = re.compile(r"\s*select\s+m(?:ax|in)\s*\(\s*\w+\s*\)(?:\s+(?:as\s+)?\w+)?\s+from\b", re.I)
_COUNT_ALL: Final = re.compile(r"\bcount\s*\(\s*\*\s*\)\s+from\s+\S+\s*;?\s*\Z", re.I)
_OVER: Final = re.compile(r"\)\s*over\b", re.I)
_BOUND: Final = re.compile(r"(?:<=?|\blimit)\s*(\d+)", re.I)


@dataclass(slots=True)
class _Node:
    """One line of a query plan with what hangs below it."""

    detail: str
    inner: list[_Node] = field(default_factory=list["_Node"])


class Plan:
    """The plan of a statement, and what going through it reads."""

    def __init__(self, look: Look, statement: Statement, work: Work, *, before: int = 0) -> None:
        """Ask for the plan; `before` are rows that were there and are gone."""
        self._look = look
        self._before = before
        self._text = statement.text
        self._found = max(work.returned, work.changed)
        self._has_where = re.search(r"\bwhere\b", statement.text, re.I) is not None
        self._is_row_by_row = _NOT_ROW_BY_ROW.search(statement.text) is None
        self._made: dict[str, float] = {}
        """Rows of subqueries that the plan gives a name."""
        nothing = (None,) * parameter_count(statement.text)
        self._top = _Node("")
        nodes = {0: self._top}
        for number, parent, _, detail in look.rows(f"EXPLAIN QUERY PLAN {statement.text}", *nothing):
            node = nodes[number] = _Node(detail)
            nodes.get(parent, self._top).inner.append(node)

    def read(self) -> int:
        """Return the rows that are read."""
        total, out = self._level(self._top, is_top=True)
        if _OVER.search(self._text):  # the rows of a window are kept, and read for the frame and for the result
            total += 2 * max(out, self._found)
        return round(self._limited(total))

    def _limited(self, total: float) -> float:
        match = _LIMIT.search(self._text)
        steps = [node.detail for node in self._top.inner]
        if match is None or len(steps) != 1 or not steps[0].startswith(("SCAN", "SEARCH")):
            return total
        first, offset, second = match.groups()
        wanted = int(second) + int(first) if second else int(first) + int(offset or 0)
        if self._has_where and self._found >= int(second or first) and "SCAN" in steps[0]:
            return min(total, max(wanted, total / 2))  # where among the rows the last match stood is not known
        return min(total, wanted) if not self._has_where or "SEARCH" in steps[0] else total

    def _level(self, node: _Node, *, is_top: bool = False) -> tuple[float, float]:
        """Return (rows read, rows that come out) of what hangs below a node: nested loops, and sorts after them."""
        total, loops = 0.0, 1.0
        steps = [child for child in node.inner if _STEP.match(child.detail)]
        for child in node.inner:
            match = _STEP.match(child.detail)
            if match is None:
                total, loops = self._other(child, total, loops, is_top=is_top)
                continue
            read, out = self._step(match, child, loops, is_last=child is steps[-1], is_only=len(steps) == 1 and is_top)
            total += loops * read
            loops *= out
            if child is not steps[-1] and is_top and self._has_where and self._is_row_by_row and child is steps[0]:
                loops = min(loops, max(self._found, 1))
        return total, loops

    def _other(self, child: _Node, total: float, loops: float, *, is_top: bool) -> tuple[float, float]:
        detail = child.detail
        if "TEMP B-TREE" in detail and not detail.startswith(("UNION", "EXCEPT", "INTERSECT")):
            if "DISTINCT" in detail:
                return total, loops
            sorted_rows = self._found if is_top and self._has_where and self._is_row_by_row else loops
            if "GROUP BY" not in detail and "GROUP" in self._text.upper():
                sorted_rows = self._found if self._is_row_by_row else max(self._found, loops / 2)
            return total + sorted_rows, loops
        read, out = self._level(child)
        if detail.startswith("CORRELATED"):
            return total + max(loops, 1) * read, loops
        if detail.startswith(("CO-ROUTINE", "MATERIALIZE")):
            self._made[detail.split()[1]] = out if detail.startswith("MATERIALIZE") else 0
            return total + read, loops
        if detail.startswith(("UNION USING", "EXCEPT", "INTERSECT")):
            return total + read + self._found, loops + out
        if detail.startswith("RECURSIVE"):
            made = max(self._found, *(int(bound) for bound in _BOUND.findall(self._text)), 1)
            made = self._found if self._is_row_by_row else min(made, 1_000_000)
            return total + made + 1, made
        if detail.startswith(("COMPOUND", "UNION ALL", "LEFT-MOST", "MERGE", "MULTI-INDEX", "INDEX", "LEFT", "RIGHT")):
            return total + read, loops + out - 1 if loops > 1 else out
        return total + read, loops

    def _step(
        self, match: re.Match[str], child: _Node, loops: float, *, is_last: bool, is_only: bool
    ) -> tuple[float, float]:
        """Return (rows read, rows that come out) of one pass through a table or an index."""
        kind, name, how = match.groups()
        if name in self._made:
            rows = self._made[name]
            return rows, max(rows, 1)
        if "CONSTANT ROW" in child.detail:
            return 0, 1
        if "VIRTUAL TABLE" in how:
            return self._virtual(name, how)
        index = _INDEX.search(how)
        terms = _TERMS.search(how)
        count = len(re.findall(r"=\?|<\?|>\?| AND ", terms.group(1))) if terms else 0
        if kind == "SCAN":
            table = self._table_of(name, index)
            if table is None:
                return max(self._found, 1), max(self._found, 1)
            described = self._look.index(index.group(1)) if index else None
            size = (self._look.entries(described) if described else self._look.size(table)) + self._before
            return (max(size, 1) if not _COUNT_ALL.search(self._text) else size), size
        if not how.strip() or (index and not terms):  # the first or the last row, for min() and max()
            table = self._table_of(name, index)
            return (1 if table is None or self._is_at_an_end(table, index, 0) else max(self._look.size(table), 1)), 1
        if "PRIMARY KEY (rowid=?)" in how:
            return (max(1, self._list_length()) if is_only else 1), 1
        table = self._table_of(name, None)
        return self._search(how, index, count, loops, table, is_only=is_only, is_last=is_last)

    def _search(
        self,
        how: str,
        index: re.Match[str] | None,
        count: int,
        loops: float,
        table: str | None,
        *,
        is_only: bool,
        is_last: bool,
    ) -> tuple[float, float]:
        equal = len(re.findall(r"(?<![<>])=\?", how))
        if "AUTOMATIC" in how:  # made for this statement: the table is read once for it
            return self._look.size(table) / max(loops, 1) + 2 if table is not None else 2, 1
        is_range = re.search(r"[<>]=?\?", how) is not None
        described = self._look.index(index.group(1)) if index else None
        if not is_range and self._is_one_row(how, described, table, equal):
            return (1 if not is_only or self._found else 0), 1
        if is_only:
            if (
                described is not None
                and _LEAST.search(self._text)
                and self._is_at_an_end(described.table, index, equal)
            ):
                return 1, 1
            average = self._average(described, equal) if equal and not is_range else 0
            has_more = self._where_terms() > count or not self._is_row_by_row
            found = max(self._found, average if has_more else 0)
            return found + max(1, self._list_length() if equal else 1), max(found, 1)
        average = self._average(described, equal) if equal else max(self._found, 1)
        if is_last and self._is_row_by_row and not self._has_where:
            average = max(average, self._found / max(loops, 1))
        return average + 1, average

    def _is_one_row(self, how: str, index: Index | None, table: str | None, equal: int) -> bool:
        if index is not None:
            return index.is_unique and equal >= len(index.columns)
        is_key = "PRIMARY KEY (" in how and "rowid" not in how
        return is_key and table is not None and equal >= self._look.key_columns(table)

    def _is_at_an_end(self, table: str, index: re.Match[str] | None, before: int) -> bool:
        """Tell whether min() or max() is of the column by which the rows are in order."""
        least = _LEAST.search(self._text)
        if least is None or not self._is_single_aggregate():
            return False
        described = self._look.index(index.group(1)) if index else None
        if described is not None:
            return described.columns[before : before + 1] == (least.group(1).lower(),)
        return least.group(1).lower() == self._look.describe(table).id_column

    def _is_single_aggregate(self) -> bool:
        return _LEAST_ALONE.match(self._text) is not None

    def _average(self, index: Index | None, columns: int) -> float:
        return max(self._found, 1) if index is None else self._look.matches(index, max(columns, 1))

    def _virtual(self, name: str, how: str) -> tuple[float, float]:
        table = self._look.table_name(name)
        if table is None or re.search(r"INDEX \d+:\S", how):
            return max(self._found, 1), max(self._found, 1)
        if re.search(r"INDEX 1\d*:|:=", how) or self._has_where:
            return max(self._found, 1), max(self._found, 1)
        size = self._look.size(table)
        return max(size, 1), size

    def _table_of(self, name: str, index: re.Match[str] | None) -> str | None:
        if index is not None:
            described = self._look.index(index.group(1))
            if described is not None:
                return described.table
        found = self._look.table_name(name)
        if found is not None:
            return found
        for alias in (rf"(\w+)\s+(?:as\s+)?{re.escape(name)}\b", rf"\"([^\"]+)\"\s+(?:as\s+)?{re.escape(name)}\b"):
            for match in re.finditer(alias, f"{self._text}\n{self._look.views()}", re.I):
                if (table := self._look.table_name(match.group(1))) is not None:
                    return table
        return None

    def _where_terms(self) -> int:
        match = re.search(
            r"\bwhere\b(.*?)(?:\bgroup\s+by\b|\border\s+by\b|\blimit\b|\breturning\b|\Z)", self._text, re.I | re.S
        )
        return len(re.findall(r"\band\b|\bor\b", match.group(1), re.I)) + 1 if match else 0

    def _list_length(self) -> int:
        """Return what searching for each value of a list reads: IN (1, 2), or = 1 OR = 2."""
        match = re.search(r"\bin\s*\(([^()]*)\)?", self._text, re.I)
        if match is None:
            values = len(re.findall(r"\bor\b", self._text, re.I)) + 1
            return 2 * values if values > 1 else 1
        if "select" in match.group(1).lower():
            return 2 * self._found
        return 2 * match.group(1).count(",") + 2
