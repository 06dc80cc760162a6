"""What all sockets of one server have to send in this loop turn, and the groups of sockets that are told the same.

A message is encoded once per object and codec; all frames of a turn leave a socket in one write. A *flock* is a group
of sockets that a crowd speaks to: while nothing else is said to its members in the turn, a message costs the flock one
list entry, and at the end of the turn its members are written one buffer they share.

A member that is told something else in the turn is taken *apart*: what the flock was told so far moves to the member's
own queue, and so does what the flock is told from then on. Two flocks that share members are both dissolved for the
turn. So every socket gets its frames in the order in which they were sent, whoever sent them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container, Sequence
from typing import Protocol, cast

from workers.compat.crowd import Group, Terminal
from workers.runtime.edge import frames
from workers.runtime.edge.deflate import MIN_BYTES, deflate
from workers.runtime.edge.frames import Opcode

__all__ = ["Framed", "Member", "Outbox", "Write"]

_ENCODED_KEPT = 256
_FLOCK_MIN = 8  # below, going to each member is cheaper than keeping count
_FLOCKS_AT_ONCE = 8
_TEXT, _BINARY = Opcode.TEXT, Opcode.BINARY


class Framed(bytes):
    """A frame that is encoded already."""

    __slots__ = ()


class Write(Protocol):
    """A transport's `write`."""

    def __call__(self, data: bytes, /) -> None:
        """Send bytes."""
        ...


class Member(Terminal, Protocol):
    """A socket, as the outbox sees it."""

    codec: int
    """Window bits to compress with, 0 for none."""
    first: bytes | None
    """The first frame queued in this turn; nearly always the only one."""
    queued: list[bytes] | None
    """All frames queued in this turn, `first` among them, when there are several."""
    is_flowing: bool
    """The client is there, reads, and no Close was sent."""

    @property
    def write(self) -> Write:
        """Writes to the transport; only while `is_flowing`."""
        ...

    @property
    def transport(self) -> asyncio.Transport | None:
        """The transport, None before `start` and after the end."""
        ...

    def post_apart(self, data: str | bytes, lane: object) -> None:
        """As `post`, for a socket that is in no flock or was taken apart from it."""
        ...

    def keep(self, data: str | bytes, lane: object) -> None:
        """Keep a message while the client is slow; it is lost when the client is gone or was told Close."""
        ...

    def shut_down(self, code: int) -> None:
        """Close because the server stops."""
        ...

    async def ended(self) -> None:
        """Wait until the transport is gone. One waiter at a time."""
        ...

    def abort(self) -> None:
        """Cut the connection now."""
        ...


def _utf8(text: str) -> bytes:
    """Encode as JavaScript does: half of a surrogate pair becomes U+FFFD, since clients refuse broken UTF-8."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def _encode(data: str | bytes, codec: int) -> bytes:
    """Return the frame of a message; `codec` is the window to compress with, 0 for none."""
    if data.__class__ is Framed:
        return cast(Framed, data)
    opcode, payload = (_TEXT, _utf8(data)) if isinstance(data, str) else (_BINARY, data)
    if codec and len(payload) >= MIN_BYTES:
        small = deflate(payload, codec)
        if len(small) < len(payload):
            return frames.encode(opcode, small, compressed=True)
    return frames.encode(opcode, payload)


class Outbox:
    """The sockets of one server: their hub, and what they have to send in this turn."""

    __slots__ = (
        "_dirty",
        "_encoded",
        "_is_planned",
        "_loop",
        "_scattered",
        "connections",
        "flocks",
        "flow",
        "last",
        "last_codec",
        "last_frame",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._dirty: list[Member] = []
        self.flocks: list[Flock] = []
        """Those that were told something in this turn."""
        self.last: str | bytes | None = None
        """The message encoded last, how, and its frame: what a loop over sockets asks for again and again."""
        self.last_codec = 0
        self.last_frame = b""
        self._scattered = False
        self._is_planned = False
        self._encoded: dict[tuple[int, int], tuple[str | bytes, bytes]] = {}
        self.connections: set[Member] = set()
        self.flow = 0
        """Counts the changes of who is flowing."""

    def frame(self, data: str | bytes, codec: int) -> bytes:
        """Return the frame of a message, encoded once per object and codec within a turn."""
        # The entry keeps the object alive, so its id cannot be taken by another one.
        known = self._encoded.get((id(data), codec))
        if known is None:
            if len(self._encoded) >= _ENCODED_KEPT:
                self._encoded.clear()
            known = self._encoded[id(data), codec] = data, _encode(data, codec)
        self.last, self.last_codec, self.last_frame = data, codec, known[1]
        return known[1]

    def group(self, sinks: Sequence[Terminal]) -> Group:
        """Make a flock of connections of this server."""
        return Flock(self, cast("Sequence[Member]", sinks))

    def mark(self, connection: Member) -> None:
        """Have the connection's queue written at the end of this turn."""
        if not self._is_planned:
            self._plan()
        self._dirty.append(connection)

    def take_apart(self, connection: Member) -> None:
        """Something is said to the connection alone: what its flocks were told before goes first."""
        for flock in self.flocks:
            flock.take_apart(connection)

    def gather(self, flock: Flock) -> bool:
        """Let the flock collect what it is told until the end of the turn; False when its members share in others."""
        if self._scattered:
            return False
        if self.flocks and not self._stands_alone(flock):
            self._scatter()
            return False
        self._plan()
        for connection in self._dirty:
            flock.take_apart(connection)
        self.flocks.append(flock)
        return True

    def _stands_alone(self, flock: Flock) -> bool:
        return len(self.flocks) < _FLOCKS_AT_ONCE and all(flock.known.isdisjoint(other.known) for other in self.flocks)

    def _scatter(self) -> None:
        self._scattered = True
        flocks, self.flocks = self.flocks, []
        for flock in flocks:
            flock.scatter()

    def _plan(self) -> None:
        if not self._is_planned:
            self._is_planned = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_planned = self._scattered = False
        flocks, self.flocks = self.flocks, []
        dirty, self._dirty = self._dirty, []
        for flock in flocks:
            flock.flush()
        last: list[bytes] | None = None
        joined = b""
        for connection in dirty:
            data, queued = connection.first, connection.queued
            if data is None:
                continue
            connection.first = None
            if queued is not None:
                connection.queued = None
                # Comparing lists compares identities first: the same broadcast costs a pointer per frame.
                if queued != last:
                    last = queued
                    joined = b"".join(queued)
                data = joined
            write = connection.write  # calling a slot's value directly is the slow way in CPython 3.11
            write(data)
        self._encoded.clear()
        self.last = None


