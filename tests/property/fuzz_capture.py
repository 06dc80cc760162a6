"""`make fuzz-capture N=200000`: N random statements; their events must replay every table's image, one for one.

Every transaction runs captured, on plain sqlite3, and (where every table has a primary key and no generated column) on
apsw under a session, SQLite's own account of the changed rows, which is compared row by row and value by value. An
event is *missed* or *phantom* when the replayed image and the real one differ by it, and *out of order* when its old
row is not there at its turn.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import apsw

from d1.changes import RowChange
from d1.engine.calls import Query
from d1.engine.transactions import Transactions
from d1.errors import Failure, ObjectFailure
from d1.sql import Kind, parse

Image = dict[str, Counter[tuple[Any, ...]]]
Net = dict[tuple[Any, ...], tuple[dict[str, Any] | None, dict[str, Any] | None]]
"""Table and key -> the row before and after."""

NAMES = ("t", "t2", "log", "p", "c", "s")
KEYS = (
    ("id INTEGER PRIMARY KEY", ""),
    ("id INTEGER PRIMARY KEY AUTOINCREMENT", ""),
    ("id TEXT PRIMARY KEY", ""),
    ("id TEXT PRIMARY KEY NOT NULL", " WITHOUT ROWID"),
    ("id INT", ""),
    ("id INT NOT NULL", ", PRIMARY KEY(id, u))"),
    ("id INT NOT NULL", ", PRIMARY KEY(u, id)) WITHOUT ROWID"),
    ("id INT UNIQUE", ""),
)
UNIQUE = ("u", "u", "u UNIQUE", "u UNIQUE ON CONFLICT REPLACE", "u UNIQUE ON CONFLICT IGNORE")
ACTIONS = ("CASCADE", "SET NULL", "NO ACTION", "CASCADE DEFERRABLE INITIALLY DEFERRED")
TRIGGERS = (
    "CREATE TRIGGER audit AFTER UPDATE ON t BEGIN INSERT INTO log(what) VALUES(OLD.v||'>'||NEW.v); END",
    "CREATE TRIGGER stamp AFTER INSERT ON t BEGIN UPDATE t SET v='stamped' WHERE id=NEW.id AND u IS NEW.u; END",
    "CREATE TRIGGER early BEFORE UPDATE OF u ON t BEGIN UPDATE t SET v='early' WHERE id=OLD.id AND u IS OLD.u; END",
    "CREATE TRIGGER chain AFTER DELETE ON t BEGIN DELETE FROM log WHERE n>2; END",
    "CREATE TRIGGER refuse BEFORE INSERT ON t WHEN NEW.v='no' BEGIN SELECT RAISE(ABORT,'refused'); END",
    "CREATE TRIGGER skip AFTER INSERT ON t WHEN NEW.v='skip' BEGIN SELECT RAISE(IGNORE); END",
)
VALUES = ("1", "2", "3", "NULL", "'a'", "'no'", "'skip'", "2.5", "x'0061'", "'é'", "9007199254740993", "-0.0")


class _SteadyClock:
    def now_ms(self) -> int:
        return 0


@dataclass
class Figures:
    """What a run has seen."""

    statements: int = 0
    events: int = 0
    transactions: int = 0
    rolled_back: int = 0
    session_comparisons: int = 0
    session_rows: int = 0
    missed: int = 0
    phantom: int = 0
    out_of_order: int = 0
    session_differences: int = 0
    visible_differences: int = 0
    seeds: list[int] = field(default_factory=list[int])
    """Cases with a wrong event, to be run again with `--seed`."""
    visible_seeds: list[int] = field(default_factory=list[int])
    """Cases in which the user saw another result than without capture."""

    @property
    def wrong(self) -> int:
        """How many events were wrong."""
        return self.missed + self.phantom + self.out_of_order + self.session_differences


class Case:
    """A random schema and random transactions on it."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        key, ending = random.choice(KEYS)
        extra = random.choice((0, 0, 1, 3, random.randrange(37)))
        self.columns = [f"c{number}" for number in range(extra)]
        has_generated = random.random() < 0.25
        body = ", ".join(
            [key, random.choice(UNIQUE), "v", *self.columns, *(["g AS (v||'!')"] if has_generated else [])]
        )
        ending = f"){ending}" if not ending.startswith(",") else ending
        self.has_session = "PRIMARY KEY" in key + ending and not has_generated
        self.created = f"CREATE TABLE t({body}{ending}"
        parent_delete, parent_update = random.choice(ACTIONS[:3]), random.choice(ACTIONS)
        self.schema = [
            "CREATE TABLE log(n INTEGER PRIMARY KEY, what)",
            self.created,
            "CREATE TABLE p(id INTEGER PRIMARY KEY, n)",
            "CREATE TABLE c(id INTEGER PRIMARY KEY, p INTEGER REFERENCES p(id) "
            f"ON DELETE {parent_delete} ON UPDATE {parent_update})",
            "CREATE TABLE s(id INTEGER PRIMARY KEY, up INTEGER REFERENCES s(id) ON DELETE CASCADE)",
            "CREATE VIEW w AS SELECT id, u, v FROM t",
            "CREATE TRIGGER w_i INSTEAD OF INSERT ON w BEGIN INSERT INTO t(id,u,v) VALUES(NEW.id,NEW.u,NEW.v); END",
            "CREATE TRIGGER w_u INSTEAD OF UPDATE ON w BEGIN UPDATE t SET v=NEW.v WHERE id=OLD.id; END",
            "CREATE TRIGGER w_d INSTEAD OF DELETE ON w BEGIN DELETE FROM t WHERE id=OLD.id; END",
        ]
        if random.random() < 0.5:  # without a trigger of the user's capture takes another way
            self.schema = self.schema[:5]
        if random.random() < 0.5:
            self.schema += random.sample(TRIGGERS, random.randrange(1, 3))

    def batch(self) -> tuple[list[str], str]:
        """Return the statements of one transaction, and the kind of schema change among them or an empty text."""
        random = self.random
        batch = [self.statement() for _ in range(random.choice((1, 1, 2, 4, 6)))]
        change = ""
        if random.random() < 0.08:
            change, sql = random.choice(
                (
                    ("add", f"ALTER TABLE t ADD COLUMN x{random.randrange(1000)}"),
                    ("column", "ALTER TABLE t RENAME COLUMN v TO v9"),
                    ("column", "ALTER TABLE t RENAME COLUMN v9 TO v"),
                    ("to t2", "ALTER TABLE t RENAME TO t2"),
                    ("to t", "ALTER TABLE t2 RENAME TO t"),
                    ("drop", "DROP TABLE t"),
                    ("create", self.created),
                    ("index", "CREATE INDEX IF NOT EXISTS by_v ON t(v)"),
                )
            )
            batch.insert(random.randrange(len(batch) + 1), sql)
            if random.random() < 0.6:
                batch = [sql]  # elsewhere the statements around it often fail on the other schema
        if random.random() < 0.08:
            batch.append("INSERT INTO nope VALUES(1)")
        return batch, change

    def statement(self) -> str:
        """Return one random statement that changes rows."""
        random = self.random

        def n() -> int:
            return random.randrange(1, 7)

        def v() -> str:
            return random.choice(VALUES)

        conflict = random.choice(("", "", "OR REPLACE ", "OR IGNORE ", "OR ABORT ", "OR FAIL "))
        returning = random.choice(("", "", " RETURNING *"))
        target = random.choice(("t", "t", "t", "w"))
        column = random.choice([*self.columns, "v"])
        return random.choice(
            (
                lambda: f"INSERT {conflict}INTO {target}(id,u,v) VALUES({n()},{v()},{v()}){returning}",
                lambda: f"INSERT {conflict}INTO t(id,u,{column}) VALUES({n()},{v()},{v()}),({n()},{v()},{v()})",
                lambda: f"INSERT INTO t(id,u,v) VALUES({n()},{v()},{v()}) ON CONFLICT DO UPDATE SET v={v()}{returning}",
                lambda: f"INSERT INTO t(id,u,v) VALUES({n()},{v()},{v()}) ON CONFLICT DO NOTHING",
                lambda: f"REPLACE INTO t(id,u,v) VALUES({n()},{v()},{v()})",
                lambda: f"INSERT INTO t(id,u,v) SELECT id+5,u||'x',v FROM t WHERE id<={n()}",
                lambda: f"UPDATE {target} SET v={v()} WHERE id={n()}{returning}",
                lambda: f"UPDATE t SET {column}={v()}",
                lambda: f"UPDATE {random.choice(('', 'OR REPLACE ', 'OR IGNORE '))}t SET u={v()} WHERE id={n()}",
                lambda: f"UPDATE t SET id={n()} WHERE id={n()}",
                lambda: f"UPDATE t SET v=p.n FROM p WHERE p.id=t.id AND p.id<{n()}",
                lambda: f"DELETE FROM {target} WHERE id={n()}{returning}",
                lambda: f"WITH k(x) AS (SELECT {n()}) DELETE FROM t WHERE id IN (SELECT x FROM k)",
                lambda: "DELETE FROM t",
                lambda: f"INSERT OR IGNORE INTO p VALUES({n()},'n')",
                lambda: f"INSERT INTO p VALUES({n()},1) ON CONFLICT(id) DO UPDATE SET n=excluded.n+1",
                lambda: f"INSERT {random.choice(('', 'OR REPLACE '))}INTO c VALUES({n()},{n()})",
                lambda: f"UPDATE p SET id={n()} WHERE id={n()}",
                lambda: f"DELETE FROM p WHERE id={n()}{returning}",
                lambda: f"INSERT OR IGNORE INTO s VALUES({n()},{random.choice(('NULL', str(n())))})",
                lambda: f"DELETE FROM s WHERE id={n()}",
            )
        )()


