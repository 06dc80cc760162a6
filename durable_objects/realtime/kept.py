"""What is kept of a client whose connection was cut, and given back when it returns.

Its links stay open, what topics say goes on tapes, a returning client is given both.
The old leg stays subscribed while its client is away, so its tape has no gap and costs a topic nothing more than any
subscriber. When the client returns, each topic is asked to take in the new leg and to mark that place on both legs:
the tape up to the mark, and then the new leg, are every frame once and in order. Nothing here survives the process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

from durable_objects.realtime.core.access import Connection
from durable_objects.realtime.core.codes import CLOSE_LEFT, CLOSE_LOST, RealtimeError
from durable_objects.realtime.core.protocol import is_leg_note, loads
from durable_objects.realtime.core.session import Identity, Kept, Session, Sessions, Tape
from durable_objects.realtime.directory import Directory
from durable_objects.realtime.link import Link

__all__ = ["Absent", "Keeper"]

_log = logging.getLogger(__name__)


class Keeper:
    """Owner of an endpoint's sessions, and of the timers that end them."""

    def __init__(self, directory: Directory) -> None:
        settings = directory.settings
        self.directory = directory
        self.sessions = Sessions(
            max_sessions=settings.max_sessions,
            max_topics=settings.max_session_topics,
            max_bytes=settings.max_sessions_bytes,
        )
        self._absent: dict[Session, Absent] = {}

    def keep(self, who: Connection, identity: Identity, links: Mapping[str, Link]) -> None:
        """Keep what a cut connection had, for a grace time; without one its links end."""
        grace_s = self.directory.settings.session_grace_s
        kept = {name: link for name, link in links.items() if not link.is_idle}
        for name, link in links.items():
            if name not in kept or not grace_s:
                link.end(CLOSE_LOST)
        if not kept or not grace_s:
            return
        session = Session(identity)
        absent = self._absent[session] = Absent(self, who, session, kept)
        absent.start(grace_s, self.directory.settings.presence_grace_s)
        self.end(self.sessions.keep(session))

    def linger(self, links: Iterable[Link]) -> None:
        """End links whose client went away properly; the presence of a page that is reloaded stays a little."""
        grace_s = self.directory.settings.presence_grace_s
        for link in links:
            if link.is_present and grace_s and len(self.sessions) < self.directory.settings.max_sessions:
                link.park(link.client, _nowhere)
                asyncio.get_running_loop().call_later(grace_s, link.end, CLOSE_LEFT)
            else:
                link.end(CLOSE_LEFT)

    def claim(self, identity: Identity, own: Iterable[str], link_to: Callable[[str, Absent], Link | None]) -> None:
        """Give a new connection what is kept for it; `link_to` returns its link to a topic that an absent one has."""
        own = set(own)
        found, over = self.sessions.claim(identity, own)
        done: set[str] = set(own)
        for session in found:
            absent = self._absent[session]
            for name, kept in session.topics.items():
                if name in done:
                    continue
                done.add(name)
                link = link_to(name, absent)
                if link is not None:
                    absent.readers += 1
                    link.resume(kept, absent.links[name].leg_id, absent.read)
        for session in over:
            self._absent[session].finish()

    def grew(self, session: Session, by: int) -> None:
        """Count what a tape took in."""
        self.end(self.sessions.grew(session, by))

    def end(self, sessions: Iterable[Session]) -> None:
        """End sessions that are over."""
        for session in sessions:
            absent = self._absent.pop(session, None)
            if absent is not None:
                absent.stop()

    def close(self) -> None:
        """End all sessions."""
        self.sessions.clear()
        self.end(list(self._absent))


class Absent:
    """A client that is away, in the place of its socket: the client that its links know."""

    def __init__(self, keeper: Keeper, who: Connection, session: Session, links: dict[str, Link]) -> None:
        self.identity = who
        self.links = links
        self.readers = 0
        self._keeper = keeper
        self._session = session
        self._is_finished = False
        self._timers: list[asyncio.TimerHandle] = []
        max_bytes, now_ms = keeper.directory.settings.max_session_bytes, keeper.directory.clock.now_ms()
        for name, link in links.items():
            tape = Tape(max_bytes, now_ms)
            session.topics[name] = Kept(tuple(link.spellings), link.state, tape)
            link.park(self, self._holder(tape))

    def start(self, grace_s: float, presence_grace_s: float) -> None:
        """Start the times after which presence, and then everything, ends."""
        loop = asyncio.get_running_loop()
        self._timers = [
            loop.call_later(grace_s, self._expire),
            loop.call_later(min(presence_grace_s, grace_s), self._leave),
        ]

    def read(self) -> None:
        """Hear that a reader has what it needs of this session."""
        self.readers -= 1
        if self._is_finished and not self.readers:
            self._keeper.end([self._session])

    def finish(self) -> None:
        """End the session as soon as nobody reads from it any more."""
        self._is_finished = True
        if not self.readers:
            self._keeper.end([self._session])

    def stop(self) -> None:
        """End the links."""
        for timer in self._timers:
            timer.cancel()
        for link in self.links.values():
            link.end(CLOSE_LOST)

    # -- the client, as links see it

    def send(self, data: str | bytes) -> None:
        """Drop what belongs to no topic."""

    def tell(self, error: RealtimeError) -> None:
        """Log an error that there is no client to tell."""
        _log.info("an absent client: %s: %s", error.code.name, error.message)

    def close(self, code: int, reason: str) -> None:
        """The server stops."""
        self._expire()

    def link_failed(self, link: Link) -> None:
        """A returning client opens a link of its own."""

    def _holder(self, tape: Tape) -> Callable[[str | bytes], None]:
        def hold(data: str | bytes) -> None:
            if isinstance(data, bytes):
                return
            if is_leg_note(data):
                tape.mark(loads(data).get("mark", ""))
            else:
                self._keeper.grew(self._session, tape.hold(data))

        return hold

    def _leave(self) -> None:
        for link in self.links.values():
            if link.is_present:
                link.untrack(link.name.text)

    def _expire(self) -> None:
        self._keeper.sessions.drop(self._session)
        self._keeper.end([self._session])


def _nowhere(data: str | bytes) -> None:
    """Drop a frame that nobody is there for."""
