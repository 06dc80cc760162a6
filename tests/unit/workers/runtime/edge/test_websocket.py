from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest

from workers.compat.proxies import JsTypeError
from workers.compat.websocket import WebSocket, WebSocketPair, take
from workers.runtime.edge.outbox import Outbox
from workers.runtime.edge.websocket import Connection, accept_key


class FakeTransport(asyncio.Transport):
    """Collects what is written; the test plays the network."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high

    def is_reading(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Peer:
    """The Worker's side: what arrived at its end."""

    def __init__(self, server: WebSocket) -> None:
        self.seen: list[object] = []
        self.port = take(server, self)

    def message(self, data: str | bytes) -> None:
        self.seen.append(data)

    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        self.seen.append((code, reason, was_clean))

    def failed(self, message: str) -> None:
        self.seen.append(message)


def connect(outbox: Outbox) -> tuple[Connection, FakeTransport, Peer]:
    client, server = WebSocketPair()
    peer = Peer(server)
    connection, transport = Connection(outbox, client), FakeTransport()
    connection.start(transport, b"")
    return connection, transport, peer


def masked(opcode: int, payload: bytes) -> bytes:
    return bytes((0x80 | opcode, 0x80 | len(payload))) + b"\0\0\0\0" + payload


async def turn() -> None:
    """Let what was scheduled for the end of this loop turn happen."""
    await asyncio.sleep(0)


@pytest.fixture
async def outbox() -> Outbox:
    return Outbox(asyncio.get_running_loop())


def test_the_accept_key_is_that_of_the_rfc() -> None:
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


async def test_the_frames_of_one_turn_leave_in_one_write(outbox: Outbox) -> None:
    _, transport, peer = connect(outbox)
    peer.port.send("a")
    peer.port.send(b"b")
    assert transport.writes == []
    await turn()
    assert transport.writes == [b"\x81\x01a\x82\x01b"]


async def test_sockets_that_get_the_same_sequence_share_one_buffer(outbox: Outbox) -> None:
    ends = [connect(outbox) for _ in range(3)]
    for text in ("first", "second"):
        for _, _, peer in ends:
            peer.port.send(text)
    ends[2][2].port.send("for the third alone")
    await turn()
    written = [transport.writes for _, transport, _ in ends]
    assert written[0] == written[1] == [b"\x81\x05first\x81\x06second"]
    assert written[0][0] is not written[2][0]
    assert written[2] == [b"\x81\x05first\x81\x06second\x81\x13for the third alone"]


async def test_a_message_is_encoded_once_for_all_sockets(outbox: Outbox) -> None:
    class Counted(str):
        encoded = 0

        def encode(self, *arguments: Any) -> bytes:  # type: ignore[override]
            Counted.encoded += 1
            return str.encode(self, *arguments)

    one, two = Counted("spelling one"), Counted("spelling two")
    for _, _, peer in [connect(outbox) for _ in range(50)]:
        peer.port.send(one)
        peer.port.send(two)
    await turn()
    assert Counted.encoded == 2


async def test_half_of_a_surrogate_pair_is_sent_as_a_replacement_character(outbox: Outbox) -> None:
    _, transport, peer = connect(outbox)
    peer.port.send("a\ud800b\ud83d\ude00")
    await turn()
    assert transport.writes[0][2:].decode() == "a\ufffdb\U0001f600"


async def test_messages_pings_and_closes_of_the_client_are_carried_over(outbox: Outbox) -> None:
    connection, transport, peer = connect(outbox)
    connection.data_received(masked(1, b"hi") + masked(2, b"\x00") + masked(9, b"ping") + masked(8, b"\x0f\xa0bye"))
    assert peer.seen == ["hi", b"\x00", (4000, "bye", True)]
    peer.port.close(4001, "me too")
    await turn()
    assert b"".join(transport.writes) == b"\x8a\x04ping" + b"\x88\x08" + struct.pack("!H", 4001) + b"me too"
    assert transport.closed
    connection.data_received(masked(1, b"after the end"))
    assert len(peer.seen) == 3


