"""Link: the gateway's end of a leg, one for each topic a client uses.

States: opening (commands wait, bounded) -> open -> ended. When the object is reset under an open leg, the link opens
again by itself, subscribes again quietly and tells followers of a table to read it again. A link that is let go asks
the topic to end the leg, so that everything the topic already said still arrives.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from durable_objects.realtime.core.access import Connection
from durable_objects.realtime.core.codes import CLOSE_LEFT, CLOSE_RESTART, Code, RealtimeError
from durable_objects.realtime.core.names import TopicName
from durable_objects.realtime.core.protocol import about, dumps, is_leg_note, leg_mark, leg_refused, loads
from durable_objects.realtime.core.session import Kept
from durable_objects.realtime.core.topic import Leg
from durable_objects.realtime.directory import Directory
from workers.compat.websocket import Port, Sink, take

__all__ = ["Client", "Link"]

_LEG_URL = "http://topic/leg"
_OPEN_TIMEOUT_S = 30.0
_DELAYS_S = (0.0, 0.05, 0.2, 0.8, 3.0)
_FIRST_TRIES = 2
_STEADY_AFTER_S = 10.0

_log = logging.getLogger(__name__)


class Client(Protocol):
    """The client's socket, as its links see it."""

    identity: Connection

    @property
    def send(self) -> Callable[[str | bytes], None]:
        """Sends a frame to the client, the very object that was given; does nothing once the client is gone."""
        ...

    def tell(self, error: RealtimeError) -> None:
        """Send an error frame to the client and log it."""
        ...

    def close(self, code: int, reason: str) -> None:
        """End the connection."""
        ...

    def link_failed(self, link: Link) -> None:
        """Forget a link that could not be opened."""
        ...


@dataclass(slots=True)
class _Return:
    """A client's return to a topic, until the topic has marked the place."""

    mark: str
    kept: Kept
    spellings: list[str]
    done: Callable[[], None]


