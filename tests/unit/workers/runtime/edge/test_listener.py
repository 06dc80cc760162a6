from __future__ import annotations

import socket

import pytest

from workers.runtime.edge.listener import BindError, Listener


def test_a_taken_port_is_named() -> None:
    first = Listener("127.0.0.1", 0)
    with pytest.raises(BindError, match=rf"^127\.0\.0\.1:{first.port} is already in use "):
        Listener("127.0.0.1", first.port)
    port = first.port
    first.close()
    again = Listener("127.0.0.1", port)
    again.close()


def test_a_connection_waits_while_no_server_accepts() -> None:
    listener = Listener("127.0.0.1", 0)
    for own in listener.duplicates():
        own.close()
    with socket.create_connection(("127.0.0.1", listener.port), timeout=5) as client:
        (taken,) = listener.duplicates()
        served, address = taken.accept()
        assert address == client.getsockname()
        served.close()
        taken.close()
    listener.close()


def test_all_addresses_of_a_name_have_one_port() -> None:
    listener = Listener("localhost", 0)
    duplicates = listener.duplicates()
    assert {own.getsockname()[1] for own in duplicates} == {listener.port}
    for own in duplicates:
        own.close()
    listener.close()


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(BindError, match=r"cannot listen on 192\.0\.2\.1:0"):
        Listener("192.0.2.1", 0)