def image(connection: Any) -> Image:
    """Return the rows of every table."""
    tables = {row[0] for row in connection.execute("SELECT name FROM main.sqlite_schema WHERE type='table'")}
    return {
        name: Counter(map(typed, connection.execute(f"SELECT * FROM main.{name}"))) if name in tables else Counter()
        for name in NAMES
    }


def typed(row: Any) -> tuple[Any, ...]:
    """Return a row with storage classes: 1 and 1.0 differ."""
    return tuple([(type(value).__name__, value) for value in row])


def replay(before: Image, changes: tuple[RowChange, ...], schema_change: str, figures: Figures) -> Image:
    """Apply events to an image; a schema change reshapes it once, where its notice comes."""
    now = {name: Counter(rows) for name, rows in before.items()}
    is_reshaped = False
    for change in changes:
        if change.type == "SCHEMA":
            if not is_reshaped:
                reshape(now, schema_change)
            is_reshaped = True
            continue
        rows = now[change.table]
        if change.old is not None:
            row = typed(change.old.values())
            if rows[row] <= 0:
                figures.out_of_order += 1
            rows[row] -= 1
        if change.data is not None:
            rows[typed(change.data.values())] += 1
    return now


def reshape(now: Image, schema_change: str) -> None:
    """Do to the image what the schema change did to the table."""
    match schema_change:
        case "add":
            now["t"] = Counter({(*row, ("NoneType", None)): count for row, count in now["t"].items()})
        case "to t2":
            now["t2"], now["t"] = now["t"], Counter()
        case "to t":
            now["t"], now["t2"] = now["t2"], Counter()
        case "drop":
            now["t"] = Counter()
        case _:
            pass


