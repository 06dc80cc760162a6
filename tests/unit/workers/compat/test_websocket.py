from __future__ import annotations

import asyncio
from typing import Any

import pytest

from workers.compat.proxies import JsException, JsTypeError, create_proxy
from workers.compat.websocket import BinaryMessage, WebSocketPair, adopt, current_owner, take


class Recorder:
    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.closes: list[tuple[int, str, bool]] = []

    def message(self, data: str | bytes) -> None:
        self.messages.append(data)

    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        self.closes.append((code, reason, was_clean))


class Gate:
    """An owner whose writes are pending until `open`."""

    def __init__(self) -> None:
        self.held = False
        self.waiting: list[Any] = []
        self.accepted: set[Any] = set()

    def hold(self, release: Any, lost: Any = None) -> None:
        self.waiting.append(release)

    def hold_message(self, receiver: Any, data: Any) -> None:
        self.waiting.append(lambda: receiver.sink.message(data))

    def dispatch(self, event: Any, /) -> None:
        event()

    def attach(self, ws: Any) -> None:
        self.accepted.add(ws)

    def detach(self, ws: Any) -> None:
        self.accepted.discard(ws)

    def started(self, timer: Any) -> None: ...
    def stopped(self, timer: Any) -> None: ...

    def open(self) -> None:
        self.held = False
        for release in self.waiting:
            release()


def joined() -> tuple[Any, Any, Any, Recorder]:
    """Return (client end, server end taken by nobody, port of the client end, its sink)."""
    client, server = WebSocketPair()
    sink = Recorder()
    return client, server, take(client, sink), sink


def test_a_pair_is_reached_in_every_spelling():
    pair = WebSocketPair.new()
    assert list(pair) == pair.object_values() == [pair[0], pair["1"]] == [getattr(pair, "0"), getattr(pair, "1")]


def test_the_very_object_that_was_sent_arrives():
    _client, server, _port, sink = joined()
    adopt(server, Recorder(), None)
    text, data = "a" * 1000, b"b" * 1000
    server.send(text)
    server.send(data)
    assert sink.messages[0] is text
    assert sink.messages[1] is data


def test_frames_wait_for_whoever_takes_an_end():
    client, server = WebSocketPair()
    adopt(server, Recorder(), None)
    server.send("early")
    server.close(1000, "bye")
    sink = Recorder()
    take(client, sink)
    assert sink.messages == ["early"]
    assert sink.closes == [(1000, "bye", True)]


def test_an_end_is_taken_or_accepted_once():
    client, server, _port, _sink = joined()
    with pytest.raises(JsTypeError):
        take(client, Recorder())
    with pytest.raises(JsTypeError):
        client.accept()
    adopt(server, Recorder(), None)
    with pytest.raises(JsTypeError, match="after enabling hibernation"):
        server.accept()


async def test_listeners_hear_messages_after_the_turn_that_added_them():
    _client, server, port, _sink = joined()
    port.send("before accept")
    heard: list[Any] = []
    server.accept()
    server.addEventListener("message", lambda event: heard.append(event.data))
    assert heard == []
    port.send("after")
    await asyncio.sleep(0)
    assert heard == ["before accept", "after"]


async def test_a_proxy_can_be_removed_again():
    _client, server, port, _sink = joined()
    heard: list[Any] = []
    listener = heard.append
    server.accept()
    server.addEventListener("message", create_proxy(listener))
    server.addEventListener("message", create_proxy(listener))
    server.onmessage = lambda event: heard.append("property")
    port.send("x")
    await asyncio.sleep(0)
    assert len(heard) == 2
    server.removeEventListener("message", create_proxy(listener))
    port.send("y")
    await asyncio.sleep(0)
    assert heard[2:] == ["property"]


async def test_a_listener_may_be_a_coroutine_and_its_failure_is_logged(caplog: Any):
    _client, server, port, sink = joined()

    async def listener(event: Any) -> None:
        await asyncio.sleep(0)
        server.send(event.data)
        raise ValueError("listener failed")

    server.accept()
    server.addEventListener("message", listener)
    port.send("echo")
    for _ in range(5):
        await asyncio.sleep(0)
    assert sink.messages == ["echo"]
    assert "a WebSocket listener failed" in caplog.text


async def test_binary_data_is_a_blob_unless_a_buffer_is_asked_for():
    _client, server, port, _sink = joined()
    events: list[Any] = []
    server.accept()
    server.addEventListener("message", events.append)
    port.send(b"ab")
    await asyncio.sleep(0)
    assert await events[0].data.text() == "ab"
    assert await events[0].data.arrayBuffer() == b"ab"
    assert events[0].data.size == 2
    server.binaryType = "arraybuffer"
    port.send(b"cd")
    await asyncio.sleep(0)
    assert type(events[1].data) is BinaryMessage
    assert events[1].data.to_py() == memoryview(b"cd")
    assert events[1].data.to_bytes() == b"cd"


