from __future__ import annotations

import pytest

from workers.runtime.edge.hosts import HostPolicy, is_loopback


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.9.9.9", "localhost", "::1", "[::1]", "app.localhost", "LOCALHOST"]
)
def test_loopback_addresses_are_known(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.0.1", "example.com", "localhost.example.com", ""])
def test_other_addresses_are_not_loopback(address: str) -> None:
    assert not is_loopback(address)


@pytest.mark.parametrize("header", ["localhost:8787", "127.0.0.1", "[::1]:8787", "dev.test:1", "DEV.test"])
def test_names_of_this_machine_are_answered(header: str) -> None:
    policy = HostPolicy(frozenset({"dev.test"}))
    assert policy.accepts_host(header)
    assert policy.accepts_host(header)


@pytest.mark.parametrize(
    "header", ["evil.com", "127.0.0.1.evil.com:8787", "localhost@evil.com", "", "a b", "localhost:x"]
)
def test_other_names_are_refused(header: str) -> None:
    assert not HostPolicy().accepts_host(header)


def test_a_public_bind_answers_to_any_name() -> None:
    policy = HostPolicy(everybody=True)
    assert policy.accepts_host("shop.example")
    assert not policy.accepts_host("no host at all")
    assert policy.accepts_origin("https://evil.com", "shop.example")


@pytest.mark.parametrize(
    ("origin", "accepted"),
    [
        (None, True),
        ("http://localhost:5173", True),
        ("http://127.0.0.1:8787", True),
        ("https://evil.com", False),
        ("null", False),
        ("http://[", False),
    ],
)
def test_pages_of_other_sites_may_not_open_websockets(origin: str | None, accepted: bool) -> None:
    assert HostPolicy().accepts_origin(origin, "127.0.0.1:8787") is accepted
