"""What is kept for a client whose connection ended without a Close, so that it finds everything again.

Public clients do not subscribe again after a drop. A session is what such a connection had: topics, the spellings it
used, its presence, and up to where it had surely heard everything; what it misses is in the topics' tails and logs.
Sessions are found by who the client is, for it has no name of its own. Two windows of one user look the same: while
several sessions are kept, a new connection gets all of their topics, which clients drop if they do not know them, and
the sessions go when as many connections came as had ended. Windows that had the same topics are not mixed: each new
connection takes the oldest session.

Bounds: the oldest session goes first when there are too many sessions or topics.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from durable_objects.realtime.core.audience import Options
from durable_objects.realtime.core.history import Position
from durable_objects.realtime.core.protocol import dumps

__all__ = ["Identity", "Kept", "Session", "Sessions"]


class Identity(NamedTuple):
    """Who a connection is, as far as the server can tell. `address` is there for clients that name no user."""

    project: str
    credential: str
    user_id: str | None
    user_agent: str
    address: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """One topic of a session.

    `after` is the `order` up to which everything was heard. A session of an earlier process has none, but `restored`:
    when that process was last seen alive, and when this one began.
    """

    spellings: Mapping[str, Options | None]
    state: Mapping[str, Any] | None = None
    heard: Position | None = None
    """The position up to which it heard everything, for when the tail does not reach back far enough."""
    after: int | None = None
    ended_at_ms: int = 0
    restored: tuple[int, int] | None = None

    def ending(self) -> dict[str, object]:
        """Return what a topic must know of how it ended, to tell what was missed since."""
        heard = None if self.heard is None else [self.heard.epoch, self.heard.offset]
        return {"after": self.after, "heard": heard, "ended": self.ended_at_ms, "restored": self.restored}


@dataclass(eq=False, slots=True)
class Session:
    """What one connection had when it ended."""

    id: str
    identity: Identity
    topics: dict[str, Kept] = field(default_factory=dict[str, Kept])

    @property
    def shape(self) -> frozenset[tuple[str, str]]:
        """What it was subscribed to."""
        return frozenset((name, dumps(kept.spellings)) for name, kept in self.topics.items())


class Sessions:
    """The kept sessions of an endpoint, oldest first. Methods return the sessions that are over, to be ended."""

    def __init__(self, *, max_sessions: int, max_topics: int) -> None:
        self._max_sessions = max_sessions
        self._max_topics = max_topics
        self._kept: dict[Session, None] = {}
        self._by_identity: dict[Identity, dict[Session, None]] = {}
        self._claims: dict[Identity, int] = {}
        self._topics = 0

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, session: Session) -> list[Session]:
        """Keep a session; returns the older ones that it pushed out, or itself when it alone is too much."""
        self._kept[session] = None
        self._by_identity.setdefault(session.identity, {})[session] = None
        self._topics += len(session.topics)
        over: list[Session] = []
        while self._kept and (len(self._kept) > self._max_sessions or self._topics > self._max_topics):
            oldest = next(iter(self._kept))
            self.drop(oldest)
            over.append(oldest)
        return over

    def drop(self, session: Session) -> bool:
        """Forget a session; False when it was forgotten before."""
        if session not in self._kept:
            return False
        del self._kept[session]
        self._topics -= len(session.topics)
        same = self._by_identity[session.identity]
        del same[session]
        if not same:
            del self._by_identity[session.identity]
            self._claims.pop(session.identity, None)
        return True

    def has(self, identity: Identity) -> bool:
        """Whether anything is kept for this client."""
        return identity in self._by_identity

    def claim(self, identity: Identity, own: Iterable[str] = ()) -> tuple[list[Session], list[Session]]:
        """Return the sessions a new connection takes up, and those of them that nobody else may take up any more.

        `own` are the topics it has subscribed to by itself. When one of them is kept, the connection knows how to find
        its topics or belongs to another window: then the sessions stay for others.
        """
        found = list(self._by_identity.get(identity, ()))
        if not found:
            return [], []
        own = set(own)
        if any(name in session.topics for session in found for name in own):
            return found, []
        if len({session.shape for session in found}) == 1:
            taken = found[:1]
            self.drop(found[0])
            return taken, taken
        claims = self._claims[identity] = self._claims.get(identity, 0) + 1
        if claims < len(found):
            return found, []
        for session in found:
            self.drop(session)
        return found, found

    def clear(self) -> Sequence[Session]:
        """Forget all sessions and return them."""
        over = list(self._kept)
        for session in over:
            self.drop(session)
        return over
