from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from d1.export import ExportError, export
from d1.file import DatabaseFile
from d1.script import read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "from.sqlite"


def make(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
        connection.commit()


def load(lines: Sequence[str], path: Path) -> None:
    with DatabaseFile(path, accepts_long_statements=True) as file, file.transaction():
        for part in read(line + "\n" for line in lines):
            file.run(part.sql)


def round_trip(path: Path) -> tuple[list[str], Path]:
    lines = list(export(path))
    copy = path.with_name("to.sqlite")
    load(lines, copy)
    return lines, copy


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


# any rows of any tables


@dataclass
class Table:
    name: str
    kinds: list[str]
    key: str
    is_generated: bool
    is_indexed: bool
    rows: list[list[object]] = field(default_factory=list)
    deleted: list[int] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        return [f"c{number} '{chr(97 + number)}" for number in range(len(self.kinds))]

    def sql(self) -> Iterator[str]:
        parts = [f"{quoted(name)} {kind}" for name, kind in zip(self.columns, self.kinds, strict=True)]
        key = {"integer": "id INTEGER PRIMARY KEY", "autoincrement": "id INTEGER PRIMARY KEY AUTOINCREMENT"}.get(
            self.key
        )
        if key is not None:
            parts.insert(0, key)
        if self.is_generated:
            parts.append(f"virt GENERATED ALWAYS AS (typeof({quoted(self.columns[0])}))")
            parts.append(f"kept TEXT AS (quote({quoted(self.columns[-1])})) STORED")
        if self.key == "without rowid":
            parts.insert(0, "k INT")
            parts.append("PRIMARY KEY(k)")
        suffix = " WITHOUT ROWID" if self.key == "without rowid" else ""
        yield f"CREATE TABLE {quoted(self.name)}({', '.join(parts)}){suffix}"
        if self.is_indexed:
            yield f"CREATE INDEX {quoted('i ' + self.name)} ON {quoted(self.name)}({quoted(self.columns[0])} DESC)"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


texts = st.text(alphabet=st.one_of(st.characters(codec="utf-8"), st.sampled_from("\n\r\0'\\n\"();01x")), max_size=12)
doubles = st.binary(min_size=8, max_size=8).map(lambda raw: struct.unpack("<d", raw)[0]).filter(lambda x: x == x)
values = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([0.1, -0.0, 3.0, 5e-324, -2.2250738585072011e-308, 1.7976931348623157e308, 1e999, -1e999]),
    doubles,
    texts,
    st.binary(max_size=12),
)


NAMES = st.sampled_from(["t", 'T"q', "order", "ünï"])
KINDS = st.sampled_from(["", "TEXT", "INTEGER", "REAL", "NUMERIC", "BLOB", "ANY"])


@st.composite
def tables(draw: st.DrawFn) -> list[Table]:
    found: list[Table] = []
    for number in range(draw(st.integers(1, 3))):
        kinds = draw(st.lists(KINDS, min_size=1, max_size=3))
        table = Table(
            draw(NAMES) + str(number),
            kinds,
            draw(st.sampled_from(["none", "integer", "autoincrement", "without rowid"])),
            draw(st.booleans()),
            draw(st.booleans()),
        )
        table.rows = draw(st.lists(st.lists(values, min_size=len(kinds), max_size=len(kinds)), max_size=6))
        table.deleted = draw(st.lists(st.integers(1, 6), max_size=3))
        found.append(table)
    return found


def fill(path: Path, found: list[Table]) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for table in found:
            for sql in table.sql():
                connection.execute(sql)
            for number, row in enumerate(table.rows, 1):
                names = [quoted(name) for name in table.columns]
                given_row = list(row)
                if table.key == "without rowid":
                    names, given_row = ["k", *names], [number, *given_row]
                marks = ",".join("?" * len(names))
                connection.execute(f"INSERT INTO {quoted(table.name)}({','.join(names)}) VALUES({marks})", given_row)
            key = "k" if table.key == "without rowid" else "rowid"
            for number in table.deleted:
                connection.execute(f"DELETE FROM {quoted(table.name)} WHERE {key}={number}")
        connection.commit()


def contents(path: Path) -> dict[str, object]:
    """Everything, bit by bit: floats as bytes, text as bytes, rowids, the schema and the sequences."""
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = lambda raw: ("text", raw)
        schema = connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name"
        ).fetchall()
        found: dict[str, object] = {"schema": schema}
        for kind, name, _, sql in schema:
            if kind[1] != b"table" or sql is None:
                continue
            table = name[1].decode()
            rowid = "" if b"WITHOUT ROWID" in sql[1] or table == "sqlite_sequence" else "rowid, "
            seen = connection.execute(f"SELECT {rowid}* FROM {quoted(table)}").fetchall()
            found[table] = sorted(
                repr([struct.pack("<d", v) if isinstance(v, float) else v for v in row]) for row in seen
            )
        return found


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables())
def test_an_imported_export_equals_the_database_bit_by_bit(found: list[Table]):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "from.sqlite"
        fill(path, found)
        lines, copy = round_trip(path)
        assert contents(copy) == contents(path)
        assert list(export(copy)) == lines
        assert not any("\n" in line for line in lines if line.startswith("INSERT"))