async def test_a_close_of_the_worker_waits_for_the_clients_answer(outbox: Outbox) -> None:
    connection, transport, peer = connect(outbox)
    peer.port.send("last")
    peer.port.close(1000, "")
    assert b"".join(transport.writes) == b"\x81\x04last\x88\x02\x03\xe8"
    assert not transport.closed
    connection.data_received(masked(8, b"\x03\xe8"))
    assert transport.closed
    assert peer.seen == [(1000, "", True)]


async def test_a_close_without_a_code_stays_without_one(outbox: Outbox) -> None:
    connection, transport, peer = connect(outbox)
    connection.data_received(masked(8, b""))
    assert peer.seen == [(1005, "", True)]
    peer.port.close()
    assert transport.writes == [b"\x88\x00"]


async def test_an_unclean_close_of_the_worker_cuts_the_connection_without_a_close_frame(outbox: Outbox) -> None:
    connection, transport, peer = connect(outbox)
    connection.closed(1006, "", False)
    assert (transport.writes, transport.closed) == ([], True)
    connection.connection_lost(None)
    assert peer.seen == []


async def test_a_lost_connection_is_an_abnormal_close_once(outbox: Outbox) -> None:
    connection, _, peer = connect(outbox)
    assert outbox.connections == {connection}
    connection.connection_lost(ConnectionResetError())
    connection.connection_lost(None)
    assert [item[0] for item in peer.seen if isinstance(item, tuple)] == [1006]
    assert outbox.connections == set()
    peer.port.send("into the void")
    await turn()


async def test_a_broken_frame_fails_the_peer_and_tells_the_client(outbox: Outbox) -> None:
    connection, transport, peer = connect(outbox)
    connection.data_received(masked(1, b"ok") + masked(1, b"\xff"))
    assert peer.seen[0] == "ok"
    assert str(peer.seen[1]).startswith("WebSocket protocol error; protocolError.statusCode = 1007")
    assert transport.writes[0][:4] == b"\x88\x1b" + struct.pack("!H", 1007)


async def test_a_slow_client_gets_what_waited_when_it_reads_on(outbox: Outbox) -> None:
    connection, transport, peer = connect(outbox)
    connection.pause_writing()
    for text in ("a", "b"):
        peer.port.send(text)
        await turn()
    assert transport.writes == []
    connection.resume_writing()
    assert transport.writes == [b"\x81\x01a\x81\x01b"]


async def test_a_close_waits_behind_the_backlog_of_a_slow_client(outbox: Outbox) -> None:
    connection, transport, peer = connect(outbox)
    connection.pause_writing()
    peer.port.send("a")
    peer.port.close(1000, "")
    connection.data_received(masked(8, b"\x03\xe8"))
    assert (transport.writes, transport.closed) == ([], False)
    connection.resume_writing()
    assert (transport.writes, transport.closed) == ([b"\x81\x01a\x88\x02\x03\xe8"], True)


async def test_a_client_that_never_reads_is_dropped_with_1013_and_keeps_no_memory(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    connection, transport, peer = connect(outbox)
    connection.pause_writing()
    big = "x" * 1_000_000
    for _ in range(10):
        peer.port.send(big)
        await turn()
    assert transport.closed
    assert len(transport.writes) == 1
    assert transport.writes[0][2:4] == struct.pack("!H", 1013)
    assert [item[0] for item in peer.seen if isinstance(item, tuple)] == [1006]
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_one_large_message_to_a_slow_client_is_not_too_much(outbox: Outbox) -> None:
    connection, transport, peer = connect(outbox)
    connection.pause_writing()
    peer.port.send("x" * 20_000_000)
    await turn()
    assert not transport.closed
    connection.resume_writing()
    assert len(transport.writes[0]) == 20_000_010


async def test_messages_sent_before_the_handshake_answer_follow_it(outbox: Outbox) -> None:
    client, server = WebSocketPair()
    peer = Peer(server)
    peer.port.send("early")
    connection, transport = Connection(outbox, client), FakeTransport()
    transport.write(b"HTTP/1.1 101")
    connection.start(transport, masked(1, b"tail"))
    await turn()
    assert transport.writes == [b"HTTP/1.1 101", b"\x81\x05early"]
    assert peer.seen == ["tail"]


async def test_an_end_that_the_worker_accepted_itself_cannot_be_returned(outbox: Outbox) -> None:
    client, _ = WebSocketPair()
    client.accept()
    with pytest.raises(JsTypeError):
        Connection(outbox, client)
