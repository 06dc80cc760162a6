"""What is kept of a client whose connection was cut, and given back when it returns.

Its links stay, parked, for presence and so that the topics keep what they say in their tails; how far the client had
heard is told by what TCP still had to deliver. A returning client says nothing of its topics. It is found

* by the session that is kept of its cut connection;
* or, when that connection is not known to be cut yet, by the connection itself: a new one that stays silent gets what
  a live one of the same user has, unless that has been heard since. The old one is forgotten when it is found dead;
* or, when its old connection is found dead only after it came back, as the one that has been silent since.

Sessions outlive the process by `session_store`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Protocol

from durable_objects.realtime.core.access import Connection
from durable_objects.realtime.core.codes import CLOSE_LEFT, CLOSE_LOST, CLOSE_RESTART, RealtimeError
from durable_objects.realtime.core.history import Position
from durable_objects.realtime.core.names import TopicName
from durable_objects.realtime.core.session import Identity, Kept, Session, Sessions
from durable_objects.realtime.core.tail import Tail, heard_until
from durable_objects.realtime.directory import Directory
from durable_objects.realtime.link import Link
from durable_objects.realtime.session_store import SessionStore, described
from durable_objects.realtime.tails import tails_here

__all__ = ["Absent", "Keeper", "Member"]

_SWEEP_S = 10.0
_MOST_COMPARED = 16
_MOST_WAITING = 64
_ROUND_TRIP_MS = 1_000
_CLOSED_WITHIN_S = 1.0

_log = logging.getLogger(__name__)


class Member(Protocol):
    """A live connection, as the keeper sees it."""

    identity: Connection
    known_as: Identity
    links: dict[str, Link]
    heard_at_ms: int
    """When the client last sent something."""
    is_pinging: bool
    closing_at: int
    """The `order` at which the server began to close it; 0 while it does not."""
    closing_ms: int
    """The time of that."""
    copied_at_ms: int
    """When another connection took up what this one has; 0 for never."""
    is_restored: bool
    """Whether it is a public client, which cannot find its topics by itself."""

    def loss(self) -> tuple[int, bool]:
        """Return how many bytes are on their way to the client, and whether it ended the connection without a Close."""
        ...

    def close(self, code: int, reason: str) -> None:
        """End the connection from the server's side."""
        ...

    def take_up(self) -> None:
        """Take up what is kept, unless the client has subscribed by itself."""
        ...

    def link_to(self, name: TopicName) -> Link | None:
        """Return a link to a topic; None, and the client is told, when there can be none."""
        ...

    def cut(self) -> None:
        """The client is not there any more."""
        ...


