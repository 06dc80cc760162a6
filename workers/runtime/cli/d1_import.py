"""`flarelet d1 import`: a dump goes into a database, whole or in slices between which others may write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

import click

from d1.errors import NO_STATEMENTS
from d1.file import DatabaseFile, Ran
from d1.script import Part
from workers.runtime.cli.d1_target import CommandError, count_of, find, json_option, on_database, reporting, write_json
from workers.runtime.cli.sql_input import from_file, run_all

__all__ = ["import_"]

_SLICE_S: Final = 0.5
"""How long one slice holds the write lock: well below the 5 s that a server's write waits for it."""
_PAUSE_S: Final = 0.12
"""Between slices: SQLite looks for a free lock every 0.1 s."""


@dataclass(slots=True)
class _Tally:
    """How far an import has come."""

    statements: int = 0
    changes: int = 0
    line: int = 0
    stored: int = 0
    """Statements that are committed."""
    stored_line: int = 0

    def add(self, part: Part, ran: Ran) -> None:
        self.statements += 1
        self.changes += ran.changes
        self.line = part.line

    def commit(self) -> None:
        self.stored, self.stored_line = self.statements, self.line

    def outcome(self) -> str:
        if not self.stored:
            return "Nothing was changed."
        has = "statement was" if self.stored == 1 else "statements were"
        return (
            f"The {self.stored:,} {has} stored before (the last one begins on line {self.stored_line}), because the "
            "import ran in slices; --whole makes it all or nothing."
        )


@click.command()
@on_database
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--slices/--whole",
    default=None,
    help="Commit every half second, so that others can write meanwhile, or once at the end, all or nothing. "
    "Default: slices while a flarelet dev is running on this state, else whole.",
)
@json_option
def import_(database: str, path: Path, slices: bool | None, as_json: bool, **options: Any) -> None:
    """Load a dump; - reads standard input.

    Unlike execute, statements may be of any length (the literals of large values), and foreign keys do nothing until
    they are checked at the end, so tables may come in any order. Rows that queries return are not shown.
    """
    with reporting(as_json):
        target = find(database, options)
        source = from_file(path)
        started, tally = monotonic(), _Tally()
        in_slices = target.is_served if slices is None else slices
        with target.open(accepts_long_statements=True) as file:
            rows = run_all(file, source, source.parts(), "imported", tally.outcome)
            if in_slices:
                _run_in_slices(file, rows, tally)
            else:
                with file.transaction(foreign_keys=False):
                    for part, ran in rows:
                        tally.add(part, ran)
            if tally.statements == 0:
                raise CommandError(NO_STATEMENTS)
            size = file.size_bytes()
        if as_json:
            write_json({"statements": tally.statements, "changes": tally.changes, "size_after": size})
        else:
            click.echo(
                f"{count_of(tally.statements, 'statement')} imported into {target.name}, "
                f"{count_of(tally.changes, 'row')} changed ({monotonic() - started:.1f} s)",
                err=True,
            )


def _run_in_slices(file: DatabaseFile, rows: Iterator[tuple[Part, Ran]], tally: _Tally) -> None:
    while _run_slice(file, rows, tally):
        sleep(_PAUSE_S)
    if violations := file.violations():
        raise CommandError(f"FOREIGN KEY constraint failed{violations}\nAll of the import is stored, these rows too.")


def _run_slice(file: DatabaseFile, rows: Iterator[tuple[Part, Ran]], tally: _Tally) -> bool:
    """Run and commit statements until the slice's time is over; tell whether there may be more."""
    until = monotonic() + _SLICE_S
    has_more = False
    with file.transaction(foreign_keys=False, checked=False):
        for part, ran in rows:
            tally.add(part, ran)
            if monotonic() >= until:
                has_more = True
                break
    tally.commit()
    return has_more
