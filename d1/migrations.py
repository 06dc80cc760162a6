"""Migrations: SQL files applied once each, in order, and the table that remembers which were.

File names, order, table and results are those of `wrangler d1 migrations`, so both tools can take turns.
https://developers.cloudflare.com/d1/reference/migrations/
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final, Protocol, cast

from d1.errors import Failure
from d1.file import DatabaseFile
from d1.script import Part, ScriptError, split, without_comments, without_transaction
from d1.sql import quote_name

__all__ = [
    "DEFAULT_TABLE",
    "Migration",
    "MigrationError",
    "MigrationFailed",
    "applied",
    "apply_d1_migrations",
    "create",
    "migrate",
    "names",
    "read_d1_migrations",
    "read_statements",
]

DEFAULT_TABLE: Final = "d1_migrations"
_NUMBER: Final = re.compile(r"\s*([+-]?\d+)")


@dataclass(frozen=True, slots=True)
class Migration:
    """One migration: the name that is remembered (its file, from the migrations folder) and its statements."""

    name: str
    queries: tuple[str, ...]


class MigrationError(Exception):
    """A migration cannot be read or created."""


class MigrationFailed(Exception):
    """A statement of a migration failed; nothing of that migration is left."""

    def __init__(self, name: str, number: int, part: Part | None, reason: str) -> None:
        where = f"at line {part.line}, statement {number}" if part is not None else "at its end"
        super().__init__(f"migration {name} failed {where}: {reason}")
        self.name, self.number, self.part, self.reason = name, number, part, reason


class Database(Protocol):
    """What applying needs of a D1 binding."""

    def prepare(self, query: str, /) -> Any:
        """Return a statement with `bind`, `run` and `all`."""
        ...

    def batch(self, statements: list[Any], /) -> Awaitable[Sequence[Any]]:
        """Run statements all or nothing."""
        ...


# files


def read_d1_migrations(directory: Path | str, pattern: str | None = None) -> list[Migration]:
    """Read the migrations of a folder, ordered by the number before the first `_` of their names.

    Args:
        directory: The migrations folder.
        pattern: Which files count, a glob from the folder; `*.sql` by default.

    Raises:
        TypeError: `directory` is not a path.
        MigrationError: There is no such folder, or a file cannot be read.
    """
    if not isinstance(directory, str | Path):  # pyright: ignore[reportUnnecessaryIsInstance] - tests call it untyped
        raise TypeError("Failed to execute 'readD1Migrations': parameter 1 is not of type 'string'.")
    folder = Path(directory)
    return [
        Migration(name, tuple(without_comments(part.sql) for part in read_statements(folder / name)))
        for name in names(folder, pattern)
    ]


def names(folder: Path, pattern: str | None = None) -> list[str]:
    """Return the names of a folder's migrations in the order of their numbers; those without one come last."""
    if not folder.is_dir():
        raise MigrationError(f"there is no migrations folder {folder}")
    found = (path for path in folder.glob(pattern or "*.sql") if path.is_file())
    return sorted((path.relative_to(folder).as_posix() for path in found), key=_order)


def _order(name: str) -> tuple[float, str]:
    number = _number(name)
    return (float("inf") if number is None else number, name)


def _number(name: str) -> int | None:
    match = _NUMBER.match(name.partition("_")[0])
    return int(match.group(1)) if match is not None else None