def run_captured(transactions: Transactions, batch: list[str]) -> list[Any] | None:
    """Run one transaction as the engine would; `None` when it failed."""
    plain = parse(batch[0]).plain if len(batch) == 1 else None
    try:
        if plain is not None and plain.kind is Kind.WRITE:
            outcomes = [transactions.captured(plain, (), 60.0)]  # the short way that single writes take
        else:
            outcomes = transactions.run([Query(sql) for sql in batch], inf)
    except (Failure, ObjectFailure):
        return None
    return [sorted(map(repr, outcome.rows)) for outcome in outcomes]


def run_plain(connection: Any, batch: list[str], error: type[Exception]) -> list[Any] | None:
    """Run one transaction without capture; `None` when it failed."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        results = [connection.execute(sql).fetchall() for sql in batch]
        connection.execute("COMMIT")
    except error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        return None
    return [sorted(map(repr, rows)) for rows in results]


def net_of_events(changes: tuple[RowChange, ...], keys: dict[str, list[str]]) -> Net:
    """Fold events to what became of every row, by its key: the row before the transaction and the row after it."""
    net: Net = {}

    def key_of(table: str, row: dict[str, Any]) -> tuple[Any, ...]:
        return (table, *[row[name] for name in keys[table]])

    for change in changes:
        if change.old is not None:
            net.setdefault(key_of(change.table, change.old), (change.old, None))
        if change.data is not None:
            key = key_of(change.table, change.data)
            net[key] = (net[key][0] if key in net else None, change.data)
        if change.old is not None:
            key = key_of(change.table, change.old)
            if change.data is None or key_of(change.table, change.data) != key:
                net[key] = (net[key][0], None)
    return {key: rows for key, rows in net.items() if rows[0] != rows[1]}


def differs_from_session(session: apsw.Session, net: Net, columns: dict[str, list[str]]) -> bool:
    """Tell whether a session's changeset says anything else, row by row and value by value.

    A session reports REAL 3.0 in a column without type as INTEGER 3, so that numbers are compared by value.
    """
    left = dict(net)
    for change in apsw.Changeset.iter(session.changeset()):
        names = columns[change.name]
        old = dict(zip(names, change.old or (), strict=False))
        new = dict(zip(names, change.new or (), strict=False))
        identity = new if change.op == "INSERT" else old
        key = (change.name, *[identity[names[place]] for place in sorted(change.pk_columns)])
        rows = left.pop(key, None)
        if rows is None or not is_same_change(change.op, old, new, *rows):
            return True
    return bool(left)


def is_same_change(
    op: str, old: dict[str, Any], new: dict[str, Any], before: dict[str, Any] | None, after: dict[str, Any] | None
) -> bool:
    """Compare one row of a changeset with what the events made of it."""
    if op == "INSERT":
        return before is None and after == new
    if op == "DELETE":
        return after is None and before == old
    if before is None or after is None:
        return False
    for name, value in new.items():
        if value is apsw.no_change:
            if before[name] != after[name]:
                return False
        elif before[name] != old[name] or after[name] != value:
            return False
    return True


def keys_and_columns(connection: apsw.Connection) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the key and all columns of every table, both in the order of columns."""
    keys: dict[str, list[str]] = {}
    columns: dict[str, list[str]] = {}
    for name in NAMES:
        info = connection.execute(f"PRAGMA table_info({name})").fetchall()
        keys[name] = [row[1] for row in info if row[5]]
        columns[name] = [row[1] for row in info]
    return keys, columns