class Flock:
    """Connections that a crowd speaks to."""

    __slots__ = ("_apart", "_flow", "_known", "_members", "_outbox", "_said", "_stopped", "_streams")

    def __init__(self, outbox: Outbox, members: Sequence[Member]) -> None:
        self._outbox = outbox
        self._members = members
        self._known: frozenset[Member] | None = None
        self._flow = -1
        self._streams: dict[int, list[asyncio.Transport]] = {}
        """By codec, the transports of those that are flowing: all that the hot path touches of them."""
        self._stopped: list[Member] = []
        self._said: list[tuple[str | bytes, object]] = []
        self._apart: dict[Member, None] = {}

    @property
    def known(self) -> frozenset[Member]:
        """The members, to look one up."""
        if self._known is None:
            self._known = frozenset(self._members)
        return self._known

    def send(self, data: str | bytes, lane: object) -> None:
        """Tell every member."""
        if self._said or (len(self._members) >= _FLOCK_MIN and self._outbox.gather(self)):
            self._said.append((data, lane))
            for connection in self._apart:
                connection.post_apart(data, lane)
        else:
            for connection in self._members:
                connection.post(data, lane)

    def take_apart(self, connection: Member) -> None:
        """From now on in this turn, one member has a queue of its own."""
        if connection in self.known and connection not in self._apart:
            self._apart[connection] = None
            for data, lane in self._said:
                connection.post_apart(data, lane)

    def scatter(self) -> None:
        """Hand every member what was said, for its own queue."""
        said, apart = self._said, self._apart
        self._said, self._apart = [], {}
        for connection in self._members:
            if connection not in apart:
                for data, lane in said:
                    connection.post_apart(data, lane)

    def flush(self) -> None:
        """Write what was said to every member that has no queue of its own."""
        said, apart = self._said, self._apart
        self._said, self._apart = [], {}
        if self._flow != self._outbox.flow:
            self._flow = self._outbox.flow
            self._streams, self._stopped = _sorted(self._members)
        streams, stopped = (self._streams, self._stopped) if not apart else _sorted(self._members, apart)
        for codec, transports in streams.items():
            encoded = [_encode(data, codec) for data, _ in said]
            joined = encoded[0] if len(encoded) == 1 else b"".join(encoded)
            # This loop is kept tight: while one send follows the other quickly, a receiver on another core does not go
            # to sleep in between, and waking it costs more than the send itself.
            for transport in transports:
                transport.write(joined)
        for connection in stopped:
            for data, lane in said:
                connection.keep(data, lane)


def _sorted(
    members: Sequence[Member], apart: Container[Member] = ()
) -> tuple[dict[int, list[asyncio.Transport]], list[Member]]:
    """Return the transports of the members that are flowing, by codec, and the other members."""
    streams: dict[int, list[asyncio.Transport]] = {}
    stopped: list[Member] = []
    for connection in members:
        if connection in apart:
            continue
        transport = connection.transport
        if connection.is_flowing and transport is not None:
            streams.setdefault(connection.codec, []).append(transport)
        else:
            stopped.append(connection)
    return streams, stopped
