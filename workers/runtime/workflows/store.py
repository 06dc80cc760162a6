"""What a Workflow remembers: its instances, their steps and the events sent to them, in one SQLite file.

Each call is a transaction of its own, on disk when it returns: a step whose result was told to the Worker is never run
again, however the process ends.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FINAL", "InstanceRow", "StepRow", "WorkflowStore"]

FINAL = frozenset({"complete", "errored", "terminated"})
"""The states an instance does not leave by itself."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS instances (
    id TEXT PRIMARY KEY, status TEXT NOT NULL, params BLOB NOT NULL, created_ms INTEGER NOT NULL,
    output BLOB, error TEXT
);
CREATE TABLE IF NOT EXISTS steps (
    instance TEXT NOT NULL, key TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, wake_ms INTEGER,
    value BLOB, error TEXT, PRIMARY KEY (instance, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY, instance TEXT NOT NULL, type TEXT NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS events_of ON events (instance, type, number);
"""
_BUSY_S = 5.0


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """One instance. `params` and `output` are structured clones, `error` is JSON text."""

    id: str
    status: str
    params: bytes
    created_ms: int
    output: bytes | None
    error: str | None


@dataclass(frozen=True, slots=True)
class StepRow:
    """One step: finished when it has a value or an error, else waiting until `wake_ms` for its next attempt."""

    attempts: int = 0
    wake_ms: int | None = None
    value: bytes | None = None
    error: str | None = None


class WorkflowStore:
    """The file of one Workflow; it is opened at the first call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    @property
    def exists(self) -> bool:
        """Whether there is anything to remember yet."""
        return self._path.exists()

    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, isolation_level=None, timeout=_BUSY_S)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.executescript(_SCHEMA)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # -- instances

    def create(self, instance: str, params: bytes, created_ms: int) -> bool:
        """Add an instance; False when its id is taken."""
        cursor = self._db().execute(
            "INSERT OR IGNORE INTO instances (id, status, params, created_ms) VALUES (?, 'queued', ?, ?)",
            (instance, params, created_ms),
        )
        return cursor.rowcount == 1

    def find(self, instance: str) -> InstanceRow | None:
        """Return an instance."""
        if self._connection is None and not self.exists:
            return None
        row = self._db().execute(
            "SELECT id, status, params, created_ms, output, error FROM instances WHERE id = ?", (instance,)
        ).fetchone()  # fmt: skip
        return None if row is None else InstanceRow(*row)

    def unfinished(self) -> list[str]:
        """Return the ids of instances to go on with, oldest first; paused ones wait for somebody to resume them."""
        if not self.exists:
            return []
        rows = self._db().execute("SELECT id FROM instances WHERE status IN ('queued', 'running') ORDER BY created_ms")
        return [row[0] for row in rows]

    def set_status(self, instance: str, status: str, *, output: bytes | None = None, error: str | None = None) -> None:
        """Change the state of an instance; its output or error comes with its last one."""
        self._db().execute(
            "UPDATE instances SET status = ?, output = ?, error = ? WHERE id = ?", (status, output, error, instance)
        )

    def reset(self, instance: str) -> None:
        """Forget everything an instance has done."""
        db = self._db()
        db.execute("BEGIN IMMEDIATE")
        try:
            db.execute("DELETE FROM steps WHERE instance = ?", (instance,))
            db.execute("DELETE FROM events WHERE instance = ?", (instance,))
            self.set_status(instance, "queued")
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    # -- steps

    def step(self, instance: str, key: str) -> StepRow:
        """Return what is known of a step."""
        row = self._db().execute(
            "SELECT attempts, wake_ms, value, error FROM steps WHERE instance = ? AND key = ?", (instance, key)
        ).fetchone()  # fmt: skip
        return StepRow() if row is None else StepRow(*row)

    def save_step(self, instance: str, key: str, step: StepRow) -> None:
        """Remember a step."""
        self._db().execute(
            "INSERT OR REPLACE INTO steps (instance, key, attempts, wake_ms, value, error) VALUES (?, ?, ?, ?, ?, ?)",
            (instance, key, step.attempts, step.wake_ms, step.value, step.error),
        )

    # -- events

    def add_event(self, instance: str, kind: str, body: bytes) -> None:
        """Keep an event until a step waits for one of its type."""
        self._db().execute("INSERT INTO events (instance, type, body) VALUES (?, ?, ?)", (instance, kind, body))

    def take_event(self, instance: str, kind: str, key: str) -> bytes | None:
        """Give the oldest event of a type to a step, whose result it becomes; None when there is none."""
        db = self._db()
        row = db.execute(
            "SELECT number, body FROM events WHERE instance = ? AND type = ? ORDER BY number LIMIT 1", (instance, kind)
        ).fetchone()
        if row is None:
            return None
        db.execute("BEGIN IMMEDIATE")
        try:
            db.execute("DELETE FROM events WHERE number = ?", (row[0],))
            self.save_step(instance, key, StepRow(value=row[1]))
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
        return row[1]
