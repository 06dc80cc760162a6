"""Topic names: from what a client typed to the one canonical name, which is also the object's name.

Clients spell one topic in several ways: with or without the project at its end, a table with or without `table/`,
with a trailing slash. Rules, in order: drop trailing slashes; drop trailing `/<project>`, again and again; a name
without a slash is a table, and so is `table/<name>`; everything else is a pub/sub topic under its own path.

Canonical: `table:<DB>.<table>` (the table lower-cased, as SQLite compares names) or the path, e.g. `chat/general`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from durable_objects.realtime.core.codes import Code, RealtimeError

__all__ = ["TopicName", "canonical", "chat_room", "emit_room", "table_topic"]

_TABLE = "table:"
_FORBIDDEN = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


@dataclass(frozen=True, slots=True)
class TopicName:
    """A canonical topic name; `table` is the table it follows, as typed, or None for a pub/sub topic."""

    text: str
    table: str | None = None

    @property
    def is_table(self) -> bool:
        """Whether row changes arrive on this topic."""
        return self.table is not None


def canonical(text: str, *, projects: Iterable[str], database: str | None, max_bytes: int = 256) -> TopicName:
    """Return the canonical name of a topic as a client typed it.

    `projects` are the names the project goes by for this client. A canonical name is accepted too.

    Raises:
        RealtimeError: BAD_TOPIC, the text names nothing.
    """
    path = _path(text, projects, max_bytes)
    prefix = f"{_TABLE}{database}." if database else _TABLE
    if path.startswith(prefix) and len(path) > len(prefix):
        return table_topic(path[len(prefix) :], database)
    head, slash, rest = path.partition("/")
    if not slash:
        return table_topic(path, database)
    if head == "table" and rest:
        # One more segment is the project's slug beside its id: `table/<name>/<slug>/<projectId>`.
        table, _, slug = rest.partition("/")
        if table and "/" not in slug:
            return table_topic(table, database)
    return TopicName(path)


def emit_room(text: str, *, projects: Iterable[str], database: str | None, max_bytes: int = 256) -> TopicName:
    """Return the topic a server-side emit goes to: a bare room is a chat room, not a table."""
    path = _path(text, projects, max_bytes)
    if "/" not in path and not path.startswith(_TABLE):
        return TopicName(f"chat/{path}")
    return canonical(path, projects=projects, database=database, max_bytes=max_bytes)


def chat_room(room_id: str, *, projects: Iterable[str], max_bytes: int = 256) -> TopicName:
    """Return the topic of a chat room known by its bare id."""
    text = room_id if room_id.startswith("chat/") else f"chat/{room_id}"
    return TopicName(_path(text, projects, max_bytes))


def table_topic(table: str, database: str | None) -> TopicName:
    """Return the topic of a table's row changes."""
    folded = table.translate(_ASCII_LOWER)
    return TopicName(f"{_TABLE}{database}.{folded}" if database else f"{_TABLE}{folded}", table)


def _path(text: str, projects: Iterable[str], max_bytes: int) -> str:
    if _FORBIDDEN.search(text):
        raise RealtimeError(Code.BAD_TOPIC, "topic holds a control character or half a surrogate pair", "topic")
    size = len(text.encode())
    if size > max_bytes:
        raise RealtimeError(Code.BAD_TOPIC, f"topic has {size} bytes, at most {max_bytes} are allowed", "topic")
    path = text.rstrip("/")
    suffixes = tuple(f"/{project}" for project in projects if project)
    while shorter := _without_project(path, suffixes):
        path = shorter
    if not path:
        raise RealtimeError(Code.BAD_TOPIC, f"topic {text!r} names nothing", "topic")
    return path


def _without_project(path: str, suffixes: tuple[str, ...]) -> str | None:
    for suffix in suffixes:
        if path.endswith(suffix):
            shorter = path[: -len(suffix)].rstrip("/")
            # A room or a table may be called like the project: `chat/demo` is a room, never the table `chat`.
            if shorter and shorter not in ("chat", "table"):
                return shorter
    return None
