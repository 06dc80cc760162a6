"""SQL text for `flarelet d1`: where it comes from, running it statement by statement, and saying how far it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

import click

from d1.errors import Failure
from d1.file import DatabaseFile, Ran
from d1.script import Part, ScriptError, read, without_transaction
from workers.runtime.cli.d1_target import CommandError, count_of, did_you_mean

__all__ = ["Progress", "Source", "from_file", "run_all", "shortened"]

_CHUNK_CHARACTERS: Final = 1 << 20
_PROGRESS_S: Final = 0.1
_SHOWN_SQL: Final = 72
_SQLITE_FILE: Final = b"SQLite format 3\0"


class Progress:
    """A line on stderr that says how far a long file is; nothing when stderr is not a terminal."""

    def __init__(self, label: str, total: int | None, noun: str = "statement") -> None:
        self._label, self._total, self._noun = label, total, noun
        self._is_shown = sys.stderr.isatty()
        self._next = monotonic() + _PROGRESS_S
        self._has_written = False
        self._count, self._done, self._since = 0, 0, monotonic()

    def step(self, count: int, done: int) -> None:
        """Say that `count` statements are through, and `done` of the total size."""
        self._count, self._done, self._since = count, done, monotonic()
        self.beat()

    def beat(self) -> None:
        """Say the same again, with how long the statement that is running has taken so far."""
        now = monotonic()
        if self._is_shown and now >= self._next:
            self._next = now + _PROGRESS_S
            share = f" ({min(99, 100 * self._done // self._total)} %)" if self._total else ""
            running = f", the next one is running for {now - self._since:.0f} s" if now - self._since > 1 else ""
            click.echo(f"\r{self._label} {count_of(self._count, self._noun)}{share}{running}\x1b[K", err=True, nl=False)
            self._has_written = True

    def clear(self) -> None:
        """Take the line away."""
        if self._has_written:
            click.echo("\r\x1b[K", err=True, nl=False)


@dataclass(frozen=True, slots=True)
class Source:
    """SQL text from a file, from standard input or from the command line."""

    name: str | None
    """The file as it was given."""
    chunks: Iterable[str]
    size: int | None = None

    def parts(self) -> Iterator[Part]:
        """Return the statements, without the transaction that a dump wraps around them."""
        try:
            yield from without_transaction(read(self.chunks))
        except ScriptError as error:
            raise CommandError(f"{self.name or 'command'}:{error.line}: {error.reason}") from error


def from_file(path: Path) -> Source:
    """Return the SQL of a file, which is read while it runs; `-` is standard input.

    Raises:
        CommandError: It cannot be read, or is a database file and not SQL.
    """
    if str(path) == "-":
        return Source("<stdin>", iter(lambda: sys.stdin.read(_CHUNK_CHARACTERS), ""))
    try:
        with path.open("rb") as file:
            head = file.read(len(_SQLITE_FILE))
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        near = did_you_mean(path.name, (other.name for other in path.parent.glob("*.sql")))
        raise CommandError(f"{path} cannot be read: {error.strerror}{f'; {near.strip()}' if near else ''}") from error
    if head == _SQLITE_FILE:
        raise CommandError(f"{path} is an SQLite database file, not SQL text; write its contents as SQL first")
    return Source(str(path), _chunks(path), size)


def _chunks(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            while chunk := file.read(_CHUNK_CHARACTERS):
                yield chunk
    except UnicodeDecodeError as error:
        raise CommandError(
            f"{path} is not UTF-8 text: {error.reason} (byte 0x{error.object[error.start]:02x})"
        ) from error
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from error


def run_all(
    file: DatabaseFile,
    source: Source,
    parts: Iterable[Part],
    label: str,
    outcome: Callable[[], str] = lambda: "Nothing was changed.",
) -> Iterator[tuple[Part, Ran]]:
    """Run statements one after another and yield what each did.

    Args:
        file: Where they run.
        source: Where they come from.
        parts: The statements.
        label: What progress says of them.
        outcome: Tells what a failure leaves behind.

    Raises:
        CommandError: One failed; the text and the details name it.
    """
    progress = Progress(label, source.size)
    file.beat = progress.beat
    try:
        for number, part in enumerate(parts, 1):
            try:
                ran = file.run(part.sql)
            except Failure as failure:
                raise _failed(source.name, number, part, _with_hint(failure.reason, label), outcome()) from failure
            progress.step(number, part.end)
            yield part, ran
    finally:
        file.beat = None
        progress.clear()


def _failed(source: str | None, number: int, part: Part, reason: str, outcome: str) -> CommandError:
    where = f"{source}:{part.line}: statement {number}" if source else f"statement {number}, line {part.line}"
    return CommandError(
        f"{where}: {reason}\n  {shortened(part.sql)}\n{outcome}",
        file=source,
        line=part.line,
        statement=number,
        reason=reason,
    )


def _with_hint(reason: str, label: str) -> str:
    if reason.startswith("statement too long"):
        return f'{reason} ("flarelet d1 import" has no such limit)'
    if label == "imported" and " already exists" in reason:
        return f"{reason} (import into an empty database, or rows only: flarelet d1 export --no-schema)"
    return reason


def shortened(sql: str) -> str:
    """Return the beginning of a statement as one line."""
    line = " ".join(sql[: 4 * _SHOWN_SQL].split())
    return line if len(line) <= _SHOWN_SQL and len(sql) <= 4 * _SHOWN_SQL else line[:_SHOWN_SQL] + "..."
