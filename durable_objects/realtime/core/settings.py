"""What the operator decides about realtime: project, keys, topic classes, limits."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

__all__ = ["BUILT_IN_CLASS", "RealtimeSettings", "TopicClass"]

BUILT_IN_CLASS = "TopicObject"
"""Name under which the namespace of the built-in topic class is found."""


@dataclass(frozen=True, slots=True)
class TopicClass:
    """Topics whose canonical name matches the glob `pattern` run `class_name`, a subclass of TopicObject."""

    pattern: str
    class_name: str


@dataclass(frozen=True, slots=True)
class RealtimeSettings:
    """Settings of one Worker's realtime endpoint. Without any key it is open, which is for loopback only."""

    project: str
    database: str | None = None
    public_keys: tuple[str, ...] = ()
    secret_keys: tuple[str, ...] = ()
    topics: tuple[TopicClass, ...] = ()
    routes: bool = True
    slug: str = ""
    """Another name of the project, which clients may use wherever they use the id."""
    max_frame_bytes: int = 262_144
    """Largest frame a client may send, in UTF-8 bytes."""
    max_topic_bytes: int = 256
    max_topics: int = 256
    """Topics one connection may use at the same time."""
    max_spellings: int = 16
    """Spellings of one topic one connection may subscribe to at the same time."""
    max_state_bytes: int = 8_192
    """Largest presence state, as ASCII-escaped JSON. Kept with the socket, whose attachment holds 16 KiB."""
    max_waiting: int = 1_024
    """Frames a connection may send to a topic that is still being opened."""
    history_limit: int = 1_000
    """Persisted messages kept of one topic; a class attribute of the same name overrides it."""
    history_page: int = 50
    history_page_max: int = 1_000
    rpc_max_bytes: int = 1_048_576
    session_grace_s: float = 120.0
    """How long the subscriptions of a connection that was cut are kept for its return; 0 keeps none."""
    session_moment_s: float = 0.5
    """How long a new connection may subscribe by itself before it is given what was kept for it."""
    presence_grace_s: float = 10.0
    """How long a user whose connection was cut, or whose page is reloaded, stays present."""
    max_sessions: int = 1_000
    max_session_topics: int = 20_000
    """Topics kept in all sessions together; the oldest sessions go first."""
    max_session_bytes: int = 1_048_576
    """What one topic may say to one cut connection before its session relies on history instead."""
    max_sessions_bytes: int = 67_108_864
    """What is held for all cut connections together; the oldest sessions go first."""

    def __post_init__(self) -> None:
        for name in ("max_frame_bytes", "max_topic_bytes", "max_topics", "max_spellings", "max_waiting"):
            self._at_least_one(name)
        for name in ("history_limit", "history_page", "history_page_max", "rpc_max_bytes"):
            self._at_least_one(name)
        for name in ("max_sessions", "max_session_topics", "max_session_bytes", "max_sessions_bytes"):
            self._at_least_one(name)
        for name in ("session_grace_s", "session_moment_s", "presence_grace_s"):
            if not 0 <= getattr(self, name) <= 86_400:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be 0 to 86400")
        if not 1 <= self.max_state_bytes <= 8_192:
            raise ValueError(f"max_state_bytes is {self.max_state_bytes}, but must be 1 to 8192")

    def _at_least_one(self, name: str) -> None:
        value = getattr(self, name)
        if value < 1:
            raise ValueError(f"{name} is {value}, but must be at least 1")

    @property
    def is_open(self) -> bool:
        """True when no key is configured."""
        return not (self.public_keys or self.secret_keys)

    @property
    def projects(self) -> tuple[str, ...]:
        """The names of the project: its id and, if there is one, its slug."""
        return tuple(name for name in (self.project, self.slug) if name)

    def class_for(self, topic: str) -> str:
        """Return the name of the class that runs the canonical `topic`: the first pattern that matches."""
        for entry in self.topics:
            if fnmatchcase(topic, entry.pattern):
                return entry.class_name
        return BUILT_IN_CLASS
