"""JSON Web Tokens of end users: which keys may have signed one, and whether what it claims holds.

Every key knows the algorithms it is for, so the algorithm that a token names only chooses among keys and never how one
is used: a public RSA key is no HMAC secret, and "none" is no algorithm. Signatures are checked by PyJWT, imported when
the first key is read. Loading keys from files and addresses is not here, nor is the clock.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from durable_objects.realtime.core.codes import Code, RealtimeError
from durable_objects.realtime.core.protocol import dumps_ascii, loads
from durable_objects.realtime.core.settings import JwtSettings

__all__ = ["ALGORITHMS", "Key", "KeyUnknown", "Verified", "keys_of_jwks", "keys_of_pem", "keys_of_secret", "verify"]

ALGORITHMS: Final = (
    *("HS256", "HS384", "HS512"),
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512"),
)
"""Algorithms that can be verified."""

_MAX_TOKEN_BYTES = 16_384
_MAX_CLAIMS_BYTES = 4_096
_MIN_SECRET_BYTES: Mapping[str, int] = {"HS256": 32, "HS384": 48, "HS512": 64}
_MIN_RSA_BITS = 2048
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES: Mapping[str, str] = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_JWK_CURVES: Mapping[str, str] = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}


class KeyUnknown(RealtimeError):
    """No key at hand may have signed the token; keys loaded again could hold it."""

    def __init__(self) -> None:
        super().__init__(Code.TOKEN_NOT_VERIFIED, "the token is signed with a key that is not configured here")


@dataclass(frozen=True, slots=True)
class Key:
    """A key, its name if it has one, and the only algorithms it may be used with."""

    value: Any
    algorithms: frozenset[str]
    kid: str | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """What a good token says. Times are seconds since 1970."""

    claims: Mapping[str, Any]
    user_id: str | None
    expires_s: float | None


def verify(token: str, keys: Iterable[Key], settings: JwtSettings, now_s: float) -> Verified:
    """Check a token and return what it says.

    Raises:
        KeyUnknown: No key fits the token's header.
        RealtimeError: TOKEN_EXPIRED, or TOKEN_NOT_VERIFIED for anything else. Messages never quote the token.
    """
    if len(token) > _MAX_TOKEN_BYTES:
        raise _refused(f"it is longer than {_MAX_TOKEN_BYTES} bytes")
    header = _header(token)
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in (settings.algorithms or ALGORITHMS):
        raise _refused("its algorithm is not accepted here")
    if "crit" in header:
        raise _refused("it needs an extension that is not known here")
    fitting = [key for key in keys if algorithm in key.algorithms]
    if isinstance(kid, str):
        named = [key for key in fitting if key.kid == kid]
        fitting = named or [key for key in fitting if key.kid is None]
    if not fitting:
        raise KeyUnknown
    return _claims(_payload(token, algorithm, fitting), settings, now_s)


def keys_of_secret(secret: str) -> list[Key]:
    """Return the key that a shared secret is.

    Raises:
        ValueError: It is too short to be one.
    """
    value = secret.encode()
    fits = frozenset(name for name, size in _MIN_SECRET_BYTES.items() if len(value) >= size)
    if not fits:
        raise ValueError(f"a JWT secret has {len(value)} bytes, but needs at least {_MIN_SECRET_BYTES['HS256']}")
    return [Key(value, fits)]


def keys_of_pem(text: str) -> list[Key]:
    """Return the public key of a PEM text.

    Raises:
        ValueError: It is no public key of a kind that is used here.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("a JWT key is not a public key in PEM format") from error
    if isinstance(key, RSAPublicKey):
        _big_enough(key.key_size)
        return [Key(key, _RSA)]
    if isinstance(key, EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return [Key(key, frozenset({_CURVES[key.curve.name]}))]
    raise ValueError("a JWT key is neither an RSA key nor one on the curves P-256, P-384 and P-521")


def keys_of_jwks(text: str) -> list[Key]:
    """Return the usable keys of a JWK set; keys of other kinds and for encryption are passed over.

    Raises:
        ValueError: It is no JWK set.
    """
    try:
        found = loads(text)
    except ValueError as error:
        raise ValueError("the key set is not JSON") from error
    entries = cast("dict[str, Any]", found).get("keys") if isinstance(found, dict) else None
    if not isinstance(entries, list):
        raise ValueError('the key set is not an object {"keys": [...]}')
    return [key for entry in cast("list[Any]", entries) if (key := _key_of_jwk(entry)) is not None]


def _key_of_jwk(entry: Any) -> Key | None:
    if not isinstance(entry, dict):
        return None
    jwk = cast("dict[str, Any]", entry)
    kind, kid, operations = jwk.get("kty"), jwk.get("kid"), jwk.get("key_ops")
    if jwk.get("use", "sig") != "sig" or (isinstance(operations, list) and "verify" not in operations):
        return None
    if kind == "RSA":
        fits = _RSA
    elif kind == "EC":
        fits = frozenset({_JWK_CURVES.get(str(jwk.get("crv")), "")})
    elif kind == "oct":
        fits = frozenset({"HS256", "HS384", "HS512"})
    else:
        return None
    if "alg" in jwk:
        fits = fits & {str(jwk["alg"])}
    if not fits & frozenset(ALGORITHMS):
        return None
    from jwt.algorithms import ECAlgorithm, HMACAlgorithm, RSAAlgorithm
    from jwt.exceptions import InvalidKeyError

    try:
        if kind == "oct":
            secret = HMACAlgorithm.from_jwk(jwk)
            value: Any = secret
            fits = frozenset(name for name in fits if len(secret) >= _MIN_SECRET_BYTES[name])
        else:
            # Only the public half: a set that holds private keys by mistake still verifies and no more.
            public = {name: jwk[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in jwk}
            value = RSAAlgorithm.from_jwk(public) if kind == "RSA" else ECAlgorithm.from_jwk(public)
            if kind == "RSA":
                _big_enough(value.key_size)
    except (InvalidKeyError, ValueError, TypeError, KeyError):
        return None
    return Key(value, fits, kid if isinstance(kid, str) else None) if fits else None


def _big_enough(bits: int) -> None:
    if bits < _MIN_RSA_BITS:
        raise ValueError(f"an RSA key has {bits} bits, but needs at least {_MIN_RSA_BITS}")


def _header(token: str) -> dict[str, Any]:
    head, dot, rest = token.partition(".")
    if not dot or rest.count(".") != 1 or not token.isascii():
        raise _refused("it is not a JSON Web Token")
    try:
        found = loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)).decode())
    except ValueError as error:
        raise _refused("it is not a JSON Web Token") from error
    if not isinstance(found, dict):
        raise _refused("it is not a JSON Web Token")
    return cast("dict[str, Any]", found)