@settings(max_examples=60, deadline=None)
@given(st.lists(doubles, min_size=1, max_size=40))
def test_every_real_number_reads_back_as_itself(numbers: list[float]):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.sqlite"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE t(a)")
            connection.executemany("INSERT INTO t VALUES(?)", [(number,) for number in numbers])
            connection.commit()
            for line in export(path, schema=False):
                connection.execute(line)
            found = [struct.pack("<d", number) for (number,) in connection.execute("SELECT a FROM t")]
        assert found == [struct.pack("<d", number) for number in numbers] * 2


# what a database may hold besides rows


def test_rows_are_written_as_wrangler_does(path: Path):
    make(path, "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b); INSERT INTO t VALUES(1,'it''s',X'00ff'),(2,NULL,1.5);")
    assert list(export(path)) == [
        "PRAGMA defer_foreign_keys=TRUE;",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b);",
        'INSERT INTO "t" ("id","a","b") VALUES(1,\'it\'\'s\',X\'00ff\');',
        'INSERT INTO "t" ("id","a","b") VALUES(2,NULL,1.5);',
    ]


def test_tables_may_refer_to_each_other_in_any_order(path: Path):
    make(
        path,
        """
        CREATE TABLE child(id INTEGER PRIMARY KEY, parent TEXT REFERENCES parent(code));
        CREATE TABLE parent(code TEXT, first REFERENCES child(id));
        CREATE UNIQUE INDEX code ON parent(code);
        INSERT INTO parent VALUES('a', 1);
        INSERT INTO child VALUES(1, 'a');
        """,
    )
    _, copy = round_trip(path)
    assert rows(copy, "SELECT * FROM child JOIN parent") == [(1, "a", "a", 1)]
    assert rows(copy, "PRAGMA foreign_key_check") == []


def test_triggers_do_not_fire_on_import_and_work_afterwards(path: Path):
    make(
        path,
        """
        CREATE TABLE t(a); CREATE TABLE log(a);
        CREATE TRIGGER note AFTER INSERT ON t BEGIN
            INSERT INTO log VALUES(CASE WHEN new.a = ';' THEN 'semi;colon' ELSE new.a END); -- ; END;
        END;
        CREATE VIEW doubled AS SELECT a || a AS aa FROM t;
        CREATE TRIGGER through INSTEAD OF INSERT ON doubled BEGIN INSERT INTO t VALUES(new.aa); END;
        INSERT INTO doubled VALUES(';');
        DELETE FROM log;
        """,
    )
    _, copy = round_trip(path)
    assert rows(copy, "SELECT * FROM log") == []
    make(copy, "INSERT INTO doubled VALUES(';');")
    assert rows(copy, "SELECT * FROM log") == [("semi;colon",)]
    assert rows(copy, "SELECT * FROM doubled") == [(";;",), (";;",)]


def test_autoincrement_goes_on_after_rows_that_were_deleted(path: Path):
    make(
        path,
        """
        CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a);
        CREATE TABLE emptied(id INTEGER PRIMARY KEY AUTOINCREMENT);
        INSERT INTO t(a) VALUES(1),(2),(3); DELETE FROM t WHERE id > 1;
        INSERT INTO emptied DEFAULT VALUES; DELETE FROM emptied;
        """,
    )
    _, copy = round_trip(path)
    make(copy, "INSERT INTO t(a) VALUES('next'); INSERT INTO emptied DEFAULT VALUES;")
    assert rows(copy, "SELECT max(id) FROM t") == [(4,)]
    assert rows(copy, "SELECT id FROM emptied") == [(2,)]


def test_rowids_with_gaps_are_kept(path: Path):
    make(path, 'CREATE TABLE t(a, "rowid"); INSERT INTO t VALUES(1,8),(2,9),(3,10); DELETE FROM t WHERE a = 2;')
    lines, copy = round_trip(path)
    assert lines[-1] == 'INSERT INTO "t" ("_rowid_","a","rowid") VALUES(3,3,10);'
    assert rows(copy, "SELECT _rowid_, * FROM t") == [(1, 1, 8), (3, 3, 10)]


def test_full_text_tables_are_found_again(path: Path):
    make(
        path,
        """
        CREATE VIRTUAL TABLE own USING fts5(title, body UNINDEXED, tokenize='porter');
        INSERT INTO own VALUES('running dogs', 1), ('cats', X'00'); DELETE FROM own WHERE rowid = 2;
        INSERT INTO own(rowid, title) VALUES(9, 'it''s; a dog');
        INSERT INTO own(own, rank) VALUES('rank', 'bm25(10.0)');
        CREATE TABLE docs(id INTEGER PRIMARY KEY, body);
        INSERT INTO docs VALUES(7, 'quick brown fox');
        CREATE VIRTUAL TABLE outer_text USING fts5(body, content='docs', content_rowid='id');
        CREATE TRIGGER ai AFTER INSERT ON docs BEGIN INSERT INTO outer_text(rowid, body) VALUES(new.id, new.body); END;
        INSERT INTO outer_text(outer_text) VALUES('rebuild');
        CREATE VIRTUAL TABLE words USING fts5vocab('own', 'row');
        """,
    )
    lines, copy = round_trip(path)
    for database in (path, copy):
        assert rows(database, "SELECT rowid FROM own WHERE own MATCH 'run OR dog' ORDER BY rowid") == [(1,), (9,)]
        assert rows(database, "SELECT rowid FROM outer_text WHERE outer_text MATCH 'brown'") == [(7,)]
        assert rows(database, "SELECT term, cnt FROM words WHERE term = 'dog'") == [("dog", 2)]
        assert rows(database, "SELECT v FROM own_config WHERE k = 'rank'") == [("bm25(10.0)",)]
        assert rows(database, "INSERT INTO own(own) VALUES('integrity-check')") == []
    assert not any("own_content" in line for line in lines)


