from __future__ import annotations

import base64

import pytest

from durable_objects.realtime.core.access import admit, admit_server, bearer, choose_subprotocol, credentials
from durable_objects.realtime.core.codes import Code, RealtimeError
from durable_objects.realtime.core.settings import RealtimeSettings

OPEN = RealtimeSettings(project="demo")
KEYED = RealtimeSettings(project="demo", public_keys=("pk_1",), secret_keys=("sk_1",))


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["aerostack-key.k", "aerostack-token.t", "aerostack-v1"], "aerostack-v1"),
        (["aerostack-key.k"], "aerostack-key.k"),
        (["aerostack-v1"], "aerostack-v1"),
        (["something", "else"], "something"),
        ([], None),
    ],
)
def test_the_subprotocol_is_one_that_was_offered(offered: list[str], chosen: str | None):
    assert choose_subprotocol(offered) == chosen


def test_without_keys_everybody_is_admitted():
    assert admit(credentials(), OPEN) == "open"
    assert admit(credentials(keys=["whatever"]), OPEN) == "open"


@pytest.mark.parametrize(
    ("given", "role"),
    [
        (credentials(subprotocols=["aerostack-key.pk_1", "aerostack-v1"]), "public"),
        (credentials(subprotocols=["aerostack-key." + base64.b64encode(b"pk_1").decode()]), "public"),
        (
            credentials(subprotocols=["aerostack-key." + base64.urlsafe_b64encode(b"pk_1").decode().strip("=")]),
            "public",
        ),
        (credentials(keys=["pk_1"]), "public"),
        (credentials(keys=["sk_1"]), "secret"),
        (credentials(tokens=["pk_1"]), "public"),
        (credentials(keys=["pk_1"], tokens=["a.user.token"]), "public"),
        (credentials(subprotocols=["aerostack-token.sk_1"]), "secret"),
    ],
)
def test_a_key_is_found_wherever_clients_put_it(given: object, role: str):
    assert admit(given, KEYED) == role  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (credentials(), Code.UNAUTHORIZED),
        (credentials(keys=["", None]), Code.UNAUTHORIZED),
        (credentials(keys=["pk_2"]), Code.UNAUTHORIZED),
        (credentials(keys=["clé"]), Code.UNAUTHORIZED),
        (credentials(tokens=["a.b.c"]), Code.TOKEN_NOT_VERIFIED),
    ],
)
def test_with_keys_nobody_else_is_admitted(given: object, code: Code):
    with pytest.raises(RealtimeError) as caught:
        admit(given, KEYED)  # type: ignore[arg-type]
    assert caught.value.code is code
    assert code.status == 401


def server(key: str | None, settings: RealtimeSettings = KEYED, **where: str | None) -> Code | None:
    place = {"origin": None, "host": "localhost:8787", "fetch_site": None} | where
    try:
        admit_server(credentials(keys=[key]), settings, **place)  # type: ignore[arg-type]
    except RealtimeError as error:
        return error.code
    return None


def test_the_server_api_takes_secret_keys_only():
    assert server("sk_1") is None
    assert server("pk_1") is Code.FORBIDDEN
    assert server("pk_2") is Code.UNAUTHORIZED
    assert server(None) is Code.UNAUTHORIZED


@pytest.mark.parametrize(
    ("where", "allowed"),
    [
        ({}, True),
        ({"origin": "http://localhost:8787"}, True),
        ({"origin": "http://127.0.0.1:8787", "host": "127.0.0.1:8787"}, True),
        ({"origin": "http://localhost:3000"}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://evil.example:8787", "host": "evil.example:8787"}, False),
        ({"fetch_site": "cross-site"}, False),
        ({"host": "internal"}, True),
    ],
)
def test_an_open_server_api_refuses_pages_of_other_origins(where: dict[str, str], allowed: bool):
    assert server(None, OPEN, **where) is (None if allowed else Code.CROSS_SITE)


@pytest.mark.parametrize(
    ("header", "token"), [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Basic abc", None), (None, None)]
)
def test_a_bearer_token_is_read_from_its_header(header: str | None, token: str | None):
    assert bearer(header) == token
