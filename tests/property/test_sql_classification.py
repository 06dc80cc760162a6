"""What the text of a statement is taken for never differs from what SQLite does, as far as writing goes.

Ground truth is SQLite itself: its authorizer tells which tables a statement writes, its readonly flag and its counters
tell whether it changed anything. `pytest -s` shows the counts for each kind of statement.
"""

from __future__ import annotations

import ast
import importlib.util
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import pytest

from d1.sql import Kind, parse, tables

_spec = importlib.util.spec_from_file_location("sql_corpus", Path(__file__).with_name("sql_corpus.py"))
assert _spec is not None
assert _spec.loader is not None
corpus: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(corpus)

COUNT = 8000
WRITES = {apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE}
SCHEMA_WORK = {
    getattr(apsw, name)
    for name in dir(apsw)
    if name.startswith(("SQLITE_CREATE_", "SQLITE_DROP_", "SQLITE_ALTER_TABLE"))
    and isinstance(getattr(apsw, name), int)
}


@dataclass
class Truth:
    """What SQLite says a statement does."""

    is_prepared: bool = False
    is_readonly: bool = True
    has_changed: bool = False
    is_schema_work: bool = False
    written: set[str] = field(default_factory=set[str])
    """Tables the statement writes by itself, in lower case."""
    read: set[str] = field(default_factory=set[str])


class Referee:
    """Runs statements in SQLite, each undone again, and tells what they did."""

    def __init__(self) -> None:
        self._connection: Any = apsw.Connection(":memory:")
        for sql in corpus.SCHEMA:  # foreign keys stay off: what they cascade is not the statement's own doing
            self._connection.execute(sql)
        shadows = self._connection.execute("SELECT name FROM pragma_table_list WHERE type='shadow'")
        self._hidden = {str(row[0]).lower() for row in shadows} | {
            "sqlite_master",
            "sqlite_schema",
            "sqlite_temp_master",
        }
        self._truth = Truth()
        self._connection.authorizer = self._asked

    def keep(self, sql: str) -> None:
        """Run a statement for good, if it is right."""
        with suppress(apsw.Error, UnicodeError):
            self._connection.execute(sql)

    def judge(self, sql: str) -> Truth:
        """Run one statement and undo it."""
        connection, truth = self._connection, Truth()
        connection.execute("SAVEPOINT before")
        schema, total = connection.pragma("schema_version"), connection.total_changes()
        self._truth = truth
        cursor = connection.cursor()

        def prepared(cursor: Any, _sql: str, _bindings: Any) -> bool:
            truth.is_prepared, truth.is_readonly = True, cursor.is_readonly
            self._truth = Truth()  # what FTS5 prepares for itself while it runs is not the statement's
            return True

        cursor.exec_trace = prepared
        try:
            for _ in cursor.execute(sql):
                pass
        except (apsw.Error, UnicodeError):
            pass  # what it had done by then counts all the same
        self._truth = Truth()
        cursor.close()
        truth.has_changed = connection.total_changes() != total or connection.pragma("schema_version") != schema
        if connection.in_transaction:
            connection.execute("ROLLBACK TO before; RELEASE before")
        return truth

    def close(self) -> None:
        self._connection.authorizer = None
        self._connection.close()

    def _asked(self, action: int, first: str | None, _second: str | None, _db: str | None, inner: str | None) -> int:
        name = (first or "").lower()
        if action in SCHEMA_WORK:
            self._truth.is_schema_work = True
        elif inner is None and name not in self._hidden:
            if action in WRITES:
                self._truth.written.add(name)
            elif action == apsw.SQLITE_READ:
                self._truth.read.add(name)
        return apsw.SQLITE_OK


@dataclass
class Count:
    """How one kind of statement was judged."""

    statements: int = 0
    prepared: int = 0
    changing: int = 0
    names_told: int = 0
    """Statements whose tables were told from the text; of the others SQLite is asked."""


def problems(sql: str, truth: Truth, count: Count) -> Iterable[str]:
    """Compare what the text is taken for with what SQLite says."""
    (statement, *more) = parse(sql).statements
    if any(other.kind is not Kind.EMPTY for other in more):
        yield "split into several statements"
    count.statements += 1
    count.prepared += truth.is_prepared
    count.changing += truth.has_changed
    is_explain = statement.verb == "EXPLAIN"  # of which SQLite says what the statement inside would do
    may_change = truth.is_prepared and not truth.is_readonly and not is_explain
    if statement.kind is Kind.READ and (truth.has_changed or may_change):
        yield "taken for a read, and it writes"
    if not truth.is_prepared:
        return
    is_statistics = statement.verb == "ANALYZE"  # creates SQLite's own table
    if truth.is_schema_work and not (is_explain or is_statistics) and statement.kind is not Kind.DDL:
        yield f"works on the schema, and is taken for {statement.kind}"
    if truth.written and not is_explain and statement.kind not in (Kind.WRITE, Kind.DDL, Kind.OTHER):
        yield f"writes {truth.written}, and is taken for {statement.kind}"
    if statement.kind is Kind.WRITE and not truth.written:
        yield "taken for a write, and writes nothing"
    named = tables(sql)
    if named is None:
        return
    count.names_told += 1
    written = {name.lower() for name in named.written}
    if statement.kind is Kind.WRITE and written != truth.written:
        yield f"said to write {written}, SQLite says {truth.written}"
    if statement.kind is Kind.READ and named.written and not is_explain:
        yield f"a read that is said to write {written}"


