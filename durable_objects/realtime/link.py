"""Link: the gateway's end of a leg, one for each topic a client uses.

States: opening (commands wait, bounded) -> open -> ended. When the object is reset under an open leg, the link opens
again by itself, subscribes again quietly and tells followers that something may be missing. A link that is let go asks
the topic to end the leg, so that everything the topic already said still arrives.

While the topic has not answered a subscription, or a subscription to a table catches up, frames are looked at; else
they go to the client with nothing in between, the hot path of broadcasts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, cast

from durable_objects.realtime.catch_up import Begin, CatchUp, told_missing, what_was
from durable_objects.realtime.client import Client
from durable_objects.realtime.core import v1
from durable_objects.realtime.core.audience import Group, Leg, Options
from durable_objects.realtime.core.codes import CLOSE_LEFT, CLOSE_RESTART, Code, RealtimeError
from durable_objects.realtime.core.history import Position
from durable_objects.realtime.core.names import TopicName
from durable_objects.realtime.core.protocol import about, dumps, is_leg_note, leg_command, loads
from durable_objects.realtime.core.row_lens import policed
from durable_objects.realtime.core.session import Kept
from durable_objects.realtime.directory import Directory
from workers.compat.crowd import rerouted
from workers.compat.websocket import Port, Sink, take

__all__ = ["Link"]

_LEG_URL = "http://topic/leg"
_OPEN_TIMEOUT_S = 30.0
_DELAYS_S = (0.0, 0.05, 0.2, 0.8, 3.0)
_FIRST_TRIES = 2
_STEADY_AFTER_S = 10.0

_log = logging.getLogger(__name__)


class Link:
    """One client's way to one topic. Implements the sink of its end of the leg."""

    __slots__ = (
        "_asked",
        "_begins",
        "_catching",
        "_directory",
        "_ended",
        "_is_watching",
        "_opened_at_s",
        "_out",
        "_port",
        "_reopened",
        "_resumed",
        "_table_error",
        "_tries",
        "_waiting",
        "client",
        "leg_id",
        "message",
        "name",
        "rows",
        "spellings",
        "state",
        "watched_at",
    )

    def __init__(self, directory: Directory, client: Client, name: TopicName) -> None:
        self.name = name
        self.spellings: dict[str, Options | None] = {}
        # The sink's method: a frame of the topic goes to the client with nothing in between, the broadcasts' hot path.
        self.message: Callable[[str | bytes], None] = client.send
        self._out = self.message
        self._asked = 0
        self._begins: dict[str, Begin] | None = None  # an empty dict takes 64 bytes in each of thousands of links
        self._catching: CatchUp | None = None
        self._resumed: tuple[int, Kept] | None = None
        self._directory = directory
        self.client = client
        self.leg_id: str | None = None
        self.rows: Mapping[str, Any] | None = None
        self.watched_at: tuple[str, int] | None = None
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

    def park(self, client: Client) -> None:
        """Go on for a client that is away: the topic keeps what it says, and sends nothing."""
        self.client = client
        self._out = _nowhere
        self._route()
        if not self._ended:
            try:
                self._give({"do": "away"})
            except RealtimeError as error:
                client.tell(error)

    def open(self) -> None:
        """Begin to open the leg; commands may be given at once."""
        self._directory.tasks.spawn(self._open(), "realtime-link-open")

    # -- what the client asks

    def subscribe(
        self, spelling: str, how: Options | None = None, since: Position | None = None, *, snapshot: bool = False
    ) -> None:
        """Subscribe the client under its own spelling; `how`, `since` and `snapshot` as it said in flarelet-v1.

        Raises:
            RealtimeError: TOO_MANY_TOPICS.
        """
        limit = self._directory.settings.max_spellings
        if spelling not in self.spellings and len(self.spellings) >= limit:
            raise RealtimeError(Code.TOO_MANY_TOPICS, f"one topic can be subscribed under {limit} spellings", "topic")
        how = policed(how, self.rows)
        command: dict[str, Any] = {"do": "subscribe", "as": spelling}
        if how is not None:
            command["how"] = how
        mark = None
        if how is not None and how.get("v") == 1 and self.name.is_table:
            # The position of a table is the database's, which only this end can ask.
            mark = self._begin(Begin({spelling: how}, since, snapshot=snapshot))
            command |= {"quiet": True, "mark": mark}
        elif since is not None:
            command["since"] = [since.epoch, since.offset]
        known = dict(self.spellings)
        self.spellings[spelling] = how
        self._asked += mark is None
        try:
            self._give(command)
        except RealtimeError:
            self.spellings = known
            self._asked -= mark is None
            (self._begins or {}).pop(mark or "", None)
            raise
        finally:
            self._route()

    def resume(self, kept: Kept, source: str | None, done: Callable[[], None]) -> None:
        """Take up what an earlier connection had here by the leg `source`. `done` is called once.

        What the client subscribed to by itself is not told again.
        """
        known, rows = self.spellings, self.rows
        spellings = {name: policed(how, rows) for name, how in kept.spellings.items() if name not in known}
        while len(spellings) + len(self.spellings) > self._directory.settings.max_spellings:
            spellings.popitem()
        if not spellings:
            self._present_again(kept)
            done()
            return
        self.spellings |= spellings
        mark = self._begin(Begin(spellings, kept.heard, kept, done))
        self._resumed = (0, kept)
        how = {"mark": mark, "spellings": spellings, "from": source, "table": self.name.is_table}
        self._give({"do": "resume", **how, **kept.ending()})
        self._route()

    def police(self, rows: Mapping[str, Any] | None) -> None:
        """Show the client other rows of the table than before; it is told that something may be missing."""
        if rows == self.rows:
            return
        self.rows = rows
        self.spellings = {spelling: policed(how, rows) for spelling, how in self.spellings.items()}
        for command in self._again():
            self._give(command)
        self._missed()

    def resumed_since(self, at_ms: int) -> Kept | None:
        """Return what the link took up, unless all that was missed had been told before `at_ms`."""
        if self._resumed is None:
            return None
        told_at_ms, kept = self._resumed
        return kept if not told_at_ms or told_at_ms > at_ms else None

    def _told_again(self) -> None:
        """Everything that was missed has been told just now."""
        if self._resumed is not None:
            self._resumed = (self._directory.clock.now_ms(), self._resumed[1])

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

    def command(self, command: Mapping[str, Any]) -> None:
        """Give the topic any other command."""
        self._give(command)

    def track(self, spelling: str, state: Mapping[str, Any]) -> None:
        """Make the client present."""
        self.state = state
        self._give({"do": "track", "as": spelling, "state": state, "at": self._directory.clock.now_ms()})

    def untrack(self, spelling: str) -> None:
        """End the client's presence."""
        self.state = None
        self._give({"do": "untrack", "as": spelling, "at": self._directory.clock.now_ms()})

    def identified(self) -> None:
        """The client may do more or less from now on."""
        self._give({"do": "identity", "who": self.client.identity.described()})

    def let_go(self) -> None:
        """Let the topic end the leg after everything that is on its way."""
        self._give({"do": "leave"})
        self._ended = True
        self._unwatch()

    def end(self, code: int = CLOSE_LEFT) -> None:
        """End the leg at once: the client is gone."""
        self._ended = True
        self._out = _nowhere
        self._drop_begins()
        self._route()
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
        self._asked = 0
        self._drop_begins()
        self._route()
        if asyncio.get_running_loop().time() - self._opened_at_s > _STEADY_AFTER_S:
            self._tries = 0
        self._waiting += self._again()
        if self.state is not None:
            self.track(self.name.text, self.state)
        self.open()

    def _again(self) -> list[dict[str, Any]]:
        """Return the commands that subscribe again, without the client hearing of it."""
        again = [(name, {} if how is None else {"how": how}) for name, how in self.spellings.items()]
        return [{"do": "subscribe", "as": name, "quiet": True, **how} for name, how in again]

    def _route(self) -> None:
        """Let frames of the topic pass by as few hands as they need."""
        before = self.message
        if self._asked or self._begins:
            self.message = self._look
        else:
            self.message = self._out if self._catching is None else self._catching.take
        if self.message != before:
            rerouted()

    def onward(self) -> Port | None:
        """Return the client's port while frames go to it with nothing in between: crowds then go there at once."""
        to = getattr(self.message, "__self__", None)
        return to if isinstance(to, Port) else None

    def _look(self, data: str | bytes) -> None:
        """Pass a frame on, unless it is for the gateway."""
        if isinstance(data, str):
            if is_leg_note(data):
                self._note(loads(data))
                return
            if data.startswith('{"type":"subscribed",'):
                self._asked -= self._asked > 0
                self._route()
        (self._out if self._catching is None else self._catching.take)(data)

    def _note(self, note: Mapping[str, Any]) -> None:
        if (spelling := note.get("refused")) is not None:
            self._turned_away(spelling)
        elif (begin := (self._begins or {}).pop(note.get("resumed", ""), None)) is not None:
            self._route()
            self._begun(begin)

    def _begin(self, begin: Begin) -> str:
        mark = self._directory.new_id()
        self._begins = {**(self._begins or {}), mark: begin}
        return mark

    def _begun(self, begin: Begin) -> None:
        """The topic has taken subscriptions in: it tells what is said from here on."""
        if self.name.is_table:
            self._catch_up(begin)
        if begin.kept is not None:
            if not self.name.is_table:
                self._told_again()
            if not self._ended:
                self._present_again(begin.kept)
        if begin.done is not None:
            begin.done()

    def _turned_away(self, spelling: str) -> None:
        """The topic does not let the client subscribe: then it counts for nothing."""
        begins = self._begins or {}
        for mark, begin in list(begins.items()):
            begin.spellings.pop(spelling, None)
            if not begin.spellings:
                del begins[mark]
                if begin.done is not None:
                    begin.done()
        else:
            self._asked -= self._asked > 0
        self.spellings.pop(spelling, None)
        self._route()
        if self.is_idle and not begins and not self._ended:
            self.client.link_failed(self.name.text, self)
            self.let_go()

    def _drop_begins(self) -> None:
        begins, self._begins = self._begins, None
        for begin in (begins or {}).values():
            if begin.done is not None:
                begin.done()
        while self._catching is not None:
            catching, self._catching = self._catching, None
            catching.give_up()

    def _present_again(self, kept: Kept) -> None:
        if kept.state is not None and self.state is None:
            self.track(self.name.text, kept.state)

    # -- tables: what their log tells

    def _catch_up(self, begin: Begin) -> None:
        tables, table, since = self._directory.tables, self.name.table, begin.since
        groups = [Group(spelling, how, self._directory.lens(how)) for spelling, how in begin.spellings.items()]
        if tables is None or table is None:
            return
        if since is None and not begin.snapshot:
            at = Position(*tables.position())
            for group in groups:
                resync = f'{{"type":"resync","channel":{dumps(group.spelling)}}}'
                self._out(v1.subscribed(group.spelling, at) if group.is_v1 else resync)
            return
        onward = self._out if self._catching is None else self._catching.take
        catching = self._catching = CatchUp(begin.spellings, onward, self._caught_up)
        self._route()
        self._directory.tasks.spawn(self._replay(catching, groups, begin, table), "realtime-catch-up")

    async def _replay(self, catching: CatchUp, groups: list[Group], begin: Begin, table: str) -> None:
        tables, limit = self._directory.tables, self._directory.settings.max_snapshot_rows
        assert tables is not None
        try:
            told = await what_was(tables, table, groups, begin, limit)
        except RealtimeError as error:  # no snapshot: what is live goes on
            for group in groups:
                self._out(v1.subscribed(group.spelling, Position(*tables.position())))
                self.client.tell(about(error, frame="subscribe", channel=group.spelling))
            told = (), 0
        except Exception:  # a task root: the database may be closing
            _log.exception("the changes of %s could not be read again", table)
            self._missed()
            told = (), 0
        catching.told(*told)
        self._told_again()

    def _caught_up(self) -> None:
        """Take away what does not stand in between any more."""
        if self._catching is not None and self._catching.is_over:
            self._catching = None
        self._route()

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
        stub, limits = self._directory.stub(self.name.text), self._directory.limits(self.name.text)
        await stub.expect_leg(Leg(leg_id, self.client.identity).attachment(), limits)
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
        self.watched_at = tables.position()
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
        if self._ended and self._out is _nowhere:
            self._port.close(CLOSE_LEFT)

    def _missed(self) -> None:
        """Tell the client that something may be missing."""
        for frame in told_missing(self.spellings, self._directory.clock.now_ms(), is_table=self.name.is_table):
            self._out(frame)

    def _failed(self) -> None:
        waiting, self._waiting = self._waiting, []
        for command in waiting:
            if command["do"] not in ("leave", "away"):
                error = RealtimeError(Code.TOPIC_UNAVAILABLE, f"topic {self.name.text} could not be reached")
                self.client.tell(_about(error, command))
        self._ended = True
        self._drop_begins()
        self._unwatch()
        self.client.link_failed(self.name.text, self)

    def _give(self, command: Mapping[str, Any]) -> None:
        port = self._port
        if port is None:
            limit = self._directory.settings.max_waiting
            if len(self._waiting) >= limit:
                error = RealtimeError(Code.OVERLOADED, f"{limit} frames wait for topic {self.name.text} to open")
                raise _about(error, command)
            self._waiting.append(command)
            return
        if (
            self._table_error is not None
            and command["do"] == "subscribe"
            and ("mark" in command) >= ("quiet" in command)
        ):
            self.client.tell(_about(RealtimeError(Code.NO_SUCH_TABLE, self._table_error, "topic"), command))
        port.send(leg_command(command))

    def _unwatch(self) -> None:
        tables = self._directory.tables
        if self._is_watching and tables is not None and self.name.table is not None:
            self._is_watching = False
            tables.unwatch(self.name.table)


def _about(error: RealtimeError, command: Mapping[str, Any]) -> RealtimeError:
    return about(error, frame=command["do"], channel=command.get("as"), id=command.get("id"))


def _nowhere(data: str | bytes) -> None:
    """Drop a frame whose client is gone."""
