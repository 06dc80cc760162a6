"""Captured events, applied to the tables as they were, give the tables as they are; nothing else may differ.

Random schemas and statements run three times in step: captured, on plain sqlite3, and on apsw under a session, which
is SQLite's own account of what changed.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from math import inf
from pathlib import Path
from typing import Any

import apsw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from d1.changes import RowChange
from d1.engine.calls import Query
from d1.engine.transactions import Transactions
from d1.errors import Failure
from d1.sql import Kind, parse

Image = dict[str, Counter[tuple[Any, ...]]]

KEYS = ("id INTEGER PRIMARY KEY", "id INTEGER PRIMARY KEY AUTOINCREMENT", "id TEXT PRIMARY KEY", "id INT")
UNIQUE = ("u", "u UNIQUE", "u UNIQUE ON CONFLICT REPLACE", "u UNIQUE ON CONFLICT IGNORE")
ACTIONS = ("CASCADE", "SET NULL", "NO ACTION", "CASCADE DEFERRABLE INITIALLY DEFERRED")
TRIGGERS = (
    "CREATE TRIGGER audit AFTER UPDATE ON t BEGIN INSERT INTO log(what) VALUES(OLD.v||'>'||NEW.v); END",
    "CREATE TRIGGER stamp AFTER INSERT ON t BEGIN UPDATE t SET v='stamped' WHERE rowid=NEW.rowid; END",
    "CREATE TRIGGER early BEFORE UPDATE OF u ON t BEGIN UPDATE t SET v='early' WHERE rowid=OLD.rowid; END",
    "CREATE TRIGGER chain AFTER DELETE ON t BEGIN DELETE FROM log WHERE n>2; END",
    "CREATE TRIGGER refuse BEFORE INSERT ON t WHEN NEW.v='no' BEGIN SELECT RAISE(ABORT,'refused'); END",
    "CREATE TRIGGER skip AFTER INSERT ON t WHEN NEW.v='skip' BEGIN SELECT RAISE(IGNORE); END",
)
VALUES = ("1", "2", "3", "NULL", "'a'", "'no'", "'skip'", "2.5", "x'0061'", "'é'")


@st.composite
def schemas(draw: st.DrawFn) -> list[str]:
    key, unique = draw(st.sampled_from(KEYS)), draw(st.sampled_from(UNIQUE))
    without = " WITHOUT ROWID" if key.startswith("id TEXT") and draw(st.booleans()) else ""
    generated = ", g AS (v||'!')" if draw(st.booleans()) else ""
    schema = [
        "CREATE TABLE log(n INTEGER PRIMARY KEY, what)",
        f"CREATE TABLE t({key}, {unique}, v{generated}){without}",
        "CREATE TABLE p(id INTEGER PRIMARY KEY, n)",
        "CREATE TABLE c(id INTEGER PRIMARY KEY, p INTEGER REFERENCES p(id) "
        f"ON DELETE {draw(st.sampled_from(ACTIONS[:3]))} ON UPDATE {draw(st.sampled_from(ACTIONS))})",
    ]
    if not without:
        schema += draw(st.lists(st.sampled_from(TRIGGERS), max_size=2, unique=True))
    return schema


def number() -> st.SearchStrategy[str]:
    return st.integers(1, 5).map(str)


def value() -> st.SearchStrategy[str]:
    return st.sampled_from(VALUES)


def statements() -> st.SearchStrategy[str]:
    build = st.builds
    conflict = st.sampled_from(("", "", "OR REPLACE ", "OR IGNORE ", "OR ABORT ", "OR FAIL "))
    returning = st.sampled_from(("", "", " RETURNING *"))
    return st.one_of(
        build("INSERT {}INTO t(id,u,v) VALUES({},{},{}){}".format, conflict, number(), value(), value(), returning),
        build(
            "INSERT {}INTO t(id,u,v) VALUES({},{},1),({},{},2)".format, conflict, number(), value(), number(), value()
        ),
        build("REPLACE INTO t(id,u,v) VALUES({},{},{})".format, number(), value(), value()),
        build("INSERT INTO t(id,u,v) SELECT id+5,u||'x',v FROM t WHERE id<={}".format, number()),
        build("UPDATE t SET v={}".format, value()),
        build("UPDATE t SET v={} WHERE id={}{}".format, value(), number(), returning),
        build("UPDATE {}t SET u={} WHERE id={}".format, st.sampled_from(("", "OR REPLACE ")), value(), number()),
        build("UPDATE t SET id={} WHERE id={}".format, number(), number()),
        build("DELETE FROM t WHERE id={}{}".format, number(), returning),
        st.just("DELETE FROM t"),
        build("INSERT OR IGNORE INTO p VALUES({},'n')".format, number()),
        build("INSERT INTO p VALUES({},1) ON CONFLICT(id) DO UPDATE SET n=excluded.n+1".format, number()),
        build("INSERT OR IGNORE INTO c(id,p) VALUES({},{})".format, number(), number()),
        build("UPDATE p SET id={} WHERE id={}".format, number(), number()),
        build("DELETE FROM p WHERE id={}".format, number()),
        build("WITH x(i) AS (VALUES({})) INSERT INTO log(what) SELECT i FROM x".format, value()),
    )


def image(connection: Any, tables: list[str]) -> Image:
    return {table: Counter(map(typed, connection.execute(f"SELECT * FROM {table}"))) for table in tables}


def typed(row: Any) -> tuple[Any, ...]:
    return tuple((type(value).__name__, value) for value in row)


def replayed(before: Image, changes: tuple[RowChange, ...]) -> Image:
    after = {table: Counter(rows) for table, rows in before.items()}
    for change in changes:
        rows = after[change.table]
        if change.old is not None:
            key = typed(change.old.values())
            assert rows[key] > 0, f"{change} takes a row that is not there"
            rows[key] -= 1
        if change.data is not None:
            rows[typed(change.data.values())] += 1
    return {table: +rows for table, rows in after.items()}


def run_plain(connection: sqlite3.Connection, batch: list[str]) -> list[Any] | None:
    try:
        connection.execute("BEGIN IMMEDIATE")
        results = [connection.execute(sql).fetchall() for sql in batch]
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        return None
    return [sorted(map(repr, rows)) for rows in results]


def run_captured(transactions: Transactions, batch: list[str]) -> list[Any] | None:
    plain = parse(batch[0]).plain if len(batch) == 1 else None
    try:
        if plain is not None and plain.kind is Kind.WRITE:
            outcomes = [transactions.captured(plain, (), 60.0)]  # the short way that single writes take
        else:
            outcomes = transactions.run([Query(sql) for sql in batch], inf)
    except Failure:
        return None
    return [sorted(map(repr, outcome.rows)) for outcome in outcomes]


def plain_database(schema: list[str]) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("PRAGMA foreign_keys=ON")
    for sql in schema:
        connection.execute(sql)
    return connection


class SteadyClock:
    def now_ms(self) -> int:
        return 0


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(schema=schemas(), batches=st.lists(st.lists(statements(), min_size=1, max_size=5), min_size=1, max_size=5))
def test_events_replay_to_the_image_after_and_the_user_sees_no_difference(
    schema: list[str], batches: list[list[str]]
) -> None:
    tables = ["log", "t", "p", "c"]
    transactions = Transactions(Path(":memory:"), "DB", SteadyClock())
    with closing(transactions), closing(plain_database(schema)) as plain:
        transactions.run([Query(sql) for sql in schema], inf)
        for table in tables:
            assert transactions.watch(table) == table
        captured = transactions.connection.raw
        for batch in batches:
            before = image(captured, tables)
            transactions.commit = None
            results = run_captured(transactions, batch)
            assert results == run_plain(plain, batch)
            after = image(captured, tables)
            assert after == image(plain, tables)
            changes = transactions.commit.changes if transactions.commit is not None else ()
            assert [change.seq - changes[0].seq for change in changes] == list(range(len(changes)))
            assert replayed(before, changes) == after
            assert results is not None or changes == ()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(batches=st.lists(st.lists(statements(), min_size=1, max_size=4), min_size=1, max_size=4))
def test_the_net_effect_equals_the_changeset_of_a_session(batches: list[list[str]]) -> None:
    schema = [
        "CREATE TABLE log(n INTEGER PRIMARY KEY, what)",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v)",
        "CREATE TABLE p(id INTEGER PRIMARY KEY, n)",
        "CREATE TABLE c(id INTEGER PRIMARY KEY, p INTEGER REFERENCES p(id) ON DELETE CASCADE ON UPDATE CASCADE)",
    ]
    tables = ["log", "t", "p", "c"]
    transactions = Transactions(Path(":memory:"), "DB", SteadyClock())
    with closing(transactions), closing(apsw.Connection(":memory:")) as other:
        other.execute("PRAGMA foreign_keys=ON;" + ";".join(schema))
        transactions.run([Query(sql) for sql in schema], inf)
        for table in tables:
            transactions.watch(table)
        for batch in batches:
            session = apsw.Session(other, "main")
            session.attach()
            transactions.commit = None
            results = run_captured(transactions, batch)
            try:
                with other:
                    for sql in batch:
                        other.execute(sql).fetchall()
            except apsw.Error:
                assert results is None
            else:
                assert results is not None
            changes = transactions.commit.changes if transactions.commit is not None else ()
            assert net_of_events(changes) == net_of_session(session)


Net = dict[tuple[str, Any], tuple[Any, Any]]


def net_of_events(changes: tuple[RowChange, ...]) -> Net:
    """Key -> (row before, row after) or the changed columns, without rows that ended as they began."""
    net: Net = {}
    for change in changes:
        if change.old is not None:
            row = typed(change.old.values())
            first = net.get((change.table, row[0]), (row, None))[0]
            net[change.table, row[0]] = (first, None)
        if change.data is not None:
            row = typed(change.data.values())
            first = net.get((change.table, row[0]), (None, None))[0]
            net[change.table, row[0]] = (first, row)
    return {key: changed_columns(*pair) for key, pair in net.items() if pair[0] != pair[1]}


def changed_columns(old: Any, new: Any) -> tuple[Any, Any]:
    """A session names only the columns that an update changed."""
    if old is None or new is None:
        return old, new
    return {
        place: after[1] for place, (before, after) in enumerate(zip(old, new, strict=True)) if before != after
    }, None


def net_of_session(session: apsw.Session) -> Net:
    net: Net = {}
    for change in apsw.Changeset.iter(session.changeset()):
        old, new = change.old, change.new
        if change.op == "UPDATE":
            assert old is not None
            assert new is not None
            key = ("int", old[0])
            net[change.name, key] = ({i: v for i, v in enumerate(new) if v is not apsw.no_change}, None)
        else:
            row = typed(old if old is not None else new)
            net[change.name, row[0]] = (row, None) if new is None else (None, row)
    return net
