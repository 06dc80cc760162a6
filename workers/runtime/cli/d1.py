"""`flarelet d1`: SQL, migrations, export and import on the database files that a local server uses.

A running server need not be stopped: SQLite's locks keep the two apart, and the server tells its listeners.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click

from d1.errors import NO_STATEMENTS
from d1.export import export as export_lines
from d1.file import DatabaseFile, Ran
from d1.script import Part
from d1.sql import parse
from d1.values import read_objects, read_row
from workers.runtime.cli import d1_import, d1_migrations
from workers.runtime.cli.d1_target import (
    CommandError,
    count_of,
    find,
    json_option,
    on_database,
    reporting,
    show_table,
    write_json,
)
from workers.runtime.cli.sql_input import Progress, Source, from_file, run_all, shortened
from workers.runtime.cli.table import cell

__all__ = ["group"]

_STATEMENT_LIMIT_BYTES: Final = 100_000


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def group() -> None:
    """Work with the D1 databases on this machine, which wrangler uses too."""


@group.command()
@on_database
@click.option("--command", "sql", help="SQL to run: one statement or several.")
@click.option("--file", "path", type=click.Path(path_type=Path), help="File of SQL to run; - reads standard input.")
@json_option
@click.option("-y", "--yes", is_flag=True, hidden=True, expose_value=False)
@click.argument("surplus", nargs=-1, metavar="")
def execute(
    database: str, sql: str | None, path: Path | None, as_json: bool, surplus: tuple[str, ...], **options: Any
) -> None:
    """Run SQL in one transaction: all of it takes effect, or nothing."""
    if surplus:
        raise click.UsageError(f'SQL is given as --command "{" ".join(surplus)}", or in a file as --file PATH')
    if (sql is None) == (path is None):
        raise click.UsageError("give either --command or --file")
    with reporting(as_json):
        target = find(database, options)
        source = from_file(path) if path is not None else Source(None, [sql or ""])
        parts = list(source.parts())
        if not parts:
            raise CommandError(NO_STATEMENTS)
        results: list[dict[str, Any]] = []
        shown: list[tuple[Part, Ran]] = []  # until the end: a pager that is not read must not hold the lock
        changes = 0
        with target.open() as file, file.transaction(writes=not all(parse(part.sql).only_reads for part in parts)):
            for part, ran in run_all(file, source, parts, "executed"):
                changes += ran.changes
                if as_json:
                    results.append(_result(file, part, ran))
                elif ran.columns:
                    shown.append((part, ran))
        if as_json:
            write_json(results)
        else:
            for part, ran in shown:
                _show_rows(part, ran, is_alone=len(parts) == 1)
            done = count_of(len(parts), "statement")
            click.echo(f"{done} executed on {target.name}, {count_of(changes, 'row')} changed", err=True)


def _result(file: DatabaseFile, part: Part, ran: Ran) -> dict[str, Any]:
    read, written = file.rows_of(part.sql, ran)
    return {
        "results": read_objects(ran.columns, ran.rows),
        "success": True,
        "meta": {
            "duration": round(ran.duration_ms, 3),
            "changes": ran.changes,
            "last_row_id": ran.last_row_id,
            "changed_db": ran.changes > 0 or ran.is_schema_changed,
            "size_after": file.size_bytes(),
            "rows_read": read,
            "rows_written": written,
        },
    }


def _show_rows(part: Part, ran: Ran, *, is_alone: bool) -> None:
    if not is_alone:
        click.secho(shortened(part.sql), dim=True)
    if ran.rows:
        rows = [[cell(value) for value in read_row(row)] for row in ran.rows]
        show_table([cell(name) for name in ran.columns], rows)
    else:
        click.echo("no rows")


@group.command()
@on_database
@click.option("--output", required=True, type=click.Path(path_type=Path), help="File to write; - is standard output.")
@click.option("--no-schema", is_flag=True, help="Write rows only.")
@click.option("--no-data", is_flag=True, help="Write tables, indexes, views and triggers only.")
@click.option("-y", "--skip-confirmation", is_flag=True, hidden=True, expose_value=False)
@click.option("--table", "tables", multiple=True, help="Write this table (or view) only. Repeatable.")
def export(
    database: str, output: Path, no_schema: bool, no_data: bool, tables: tuple[str, ...], **options: Any
) -> None:
    """Write a database as SQL that makes an equal one."""
    if no_schema and no_data:
        raise click.UsageError("--no-schema and --no-data together leave nothing to write")
    with reporting():
        target = find(database, options)
        if not target.path.is_file():
            raise CommandError(f"{target.name} has no local database yet: {target.path} does not exist")
        lines = export_lines(target.path, schema=not no_schema, data=not no_data, tables=tables)
        count, long = _write_lines(lines, output)
        shown = "standard output" if str(output) == "-" else str(output)
        click.echo(f"{count_of(count, 'statement')} exported from {target.name} to {shown}", err=True)
        if long:
            click.echo(
                f"warning: {count_of(long, 'statement')} exceed D1's limit of 100 kB for large values; "
                '"flarelet d1 import" takes them, D1 itself does not',
                err=True,
            )


def _write_lines(lines: Iterator[str], output: Path) -> tuple[int, int]:
    """Write to a file beside the wanted one first, so that a failure leaves no half of an export."""
    if str(output) == "-":
        return _copy(lines, lambda line: click.echo(line))
    partial = output.with_name(output.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            counts = _copy(lines, lambda line: file.write(line + "\n"))
        partial.replace(output)
    except OSError as error:
        raise CommandError(f"{output} cannot be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    return counts


def _copy(lines: Iterator[str], write: Callable[[str], object]) -> tuple[int, int]:
    progress = Progress("exported", None)
    count = long = 0
    for count, line in enumerate(lines, 1):
        write(line)
        long += len(line) > _STATEMENT_LIMIT_BYTES
        progress.step(count, 0)
    progress.clear()
    return count, long


group.add_command(d1_import.import_, "import")
group.add_command(d1_migrations.group, "migrations")
