"""`flarelet d1 migrations`: create, list and apply, on the files and the table that wrangler uses."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from d1 import migrations
from d1.migrations import MigrationFailed
from workers.runtime.cli.d1_target import (
    CommandError,
    Target,
    count_of,
    find,
    json_option,
    on_database,
    reporting,
    show_table,
    write_json,
)
from workers.runtime.cli.sql_input import Progress
from workers.runtime.cli.table import cell

__all__ = ["group"]


@click.group()
def group() -> None:
    """Create, list and apply migrations."""


@group.command()
@on_database
@click.argument("message")
def create(database: str, message: str, **options: Any) -> None:
    """Create an empty migration with the next number."""
    with reporting():
        target = find(database, options)
        path = migrations.create(target.migrations_folder, message, pattern=target.migrations_pattern)
        click.echo(f"Successfully created Migration '{path.name}'!", err=True)
        click.echo(str(path))


@group.command("list")
@on_database
@json_option
def list_(database: str, as_json: bool, **options: Any) -> None:
    """List the migrations that are not applied yet."""
    with reporting(as_json):
        target = find(database, options)
        done, pending = _state_of_migrations(target)
        if as_json:
            write_json({"pending": [{"name": name} for name in pending], "applied": done})
        elif not pending:
            click.echo("No migrations to apply!")
        else:
            click.echo("Migrations to be applied:")
            show_table(["Name"], [[cell(name)] for name in pending])


def _state_of_migrations(target: Target) -> tuple[list[dict[str, Any]], list[str]]:
    if not target.migrations_folder.is_dir():
        raise CommandError(
            f"there is no migrations folder {target.migrations_folder}; "
            f'"flarelet d1 migrations create {target.entry.binding} NAME" makes it with a first migration'
        )
    known = migrations.names(target.migrations_folder, target.migrations_pattern)
    done: list[dict[str, Any]] = []
    if target.path.is_file():
        with target.open() as file:
            rows = migrations.applied(file, target.entry.migrations_table)
            done = [dict(zip(("id", "name", "applied_at"), row, strict=True)) for row in rows]
    names = {entry["name"] for entry in done}
    return done, [name for name in known if name not in names]


@group.command()
@on_database
@json_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def apply(database: str, as_json: bool, yes: bool, **options: Any) -> None:
    """Apply the migrations that are not applied yet, in order; each one whole or not at all.

    Asks first when a person is at the terminal. A migration that fails ends the run; those before it stay applied.
    """
    with reporting(as_json):
        target = find(database, options)
        _, pending = _state_of_migrations(target)
        if not pending:
            write_json({"applied": []}) if as_json else click.echo("No migrations to apply!")
            return
        if not as_json:
            click.echo("Migrations to be applied:")
            show_table(["name"], [[cell(name)] for name in pending])
            if not yes and _is_interactive():
                text = f"About to apply {count_of(len(pending), 'migration')} to {target.name}, continue?"
                if not click.confirm(text, default=True):
                    return
        _apply(target, pending, as_json)


def _apply(target: Target, pending: list[str], as_json: bool) -> None:
    done: list[str] = []
    failed: str | None = None
    progress = Progress("applied", None, "migration")
    try:
        with target.open() as file:
            file.beat = progress.beat
            for name in migrations.migrate(file, target.migrations_folder, pending, target.entry.migrations_table):
                done.append(name)
                progress.step(len(done), 0)
    except MigrationFailed as failure:
        failed = failure.name
        raise _with_details(failure) from failure
    finally:
        progress.clear()
        if not as_json:
            show_table(["name", "status"], [[cell(name), _status(name, done, failed)] for name in pending])
    if as_json:
        write_json({"applied": [{"name": name} for name in done]})


def _with_details(failure: MigrationFailed) -> CommandError:
    return CommandError(
        str(failure),
        migration=failure.name,
        line=failure.part.line if failure.part is not None else None,
        statement=failure.number or None,
        reason=failure.reason,
    )


def _status(name: str, done: list[str], failed: str | None) -> str:
    return "applied" if name in done else "failed" if name == failed else "not applied"


def _is_interactive() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and not os.environ.get("CI")