async def test_an_accepted_end_answers_a_close_by_itself():
    _client, server, port, sink = joined()
    closes: list[Any] = []
    server.accept()
    server.addEventListener("close", lambda event: closes.append((event.code, event.reason, server.readyState)))
    port.close(4002, "q")
    await asyncio.sleep(0)
    assert closes == [(4002, "q", 3)]
    assert sink.closes == [(4002, "q", True)]


async def test_a_lost_connection_is_no_clean_close():
    _client, server, port, sink = joined()
    closes: list[Any] = []
    server.accept()
    server.addEventListener("close", lambda event: closes.append((event.code, event.wasClean, server.readyState)))
    port.abort()
    port.send("ignored")
    await asyncio.sleep(0)
    assert closes == [(1006, False, 1)]
    server.send("into the void")
    server.close()
    assert (sink.messages, sink.closes) == ([], [])


async def test_a_protocol_error_is_an_error_event():
    _client, server, port, _sink = joined()
    errors: list[str] = []
    server.accept()
    server.addEventListener("error", lambda event: errors.append(event.message))
    port.fail("too large")
    port.close()
    await asyncio.sleep(0)
    assert errors == ["too large"]


def test_what_is_not_accepted_cannot_send():
    _client, server = WebSocketPair()
    for attempt in (lambda: server.send("x"), server.close):
        with pytest.raises(JsTypeError, match=r"You must call one of accept\(\)"):
            attempt()


def test_nothing_is_sent_after_close_and_a_second_close_is_ignored():
    _client, server, _port, sink = joined()
    adopt(server, Recorder(), None)
    server.close(1000, "first")
    server.close(1001, "second")
    with pytest.raises(JsTypeError, match=r"Can't call WebSocket send\(\) after close\(\)"):
        server.send("x")
    assert sink.closes == [(1000, "first", True)]
    assert server.readyState == 2


@pytest.mark.parametrize("code", [999, 1004, 1005, 1006, 1015, 5000, 0, "x"])
def test_codes_that_may_not_be_sent_are_refused(code: object):
    _client, server, _port, sink = joined()
    adopt(server, Recorder(), None)
    with pytest.raises(JsException, match="Invalid WebSocket close code") as caught:
        server.close(code)
    assert (caught.value.name, caught.value.code) == ("InvalidAccessError", 15)
    assert sink.closes == []


def test_reasons_are_limited_and_need_a_code():
    _client, server, _port, sink = joined()
    adopt(server, Recorder(), None)
    with pytest.raises(JsException, match="must also specify a code"):
        server.close(None, "why")
    with pytest.raises(JsException, match="not be longer than 123 bytes"):
        server.close(4000, "é" * 62)
    server.close("4001", "s")
    assert sink.closes == [(4001, "s", True)]


def test_other_values_are_sent_as_their_text():
    _client, server, _port, sink = joined()
    adopt(server, Recorder(), None)
    for value in (5, 1.5, True, [1, 2], {"a": 1}, memoryview(b"m"), bytearray(b"b"), BinaryMessage(b"x")):
        server.send(value)
    assert sink.messages == ["5", "1.5", "true", "1,2", "[object Object]", b"m", b"b", b"x"]


def test_attachments_are_copies_and_limited():
    _client, server = WebSocketPair()
    assert server.deserializeAttachment() is None
    value = {"list": [1]}
    server.serializeAttachment(value)
    value["list"].append(2)
    assert server.deserializeAttachment() == {"list": [1]}
    assert server.deserializeAttachment() is not server.deserializeAttachment()
    with pytest.raises(JsException, match="'attachment' was 16391 bytes"):
        server.serializeAttachment("x" * 16385)
    assert server.deserializeAttachment() == {"list": [1]}


def test_output_waits_for_the_gate_of_its_owner():
    _client, server, _port, sink = joined()
    gate = Gate()
    adopt(server, Recorder(), gate)
    gate.held = True
    server.send("held")
    server.close(1000, "held too")
    assert (sink.messages, sink.closes) == ([], [])
    gate.open()
    assert (sink.messages, sink.closes) == (["held"], [(1000, "held too", True)])


def test_an_accepted_end_is_a_reference_of_its_owner_while_it_lives():
    gate = Gate()
    token = current_owner.set(gate)
    _client, server, port, _sink = joined()
    server.accept()
    current_owner.reset(token)
    assert gate.accepted == {server}
    port.close(1000, "")
    assert gate.accepted == set()


def test_an_end_that_changes_hands_keeps_the_connection_and_forgets_what_was_hung_on_it():
    _client, server, port, sink = joined()
    inner = Recorder()
    adopt(server, inner, None)
    server.nickname = "x"
    server.serializeAttachment("kept")
    server.forget()
    gate = Gate()
    gate.held = True
    server.rejoin(gate)
    assert not hasattr(server, "nickname")
    assert server.deserializeAttachment() == "kept"
    port.send("in")
    server.send("out")
    assert (inner.messages, sink.messages) == (["in"], [])
    gate.open()
    assert sink.messages == ["out"]