def _payload(token: str, algorithm: str, keys: Iterable[Key]) -> bytes:
    from jwt import PyJWS
    from jwt.exceptions import PyJWTError

    signatures = PyJWS(options={"enforce_minimum_key_length": True})
    for key in keys:
        try:
            return signatures.decode_complete(token, key=key.value, algorithms=[algorithm])["payload"]
        except (PyJWTError, ValueError, TypeError):
            continue
    raise _refused("its signature is wrong")


def _claims(payload: bytes, settings: JwtSettings, now_s: float) -> Verified:
    try:
        found = loads(payload.decode())
    except ValueError as error:
        raise _refused("its claims are not JSON") from error
    if not isinstance(found, dict):
        raise _refused("its claims are not an object")
    claims = cast("dict[str, Any]", found)
    if len(dumps_ascii(claims)) > _MAX_CLAIMS_BYTES:  # they are kept with every topic that the connection uses
        raise _refused(f"its claims take more than {_MAX_CLAIMS_BYTES} bytes")
    leeway = settings.leeway_s
    expires, begins, issued = (_time(claims, name) for name in ("exp", "nbf", "iat"))
    if expires is None and settings.require_exp:
        raise _refused("it does not say when it expires")
    if expires is not None and now_s >= expires + leeway:
        raise RealtimeError(Code.TOKEN_EXPIRED, "the token has expired")
    if begins is not None and now_s < begins - leeway:
        raise _refused("it is not valid yet")
    if issued is not None and now_s < issued - leeway:
        raise _refused("it was issued in the future")
    _meant_for_us(claims, settings)
    user = claims.get(settings.user_claim)
    user_id = user if isinstance(user, str) else str(user) if type(user) is int else None
    return Verified(claims, user_id or None, None if expires is None else expires + leeway)


def _meant_for_us(claims: Mapping[str, Any], settings: JwtSettings) -> None:
    audience = claims.get("aud", [])
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or not all(isinstance(name, str) for name in cast("list[Any]", named)):
        raise _refused("its audience is not a text or a list of texts")
    if settings.audience:
        if not set(settings.audience) & set(cast("list[str]", named)):
            raise _refused("it is meant for another audience")
    elif named:
        # RFC 7519 section 4.1.3: who is not named in an audience must refuse the token.
        raise _refused("it is meant for an audience, and none is configured here")
    if settings.issuer and claims.get("iss") not in settings.issuer:
        raise _refused("it comes from another issuer")


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _refused(f"its claim {name!r} is not a number")
    return float(value)


def _refused(why: str) -> RealtimeError:
    return RealtimeError(Code.TOKEN_NOT_VERIFIED, f"the token could not be verified: {why}")
