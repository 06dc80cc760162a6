"""What older compatibility dates change for `accept()`ed sockets."""

from __future__ import annotations

from typing import Any

import pytest

from workers.compat import ambient
from workers.compat.ambient import Ambient, Env
from workers.compat.lacking import AUTO_REPLY, BINARY_TYPE, DATED, lacks
from workers.compat.websocket import BlobMessage, WebSocketPair, take
from workers.runtime.config.compat_dates import FLAGS


class Client:
    def __init__(self) -> None:
        self.closes: list[tuple[int, str, bool]] = []

    def message(self, data: str | bytes) -> None: ...
    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        self.closes.append((code, reason, was_clean))


def _worker(missing: frozenset[str]) -> Ambient:
    async def fetch(request: Any) -> Any:
        raise AssertionError

    return Ambient(Env({}), lambda awaitable: None, fetch, lacks=missing)


def _converse() -> tuple[Any, Client, list[Any]]:
    near, far = WebSocketPair()
    events: list[Any] = []
    near.addEventListener("message", events.append)
    near.addEventListener("close", lambda event: events.append((event.code, near.readyState)))
    near.accept()
    client = Client()
    port = take(far, client)
    port.send(b"bytes")
    port.close(4001, "bye")
    return near, client, events


@pytest.mark.parametrize("has", [True, False])
def test_binary_events_are_blobs_since_a_date(has: bool):
    with ambient.enter(_worker(frozenset() if has else frozenset({BINARY_TYPE}))):
        near, _client, events = _converse()
    assert near.binaryType == ("blob" if has else "arraybuffer")
    assert isinstance(events[0].data, BlobMessage) is has
    assert bytes(events[0].data) == b"bytes"


@pytest.mark.parametrize("has", [True, False])
def test_a_close_is_answered_since_a_date(has: bool):
    with ambient.enter(_worker(frozenset() if has else frozenset({AUTO_REPLY}))):
        near, client, events = _converse()
        assert events[1] == (4001, 3 if has else 2)
        assert client.closes == ([(4001, "bye", True)] if has else [])
        near.close(4002, "own")
    assert client.closes == [(4001, "bye", True) if has else (4002, "own", True)]
    assert near.readyState == 3


def test_a_worker_without_gaps_costs_nothing_and_leaves_none():
    with ambient.enter(_worker(DATED)):
        assert lacks.get() == DATED
        with ambient.enter(_worker(frozenset({AUTO_REPLY}))):
            assert lacks.get() == {AUTO_REPLY}
        assert lacks.get() == DATED
    assert lacks.get() == frozenset()


def test_the_names_are_those_of_the_flags():
    assert set(FLAGS) >= DATED