def test_virtual_tables_whose_rows_cannot_be_read_are_refused(path: Path):
    make(path, "CREATE VIRTUAL TABLE bare USING fts5(a, content=''); INSERT INTO bare(rowid, a) VALUES(1, 'x');")
    with pytest.raises(ExportError, match='"bare" is a contentless fts5 table'):
        list(export(path))
    assert list(export(path, data=False))[-1] == "CREATE VIRTUAL TABLE bare USING fts5(a, content='');"
    make(path, "DROP TABLE bare; CREATE VIRTUAL TABLE box USING rtree(id, a, b);")
    with pytest.raises(ExportError, match='"box" is a virtual table of module rtree'):
        list(export(path))


def test_statistics_of_the_query_planner_are_made_again(path: Path):
    make(path, "CREATE TABLE t(a); CREATE INDEX i ON t(a); INSERT INTO t VALUES(1),(1); ANALYZE;")
    _, copy = round_trip(path)
    assert rows(copy, "SELECT * FROM sqlite_stat1") == [("t", "i", "2 2")]


def test_text_that_is_not_utf8_is_kept(path: Path):
    make(path, "CREATE TABLE t(a); INSERT INTO t VALUES(CAST(X'41ff00' AS TEXT));")
    _, copy = round_trip(path)
    assert rows(copy, "SELECT typeof(a), hex(a) FROM t") == [("text", "41FF00")]


def test_what_the_platform_keeps_for_itself_is_left_out(path: Path):
    make(path, "CREATE TABLE _cf_METADATA(key INTEGER PRIMARY KEY, value BLOB); INSERT INTO _cf_METADATA VALUES(2, 5);")
    assert list(export(path)) == ["PRAGMA defer_foreign_keys=TRUE;"]


# parts of a database


PAIR = """
    CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT, x); CREATE INDEX ax ON a(x);
    CREATE TABLE b(x); CREATE UNIQUE INDEX bx ON b(x); CREATE VIEW v AS SELECT * FROM a;
    CREATE TRIGGER at AFTER DELETE ON a BEGIN DELETE FROM b; END;
    INSERT INTO a(x) VALUES(1); INSERT INTO b VALUES(2);
"""


def test_one_table_comes_with_its_indexes_triggers_and_sequence(path: Path):
    make(path, PAIR)
    assert [line.split("(")[0].strip() for line in export(path, tables=["A"])] == [
        "PRAGMA defer_foreign_keys=TRUE;",
        "CREATE TABLE a",
        'INSERT INTO "a"',
        "CREATE INDEX ax ON a",
        "DELETE FROM sqlite_sequence WHERE name='a';",
        "INSERT INTO sqlite_sequence",
        "CREATE TRIGGER at AFTER DELETE ON a BEGIN DELETE FROM b; END;",
    ]
    assert list(export(path, tables=["v"]))[1:] == ["CREATE VIEW v AS SELECT * FROM a;"]


def test_schema_and_rows_can_be_had_apart(path: Path):
    make(path, PAIR)
    schema, data = list(export(path, data=False)), list(export(path, schema=False))
    assert not any(line.startswith("INSERT") for line in schema)
    assert not any(line.startswith("CREATE") for line in data)
    make(path.with_name("copy.sqlite"), "\n".join(schema) + "\n".join(data))
    assert rows(path.with_name("copy.sqlite"), "SELECT a.x, b.x FROM a, b") == [(1, 2)]


def test_unknown_tables_and_files_are_named(path: Path):
    with pytest.raises(ExportError, match="there is no database at"):
        list(export(path))
    make(path, PAIR)
    with pytest.raises(ExportError, match='there is no table "c"; there are: a, b'):
        list(export(path, tables=["a", "c"]))
    wrong = path.with_name("notes.txt")
    wrong.write_text("not a database, really not" * 50)
    with pytest.raises(ExportError, match="file is not a database"):
        list(export(wrong))


def test_an_export_sees_one_moment_while_others_write(path: Path):
    make(path, "PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES(1); CREATE TABLE u(a);")
    lines = export(path)
    seen = [next(lines), next(lines)]
    make(path, "INSERT INTO t VALUES(2); INSERT INTO u VALUES(2);")
    assert [line for line in [*seen, *lines] if line.startswith("INSERT")] == ['INSERT INTO "t" ("a") VALUES(1);']