class Link:
    """One client's way to one topic. Implements the sink of its end of the leg."""

    __slots__ = (
        "_directory",
        "_ended",
        "_is_watching",
        "_opened_at_s",
        "_out",
        "_port",
        "_reopened",
        "_return",
        "_table_error",
        "_tries",
        "_waiting",
        "client",
        "leg_id",
        "message",
        "name",
        "spellings",
        "state",
    )

    def __init__(self, directory: Directory, client: Client, name: TopicName) -> None:
        self.name = name
        self.spellings: dict[str, None] = {}
        # The sink's method: a frame of the topic goes to the client with nothing in between, the broadcasts' hot path.
        self.message: Callable[[str | bytes], None] = client.send
        self._out = self.message
        self._return: _Return | None = None
        self._directory = directory
        self.client = client
        self.leg_id: str | None = None
        self._port: Port | None = None
        self._waiting: list[Mapping[str, Any]] = []  # not a deque: an empty one takes 600 bytes
        self.state: Mapping[str, Any] | None = None
        self._ended = False
        self._reopened = False
        self._tries = 0
        self._opened_at_s = 0.0
        self._is_watching = False
        self._table_error: str | None = None

    @property
    def is_idle(self) -> bool:
        """True when nothing of the client depends on this link staying open."""
        return not self.spellings and self.state is None and self._port is not None

    @property
    def is_present(self) -> bool:
        """True while the client is present on the topic by this link."""
        return self.state is not None

    def park(self, client: Client, out: Callable[[str | bytes], None]) -> None:
        """Go on for a client that is away; what the topic says goes to `out`."""
        self.client = client
        self._out = out
        if self._return is None:
            self.message = out

    def resume(self, kept: Kept, source: str | None, done: Callable[[], None]) -> None:
        """Take up what an earlier connection had here; the leg `source` still fills its tape. `done` is called once.

        What the client subscribed to by itself is not told again.
        """
        tape, mark = kept.tape, self._directory.new_id()
        spellings = [spelling for spelling in kept.spellings if spelling not in self.spellings]
        spellings = spellings[: self._directory.settings.max_spellings - len(self.spellings)]
        if not spellings:
            self._present_again(kept)
            done()
            return
        tape.begin_reading()
        after = tape.position() if tape.is_cut else None
        self._return = _Return(mark, kept, spellings, done)
        self.message = self._while_returning
        self.spellings |= dict.fromkeys(spellings)
        self._give(
            {
                "do": "resume",
                "spellings": spellings,
                "mark": mark,
                "from": source,
                "cut": tape.is_cut,
                "since": tape.started_at_ms,
                "after": None if after is None else [after.epoch, after.offset],
            }
        )

    def open(self) -> None:
        """Begin to open the leg; commands may be given at once."""
        self._directory.tasks.spawn(self._open(), "realtime-link-open")

    def subscribe(self, spelling: str) -> None:
        """Subscribe the client under its own spelling.

        Raises:
            RealtimeError: TOO_MANY_TOPICS.
        """
        limit = self._directory.settings.max_spellings
        if spelling not in self.spellings and len(self.spellings) >= limit:
            raise RealtimeError(Code.TOO_MANY_TOPICS, f"one topic can be subscribed under {limit} spellings", "topic")
        self._give({"do": "subscribe", "as": spelling})
        self.spellings[spelling] = None

    def unsubscribe(self, spelling: str) -> bool:
        """End one subscription; True when it was the last, and the link with it is let go."""
        if spelling not in self.spellings:
            return False
        del self.spellings[spelling]
        if self.spellings:
            self._give({"do": "unsubscribe", "as": spelling})
            return False
        self.let_go()
        return True

    def publish(self, header: Mapping[str, Any], data: str) -> None:
        """Publish `data`, JSON text, with what the header says about it."""
        self._give({**header, "at": self._directory.clock.now_ms(), "data": data})

    def track(self, spelling: str, state: Mapping[str, Any]) -> None:
        """Make the client present."""
        self.state = state
        self._give({"do": "track", "as": spelling, "state": state, "at": self._directory.clock.now_ms()})

    def untrack(self, spelling: str) -> None:
        """End the client's presence."""
        self.state = None
        self._give({"do": "untrack", "as": spelling, "at": self._directory.clock.now_ms()})

    def let_go(self) -> None:
        """Let the topic end the leg after everything that is on its way."""
        self._give({"do": "leave"})
        self._ended = True
        self._unwatch()

    def end(self, code: int = CLOSE_LEFT) -> None:
        """End the leg at once: the client is gone."""
        self._ended = True
        self.message = self._out = _nowhere
        self._arrived()
        self._unwatch()
        if self._port is not None:
            self._port.close(code)

    # -- the leg's other end

    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        """The topic's end closed: as asked, because the server stops, or because the object was reset."""
        self._port = None
        if self._ended:
            return
        if code == CLOSE_RESTART:
            self.client.close(CLOSE_RESTART, reason)
            return
        self._reopened = True
        self._arrived()
        if asyncio.get_running_loop().time() - self._opened_at_s > _STEADY_AFTER_S:
            self._tries = 0
        self._waiting += [{"do": "subscribe", "as": spelling, "quiet": True} for spelling in self.spellings]
        if self.state is not None:
            self._waiting.append(
                {"do": "track", "as": self.name.text, "state": self.state, "at": self._directory.clock.now_ms()}
            )
        self.open()

    def _while_returning(self, data: str | bytes) -> None:
        back = self._return
        if back is not None and isinstance(data, str) and is_leg_note(data):
            if data == leg_mark(back.mark):
                self._arrived()
                return
            if data == leg_refused(back.mark):
                self._turned_away(back)
                return
        self._out(data)

    def _arrived(self) -> None:
        """Tell the client what it missed; from here on it hears the topic itself."""
        back, self._return = self._return, None
        if back is None:
            return
        self.message = self._out
        frames, is_cut = back.kept.tape.until(back.mark)
        is_all = len(back.spellings) == len(back.kept.spellings)
        for text in frames:
            if is_all or loads(text).get("topic") in back.spellings:
                self._out(text)
        if is_cut:
            self._missed()
        if not self._ended:
            self._present_again(back.kept)
        back.done()

    def _turned_away(self, back: _Return) -> None:
        self._return = None
        self.message = self._out
        for spelling in back.spellings:
            self.spellings.pop(spelling, None)
        if self.is_idle:
            self.client.link_failed(self)
            self.let_go()
        back.done()

    def _present_again(self, kept: Kept) -> None:
        if kept.state is not None and self.state is None:
            self.track(self.name.text, kept.state)

    # -- opening

    async def _open(self) -> None:
        # Tries are counted across quick resets too: an object that dies of our own commands is not met in a tight loop.
        while self._tries < (len(_DELAYS_S) if self._reopened else _FIRST_TRIES):
            await asyncio.sleep(_DELAYS_S[self._tries])
            self._tries += 1
            if self._ended and not self._waiting:
                return
            try:
                async with asyncio.timeout(_OPEN_TIMEOUT_S):
                    await self._watch()
                    socket = await self._connect()
            except Exception:  # a task root: whatever the object or its class raised
                _log.exception("topic %s could not be reached", self.name.text, extra={"topic": self.name.text})
                continue
            self._opened(socket)
            return
        self._failed()

    async def _connect(self) -> Any:
        """Announce the leg by a call, which no HTTP request can forge, then open it; returns the gateway's end."""
        leg_id = self._directory.new_id()
        stub = self._directory.stub(self.name.text)
        await stub.expect_leg(Leg(leg_id, self.client.identity).attachment(), self._directory.settings.history_limit)
        response = await stub.fetch(_LEG_URL, headers={"Upgrade": "websocket", "x-flarelet-leg": leg_id})
        self.leg_id = leg_id
        if response.web_socket is None:
            raise ConnectionError(f"the topic's class answered its leg with status {response.status}")
        return response.web_socket

    async def _watch(self) -> None:
        table, tables = self.name.table, self._directory.tables
        if table is None or self._is_watching or self._ended:
            return
        if tables is None:
            self._table_error = "no database is configured for table topics"
            return
        real_name = await tables.watch(table)
        if self._ended:
            tables.unwatch(table)
            return
        self._is_watching = True
        if real_name is None:
            self._table_error = f"no such table: {table}; its changes will be sent once it exists"

    def _opened(self, socket: Any) -> None:
        # Taken over, not accept()ed: listeners would cost an event object and a loop callback for every subscriber.
        self._port = take(socket, cast(Sink, self))
        self._opened_at_s = asyncio.get_running_loop().time()
        waiting, self._waiting = self._waiting, []
        if self._reopened:
            self._missed()
        for command in waiting:
            self._give(command)
        if self._ended and self.message is _nowhere:
            self._port.close(CLOSE_LEFT)

    def _missed(self) -> None:
        if self.name.is_table:
            for spelling in self.spellings:
                at_ms = self._directory.clock.now_ms()
                self._out(f'{{"type":"resync","channel":{dumps(spelling)},"timestamp":{at_ms}}}')

    def _failed(self) -> None:
        waiting, self._waiting = self._waiting, []
        for command in waiting:
            if command["do"] != "leave":
                error = RealtimeError(Code.TOPIC_UNAVAILABLE, f"topic {self.name.text} could not be reached")
                self.client.tell(_about(error, command))
        self._ended = True
        self._arrived()
        self._unwatch()
        self.client.link_failed(self)

    def _give(self, command: Mapping[str, Any]) -> None:
        port = self._port
        if port is None:
            limit = self._directory.settings.max_waiting
            if len(self._waiting) >= limit:
                error = RealtimeError(Code.OVERLOADED, f"{limit} frames wait for topic {self.name.text} to open")
                raise _about(error, command)
            self._waiting.append(command)
            return
        if self._table_error is not None and command["do"] == "subscribe" and "quiet" not in command:
            self.client.tell(_about(RealtimeError(Code.NO_SUCH_TABLE, self._table_error, "topic"), command))
        port.send(_written(command))

    def _unwatch(self) -> None:
        tables = self._directory.tables
        if self._is_watching and tables is not None and self.name.table is not None:
            self._is_watching = False
            tables.unwatch(self.name.table)


def _written(command: Mapping[str, Any]) -> str:
    data = command.get("data")
    if data is None:
        return dumps(command)
    return f"{dumps({name: value for name, value in command.items() if name != 'data'})}\n{data}"


def _about(error: RealtimeError, command: Mapping[str, Any]) -> RealtimeError:
    return about(error, frame=command["do"], channel=command.get("as"), id=command.get("id"))


def _nowhere(data: str | bytes) -> None:
    """Drop a frame whose client is gone."""