def judge_all(statements: Iterable[tuple[str, str]]) -> tuple[dict[str, Count], list[str]]:
    counts: dict[str, Count] = defaultdict(Count)
    wrong: list[str] = []
    with closing(Referee()) as referee:
        for kind, sql in statements:
            wrong += [f"{kind}: {problem}: {sql!r}" for problem in problems(sql, referee.judge(sql), counts[kind])]
    return counts, wrong


def show(counts: dict[str, Count]) -> None:
    print(f"\n{'kind':20} statements  prepared  changing  tables told")
    total = Count()
    for kind, count in counts.items():
        print(f"{kind:20} {count.statements:10} {count.prepared:9} {count.changing:9} {count.names_told:12}")
        for name in ("statements", "prepared", "changing", "names_told"):
            setattr(total, name, getattr(total, name) + getattr(count, name))
    print(f"{'all':20} {total.statements:10} {total.prepared:9} {total.changing:9} {total.names_told:12}")


def test_no_statement_of_the_corpus_is_taken_for_something_else_than_it_is() -> None:
    counts, wrong = judge_all(corpus.Corpus(1).statements(COUNT))
    show(counts)
    assert wrong == [], f"{len(wrong)} of {COUNT}:\n" + "\n".join(wrong[:20])
    for kind, count in counts.items():
        assert count.prepared > 0.8 * count.statements, f"{kind}: SQLite refuses most of them"
        if not kind.endswith(("select", "explain", "values", "pragma", "maintenance")):
            assert count.changing > 0.1 * count.statements, f"{kind}: hardly any does anything"


def stdlib_statements() -> list[tuple[str, str]]:
    """Return the texts of Python's own SQLite tests that look like SQL; none where Python came without its tests."""
    try:
        spec = importlib.util.find_spec("test.test_sqlite3")
    except ModuleNotFoundError:
        return []
    if spec is None or spec.origin is None:
        return []
    words = (
        "select",
        "insert",
        "update",
        "delete",
        "replace",
        "create",
        "drop",
        "alter",
        "with",
        "values",
        "explain",
        "pragma t",
    )
    found: Counter[str] = Counter()
    for path in Path(spec.origin).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and node.value.lower().strip().startswith(words)
            ):
                found[node.value] += 1
    return [("python", sql) for sql in found if "\0" not in sql and " " in sql.strip()]


def test_statements_of_pythons_own_tests_are_taken_for_what_they_are() -> None:
    statements = stdlib_statements()
    if not statements:
        pytest.skip("this Python came without its test package")
    counts: dict[str, Count] = defaultdict(Count)
    with closing(Referee()) as referee:
        for _, sql in statements:
            if sql.lower().lstrip().startswith("create table"):
                referee.keep(sql)
        wrong = [
            f"{problem}: {sql!r}"
            for kind, sql in statements
            if len(parse(sql).statements) == 1
            for problem in problems(sql, referee.judge(sql), counts[kind])
        ]
    show(counts)
    assert wrong == []


def test_the_referee_notices_what_is_taken_for_something_else() -> None:
    with closing(Referee()) as referee:
        insert, select = referee.judge("INSERT INTO log DEFAULT VALUES"), referee.judge("SELECT * FROM log")
        drop, elsewhere = referee.judge("DROP TABLE tree"), referee.judge("DELETE FROM tree")
    assert (insert.written, insert.has_changed, select.read, select.has_changed) == ({"log"}, True, {"log"}, False)
    assert list(problems("INSERT INTO log DEFAULT VALUES", insert, Count())) == []
    assert "taken for a read, and it writes" in list(problems("SELECT 1", insert, Count()))
    assert "taken for a write, and writes nothing" in list(problems("DELETE FROM log", select, Count()))
    assert list(problems("DELETE FROM log", elsewhere, Count())) == ["said to write {'log'}, SQLite says {'tree'}"]
    assert "works on the schema" in list(problems("SELECT 1", drop, Count()))[1]
