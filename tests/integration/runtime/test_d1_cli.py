from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from workers.runtime.cli.main import cli
from workers.runtime.testing import DevProcess

ROOT = Path(__file__).resolve().parents[3]
CONFIG = """
[[d1_databases]]
binding = "DB"
database_name = "app-db"
database_id = "my-db-id"
[[d1_databases]]
binding = "OTHER"
migrations_dir = "sql/other"
migrations_table = "applied"
"""
WORKER = """
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if request.method == "POST":
            await self.env.DB.prepare("INSERT INTO t(a) VALUES('worker')").run()
        return Response.json([row["a"] for row in (await self.env.DB.prepare("SELECT a FROM t").all())["results"]])
"""
FILE = "state/v3/d1/miniflare-D1DatabaseObject/61c38b27c21a63b1989a77b98846ad61cb250c6544244fa908b0dc208d486f6f.sqlite"

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def project(write, monkeypatch) -> Path:
    folder = write(WORKER, CONFIG).parent
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def d1(project: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `flarelet d1` here and return status, stdout and stderr."""

    def run(*arguments: object, state: str = "state") -> tuple[int, str, str]:
        status = 0
        try:
            cli(["d1", *map(str, arguments), "--persist-to", str(project / state)])
        except SystemExit as stop:
            status = int(stop.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return run


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}


# execute


def test_rows_are_shown_as_a_table_per_statement(d1: Command):
    status, out, err = d1(
        "execute", "DB", "--command",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a); INSERT INTO t(a) VALUES('x;y'),(NULL);"
        "SELECT * FROM t; SELECT X'0102' b;",
    )  # fmt: skip
    assert status == 0
    assert out == (
        "SELECT * FROM t\n"
        "┌────┬──────┐\n│ id │ a    │\n├────┼──────┤\n│ 1  │ x;y  │\n│ 2  │ null │\n└────┴──────┘\n"
        "SELECT X'0102' b\n"
        "┌────────┐\n│ b      │\n├────────┤\n│ [1, 2] │\n└────────┘\n"
    )
    assert err == "4 statements executed on app-db, 2 rows changed\n"


def test_the_file_is_the_one_that_wrangler_uses(d1: Command, project: Path):
    assert d1("execute", "app-db", "--command", "CREATE TABLE t(a)")[0] == 0
    assert (project / FILE).is_file()


def test_json_is_a_list_of_results(d1: Command):
    status, out, _ = d1(
        "execute", "DB", "--json", "--command",
        "CREATE TABLE t(a); INSERT INTO t VALUES(1),(2.5),(NULL),(X'ff'),('ü') RETURNING a",
    )  # fmt: skip
    results = json.loads(out)
    assert status == 0
    assert [set(result) for result in results] == [{"results", "success", "meta"}] * 2
    assert results[1]["results"] == [{"a": 1}, {"a": 2.5}, {"a": None}, {"a": [255]}, {"a": "ü"}]
    meta = results[1]["meta"]
    assert (meta["changes"], meta["last_row_id"], meta["changed_db"], meta["size_after"]) == (5, 5, True, 8192)
    assert meta["duration"] >= 0


def test_a_failing_statement_is_named_with_file_and_line_and_undoes_all(d1: Command, project: Path):
    file = project / "schema.sql"
    file.write_text("-- schema\nCREATE TABLE t(a);\n\nINSERT INTO nope\n  VALUES(1);\n")
    status, out, err = d1("execute", "DB", "--file", "schema.sql")
    assert (status, out) == (1, "")
    assert err == (
        "error: schema.sql:4: statement 2: no such table: nope: SQLITE_ERROR\n"
        "  INSERT INTO nope VALUES(1)\nNothing was changed.\n"
    )
    status, out, err = d1("execute", "DB", "--command", "SELECT 1;\nSELECT * FROM t", "--json")
    assert (status, err) == (1, "")
    error = json.loads(out)["error"]
    assert (error["statement"], error["line"], error["reason"]) == (2, 2, "no such table: t: SQLITE_ERROR")


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["execute", "DB"], 2, "give either --command or --file"),
        (["execute", "DB", "--command", " -- nothing"], 1, "No SQL statements detected."),
        (["execute", "NOPE", "--command", "SELECT 1"], 1, "configured: DB (app-db), OTHER"),
        (["execute", "DB", "--remote", "--command", "SELECT 1"], 1, "only local databases"),
        (["execute", "DB", "--file", "missing.sql"], 1, "missing.sql cannot be read: No such file"),
        (["execute", "DB", "--file", "latin.sql"], 1, "latin.sql is not UTF-8 text"),
        (["execute", "DB", "--file", "data.sqlite"], 1, "is an SQLite database file, not SQL text"),
        (["execute", "DB", "--file", "two.sql"], 1, "two.sql:3: the file holds several transactions"),
        (["execute", "DB", "--file", "big.sql"], 1, '"flarelet d1 import" has no such limit'),
        (["execute", "DB", "--command", "SELECT 1", "-c", "nowhere.toml"], 1, "nowhere.toml: no such file"),
        (["execute", "DB", "--command", "SELECT 1", "-e", "prod"], 1, 'there is no environment "prod"'),
        (["import", "DB", "empty.sql"], 1, "No SQL statements detected."),
        (["export", "DB", "--output", "x.sql"], 1, "app-db has no local database yet"),
        (["export", "DB", "--output", "x.sql", "--no-data", "--no-schema"], 2, "leave nothing to write"),
        (["migrations", "list", "DB"], 1, "there is no migrations folder"),
    ],
)
def test_mistakes_are_explained(d1: Command, project: Path, arguments: list[str], status: int, text: str):
    (project / "latin.sql").write_bytes(b"SELECT '\xe9';")
    (project / "empty.sql").write_text("-- nothing\n")
    (project / "two.sql").write_text("BEGIN;COMMIT;\n\nBEGIN;COMMIT;")
    (project / "big.sql").write_text(f"SELECT '{'x' * 100_001}'")
    with sqlite3.connect(project / "data.sqlite") as connection:
        connection.execute("CREATE TABLE t(a)")
    connection.close()
    found, out, err = d1(*arguments)
    assert (found, out) == (status, "")
    assert text in err
    assert "Traceback" not in err


def test_sql_can_come_from_standard_input(project: Path):
    done = subprocess.run(
        [sys.executable, "-m", "workers", "d1", "execute", "DB", "--file", "-", "--json"],
        input="SELECT 1 AS one;\nSELECT 'zwei' AS two;", capture_output=True, text=True, env=environment(), timeout=60,
        check=True,
    )  # fmt: skip
    assert [result["results"] for result in json.loads(done.stdout)] == [[{"one": 1}], [{"two": "zwei"}]]
    assert done.stderr == ""


# migrations


def test_migrations_are_created_listed_and_applied(d1: Command, project: Path):
    status, out, err = d1("migrations", "create", "DB", "first things")
    path = project / "migrations" / "0001_first_things.sql"
    assert (status, out, err) == (0, f"{path}\n", "Successfully created Migration '0001_first_things.sql'!\n")
    path.write_text(path.read_text() + "CREATE TABLE t(a);\nINSERT INTO t VALUES(1);\n")
    assert "│ 0001_first_things.sql │" in d1("migrations", "list", "app-db")[1]
    status, out, _ = d1("migrations", "apply", "DB")
    assert status == 0
    assert "│ 0001_first_things.sql │ applied │" in out
    assert d1("migrations", "list", "DB") == (0, "No migrations to apply!\n", "")
    assert d1("migrations", "apply", "DB") == (0, "No migrations to apply!\n", "")
    with sqlite3.connect(project / FILE) as connection:
        (sql,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name='d1_migrations'").fetchone()
        assert connection.execute("SELECT id, name FROM d1_migrations").fetchall() == [(1, "0001_first_things.sql")]
    connection.close()
    assert "id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, applied_at TIMESTAMP DEFAULT CURRENT_TIME" in sql


def test_a_failing_migration_ends_the_run_and_is_explained(d1: Command, project: Path):
    folder = project / "sql" / "other"
    folder.mkdir(parents=True)
    (folder / "1_ok.sql").write_text("CREATE TABLE t(a);")
    (folder / "2_bad.sql").write_text("INSERT INTO t VALUES(1);\n\nINSERT INTO t VALUES(1, 2);")
    (folder / "3_never.sql").write_text("DROP TABLE t;")
    status, out, err = d1("migrations", "apply", "OTHER")
    assert status == 1
    reason = "table t has 1 columns but 2 values were supplied: SQLITE_ERROR"
    assert err == f"error: migration 2_bad.sql failed at line 3, statement 2: {reason}\n"
    assert "│ 1_ok.sql    │ applied     │\n│ 2_bad.sql   │ failed      │\n│ 3_never.sql │ not applied │" in out
    assert json.loads(d1("execute", "OTHER", "--command", "SELECT name FROM applied", "--json")[1])[0]["results"] == [
        {"name": "1_ok.sql"}
    ]
    status, out, err = d1("migrations", "apply", "OTHER", "--json")
    error = json.loads(out)["error"]
    assert (status, err) == (1, "")
    assert (error["migration"], error["line"], error["statement"]) == ("2_bad.sql", 3, 2)
    (folder / "2_bad.sql").write_text("INSERT INTO t VALUES(1);")
    assert json.loads(d1("migrations", "apply", "OTHER", "--json")[1]) == {
        "applied": [{"name": "2_bad.sql"}, {"name": "3_never.sql"}]
    }
    listed = json.loads(d1("migrations", "list", "OTHER", "--json")[1])
    assert [entry["name"] for entry in listed["applied"]] == ["1_ok.sql", "2_bad.sql", "3_never.sql"]
    assert listed["pending"] == []


def test_a_pattern_decides_which_files_are_migrations(d1: Command, project: Path):
    lines = 'migrations_dir = "sql"\nmigrations_pattern = "sql/*/migration.sql"\n'
    (project / "wrangler.toml").write_text(f'name = "demo"\n[[d1_databases]]\nbinding = "DB"\n{lines}')
    (project / "sql" / "01_a").mkdir(parents=True)
    (project / "sql" / "01_a" / "migration.sql").write_text("CREATE TABLE t(a)")
    (project / "sql" / "00_other.sql").write_text("not SQL")
    assert json.loads(d1("migrations", "apply", "DB", "--json")[1]) == {"applied": [{"name": "01_a/migration.sql"}]}
    status, _, err = d1("migrations", "create", "DB", "x")
    assert status == 1
    assert 'would not be found by migrations_pattern "*/migration.sql"' in err
    (project / "wrangler.toml").write_text(
        'name = "demo"\n[[d1_databases]]\nbinding = "DB"\nmigrations_pattern = "sql/*.sql"\n'
    )
    status, _, err = d1("migrations", "list", "DB")
    assert status == 1
    assert "migrations_pattern: must be a glob that begins with the migrations_dir" in err


# export and import


DUMPED = """
CREATE TABLE child(id INTEGER PRIMARY KEY AUTOINCREMENT, parent REFERENCES parent, twice AS (id * 2));
CREATE TABLE parent(name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE big(a);
INSERT INTO parent VALUES('a'), ('it''s
two lines; and more');
INSERT INTO child(parent) VALUES('a'), ('a');
DELETE FROM child WHERE id = 2;
CREATE TRIGGER t AFTER INSERT ON parent BEGIN INSERT INTO child(parent) VALUES(new.name); END;
CREATE VIRTUAL TABLE words USING fts5(text);
INSERT INTO words VALUES('hello world');
"""


def test_an_export_imports_to_an_equal_database(d1: Command, project: Path):
    (project / "in.sql").write_text(DUMPED)
    assert d1("execute", "DB", "--file", "in.sql")[0] == 0
    with sqlite3.connect(project / FILE) as connection:
        connection.execute("INSERT INTO big VALUES(zeroblob(200000))")
    connection.close()
    status, out, err = d1("export", "DB", "--output", "dump.sql")
    assert (status, out) == (0, "")
    assert "warning: 1 statement exceed D1's limit of 100 kB" in err
    status, _, err = d1("import", "DB", "dump.sql", state="copy")
    assert status == 0
    assert "imported into app-db" in err
    dump = (project / "dump.sql").read_text()
    assert d1("export", "DB", "--output", "-", state="copy")[1] == dump
    query = ("execute", "DB", "--json", "--command", "INSERT INTO child(parent) VALUES('a') RETURNING id, twice")
    assert json.loads(d1(*query, state="copy")[1])[0]["results"] == [{"id": 3, "twice": 6}]
    assert [path.name for path in project.glob("dump*")] == ["dump.sql"]


def test_parts_of_a_database_can_be_exported(d1: Command, project: Path):
    (project / "in.sql").write_text(DUMPED)
    d1("execute", "DB", "--file", "in.sql")
    assert (
        "INSERT" not in d1("export", "DB", "--no-data", "--output", "-", "--table", "parent")[1].split("CREATE TRIG")[0]
    )
    out = d1("export", "DB", "--no-schema", "--output", "-", "--table", "parent", "--table", "words")[1]
    assert [line.split(" VALUES")[0] for line in out.splitlines()] == [
        "PRAGMA defer_foreign_keys=TRUE;",
        'INSERT INTO "parent" ("name")',
        'INSERT INTO "parent" ("name")',
        'INSERT INTO "words" ("rowid","text")',
    ]
    status, _, err = d1("export", "DB", "--output", "x.sql", "--table", "none")
    assert (status, (project / "x.sql").exists()) == (1, False)
    assert 'there is no table "none"; there are: child, parent, big, words' in err


def test_a_dump_of_sqlite_itself_is_imported(d1: Command, project: Path):
    with sqlite3.connect(":memory:") as connection:
        connection.executescript(
            "CREATE TABLE c(a REFERENCES p); CREATE TABLE p(a PRIMARY KEY);"
            "INSERT INTO c VALUES(1); INSERT INTO p VALUES(1);"
        )
        (project / "dump.sql").write_text("PRAGMA foreign_keys=OFF;\n" + "\n".join(connection.iterdump()))
    connection.close()
    assert d1("import", "DB", "dump.sql")[0] == 0
    (project / "dump.sql").write_text("CREATE TABLE x(a);\nINSERT INTO c VALUES(2);")
    status, out, err = d1("import", "DB", "dump.sql", "--json")
    assert (status, err) == (1, "")
    assert "FOREIGN KEY constraint failed when the transaction ends: c rowid 2 refers to no row of p" in out
    assert (
        json.loads(d1("execute", "DB", "--json", "--command", "SELECT count(*) n FROM c")[1])[0]["results"][0]["n"] == 1
    )


# beside others


def test_a_lock_held_by_another_process_is_named(d1: Command, project: Path):
    d1("execute", "DB", "--command", "CREATE TABLE t(a)")
    holder = sqlite3.connect(project / FILE, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    status, _, err = d1("execute", "DB", "--busy-timeout", "0.1", "--command", "INSERT INTO t VALUES(1)")
    assert status == 1
    assert "the database is locked: another process has been writing to it for more than 0.1 s" in err
    assert d1("execute", "DB", "--busy-timeout", "0.1", "--command", "SELECT * FROM t")[0] == 0
    assert d1("export", "DB", "--output", "-")[0] == 0
    holder.close()


async def test_a_running_server_and_the_command_see_each_other(
    d1: Command, project: Path, client: aiohttp.ClientSession
):
    (project / "migrations").mkdir()
    (project / "migrations" / "0001_t.sql").write_text("CREATE TABLE t(a); INSERT INTO t VALUES('migration');")

    async def run(*arguments: str) -> tuple[int, str, str]:
        return await asyncio.to_thread(d1, *arguments)

    async with DevProcess(project / "wrangler.toml", project / "state") as dev:
        assert (await run("migrations", "apply", "DB"))[0] == 0
        async with client.get(dev.url) as answer:
            assert await answer.json() == ["migration"]
        assert (await run("execute", "DB", "--command", "INSERT INTO t VALUES('command')"))[0] == 0
        async with client.post(dev.url) as answer:
            assert await answer.json() == ["migration", "command", "worker"]
        status, out, _ = await run("execute", "DB", "--json", "--command", "SELECT count(*) AS n FROM t")
        assert (status, json.loads(out)[0]["results"]) == (0, [{"n": 3}])
        assert (await run("export", "DB", "--output", "live.sql"))[0] == 0
    assert "VALUES('worker')" in (project / "live.sql").read_text()


def on_terminal(
    arguments: list[str], awaited: str = "", then: Callable[[subprocess.Popen[bytes], int], object] | None = None
) -> tuple[int, str]:
    """Run the command with a terminal for its input and output; return status and what the terminal shows.

    `then` is called once with the process and the terminal when the terminal shows the `awaited` text.
    """
    ours, theirs = os.openpty()
    variables = {key: value for key, value in environment().items() if key != "CI"}
    process = subprocess.Popen(
        [sys.executable, "-m", "workers", "d1", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=variables,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell may have it ignored
    )
    os.close(theirs)
    shown = b""
    while select.select([ours], [], [], 60)[0]:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
        if then is not None and awaited.encode() in shown:
            then(process, ours)
            then = None
    os.close(ours)
    return process.wait(60), shown.decode()


def typing(text: str) -> Callable[[subprocess.Popen[bytes], int], object]:
    return lambda _process, terminal: os.write(terminal, text.encode())


needs_terminals = pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs pseudo-terminals")


@needs_terminals
def test_a_person_is_asked_before_migrations_are_applied(project: Path):
    (project / "migrations").mkdir()
    (project / "migrations" / "0001_t.sql").write_text("CREATE TABLE t(a);")
    status, shown = on_terminal(["migrations", "apply", "DB"], "continue?", typing("n\n"))
    assert status == 0
    assert "About to apply 1 migration to app-db, continue?" in shown
    assert "│ applied" not in shown
    status, shown = on_terminal(["migrations", "apply", "DB"], "continue?", typing("y\n"))
    assert (status, "│ 0001_t.sql │ applied │" in shown) == (0, True)
    (project / "migrations" / "0002_u.sql").write_text("CREATE TABLE u(a);")
    status, shown = on_terminal(["migrations", "apply", "DB", "--yes"])
    assert (status, "continue?" in shown) == (0, False)


def write_long_file(project: Path, count: int) -> None:
    lines = ["CREATE TABLE t(a, b);", *(f"INSERT INTO t VALUES({n}, 'row {n}');" for n in range(count))]
    (project / "long.sql").write_text("\n".join(lines))


@needs_terminals
def test_an_interrupted_import_leaves_nothing(project: Path, d1: Command):
    write_long_file(project, 200_000)
    status, shown = on_terminal(
        ["import", "DB", "long.sql"], " %)", lambda process, _terminal: process.send_signal(signal.SIGINT)
    )
    assert (status, "interrupted; what was not finished was undone" in shown) == (130, True)
    out = d1(
        "execute", "DB", "--json", "--command", "SELECT count(*) AS n FROM sqlite_schema", state=".wrangler/state"
    )[1]
    assert json.loads(out)[0]["results"] == [{"n": 0}]


@needs_terminals
def test_a_long_file_shows_progress_on_a_terminal_only(project: Path, d1: Command):
    write_long_file(project, 60_000)
    status, shown = on_terminal(["import", "DB", "long.sql"])
    assert status == 0
    assert " %)" in shown
    assert "60,001 statements imported into app-db, 60,000 rows changed" in shown
    _, _, err = d1("import", "DB", "long.sql")
    assert "%" not in err


def test_starting_the_server_loads_nothing_of_these_commands():
    code = "import sys, workers.runtime.cli.main; sys.exit(any(m.startswith(('d1', 'sqlite3')) for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=60).returncode == 0
