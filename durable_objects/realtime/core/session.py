"""What is kept for a client whose connection ended without a Close, so that it finds everything again.

Public clients do not subscribe again after a drop. A session is what such a connection had: topics, the spellings it
used and its presence; a *tape* holds what each topic said since. Sessions are found by who the client is, for it has no
name of its own. Two windows of one user look the same: while several sessions are kept, a new connection gets all of
their topics, which clients drop if they do not know them, and the sessions go when as many connections came as had
ended. Windows that had the same topics are not mixed: each new connection takes the oldest session.

Bounds: the oldest session goes first when there are too many sessions, topics or bytes. A tape that is full holds what
came first and is `cut`; the topic's history and a `resync` make up for the rest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from durable_objects.realtime.core.history import Position
from durable_objects.realtime.core.protocol import loads

__all__ = ["Identity", "Kept", "Session", "Sessions", "Tape"]


class Identity(NamedTuple):
    """Who a connection is, as far as the server can tell. `address` is there for clients that name no user."""

    project: str
    credential: bytes
    user_id: str | None
    user_agent: str
    address: str = ""


class Tape:
    """What a topic said to one connection since it ended, up to `max_bytes`."""

    def __init__(self, max_bytes: int, started_at_ms: int) -> None:
        self.frames: list[str] = []
        self.size = 0
        self.is_cut = False
        self.started_at_ms = started_at_ms
        self._max_bytes = max_bytes
        self._is_read = False
        self._marks: dict[str, tuple[int, bool]] = {}

    def hold(self, text: str) -> int:
        """Keep a frame; returns by how many bytes the tape grew."""
        if self.is_cut or (self.size + len(text) > self._max_bytes and not self._is_read):
            self.is_cut = True
            return 0
        self.frames.append(text)
        self.size += len(text)
        return len(text)

    def begin_reading(self) -> None:
        """A reader has said what it misses and will join soon: what is not cut by now must not be cut until then."""
        self._is_read = True

    def mark(self, name: str) -> None:
        """Note that a reader joined the topic at this place of the tape."""
        self._marks[name] = (len(self.frames), self.is_cut)

    def until(self, name: str) -> tuple[list[str], bool]:
        """Return what was held when the reader joined, and whether frames were missing by then."""
        count, is_cut = self._marks.pop(name, (len(self.frames), self.is_cut))
        return self.frames[:count], is_cut

    def position(self) -> Position | None:
        """Return the position of the newest persisted message that is held."""
        for text in reversed(self.frames):
            if '"epoch":' in text:
                frame = loads(text)
                if isinstance(frame.get("epoch"), str) and isinstance(frame.get("offset"), int):
                    return Position(frame["epoch"], frame["offset"])
        return None


@dataclass(slots=True)
class Kept:
    """One topic of a session."""

    spellings: tuple[str, ...]
    state: Mapping[str, Any] | None
    tape: Tape


@dataclass(eq=False, slots=True)
class Session:
    """What one connection had when it ended."""

    identity: Identity
    topics: dict[str, Kept] = field(default_factory=dict[str, Kept])
    size: int = 0

    @property
    def shape(self) -> frozenset[tuple[str, frozenset[str]]]:
        """What it was subscribed to."""
        return frozenset((name, frozenset(kept.spellings)) for name, kept in self.topics.items())


class Sessions:
    """The kept sessions of an endpoint, oldest first. Methods return the sessions that are over, to be ended."""

    def __init__(self, *, max_sessions: int, max_topics: int, max_bytes: int) -> None:
        self._max_sessions = max_sessions
        self._max_topics = max_topics
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Session, None] = OrderedDict()
        self._claims: dict[Identity, int] = {}
        self._topics = 0
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, session: Session) -> list[Session]:
        """Keep a session; returns the older ones that it pushed out, or itself when it alone is too much."""
        self._kept[session] = None
        self._topics += len(session.topics)
        return self._over()

    def grew(self, session: Session, by: int) -> list[Session]:
        """Count what a tape of the session took in; returns the sessions that it pushed out."""
        if session not in self._kept:
            return []
        session.size += by
        self._bytes += by
        return self._over() if self._bytes > self._max_bytes else []

    def drop(self, session: Session) -> bool:
        """Forget a session; False when it was forgotten before."""
        if session not in self._kept:
            return False
        del self._kept[session]
        self._topics -= len(session.topics)
        self._bytes -= session.size
        if not self._of(session.identity):
            self._claims.pop(session.identity, None)
        return True

    def has(self, identity: Identity) -> bool:
        """Whether anything is kept for this client."""
        return any(session.identity == identity for session in self._kept)

    def claim(self, identity: Identity, own: Iterable[str] = ()) -> tuple[list[Session], list[Session]]:
        """Return the sessions a new connection takes up, and those of them that nobody else may take up any more.

        `own` are the topics it has subscribed to by itself. When one of them is kept, the connection knows how to find
        its topics or belongs to another window: then the sessions stay for others.
        """
        found = self._of(identity)
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

    def _of(self, identity: Identity) -> list[Session]:
        return [session for session in self._kept if session.identity == identity]

    def _over(self) -> list[Session]:
        over: list[Session] = []
        while self._kept and (
            len(self._kept) > self._max_sessions or self._topics > self._max_topics or self._bytes > self._max_bytes
        ):
            oldest = next(iter(self._kept))
            self.drop(oldest)
            over.append(oldest)
        return over
