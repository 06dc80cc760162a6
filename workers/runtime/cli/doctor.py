"""`flarelet doctor`: looks at what a Worker needs of this machine and of its own folder, and says what to do."""

from __future__ import annotations

import os
import platform
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workers.runtime.config.load import ConfigError, Project, find, load

__all__ = ["Finding", "examine"]

_OLDEST_PYTHON = (3, 11)
_OLDEST_SQLITE = (3, 38, 0)  # RETURNING, STRICT, ->> and unixepoch()
_FEATURES = {
    "JSON functions": "SELECT json_extract('{\"a\": 1}', '$.a')",
    "full-text search (FTS5)": "CREATE VIRTUAL TABLE temp.doctor USING fts5(a)",
    "RETURNING": "CREATE TABLE temp.doctor_rows(a); INSERT INTO temp.doctor_rows VALUES (1) RETURNING a",
    "STRICT tables": "CREATE TABLE temp.doctor_strict(a INTEGER) STRICT",
    "math functions": "SELECT sqrt(4)",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: str
    """`ok`, `warning`, or `error`: what does not work."""
    text: str
    advice: str = ""


def examine(config: Path, environment: str | None, persist_to: Path | None, port: int | None) -> Iterator[Finding]:
    """Look at everything, the machine first; yield what was found as it is found."""
    yield _python()
    yield from _sqlite()
    yield _open_files()
    try:
        path = find(config.absolute()) if config.is_dir() else config
        project = load(path, environment)
    except ConfigError as error:
        yield Finding("error", str(error), "correct it, or name another configuration with -c")
        return
    yield from _configuration(project)
    yield from _source(project)
    yield _state((persist_to or project.directory / ".wrangler" / "state") / "v3")
    yield _port(project, port)


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info < _OLDEST_PYTHON:
        return Finding("error", f"Python {version} is too old", "use Python 3.11 or newer")
    return Finding("ok", f"Python {version}")


def _sqlite() -> Iterator[Finding]:
    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        advice = "Cloudflare runs 3.47 or newer; use a Python that brings a newer SQLite"
        yield Finding("error", f"SQLite {version} is too old", advice)
        return
    missing = [name for name, statements in _FEATURES.items() if not _runs(statements)]
    if missing:
        advice = "Cloudflare has them; use a Python that is linked with a complete SQLite"
        yield Finding("warning", f"SQLite {version} lacks {', '.join(missing)}", advice)
    else:
        yield Finding("ok", f"SQLite {version} with {', '.join(_FEATURES)}")


def _runs(statements: str) -> bool:
    connection = sqlite3.connect(":memory:")
    try:
        for statement in statements.split("; "):
            connection.execute(statement).fetchall()
    except sqlite3.Error:
        return False
    finally:
        connection.close()
    return True


def _open_files() -> Finding:
    try:
        import resource
    except ImportError:
        return Finding("ok", "no limit of open files on this system")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        return Finding("warning", f"at most {hard} open files, and so fewer sockets", "raise it with `ulimit -Hn`")
    return Finding("ok", f"{'any number of' if hard == resource.RLIM_INFINITY else hard} open files")


def _configuration(project: Project) -> Iterator[Finding]:
    settings, name = project.settings, project.path.name
    chosen = f", environment {project.environment}" if project.environment else ""
    yield Finding("ok", f"{name}: the Worker {project.name}{chosen}")
    for warning in project.warnings:
        yield Finding("warning", warning)
    if settings.compatibility_date is None:
        advice = 'a deployment needs one: compatibility_date = "YYYY-MM-DD"'
        yield Finding("warning", f"{name}: there is no compatibility_date", advice)
    if settings.main and settings.main.endswith(".py") and "python_workers" not in settings.compatibility_flags:
        advice = 'a deployment needs compatibility_flags = ["python_workers"]'
        yield Finding("warning", f'{name}: the flag "python_workers" is missing', advice)


def _source(project: Project) -> Iterator[Finding]:
    main = project.main
    if main is None:
        yield Finding("warning", f"{project.path.name}: there is no main module; only realtime or files are served")
        return
    if not main.is_file():
        yield Finding("error", f"{main}: no such file", f'"main" in {project.path.name} names it')
        return
    try:
        compile(main.read_bytes(), str(main), "exec")
    except SyntaxError as error:
        yield Finding("error", f"{project.settings.main}:{error.lineno}: {error.msg}")
        return
    except (OSError, ValueError) as error:
        yield Finding("error", f"{project.settings.main}: {error}")
        return
    yield Finding("ok", f"{project.settings.main} compiles")


def _state(folder: Path) -> Finding:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        return Finding("error", f"{folder} cannot hold state: {error.strerror}", "choose a folder with --persist-to")
    free = os.statvfs(existing) if hasattr(os, "statvfs") else None
    if free is not None and free.f_bavail * free.f_frsize < 64 << 20:
        return Finding("warning", f"{folder}: less than 64 MB are free there")
    return Finding("ok", f"state goes to {folder}")


def _port(project: Project, port: int | None) -> Finding:
    host = project.settings.dev.ip or "127.0.0.1"
    number = port if port is not None else project.settings.dev.port or 8787
    try:
        with socket.create_server((host, number), reuse_port=False):
            pass
    except OSError as error:
        advice = "another server may be running; choose another with --port"
        return Finding("warning", f"{host}:{number} cannot be listened on: {error.strerror}", advice)
    return Finding("ok", f"{host}:{number} is free")
