"""Saying one thing to many sockets: the ends of a crowd are followed to where their messages end, once.

`for ws in sockets: ws.send(data)` calls three or four functions for each socket. A `Crowd` says the same in one call:
it remembers which of its ends lead, unaltered, to sinks that can be reached together (a `Hub`, such as the sockets of
one server), and hands those the message as a group. What cannot be reached that way gets an ordinary `send`.

Ends may lead through other ends (`Relay`): a sink that passes every message on as it is says so. Whoever begins or
stops to pass on calls `rerouted`, and every crowd looks again before it speaks next.
"""

# pyright: reportPrivateUsage=false
# A crowd is part of the mechanism of WebSocket ends; their parts are private to it and to websocket.py.
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from workers.compat.websocket import Port, WebSocket

__all__ = ["Crowd", "Group", "Hub", "Relay", "Terminal", "rerouted", "speak"]


class Group(Protocol):
    """Sinks of one hub that are told the same."""

    def send(self, data: str | bytes, lane: object) -> None:
        """Tell all of them, in order with everything else they are told."""
        ...


class Hub(Protocol):
    """Where many sinks come together."""

    def group(self, sinks: Sequence[Terminal]) -> Group:
        """Make a group of sinks of this hub."""
        ...


class Terminal(Protocol):
    """A sink at which messages end, that a hub can reach together with others."""

    @property
    def hub(self) -> Hub:
        """Where it comes together with others."""
        ...

    def post(self, data: str | bytes, lane: object) -> None:
        """One message; `lane` says how it is treated while the receiver does not read."""
        ...


class Relay(Protocol):
    """A sink that passes messages on."""

    def onward(self) -> Port | None:
        """Return where every message goes as it is; None when something is done with them here."""
        ...


class _Routes:
    """Counts the changes of where ends lead."""

    version = 0


def rerouted() -> None:
    """Say that a relay began or stopped to pass messages on, or passes them elsewhere."""
    _Routes.version += 1


def terminal(ws: WebSocket) -> Terminal | None:
    """Return where messages sent on `ws` end, when nothing alters them on the way."""
    if ws._sent_close or ws._lost:
        return None
    sink: Any = ws._peer._sink
    # Asked by name, as isinstance() of a protocol takes longer than all the rest of a delivery.
    while (onward := getattr(sink, "onward", None)) is not None:
        port: Port | None = onward()
        if port is None or port._closed:
            return None
        sink = port._ws._peer._sink
    return None if getattr(sink, "hub", None) is None else sink


class Crowd:
    """Ends of one owner, told the same things. A change of its members makes a new crowd."""

    __slots__ = ("_ends", "_groups", "_others", "_version")

    def __init__(self, ends: Iterable[WebSocket]) -> None:
        self._ends = tuple(ends)
        self._groups: list[Group] = []
        self._others: list[WebSocket] = []
        self._version = -1

    def send(self, data: str | bytes, lane: object = None, but: WebSocket | None = None) -> None:
        """Send `data` on every end except `but`, through the output gate of their owner."""
        if not self._ends:
            return
        owner = self._ends[0]._owner
        if owner is not None and owner.held:
            owner.hold(lambda: self._say(data, lane, but))
        else:
            self._say(data, lane, but)

    def _say(self, data: str | bytes, lane: object, but: WebSocket | None) -> None:
        if but is not None:
            for ws in self._ends:
                if ws is not but:
                    _say(ws, data, lane)
            return
        if self._version != _Routes.version:
            self._look()
        for group in self._groups:
            group.send(data, lane)
        for ws in self._others:
            _say(ws, data, lane)

    def _look(self) -> None:
        self._version = _Routes.version
        hubs: dict[Hub, list[Terminal]] = {}
        self._others = []
        for ws in self._ends:
            end = terminal(ws)
            if end is None:
                self._others.append(ws)
            else:
                hubs.setdefault(end.hub, []).append(end)
        self._groups = [hub.group(sinks) for hub, sinks in hubs.items()]


def speak(ws: WebSocket, data: str | bytes, lane: object) -> None:
    """Send `data` on one end, as a crowd does: in a lane, through the output gate of its owner."""
    owner = ws._owner
    if owner is not None and owner.held:
        owner.hold(lambda: _say(ws, data, lane))
    else:
        _say(ws, data, lane)


def _say(ws: WebSocket, data: str | bytes, lane: object) -> None:
    end = terminal(ws)
    if end is not None:
        end.post(data, lane)
    elif not (ws._sent_close or ws._lost):
        ws._peer._sink.message(data)
