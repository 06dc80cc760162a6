"""What the operator decides about realtime: project, keys, topic classes, limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

__all__ = ["BUILT_IN_CLASS", "AccessRule", "JwtSettings", "RealtimeSettings", "TopicClass"]

BUILT_IN_CLASS = "TopicObject"
"""Name under which the namespace of the built-in topic class is found."""


@dataclass(frozen=True, slots=True)
class TopicClass:
    """Topics whose canonical name matches the glob `pattern` run `class_name`, a subclass of TopicObject."""

    pattern: str
    class_name: str
    persist: bool | None = None
    """True stores everything said on these topics, False nothing; None what the publisher asks for."""
    history_limit: int | None = None
    """Stored messages kept of one of these topics; None takes the setting of all."""
    delivery: Literal["resync", "drop_oldest", "conflate", "coalesce", "close"] | None = None
    """What happens to what is said on these topics while a client does not read; None goes by its kind."""


@dataclass(frozen=True, slots=True)
class JwtSettings:
    """How tokens of end users are verified. Without any source of keys there is nothing to verify them with."""

    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Shared secrets for HS256, HS384 and HS512: at least 32, 48 and 64 bytes."""
    pem: tuple[str, ...] = ()
    """Public keys in PEM format."""
    jwks_file: str = ""
    jwks_url: str = ""
    algorithms: tuple[str, ...] = ()
    """The only accepted ones; without any, all that the keys are for."""
    issuer: tuple[str, ...] = ()
    audience: tuple[str, ...] = ()
    leeway_s: float = 30.0
    """How far clocks may differ."""
    user_claim: str = "sub"
    """The claim that names the user."""
    require_exp: bool = True
    on_expiry: Literal["close", "downgrade"] = "close"
    """What becomes of a connection whose token expires: it ends, or goes on with nothing but its public key."""
    cache_s: float = 300.0
    """How long a key set is used before it is read again."""


@dataclass(frozen=True, slots=True)
class AccessRule:
    """Who may do what on which topics. The first rule that names topic, caller and action decides."""

    pattern: str
    """Glob on the canonical topic name; `{claim}` in it stands for a claim of the caller's token."""
    allow: frozenset[str] = frozenset()
    deny: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset({"open", "public", "jwt"})
    claims: tuple[tuple[str, object], ...] = ()
    """Claims that the caller must have, all of them: name (dots for nested ones), and the value or one of a list."""
    rows: Mapping[str, Any] | None = None
    """For `table-read`: the only rows that are told, a filter whose texts `"{claim}"` stand for claims."""


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
    history_age_s: float = 0.0
    """How long a stored message is kept; 0 sets no limit."""
    history_bytes: int = 0
    """How much is stored of one topic; 0 sets no limit."""
    history_page: int = 50
    history_page_max: int = 1_000
    rpc_max_bytes: int = 1_048_576
    session_grace_s: float = 120.0
    """How long the subscriptions of a connection that was cut are kept for its return; 0 keeps none."""
    session_moment_s: float = 0.5
    """How long a new connection may subscribe by itself before it is given what was kept for it."""
    session_overlap_s: float = 1.0
    """What was said so shortly before a client vanished is told again when it is back, although its machine had
    acknowledged it: its program may not have read it. 0 trusts the acknowledgement."""
    presence_grace_s: float = 10.0
    """How long a user whose connection was cut, or whose page is reloaded, stays present."""
    silence_s: float = 70.0
    """How long a connection that sends pings may be silent before it counts as cut."""
    max_sessions: int = 1_000
    max_session_topics: int = 20_000
    """Topics kept in all sessions together; the oldest sessions go first."""
    max_session_bytes: int = 1_048_576
    """What is held of the latest that one topic said; what was missed before that is read from history."""
    max_sessions_bytes: int = 67_108_864
    """What is held of all topics together; those that have been silent longest give way."""

    jwt: JwtSettings | None = None
    rules: tuple[AccessRule, ...] = ()
    topic_access: Literal["allow", "deny"] = "allow"
    """What holds on topics where no rule decides."""
    table_access: Literal["allow", "deny"] = "allow"
    """Whether tables that no rule decides on may be followed."""
    max_client_rate: float = 0.0
    """Frames a second that one connection may send in the long run; 0 sets no limit."""
    max_client_burst: int = 100
    max_topic_rate: float = 0.0
    """Publishes a second that all connections together may make on one topic; 0 sets no limit."""
    max_topic_burst: int = 200
    max_snapshot_rows: int = 10_000
    """Rows a table's snapshot may have."""
    max_queue_bytes: int = 1_048_576
    """What topics may say to one client that does not read, before their policies decide what it misses."""
    max_queue_frames: int = 1_024

    def __post_init__(self) -> None:
        for name in ("max_client_rate", "max_topic_rate"):
            if not 0 <= getattr(self, name) <= 1e9:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be 0 to 10^9")
        for name in ("max_client_burst", "max_topic_burst", "max_snapshot_rows", "max_queue_bytes", "max_queue_frames"):
            self._at_least_one(name)
        for name in ("max_frame_bytes", "max_topic_bytes", "max_topics", "max_spellings", "max_waiting"):
            self._at_least_one(name)
        for name in ("history_limit", "history_page", "history_page_max", "rpc_max_bytes"):
            self._at_least_one(name)
        for name in ("max_sessions", "max_session_topics", "max_session_bytes", "max_sessions_bytes"):
            self._at_least_one(name)
        for name in ("session_grace_s", "session_moment_s", "session_overlap_s", "presence_grace_s", "silence_s"):
            if not 0 <= getattr(self, name) <= 86_400:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be 0 to 86400")
        if self.history_age_s < 0 or self.history_bytes < 0:
            raise ValueError("history_age_s and history_bytes must not be below 0")
        if not 1 <= self.max_state_bytes <= 8_192:
            raise ValueError(f"max_state_bytes is {self.max_state_bytes}, but must be 1 to 8192")

    def _at_least_one(self, name: str) -> None:
        value = getattr(self, name)
        if value < 1:
            raise ValueError(f"{name} is {value}, but must be at least 1")

    @property
    def is_open(self) -> bool:
        """True when neither keys nor tokens are configured."""
        return not (self.public_keys or self.secret_keys or self.jwt)

    @property
    def projects(self) -> tuple[str, ...]:
        """The names of the project: its id and, if there is one, its slug."""
        return tuple(name for name in (self.project, self.slug) if name)

    def limits_of(self, topic: str) -> dict[str, Any]:
        """Return how much of the canonical `topic` is kept."""
        entry = next((entry for entry in self.topics if fnmatchcase(topic, entry.pattern)), None)
        return {
            "count": self.history_limit if entry is None or entry.history_limit is None else entry.history_limit,
            "age_s": self.history_age_s,
            "bytes": self.history_bytes,
            "persist": None if entry is None else entry.persist,
            "tail_bytes": self.max_session_bytes,
            "delivery": None if entry is None else entry.delivery,
            "queue_bytes": self.max_queue_bytes,
            "queue_frames": self.max_queue_frames,
        }

    def class_for(self, topic: str) -> str:
        """Return the name of the class that runs the canonical `topic`: the first pattern that matches."""
        for entry in self.topics:
            if fnmatchcase(topic, entry.pattern):
                return entry.class_name
        return BUILT_IN_CLASS
