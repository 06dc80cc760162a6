"""Which database a `flarelet d1` command works on, and how it reports: the parts that all of them share."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypeVar

import click

from d1.errors import Failure
from d1.export import ExportError
from d1.file import DatabaseFile, DatabaseLocked, UnusableFile
from d1.migrations import MigrationError
from durable_objects.ids import IdFactory
from workers.runtime.cli.table import draw
from workers.runtime.config.load import ConfigError, Project, load
from workers.runtime.config.models import D1Database

__all__ = [
    "CommandError",
    "Target",
    "count_of",
    "did_you_mean",
    "find",
    "json_option",
    "on_database",
    "reporting",
    "show_table",
    "write_json",
]

Command = TypeVar("Command", bound=Callable[..., Any])

_D1_KEY: Final = "miniflare-D1DatabaseObject"
_LOCK_FILE: Final = ".flarelet.lock"


class CommandError(Exception):
    """The command cannot do what was asked; the text is for the person at the terminal.

    `details` are what the JSON form tells besides the text.
    """

    def __init__(self, text: str, **details: object) -> None:
        super().__init__(text)
        self.details = details


@dataclass(frozen=True, slots=True)
class Target:
    """The database that a command works on."""

    project: Project
    entry: D1Database
    path: Path
    state: Path
    """Folder of the state of which the database is a part."""
    lock_wait_s: float

    @contextmanager
    def open(self, *, accepts_long_statements: bool = False) -> Generator[DatabaseFile]:
        """Open the file, or make it; Ctrl+C stops what runs on it."""
        with (
            DatabaseFile(
                self.path, lock_wait_s=self.lock_wait_s, accepts_long_statements=accepts_long_statements
            ) as file,
            _stopped_by_interrupt(file),
        ):
            yield file

    @property
    def name(self) -> str:
        """What the database is called in messages."""
        return self.entry.database_name or self.entry.binding

    @property
    def is_served(self) -> bool:
        """Whether a `flarelet dev` is running on this state; other programs that use the file are not known."""
        try:
            import fcntl

            with (self.state / _LOCK_FILE).open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except (ImportError, OSError):  # Windows has no such locks; without the file nobody ever served it
            return False
        return False

    @property
    def migrations_folder(self) -> Path:
        """The folder of its migrations."""
        return self.project.directory / self.entry.migrations_dir

    @property
    def migrations_pattern(self) -> str:
        """Which files of that folder are migrations, as a glob from it."""
        return self.entry.migration_files


@contextmanager
def _stopped_by_interrupt(file: DatabaseFile) -> Generator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        if not file.is_running:
            raise KeyboardInterrupt
        file.stop()

    previous = signal.getsignal(signal.SIGINT)
    if previous is signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def find(database: str, options: dict[str, Any]) -> Target:
    """Return the configured database of this binding or name; `options` are those of `on_database`.

    Raises:
        CommandError: There is none, or a remote one was asked for.
        ConfigError: The configuration cannot be used.
    """
    if options["remote"]:
        raise CommandError("only local databases can be reached from here; for a remote one use wrangler")
    project = load(options["config"] or Path.cwd(), options["environment"])
    entries = project.settings.d1_databases
    entry = next((entry for entry in entries if database in (entry.binding, entry.database_name)), None)
    if entry is None:
        known = ", ".join(
            entry.binding + (f" ({entry.database_name})" if entry.database_name else "") for entry in entries
        )
        names = [name for entry in entries for name in (entry.binding, entry.database_name) if name]
        raise CommandError(
            f"couldn't find a D1 database with the name or binding '{database}' in {project.path.name}; "
            f"{did_you_mean(database, names)}configured: {known or 'none'}"
        )
    persist_to: Path | None = options["persist_to"]
    state = (persist_to or project.directory / ".wrangler" / "state") / "v3"
    path = state / "d1" / _D1_KEY / f"{IdFactory(_D1_KEY).from_name(entry.local_id)}.sqlite"
    return Target(project, entry, path, state, options["busy_timeout"])


def did_you_mean(given: str, names: Iterable[str]) -> str:
    """Return a question that names the nearest of some names, with a space after it; empty when none is near."""
    by_lower = {name.lower(): name for name in names}
    near = get_close_matches(given.lower(), by_lower, 1, 0.6)
    return f'did you mean "{by_lower[near[0]]}"? ' if near else ""


def on_database(command: Command) -> Command:
    """Give a command the argument and the options that say which database it works on."""
    for decorate in (
        click.option("--remote", is_flag=True, hidden=True),
        click.option("--local", is_flag=True, hidden=True, expose_value=False),
        click.option("--preview", is_flag=True, hidden=True, expose_value=False),
        click.option(
            "--busy-timeout",
            type=click.FloatRange(0, 3600),
            default=5.0,
            show_default=True,
            metavar="SECONDS",
            help="How long to wait while another process writes to the database.",
        ),
        click.option("--persist-to", type=click.Path(path_type=Path), help="Folder of the state (as given to dev)."),
        click.option("-e", "--env", "environment", help="Environment of the configuration file."),
        click.option(
            "-c", "--config", type=click.Path(path_type=Path), help="Configuration file, or the folder that holds it."
        ),
        click.argument("database"),
    ):
        command = decorate(command)
    return command


json_option = click.option("--json", "as_json", is_flag=True, help="Write the result as JSON, errors too.")


@contextmanager
def reporting(as_json: bool = False) -> Generator[None]:
    """Show what went wrong in the form that was asked for, and end with the status that says so."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("\ninterrupted; what was not finished was undone", err=True)
        sys.exit(130)
    except (CommandError, ConfigError, DatabaseLocked, ExportError, Failure, MigrationError, UnusableFile) as error:
        if as_json:
            write_json({"error": {"text": str(error), **getattr(error, "details", {})}})
        else:
            click.echo(f"error: {error}", err=True)
        sys.exit(1)


def write_json(value: object) -> None:
    """Write a value to standard output, indented as wrangler does."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it belongs."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def show_table(columns: list[str], rows: list[list[str]]) -> None:
    """Write a table to standard output; it fits a terminal, and is complete when it goes elsewhere."""
    click.echo(draw(columns, rows, shutil.get_terminal_size().columns if sys.stdout.isatty() else None))
