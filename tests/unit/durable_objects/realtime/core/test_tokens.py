from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from durable_objects.realtime.core.codes import Code, RealtimeError
from durable_objects.realtime.core.settings import JwtSettings
from durable_objects.realtime.core.tokens import (
    KeyUnknown,
    keys_of_jwks,
    keys_of_pem,
    keys_of_secret,
    verify,
)

NOW = 1_700_000_000
SECRET = "s" * 64
SETTINGS = JwtSettings(secrets=(SECRET,), leeway_s=10)
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEYS = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
}
GOOD = {"sub": "ann", "exp": NOW + 60}


def pem(key: Any) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def jwk(key: Any, algorithm: str, **members: object) -> dict[str, Any]:
    of_kind = jwt.algorithms.RSAAlgorithm if algorithm[:2] in ("RS", "PS") else jwt.algorithms.ECAlgorithm
    return {**json.loads(of_kind.to_jwk(key.public_key())), **members}


def unsafe(header: dict[str, Any], claims: object, signature: bytes = b"") -> str:
    """Write a token by hand, with whatever header and signature."""
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def refused(token: str, keys: Any, settings: JwtSettings = SETTINGS) -> RealtimeError:
    with pytest.raises(RealtimeError) as caught:
        verify(token, keys, settings, NOW)
    return caught.value


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_shared_secret_verifies(algorithm: str):
    found = verify(jwt.encode(GOOD, SECRET, algorithm), keys_of_secret(SECRET), SETTINGS, NOW)
    assert (found.user_id, found.expires_s, found.claims) == ("ann", NOW + 70, GOOD)


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
def test_an_rsa_key_verifies(algorithm: str):
    assert verify(jwt.encode(GOOD, RSA_KEY, algorithm), keys_of_pem(pem(RSA_KEY)), SETTINGS, NOW).user_id == "ann"


@pytest.mark.parametrize("algorithm", EC_KEYS)
def test_an_elliptic_curve_key_verifies_its_own_algorithm_only(algorithm: str):
    key = EC_KEYS[algorithm]
    assert verify(jwt.encode(GOOD, key, algorithm), keys_of_pem(pem(key)), SETTINGS, NOW).user_id == "ann"
    for other, other_key in EC_KEYS.items():
        if other != algorithm:
            refused(jwt.encode(GOOD, other_key, other), keys_of_pem(pem(key)))


def test_a_key_set_is_searched_by_the_key_s_name():
    keys = keys_of_jwks(
        json.dumps(
            {
                "keys": [
                    jwk(EC_KEYS["ES256"], "ES256", kid="a", use="sig"),
                    jwk(RSA_KEY, "RS256", kid="b", alg="RS256"),
                    jwk(EC_KEYS["ES384"], "ES384", kid="c", use="enc"),
                    {"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": "d"},
                    {"kty": "RSA", "n": "!", "e": "AQAB"},
                    {"kty": "oct", "k": "c2hvcnQ", "kid": "e"},
                    "nonsense",
                ]
            }
        )
    )
    assert [(key.kid, sorted(key.algorithms)) for key in keys] == [("a", ["ES256"]), ("b", ["RS256"])]
    good = jwt.encode(GOOD, EC_KEYS["ES256"], "ES256", headers={"kid": "a"})
    assert verify(good, keys, SETTINGS, NOW).user_id == "ann"
    unknown = jwt.encode(GOOD, EC_KEYS["ES256"], "ES256", headers={"kid": "z"})
    assert isinstance(refused(unknown, keys), KeyUnknown)
    wrong = jwt.encode(GOOD, RSA_KEY, "RS512", headers={"kid": "b"})
    assert isinstance(refused(wrong, keys), KeyUnknown)


def test_a_public_key_is_no_shared_secret():
    """The classic confusion: sign with HMAC, using the public key's own text as the secret."""
    public = pem(RSA_KEY).encode()
    header, claims = {"alg": "HS256", "typ": "JWT"}, GOOD
    body = unsafe(header, claims).rpartition(".")[0]
    forged = f"{body}.{base64.urlsafe_b64encode(hmac.digest(public, body.encode(), 'sha256')).decode().rstrip('=')}"
    assert isinstance(refused(forged, keys_of_pem(pem(RSA_KEY))), KeyUnknown)
    assert isinstance(refused(forged, [*keys_of_pem(pem(RSA_KEY)), *keys_of_secret(SECRET)]), RealtimeError)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS1", "EdDSA", "", None, 5, ["HS256"]])
def test_no_algorithm_and_foreign_ones_are_refused(algorithm: object):
    assert refused(unsafe({"alg": algorithm}, GOOD), keys_of_secret(SECRET)).code is Code.TOKEN_NOT_VERIFIED


def test_only_configured_algorithms_are_accepted():
    settings = replace(SETTINGS, algorithms=("HS512",))
    refused(jwt.encode(GOOD, SECRET, "HS256"), keys_of_secret(SECRET), settings)
    assert verify(jwt.encode(GOOD, SECRET, "HS512"), keys_of_secret(SECRET), settings, NOW).user_id == "ann"


