from __future__ import annotations

from collections.abc import Callable, Sequence

from workers.compat.crowd import Crowd, Group, Hub, Terminal, rerouted
from workers.compat.websocket import Owner, Port, WebSocket, WebSocketPair, adopt, take


class Server:
    """A hub; notes what it was told and how."""

    def __init__(self) -> None:
        self.groups = 0

    def group(self, sinks: Sequence[Terminal]) -> Group:
        self.groups += 1
        return Together(sinks)


class Together:
    def __init__(self, sinks: Sequence[Terminal]) -> None:
        self.sinks = sinks

    def send(self, data: str | bytes, lane: object) -> None:
        for sink in self.sinks:
            sink.post(("together", data, lane), None)  # type: ignore[arg-type]


class Client:
    """A sink where messages end."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.seen: list[object] = []

    def post(self, data: str | bytes, lane: object) -> None:
        self.seen.append(data if lane is None else (data, lane))

    def message(self, data: str | bytes) -> None:
        self.seen.append(data)

    def closed(self, code: int, reason: str, was_clean: bool) -> None: ...


class Passing:
    """A relay that can also keep what it gets."""

    def __init__(self, port: Port) -> None:
        self.port = port
        self.kept: list[object] | None = None

    def onward(self) -> Port | None:
        return self.port if self.kept is None else None

    def message(self, data: str | bytes) -> None:
        if self.kept is None:
            self.port.send(data)
        else:
            self.kept.append(data)

    def closed(self, code: int, reason: str, was_clean: bool) -> None: ...


class Held:
    held = True

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def hold(self, release: Callable[[], None], lost: Callable[[], None] | None = None) -> None:
        self.waiting.append(release)

    def hold_message(self, receiver: WebSocket, data: str | bytes) -> None:
        self.waiting.append(lambda: receiver.sink.message(data))

    def dispatch(self, event: Callable[[], object], /) -> None: ...
    def attach(self, ws: object) -> None: ...
    def detach(self, ws: object) -> None: ...
    def started(self, timer: object) -> None: ...
    def stopped(self, timer: object) -> None: ...


def end(sink: object, owner: Owner | None = None) -> WebSocket:
    """An object's end whose messages go to `sink`."""
    far, near = WebSocketPair()
    adopt(near, Client(Server()), owner)
    take(far, sink)  # type: ignore[arg-type]
    return near


def relayed(client: Client) -> tuple[WebSocket, Passing]:
    far, near = WebSocketPair()
    take(far, client)
    passing = Passing(take(near, client))
    return end(passing), passing


def test_ends_of_one_hub_are_spoken_to_together_through_their_relays() -> None:
    server = Server()
    one, two = Client(server), Client(server)
    crowd = Crowd([end(one), relayed(two)[0]])
    crowd.send("a")
    crowd.send("b", "lane")
    assert one.seen == two.seen == [("together", "a", None), ("together", "b", "lane")]
    assert server.groups == 1


def test_a_relay_that_stops_to_pass_on_is_noticed() -> None:
    client = Client(Server())
    ws, passing = relayed(client)
    crowd = Crowd([ws])
    crowd.send("a")
    passing.kept = []
    rerouted()
    crowd.send("b")
    passing.kept, kept = None, passing.kept
    rerouted()
    crowd.send("c")
    assert kept == ["b"]
    assert client.seen == [("together", "a", None), ("together", "c", None)]


def test_one_end_can_be_left_out() -> None:
    server = Server()
    clients = [Client(server), Client(server)]
    ends = [end(client) for client in clients]
    Crowd(ends).send("a", "lane", but=ends[0])
    assert [client.seen for client in clients] == [[], [("a", "lane")]]


def test_the_output_gate_holds_a_crowd_as_it_holds_a_socket() -> None:
    owner, client = Held(), Client(Server())
    Crowd([end(client, owner)]).send("a")
    assert client.seen == []
    owner.waiting[0]()
    assert client.seen == [("together", "a", None)]


def test_closed_ends_and_an_empty_crowd_are_told_nothing() -> None:
    client = Client(Server())
    ws = end(client)
    ws.close(1000)
    Crowd([ws]).send("a")
    Crowd([]).send("a")
    assert client.seen == []