class Keeper:
    """Owner of an endpoint's connections and sessions, and of the timers that end them."""

    def __init__(self, directory: Directory) -> None:
        settings = directory.settings
        self.directory = directory
        self.sessions = Sessions(max_sessions=settings.max_sessions, max_topics=settings.max_session_topics)
        self.members: dict[str, Member] = {}
        self._same: dict[Identity, dict[Member, None]] = {}
        self._identities: dict[Identity, Identity] = {}
        self._absent: dict[Session, Absent] = {}
        self._by_id: dict[str, Session] = {}
        self._store = SessionStore(directory, self._described)
        self._sweeping: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Event | None = None
        self._last_order = 0
        self._started_ms = directory.clock.now_ms()
        self._reading = asyncio.Lock()
        self._is_read = not settings.session_grace_s

    # -- connections

    def add(self, member: Member) -> None:
        """A connection begins."""
        self.members[member.identity.id] = member
        same = self._same.setdefault(member.known_as, {})
        same[member] = None
        loop = asyncio.get_running_loop()
        if member.is_restored and (self.sessions.has(member.known_as) or 1 < len(same) <= _MOST_COMPARED):
            loop.call_later(self.directory.settings.session_moment_s, member.take_up)
        if self._sweeping is None:
            tails_here().max_bytes = self.directory.settings.max_sessions_bytes
            self._sweeping = loop.call_later(_SWEEP_S, self._sweep)

    def remove(self, member: Member) -> None:
        """A connection has ended."""
        self.members.pop(member.identity.id, None)
        if self._emptied is not None and not self.members:
            self._emptied.set()
        same = self._same.get(member.known_as, {})
        same.pop(member, None)
        if not same:
            self._same.pop(member.known_as, None)

    def interned(self, identity: Identity) -> Identity:
        """Return the object that equal identities share."""
        return next(iter(self._same[identity])).known_as if identity in self._same else identity

    def changed(self, member: Member) -> None:
        """A connection's subscriptions or presence changed."""
        if member.is_restored and self.directory.settings.session_grace_s:
            self._store.changed(member.identity.id)

    def _described(self, id: str) -> Mapping[str, object] | None:
        member = self.members.get(id)
        if member is not None:
            recent_ms = self.directory.clock.now_ms() - _ROUND_TRIP_MS
            topics = {
                name: link.resumed_since(recent_ms) or Kept(link.spellings, link.state, _position(link.watched_at))
                for name, link in member.links.items()
                if not link.is_idle
            }
            return described(member.known_as, topics) if topics else None
        session = self._by_id.get(id)
        return None if session is None else described(session.identity, session.topics)

    # -- what a connection leaves behind

    def closes_at(self) -> int:
        """Return the `order` of a Close that is sent now."""
        return tails_here().next_order()

    def keep(self, member: Member, *, is_told: bool = False) -> None:
        """Keep what a cut connection had, for a grace time; without one its links end.

        `is_told`: the client has answered the Close, and so was told everything that was said before it.
        """
        self.remove(member)
        settings = self.directory.settings
        links, member.links = member.links, {}
        kept = {name: link for name, link in links.items() if not link.is_idle}
        for name, link in links.items():
            if name not in kept or not settings.session_grace_s:
                link.end(CLOSE_LOST)
        if not kept or not settings.session_grace_s:
            self._store.forget(member.identity.id)
            return
        session = self._session(member, kept, is_told=is_told)
        absent = self._absent[session] = Absent(self, member.identity, session, kept)
        absent.start(settings.session_grace_s, settings.presence_grace_s)
        is_taken = member.copied_at_ms > member.heard_at_ms
        if not member.is_restored or is_taken:
            # Nobody takes it up; it is there for presence, and for what the topics' tails hold.
            self._store.forget(session.id)
            return
        self._by_id[session.id] = session
        self._store.changed(session.id)
        self.end(self.sessions.keep(session))
        # The newest first, and not all of them: thousands behind one address may be cut at once.
        for other in list(islice(reversed(self._same.get(member.known_as, {})), _MOST_WAITING)):
            if other.is_restored and not any(link.spellings for link in other.links.values()):
                other.take_up()

    def _session(self, member: Member, links: Mapping[str, Link], *, is_told: bool = False) -> Session:
        """Return what a connection has, and up to where it has heard."""
        tails = tails_here()
        now_ms, now = self.directory.clock.now_ms(), member.closing_at or tails.next_order()
        found: dict[str, Tail] = {}
        for name, link in links.items():
            tail = tails.by_object.get(self.directory.object_id(name)) if link.spellings else None
            if tail is not None:
                found[name] = tail
        lost_bytes, was_ended = (0, False) if is_told else member.loss()
        overlap_ms = int(self.directory.settings.session_overlap_s * 1_000)
        doubtful_ms = now_ms - overlap_ms if was_ended and overlap_ms else now_ms + 1
        after = heard_until(
            {tail: links[name].spellings for name, tail in found.items()},
            now,
            lost_bytes=lost_bytes,
            doubtful_ms=doubtful_ms,
            heard_at_ms=member.heard_at_ms,
        )
        # What was told again went out just now, although it was said long ago.
        recent_ms = min(doubtful_ms, member.heard_at_ms - _ROUND_TRIP_MS) if lost_bytes else doubtful_ms
        if member.closing_at:
            recent_ms = min(recent_ms, member.closing_ms)
        session = Session(member.identity.id, member.known_as)
        for name, link in links.items():
            again = link.resumed_since(recent_ms)
            if again is not None:
                session.topics[name] = replace(again, spellings=dict(link.spellings), state=link.state)
                continue
            heard, tail = _position(link.watched_at), found.get(name)
            offset = None if tail is None else tail.offset_at(after)
            if tail is not None and offset is not None:
                heard = Position(tail.epoch, offset)
            session.topics[name] = Kept(dict(link.spellings), link.state, heard, after, now_ms)
        return session

    def linger(self, member: Member) -> None:
        """End links whose client went away properly; the presence of a page that is reloaded stays a little."""
        self.remove(member)
        links, member.links = member.links, {}
        grace_s = self.directory.settings.presence_grace_s
        for link in links.values():
            if link.is_present and grace_s and len(self._absent) < self.directory.settings.max_sessions:
                link.park(link.client)
                asyncio.get_running_loop().call_later(grace_s, link.end, CLOSE_LEFT)
            else:
                link.end(CLOSE_LEFT)
        self._store.forget(member.identity.id)

    def leave(self, member: Member) -> None:
        """End everything of a connection that was ended on purpose."""
        self.remove(member)
        links, member.links = member.links, {}
        for link in links.values():
            link.end()
        self._store.forget(member.identity.id)

    # -- what a connection finds

    def claim(self, member: Member) -> None:
        """Give a new connection what is kept for it, or what another connection of its user has."""
        own = {name for name, link in member.links.items() if link.spellings}
        found, over = self.sessions.claim(member.known_as, own)
        done = set(own)
        for session in found[-_MOST_WAITING:]:
            absent = self._absent[session]
            for name, kept in session.topics.items():
                if name in done:
                    continue
                done.add(name)
                source = absent.links.get(name)
                link = member.link_to(source.name if source is not None else self.directory.topic(name))
                if link is not None:
                    absent.readers += 1
                    link.resume(kept, None if source is None else source.leg_id, absent.read)
        for session in over:
            self._absent[session].finish()
        if not own:
            self._copy(member, done)
        self.changed(member)

    def _copy(self, member: Member, done: set[str]) -> None:
        """Give a silent newcomer what a live connection has that may be its own old one."""
        now_ms = self.directory.clock.now_ms()
        is_named = member.known_as.user_id is not None
        others = (other for other in self._same.get(member.known_as, ()) if other is not member)
        for other in islice(others, _MOST_COMPARED):
            links = {name: link for name, link in other.links.items() if not link.is_idle and name not in done}
            is_silent = now_ms - other.heard_at_ms > self.directory.settings.silence_s * 500
            if not links or not other.is_restored or other.heard_at_ms > member.heard_at_ms:
                continue
            if not is_named and not other.loss()[0] and not (other.is_pinging and is_silent):
                continue
            session = self._session(other, links)
            other.copied_at_ms = now_ms
            for name, kept in session.topics.items():
                link = member.link_to(links[name].name)
                if link is not None:
                    done.add(name)
                    link.resume(kept, links[name].leg_id, _nothing)

    # -- time

    def _sweep(self) -> None:
        loop, now_ms, settings = asyncio.get_running_loop(), self.directory.clock.now_ms(), self.directory.settings
        self._sweeping = None
        if settings.silence_s:
            silent_since = now_ms - int(settings.silence_s * 1_000)
            for member in [each for each in self.members.values() if each.is_pinging]:
                if member.heard_at_ms < silent_since:
                    _log.info("a connection has been silent too long", extra={"connection": member.identity.id})
                    member.cut()
        tails = tails_here()
        tails.expire(now_ms - int((settings.session_grace_s + settings.silence_s + _SWEEP_S) * 1_000))
        order = tails.next_order()
        if order > self._last_order + 1:
            self.directory.tasks.spawn(self._store.mark_alive(), "realtime-sessions-alive")
        self._last_order = order
        if self.members or self._absent:
            self._sweeping = loop.call_later(_SWEEP_S, self._sweep)

    async def restore(self) -> None:
        """Read the sessions of the process before; every connection waits for it."""
        if self._is_read:
            return
        async with self._reading:
            if self._is_read:
                return
            for session in await self._store.read(self._started_ms):
                self._by_id[session.id] = session
                absent = self._absent[session] = Absent(self, Connection(session.id), session, {})
                absent.start(self.directory.settings.session_grace_s, 0.0)
                self.end(self.sessions.keep(session))
            self._is_read = True

    def end(self, sessions: Iterable[Session]) -> None:
        """End sessions that are over."""
        for session in sessions:
            self._by_id.pop(session.id, None)
            self._store.forget(session.id)
            absent = self._absent.pop(session, None)
            if absent is not None:
                absent.stop()

    async def remember(self) -> None:
        """Close all connections and store what is kept, for the next process; nothing is stored after that."""
        for member in list(self.members.values()):
            member.close(CLOSE_RESTART, "")
        if self.members:
            self._emptied = asyncio.Event()
            try:
                async with asyncio.timeout(_CLOSED_WITHIN_S):
                    await self._emptied.wait()
            except TimeoutError:  # they do not answer: what they have not acknowledged is told again
                for member in list(self.members.values()):
                    self.keep(member)
        if self.directory.settings.session_grace_s:
            await self._store.close()

    def close(self) -> None:
        """End what is kept in this process."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        self.sessions.clear()
        for absent in list(self._absent.values()):
            absent.stop()
        self._absent.clear()


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
        for link in links.values():
            link.park(self)

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
        for link in self.links.values():
            link.end(code)

    def link_failed(self, topic: str, link: object) -> None:
        """A returning client opens a link of its own."""

    def _leave(self) -> None:
        for link in self.links.values():
            if link.is_present:
                link.untrack(link.name.text)

    def _expire(self) -> None:
        self._keeper.sessions.drop(self._session)
        self._keeper.end([self._session])


def _position(at: tuple[str, int] | None) -> Position | None:
    return None if at is None else Position(*at)


def _nothing() -> None:
    """Nobody waits for the end of a copy."""
