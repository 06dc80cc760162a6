"""Every kind of statement and table: the events must replay, and the user must see what he sees without capture."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from math import inf
from pathlib import Path
from typing import Any

import pytest

from d1.changes import RowChange
from d1.engine.calls import Query
from d1.engine.transactions import Transactions
from d1.errors import Failure
from d1.sql import quote_name


class SteadyClock:
    def now_ms(self) -> int:
        return 1_000


@pytest.fixture
def transactions() -> Iterator[Transactions]:
    with closing(Transactions(Path(":memory:"), "DB", SteadyClock())) as opened:
        yield opened


def run(transactions: Transactions, *statements: str) -> tuple[RowChange, ...]:
    """Run statements as one call and return what was captured of it."""
    transactions.commit = None
    transactions.run([Query(sql) for sql in statements], inf)
    commit = transactions.commit
    return commit.changes if commit is not None else ()


def told(changes: Sequence[RowChange]) -> list[tuple[Any, ...]]:
    def values(row: dict[str, Any] | None) -> tuple[Any, ...] | None:
        return None if row is None else tuple(row.values())

    return [(change.type, change.table, values(change.old), values(change.data)) for change in changes]


# the matrix: name -> (setup, statements)

T = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b)"
ROWS = "INSERT INTO t VALUES(1,'x',10),(2,'y',20),(3,'z',30)"
U = "CREATE TABLE t(id INTEGER PRIMARY KEY,u TEXT UNIQUE)"
AUDIT = [
    T,
    "CREATE TABLE audit(n INTEGER PRIMARY KEY, what)",
    "CREATE TRIGGER ua AFTER UPDATE ON t BEGIN INSERT INTO audit(what) VALUES(OLD.a||'>'||NEW.a); END",
    "CREATE TRIGGER da BEFORE DELETE ON t BEGIN INSERT INTO audit(what) VALUES('del '||OLD.id); END",
    ROWS,
]
ODD = '"sel""ect é \'x"'


def family(on_delete: str, on_update: str) -> list[str]:
    return [
        "CREATE TABLE p(id INTEGER PRIMARY KEY, n)",
        f"CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p(id) ON DELETE {on_delete} ON UPDATE {on_update}, x)",
        "INSERT INTO p VALUES(1,'a'),(2,'b')",
        "INSERT INTO c VALUES(10,1,'k'),(11,1,'l'),(12,2,'m')",
    ]


def itself(action: str) -> list[str]:
    return [
        f"CREATE TABLE t(id INTEGER PRIMARY KEY, p REFERENCES t(id) {action})",
        "INSERT INTO t VALUES(1,1),(2,1)",
    ]


def triggered(trigger: str, *rows: str) -> list[str]:
    return [T, *rows, trigger]


def wide(count: int) -> tuple[list[str], list[str]]:
    columns = ",".join(f"c{place}" for place in range(count))
    values = ",".join(str(place) for place in range(count))
    return [f"CREATE TABLE t({columns})"], [f"INSERT INTO t VALUES({values})", "UPDATE t SET c0=5", "DELETE FROM t"]


MATRIX: dict[str, tuple[list[str], list[str]]] = {
    "insert values": ([T], [ROWS]),
    "insert select": ([T, ROWS, "CREATE TABLE u(id INTEGER PRIMARY KEY,a,b)"], ["INSERT INTO u SELECT * FROM t"]),
    "insert select into itself": ([T, ROWS], ["INSERT INTO t SELECT id+10,a,b FROM t"]),
    "insert default values": ([T], ["INSERT INTO t DEFAULT VALUES"]),
    "insert or replace": ([T, ROWS], ["INSERT OR REPLACE INTO t VALUES(1,'n',1),(9,'m',2)"]),
    "replace hits two rows": (
        ["CREATE TABLE t(id INTEGER PRIMARY KEY,u UNIQUE,v UNIQUE)", "INSERT INTO t VALUES(1,'a','b'),(2,'c','d')"],
        ["REPLACE INTO t VALUES(3,'a','d')"],
    ),
    "on conflict replace in the table": (
        ["CREATE TABLE t(id INTEGER PRIMARY KEY,u UNIQUE ON CONFLICT REPLACE)", "INSERT INTO t VALUES(1,'a'),(2,'b')"],
        ["INSERT INTO t VALUES(3,'a')", "UPDATE t SET u='b' WHERE id=3"],
    ),
    "update or replace": ([U, "INSERT INTO t VALUES(1,'a'),(2,'b')"], ["UPDATE OR REPLACE t SET u='b' WHERE id=1"]),
    "insert or ignore": ([T, ROWS], ["INSERT OR IGNORE INTO t VALUES(1,'n',1),(8,'k',1)"]),
    "upsert": (
        [T, ROWS],
        ["INSERT INTO t VALUES(1,'n',1),(7,'k',1) ON CONFLICT(id) DO UPDATE SET a=excluded.a||'!'"],
    ),
    "upsert of no row": ([T, ROWS], ["INSERT INTO t VALUES(1,'n',1) ON CONFLICT(id) DO UPDATE SET a='q' WHERE 0"]),
    "upsert nothing": ([T, ROWS], ["INSERT INTO t VALUES(1,'n',1),(7,'k',1) ON CONFLICT DO NOTHING"]),
    "update": ([T, ROWS], ["UPDATE t SET b=b+1"]),
    "update to the same values": ([T, ROWS], ["UPDATE t SET b=b"]),
    "update from": (
        [T, ROWS, "CREATE TABLE s(k,v)", "INSERT INTO s VALUES(1,'S1'),(3,'S3')"],
        ["UPDATE t SET a=s.v FROM s WHERE s.k=t.id"],
    ),
    "update of the key": ([T, ROWS], ["UPDATE t SET id=id+100 WHERE id>1"]),
    "update of the rowid": (
        ["CREATE TABLE t(a,b)", "INSERT INTO t VALUES(1,2),(1,2)"],
        ["UPDATE t SET rowid=rowid+5", "UPDATE t SET b=9"],
    ),
    "delete": ([T, ROWS], ["DELETE FROM t WHERE id=2"]),
    "delete all": ([T, ROWS], ["DELETE FROM t"]),
    "foreign key deletes": (family("CASCADE", "CASCADE"), ["DELETE FROM p WHERE id=1"]),
    "foreign key sets null": (
        family("SET NULL", "SET NULL"),
        ["DELETE FROM p WHERE id=1", "UPDATE p SET id=5 WHERE id=2"],
    ),
    "foreign key updates": (family("CASCADE", "CASCADE"), ["UPDATE p SET id=5 WHERE id=1"]),
    "foreign key and replace": (family("CASCADE", "CASCADE"), ["REPLACE INTO p VALUES(1,'zz')"]),
    "foreign key to itself updates": (itself("ON UPDATE CASCADE"), ["UPDATE t SET id=7 WHERE id=1"]),
    "foreign key to itself deletes": (itself("ON DELETE CASCADE"), ["DELETE FROM t WHERE id=1"]),
    "user triggers write elsewhere": (AUDIT, ["UPDATE t SET a=a||'1' WHERE id<3", "DELETE FROM t WHERE id=3"]),
    "user trigger after insert changes the row": (
        triggered("CREATE TRIGGER ts AFTER INSERT ON t BEGIN UPDATE t SET b='stamp' WHERE id=NEW.id; END"),
        ["INSERT INTO t(a) VALUES('q'),('r')"],
    ),
    "user trigger after update changes the row": (
        triggered("CREATE TRIGGER ts AFTER UPDATE OF a ON t BEGIN UPDATE t SET b='s' WHERE id=NEW.id; END", ROWS),
        ["UPDATE t SET a='w' WHERE id=1"],
    ),
    "user trigger before update changes the row": (
        triggered("CREATE TRIGGER ts BEFORE UPDATE OF a ON t BEGIN UPDATE t SET b='p' WHERE id=OLD.id; END", ROWS),
        ["UPDATE t SET a='w' WHERE id=1"],
    ),
    "user trigger deletes other rows": (
        triggered("CREATE TRIGGER ts AFTER INSERT ON t BEGIN DELETE FROM t WHERE id<NEW.id-1; END"),
        [ROWS],
    ),
    "replace with a user delete trigger": (AUDIT, ["REPLACE INTO t VALUES(1,'n',1)"]),
    "user trigger that must not recurse": (
        [
            "CREATE TABLE t(id INTEGER PRIMARY KEY, n)",
            "CREATE TRIGGER r AFTER INSERT ON t WHEN NEW.n>0 BEGIN INSERT INTO t(n) VALUES(NEW.n-1); END",
        ],
        ["INSERT INTO t(n) VALUES(5)"],
    ),
    "raise ignore before": (
        triggered("CREATE TRIGGER g BEFORE INSERT ON t WHEN NEW.id=2 BEGIN SELECT RAISE(IGNORE); END"),
        [ROWS],
    ),
    "raise ignore after": (
        triggered("CREATE TRIGGER g AFTER INSERT ON t WHEN NEW.id=2 BEGIN SELECT RAISE(IGNORE); END"),
        [ROWS],
    ),
    "raise ignore of a later trigger": (
        [T],
        ["CREATE TRIGGER g AFTER INSERT ON t WHEN NEW.id=2 BEGIN SELECT RAISE(IGNORE); END", ROWS],
    ),
    "raise fail": (
        triggered("CREATE TRIGGER g AFTER INSERT ON t WHEN NEW.id=3 BEGIN SELECT RAISE(FAIL,'no'); END"),
        [ROWS],
    ),
    "raise abort": (
        triggered("CREATE TRIGGER g AFTER INSERT ON t WHEN NEW.id=3 BEGIN SELECT RAISE(ABORT,'no'); END"),
        [ROWS],
    ),
    "view": (
        [
            T,
            ROWS,
            "CREATE VIEW v AS SELECT id,a FROM t",
            "CREATE TRIGGER vi INSTEAD OF INSERT ON v BEGIN INSERT INTO t(id,a) VALUES(NEW.id,NEW.a); END",
            "CREATE TRIGGER vu INSTEAD OF UPDATE ON v BEGIN UPDATE t SET a=NEW.a WHERE id=OLD.id; END",
            "CREATE TRIGGER vd INSTEAD OF DELETE ON v BEGIN DELETE FROM t WHERE id=OLD.id; END",
        ],
        ["INSERT INTO v VALUES(9,'nine')", "UPDATE v SET a='u' WHERE id=1", "DELETE FROM v WHERE id=2"],
    ),
    "without rowid": (
        ["CREATE TABLE t(k TEXT, j INT, v, PRIMARY KEY(k,j)) WITHOUT ROWID"],
        [
            "INSERT INTO t VALUES('a',1,2),('b',1,3)",
            "UPDATE t SET k='z' WHERE k='a'",
            "REPLACE INTO t VALUES('b',1,'r')",
            "DELETE FROM t",
        ],
    ),
    "generated columns": (
        ["CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, g INT AS (a*2), s TEXT AS (a||'s') STORED)"],
        ["INSERT INTO t(id,a) VALUES(1,2),(2,3)", "UPDATE t SET a=10", "DELETE FROM t WHERE id=2"],
    ),
    "strict": (
        ["CREATE TABLE t(id INTEGER PRIMARY KEY, r REAL, i INT, b BLOB, t TEXT, x ANY) STRICT"],
        ["INSERT INTO t VALUES(1,5,9223372036854775807,x'00ff','t',x'01'),(2,1e300,-9223372036854775808,x'','','5')"],
    ),
    "values of every kind": (
        ["CREATE TABLE t(id INTEGER PRIMARY KEY, v, r REAL)"],
        [
            "INSERT INTO t VALUES(1,x'00ff',5),(2,9e999,-9e999),(3,9007199254740993,0.1),"
            "(4,9223372036854775807,1e22),(5,'a'||char(0)||'b',NULL),(7,5.0,123456789012345680)",
            "UPDATE t SET v=v",
        ],
    ),
    "not a number is null": (["CREATE TABLE t(id INTEGER PRIMARY KEY, v)"], ["INSERT INTO t VALUES(1, 9e999-9e999)"]),
    "1 column": wide(1),
    "63 columns": wide(63),
    "64 columns": wide(64),
    "100 columns": wide(100),
    "odd names": (
        [f'CREATE TABLE {ODD}("group" INTEGER PRIMARY KEY, "a""b", "ñ", "order by", "rowid", "new", "old", "", "s\'")'],
        [f"INSERT INTO {ODD} VALUES(1,2,3,4,5,6,7,8,9)", f'UPDATE {ODD} SET "order by"=9', f"DELETE FROM {ODD}"],
    ),
    "failed statement": ([T, ROWS], ["INSERT INTO t VALUES(7,'s',1)", "INSERT INTO t VALUES(8,'s',1),(1,'dup',1)"]),
    "or fail": ([T, ROWS], ["INSERT OR FAIL INTO t VALUES(8,'s',1),(1,'dup',1),(10,'never',1)"]),
    "or rollback": ([T, ROWS], ["INSERT INTO t VALUES(7,'s',1)", "INSERT OR ROLLBACK INTO t VALUES(1,'dup',1)"]),
    "returning": (
        [T, ROWS],
        [
            "INSERT INTO t VALUES(5,'e',1),(4,'d',2) RETURNING id,a",
            "UPDATE t SET b=b+1 RETURNING *",
            "DELETE FROM t WHERE id>3 RETURNING id",
        ],
    ),
    "common table expression": ([T], ["WITH x(i) AS (VALUES(1),(2)) INSERT INTO t SELECT i,'c',i FROM x"]),
    "comments first": ([T], ["/* hi */ -- c\n INSERT INTO t VALUES(1,'c',1)"]),
    "autoincrement": (
        ["CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a)"],
        ["INSERT INTO t(a) VALUES(1),(2)", "DELETE FROM t", "INSERT INTO t(a) VALUES(3)"],
    ),
    "full text search fed by triggers": (
        [
            T,
            "CREATE VIRTUAL TABLE f USING fts5(a, content='t', content_rowid='id')",
            "CREATE TRIGGER fi AFTER INSERT ON t BEGIN INSERT INTO f(rowid,a) VALUES(NEW.id,NEW.a); END",
        ],
        [ROWS],
    ),
    "partial unique index": (
        [
            "CREATE TABLE t(id INTEGER PRIMARY KEY,u TEXT,v INT)",
            "CREATE UNIQUE INDEX ix ON t(lower(u)) WHERE v>0",
            "INSERT INTO t VALUES(1,'A',1),(2,'b',1)",
        ],
        ["REPLACE INTO t VALUES(3,'a',1)"],
    ),
    "counters": (
        [T, ROWS],
        [
            "UPDATE t SET b=1",
            "SELECT changes(), last_insert_rowid()",
            "INSERT INTO t(a) VALUES('n')",
            "SELECT last_insert_rowid(), changes()",
            "DELETE FROM t WHERE id=99",
            "SELECT changes()",
        ],
    ),
}


@pytest.mark.parametrize("name", MATRIX)
def test_events_replay_and_nothing_else_is_visible(name: str, transactions: Transactions) -> None:
    setup, statements = MATRIX[name]
    for sql in setup:
        run(transactions, sql)
    tables = user_tables(transactions.connection.raw)
    for table in tables:
        assert transactions.watch(table) == table
    before = image(transactions.connection.raw, tables)
    rows: list[Any] | None
    try:
        transactions.commit = None
        rows = [outcome.rows for outcome in transactions.run([Query(sql) for sql in statements], inf)]
    except Failure:
        rows = None
    commit = transactions.commit
    after = image(transactions.connection.raw, tables)
    assert (rows, after) == on_plain_sqlite(setup, statements, tables)
    assert replayed(before, commit.changes if commit is not None else ()) == after


def on_plain_sqlite(setup: list[str], statements: list[str], tables: list[str]) -> tuple[Any, Any]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as plain:
        plain.execute("PRAGMA foreign_keys=ON")
        for sql in setup:
            plain.execute(sql)
        plain.execute("BEGIN")
        try:
            rows = [plain.execute(sql).fetchall() for sql in statements]
        except sqlite3.Error:
            if plain.in_transaction:
                plain.execute("ROLLBACK")
            return None, image(plain, tables)
        plain.execute("COMMIT")
        return rows, image(plain, tables)


def user_tables(connection: sqlite3.Connection) -> list[str]:
    found = connection.execute(
        "SELECT name FROM main.sqlite_schema WHERE type='table' AND rootpage>0 AND name NOT LIKE 'sqlite%'"
        " AND name NOT GLOB 'f_*'"
    )
    return [row[0] for row in found]


def image(connection: sqlite3.Connection, tables: list[str]) -> dict[str, Counter[Any]]:
    return {
        table: Counter(typed(row) for row in connection.execute(f"SELECT * FROM main.{quote_name(table)}"))
        for table in tables
    }


def typed(row: Any) -> tuple[Any, ...]:
    return tuple((type(value).__name__, repr(value)) for value in row)


def replayed(before: dict[str, Counter[Any]], changes: Sequence[RowChange]) -> dict[str, Counter[Any]]:
    after = {table: Counter(rows) for table, rows in before.items()}
    for change in changes:
        if change.old is not None:
            assert after[change.table][typed(change.old.values())] > 0, f"{change} takes a row that is not there"
            after[change.table][typed(change.old.values())] -= 1
        if change.data is not None:
            after[change.table][typed(change.data.values())] += 1
    return {table: +rows for table, rows in after.items()}


# watching


def test_only_watched_tables_are_told(transactions: Transactions) -> None:
    run(transactions, T, "CREATE TABLE u(x)")
    transactions.watch("u")
    assert told(run(transactions, ROWS, "INSERT INTO u VALUES(1)")) == [("INSERT", "u", None, (1,))]


def test_a_table_is_found_whatever_the_case_of_its_name(transactions: Transactions) -> None:
    run(transactions, "CREATE TABLE Mixed(x)")
    assert transactions.watch("mIXED") == "Mixed"
    assert told(run(transactions, "INSERT INTO mixed VALUES(1)")) == [("INSERT", "Mixed", None, (1,))]


def test_a_watched_table_that_appears_later_is_armed(transactions: Transactions) -> None:
    assert transactions.watch("t") is None
    assert told(run(transactions, T)) == [("SCHEMA", "t", None, None)]
    assert told(run(transactions, "INSERT INTO t VALUES(1,'x',2)")) == [("INSERT", "t", None, (1, "x", 2))]


def test_watchers_are_counted(transactions: Transactions) -> None:
    run(transactions, T)
    transactions.watch("t")
    transactions.watch("T")
    transactions.unwatch("t")
    assert run(transactions, ROWS)
    transactions.unwatch("t")
    assert run(transactions, "DELETE FROM t") == ()
    assert transactions.connection.rows("SELECT * FROM temp.sqlite_schema") == []


@pytest.mark.parametrize("name", ["sqlite_schema", "sqlite_sequence", "v", "nothing", "_cf_KV"])
def test_what_is_not_a_users_table_cannot_be_armed(name: str, transactions: Transactions) -> None:
    run(transactions, "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT)", "CREATE VIEW v AS SELECT 1")
    assert transactions.watch(name) is None


# schema changes


def test_an_added_column_is_told_as_a_schema_change_and_appears_in_later_events(transactions: Transactions) -> None:
    run(transactions, T, ROWS)
    transactions.watch("t")
    changes = run(transactions, "ALTER TABLE t ADD COLUMN z DEFAULT 5", "UPDATE t SET z=6 WHERE id=1")
    assert told(changes) == [("SCHEMA", "t", None, None), ("UPDATE", "t", (1, "x", 10, 5), (1, "x", 10, 6))]


def test_columns_are_renamed_and_dropped_under_capture(transactions: Transactions) -> None:
    run(transactions, T, ROWS)
    transactions.watch("t")
    changes = run(
        transactions,
        "UPDATE t SET a='before' WHERE id=1",
        "ALTER TABLE t RENAME COLUMN a TO aa",
        "ALTER TABLE t DROP COLUMN b",
        "UPDATE t SET aa='after' WHERE id=1",
    )
    assert [change.type for change in changes] == ["UPDATE", "SCHEMA", "SCHEMA", "UPDATE"]
    assert changes[0].data == {"id": 1, "a": "before", "b": 10}
    assert changes[3].data == {"id": 1, "aa": "after"}


def test_a_dropped_and_created_table_is_armed_again(transactions: Transactions) -> None:
    run(transactions, T, ROWS)
    transactions.watch("t")
    changes = run(transactions, "DROP TABLE t", "CREATE TABLE t(q)", "INSERT INTO t VALUES(2)")
    assert told(changes) == [("SCHEMA", "t", None, None)] * 2 + [("INSERT", "t", None, (2,))]


def test_a_rolled_back_schema_change_leaves_the_table_armed(transactions: Transactions) -> None:
    run(transactions, T, ROWS)
    transactions.watch("t")
    with pytest.raises(Failure, match="no such table: nope"):
        run(transactions, "ALTER TABLE t ADD COLUMN z", "INSERT INTO nope VALUES(1)")
    assert told(run(transactions, "DELETE FROM t WHERE id=1")) == [("DELETE", "t", (1, "x", 10), None)]


# what must stay as the user has it


def test_the_user_sees_and_sets_his_own_recursive_triggers(transactions: Transactions) -> None:
    run(transactions, T)
    transactions.watch("t")

    def setting() -> int:
        return transactions.run([Query("PRAGMA recursive_triggers")], inf)[0].rows[0][0]

    assert setting() == 0
    run(transactions, "PRAGMA recursive_triggers=ON")
    assert setting() == 1


def test_total_changes_hides_the_log(transactions: Transactions) -> None:
    run(transactions, T)
    transactions.watch("t")
    query = Query("SELECT total_changes()")
    start = transactions.run([query], inf)[0].rows[0][0]
    for _ in range(40):
        run(transactions, "REPLACE INTO t VALUES(1,'x',1),(2,'y',2)", "UPDATE t SET b=b+1")
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as plain:
        plain.execute(T)
        for _ in range(40):
            plain.execute("REPLACE INTO t VALUES(1,'x',1),(2,'y',2)")
            plain.execute("UPDATE t SET b=b+1")
        assert transactions.run([query], inf)[0].rows[0][0] - start == plain.total_changes


def test_outcomes_count_only_the_users_changes(transactions: Transactions) -> None:
    run(transactions, *AUDIT)
    transactions.watch("t")
    outcomes = transactions.run([Query("UPDATE t SET b=0"), Query("DELETE FROM t WHERE id=1")], inf)
    assert [outcome.changes for outcome in outcomes] == [6, 2]


def test_a_table_too_large_to_compare_is_told_as_a_resync(
    transactions: Transactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("d1.capture.images.DIFF_LIMIT", 2)
    for sql in AUDIT:
        run(transactions, sql)
    transactions.watch("t")
    assert told(run(transactions, "REPLACE INTO t VALUES(1,'n',1)")) == [("RESYNC", "t", None, None)]


def test_a_commit_carries_its_number_database_and_date(transactions: Transactions) -> None:
    run(transactions, T)
    transactions.watch("t")
    run(transactions, ROWS)
    assert transactions.commit is not None
    first = transactions.commit
    run(transactions, "SELECT 1")
    run(transactions, "DELETE FROM t")
    assert transactions.commit is not None
    assert (first.txn, first.database, first.at_ms) == (1, "DB", 1_000)
    assert transactions.commit.txn == 2