def run_case(seed: int, figures: Figures, transactions_each: int) -> None:
    """Run one schema with its transactions; ends early where the user's view differs, which later rows would repeat."""
    case, wrong = Case(seed), figures.wrong
    transactions = Transactions(Path(":memory:"), "DB", _SteadyClock())
    plain, other = sqlite3.connect(":memory:", isolation_level=None), apsw.Connection(":memory:")
    with closing(transactions), closing(plain), closing(other):
        for connection in (plain, other):
            connection.execute("PRAGMA foreign_keys=ON")
            for sql in case.schema:
                connection.execute(sql)
        transactions.run([Query(sql) for sql in case.schema], inf)
        for name in NAMES:
            transactions.watch(name)
        has_session = case.has_session
        keys, columns = keys_and_columns(other)
        before = image(transactions.connection.raw)
        for _ in range(transactions_each):
            batch, schema_change = case.batch()
            transactions.commit = None
            results = run_captured(transactions, batch)
            changes = transactions.commit.changes if transactions.commit is not None else ()
            after = image(transactions.connection.raw)
            figures.statements += len(batch)
            figures.events += len(changes)
            figures.transactions += 1
            figures.rolled_back += results is None
            replayed = replay(before, changes, schema_change, figures)
            for name in NAMES:
                figures.missed += (after[name] - replayed[name]).total()
                replayed[name].subtract(after[name])
                figures.phantom += (+replayed[name]).total()
            if results is None and changes:
                figures.phantom += len(changes)
            if run_plain(plain, batch, sqlite3.Error) != results or image(plain) != after:
                figures.visible_differences += 1
                figures.visible_seeds.append(seed)
                break
            if has_session:
                session = apsw.Session(other, "main")
                session.attach()
                run_plain(other, batch, apsw.Error)
                has_session = not schema_change and image(other) == after
                if has_session and net_is_comparable(before, after):
                    figures.session_comparisons += 1
                    net = net_of_events(changes, keys)
                    figures.session_rows += len(net)
                    figures.session_differences += differs_from_session(session, net, columns)
                session.close()
            before = after
    if figures.wrong != wrong:
        figures.seeds.append(seed)


def net_is_comparable(before: Image, after: Image) -> bool:
    """A session sees no row with a NULL in its key, and takes 3 and 3.0 for one key."""
    return not any(
        value is None or isinstance(value, float)
        for rows in (before["t"], after["t"])
        for row in rows
        for _, value in row[:2]
    )


def main() -> None:
    """Run the cases and print the figures; exit with 1 when an event was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--statements", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1, help="seed of the first case; later cases count up")
    options = parser.parse_args()
    figures, seed, began = Figures(), options.seed, time.perf_counter()
    while figures.statements < options.statements:
        run_case(seed, figures, 25)
        seed += 1
    print(
        f"seeds {options.seed}..{seed - 1}: {figures.statements:,} statements in {figures.transactions:,} transactions "
        f"({figures.rolled_back:,} rolled back), {figures.events:,} events, "
        f"{time.perf_counter() - began:.0f} s\n"
        f"missed {figures.missed}, phantom {figures.phantom}, out of order {figures.out_of_order}, "
        f"session comparisons {figures.session_comparisons:,} of {figures.session_rows:,} rows "
        f"(different: {figures.session_differences}), "
        f"cases with a visible difference {figures.visible_differences} {figures.visible_seeds[:20]}"
    )
    if figures.wrong:
        sys.exit(f"wrong events in the cases of seeds {figures.seeds[:20]}")


if __name__ == "__main__":
    main()