def test_a_short_secret_is_for_shorter_algorithms_only():
    with pytest.raises(ValueError, match="31 bytes, but needs at least 32"):
        keys_of_secret("x" * 31)
    assert sorted(keys_of_secret("x" * 48)[0].algorithms) == ["HS256", "HS384"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"exp": NOW - 10}, Code.TOKEN_EXPIRED),
        ({"exp": NOW - 11}, Code.TOKEN_EXPIRED),
        ({"exp": None}, Code.TOKEN_NOT_VERIFIED),
        ({"exp": "soon"}, Code.TOKEN_NOT_VERIFIED),
        ({"exp": True}, Code.TOKEN_NOT_VERIFIED),
        ({"nbf": NOW + 11}, Code.TOKEN_NOT_VERIFIED),
        ({"nbf": "later"}, Code.TOKEN_NOT_VERIFIED),
        ({"iat": NOW + 11}, Code.TOKEN_NOT_VERIFIED),
        ({"aud": "somebody"}, Code.TOKEN_NOT_VERIFIED),
        ({"aud": 7}, Code.TOKEN_NOT_VERIFIED),
        ({"note": "x" * 5_000}, Code.TOKEN_NOT_VERIFIED),
    ],
)
def test_claims_that_do_not_hold(change: dict[str, Any], code: Code):
    claims = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    token = unsafe_signed(claims)
    assert refused(token, keys_of_secret(SECRET)).code is code


def unsafe_signed(claims: object) -> str:
    return jwt.api_jws.encode(json.dumps(claims).encode(), SECRET, "HS256")


@pytest.mark.parametrize(
    "change", [{"exp": NOW - 9}, {"nbf": NOW + 10}, {"iat": NOW + 10}, {"exp": NOW + 0.5}, {"aud": []}]
)
def test_claims_within_the_leeway_hold(change: dict[str, Any]):
    assert verify(unsafe_signed({**GOOD, **change}), keys_of_secret(SECRET), SETTINGS, NOW).user_id == "ann"


def test_a_token_that_never_expires_can_be_allowed():
    settings = replace(SETTINGS, require_exp=False)
    assert verify(unsafe_signed({"sub": "ann"}), keys_of_secret(SECRET), settings, NOW).expires_s is None


def test_audience_and_issuer_must_be_the_configured_ones():
    settings = replace(SETTINGS, audience=("us", "them"), issuer=("https://id.example",))
    keys = keys_of_secret(SECRET)
    good = {**GOOD, "iss": "https://id.example"}
    assert verify(unsafe_signed({**good, "aud": ["x", "us"]}), keys, settings, NOW).user_id == "ann"
    assert verify(unsafe_signed({**good, "aud": "them"}), keys, settings, NOW).user_id == "ann"
    for change in ({"aud": "x"}, {}, {"aud": ["x"]}, {"aud": "us", "iss": "https://evil.example"}):
        refused(unsafe_signed({**good, **change}), keys, settings)


@pytest.mark.parametrize(("value", "user"), [("ann", "ann"), (7, "7"), ("", None), (True, None), ([1], None)])
def test_the_user_is_the_claim_that_is_named(value: object, user: str | None):
    settings = replace(SETTINGS, user_claim="uid")
    assert verify(unsafe_signed({**GOOD, "uid": value}), keys_of_secret(SECRET), settings, NOW).user_id == user


@pytest.mark.parametrize(
    "make",
    [
        lambda: "",
        lambda: "a",
        lambda: "a.b",
        lambda: "a.b.c.d",
        lambda: "é.b.c",
        lambda: "x" * 20_000,
        lambda: unsafe({"alg": "HS256", "crit": ["b64"], "b64": False}, GOOD),
        lambda: unsafe({"alg": "HS256"}, GOOD, b"x" * 32),
        lambda: jwt.encode(GOOD, SECRET, "HS256")[:-2] + "AA",
        lambda: jwt.api_jws.encode(b"[1]", SECRET, "HS256"),
        lambda: jwt.api_jws.encode(b"\xff", SECRET, "HS256"),
        lambda: jwt.api_jws.encode(b'{"exp": NaN}', SECRET, "HS256"),
    ],
)
def test_what_is_no_good_token_is_refused_without_being_quoted(make: Callable[[], str]):
    token = make()
    error = refused(token, keys_of_secret(SECRET))
    assert error.code is Code.TOKEN_NOT_VERIFIED
    assert not token or token not in error.message or len(token) < 8


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"keys": 5}', "no json", '{"keys": {}}'])
def test_what_is_no_key_set_is_told(text: str):
    with pytest.raises(ValueError, match="key set"):
        keys_of_jwks(text)


def test_keys_of_unknown_kinds_and_weak_ones_are_told():
    with pytest.raises(ValueError, match="not a public key"):
        keys_of_pem("-----BEGIN PUBLIC KEY-----")
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    with pytest.raises(ValueError, match="1024 bits"):
        keys_of_pem(pem(weak))
    with pytest.raises(ValueError, match="curves"):
        keys_of_pem(pem(ec.generate_private_key(ec.SECP256K1())))