def read_statements(path: Path) -> list[Part]:
    """Return the statements of a migration file, without the transaction that a dump wraps around them.

    Raises:
        MigrationError: It cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # line ends inside quotes stay as they are
            return list(without_transaction(split(file.read())))
    except (OSError, UnicodeDecodeError) as error:
        raise MigrationError(f"{path} cannot be read: {error}") from error
    except ScriptError as error:
        raise MigrationError(f"{path}:{error.line}: {error.reason}") from error


def create(folder: Path, message: str, *, pattern: str | None = None, now: datetime | None = None) -> Path:
    """Write an empty migration with the next number and return its path; the folder is made when it is missing.

    Raises:
        MigrationError: The message cannot be part of a file name, or `pattern` would not find the file.
    """
    if not message.strip() or "/" in message or "\\" in message or "\0" in message:
        raise MigrationError(f'"{message}" cannot be part of a file name: give some words without / and \\')
    taken = [number for name in (names(folder, pattern) if folder.is_dir() else []) if (number := _number(name))]
    number = f"{max(taken, default=0) + 1:04}"
    name = f"{number}_{message.replace(' ', '_')}.sql"
    globs = () if pattern is None else (pattern, pattern.replace("**/", ""))  # `match` takes ** for one folder
    if globs and not any(PurePosixPath("/", name).match("/" + glob) for glob in globs):
        raise MigrationError(
            f'{name} would not be found by migrations_pattern "{pattern}"; create files of that layout with the tool '
            "that the pattern is for"
        )
    moment = (now or datetime.now(UTC)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(f"-- Migration number: {number} \t {moment}\n")
    except OSError as error:
        raise MigrationError(f"{path} cannot be written: {error}") from error
    return path


# applying


def _table_sql(table: str) -> str:
    return (
        f"CREATE TABLE IF NOT EXISTS {quote_name(table)}(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, "
        "applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)"
    )


async def apply_d1_migrations(
    db: Database, migrations: Sequence[Migration | Mapping[str, Any]], table: str = DEFAULT_TABLE
) -> None:
    """Apply the migrations that `table` does not name yet, each together with its entry or not at all.

    Args:
        db: A D1 binding.
        migrations: What `read_d1_migrations` returns, or mappings with `name` and `queries`.
        table: Where applied migrations are remembered.

    Raises:
        TypeError: A parameter is something else.
        D1Error: A statement failed; the migrations before it stay applied.
    """
    _check_types(db, migrations, table)
    await db.prepare(_table_sql(table)).run()
    result = await db.prepare(f"SELECT name FROM {quote_name(table)}").all()
    known = {row["name"] for row in result["results"]}
    remember = db.prepare(f"INSERT INTO {quote_name(table)} (name) VALUES (?)")
    for name, queries in map(_parts_of, migrations):
        if name not in known:
            await db.batch([*(db.prepare(query) for query in queries), remember.bind(name)])


def _parts_of(migration: Migration | Mapping[str, Any]) -> tuple[str, Sequence[str]]:
    if isinstance(migration, Migration):
        return migration.name, migration.queries
    return migration["name"], migration["queries"]


def _check_types(db: object, migrations: object, table: object) -> None:
    wrong = "Failed to execute 'applyD1Migrations': parameter {} is not of type '{}'."
    if not all(callable(getattr(db, method, None)) for method in ("prepare", "batch")):
        raise TypeError(wrong.format(1, "D1Database"))
    if not isinstance(migrations, list | tuple) or not all(
        _is_migration(item) for item in cast("Sequence[object]", migrations)
    ):
        raise TypeError(wrong.format(2, "D1Migration[]"))
    if not isinstance(table, str):
        raise TypeError(wrong.format(3, "string"))


def _is_migration(item: object) -> bool:
    if isinstance(item, Migration):
        return True
    if not isinstance(item, Mapping):
        return False
    entry = cast("Mapping[str, object]", item)
    queries = entry.get("queries")
    return (
        isinstance(entry.get("name"), str)
        and isinstance(queries, list | tuple)
        and all(isinstance(query, str) for query in cast("Sequence[object]", queries))
    )


def applied(file: DatabaseFile, table: str = DEFAULT_TABLE) -> list[tuple[int, str, str]]:
    """Return id, name and date of what was applied, oldest first; nothing when the table does not exist."""
    if not file.own_rows("SELECT 1 FROM sqlite_schema WHERE type='table' AND lower(name)=lower(?)", (table,)):
        return []
    return file.own_rows(f"SELECT id, name, applied_at FROM {quote_name(table)} ORDER BY id")


def migrate(file: DatabaseFile, folder: Path, pending: Sequence[str], table: str = DEFAULT_TABLE) -> Iterator[str]:
    """Apply migrations to a file that no binding serves here, and yield the name of each when it is committed.

    Each is one transaction with its entry in `table`. One that somebody else has applied meanwhile is skipped.

    Raises:
        MigrationFailed: A statement failed; the migrations before it stay applied.
        MigrationError: A file cannot be read.
    """
    for name in pending:
        parts = read_statements(folder / name)
        try:
            with file.transaction():
                file.run(_table_sql(table))
                if file.own_rows(f"SELECT 1 FROM {quote_name(table)} WHERE name=?", (name,)):
                    continue
                _run_statements(file, name, parts)
                file.run(f"INSERT INTO {quote_name(table)} (name) VALUES (?)", (name,))
        except Failure as failure:
            raise MigrationFailed(name, 0, None, failure.reason) from failure
        yield name


def _run_statements(file: DatabaseFile, name: str, parts: Sequence[Part]) -> None:
    for number, part in enumerate(parts, 1):
        try:
            file.run(without_comments(part.sql))
        except Failure as failure:
            raise MigrationFailed(name, number, part, failure.reason) from failure
