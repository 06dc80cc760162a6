"""Rows read and written by a statement, estimated: stock SQLite does not count what production's patched one does.

Production counts each step of a cursor: a row that a scan or a search comes to, the entry after the last match of an
index, a row that is sorted, and a row that is looked up again by its id; and each entry that is written to a table or
an index. Here the query plan and the schema tell which of these steps there are, and how often each is done follows
from the sizes of tables, the number of values in an index, and the rows that the statement returned or changed.

`docs/reference/d1.md` tells how far off the figures are. Pure: the caller says how to ask the database.
"""

from __future__ import annotations

from d1.rows.look import Ask, Look, Work
from d1.rows.plan import Plan
from d1.rows.writes import schema_work, write
from d1.sql import Kind, parse

__all__ = ["Ask", "Work", "estimate_rows"]


def estimate_rows(ask: Ask, work: Work) -> tuple[int, int]:
    """Return (rows read, rows written); a rough figure when the tables have changed since.

    What `ask` raises, it raises: its caller knows which errors there may be and falls back on `work`.
    """
    statement = parse(work.sql).statements[-1]
    look = Look(ask)
    match statement.kind:
        case Kind.READ if statement.verb != "EXPLAIN":
            return Plan(look, statement, work).read(), 0
        case Kind.WRITE:
            return write(look, statement, work)
        case Kind.DDL:
            return schema_work(look, statement, work)
        case Kind.OTHER if statement.verb == "REINDEX":
            sizes = [look.size(table) for table in look.indexed_tables()]
            return sum(2 * size + 2 for size in sizes), sum(sizes)
        case Kind.OTHER if statement.verb == "ANALYZE":
            sizes = [look.size(table) for table in look.indexed_tables()]
            return sum(2 * size + 2 for size in sizes), look.statistics() + 3
        case _:
            return 0, work.changed
