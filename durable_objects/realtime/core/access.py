"""Who may connect and who may call the server API: keys and tokens, and the verdict on them.

Keys arrive raw or base64-encoded in a subprotocol, in a query parameter or a header. Without configured keys everybody
is admitted; the operator binds such a server to loopback only. A key determines the project, so a connection's
`projectId` is only a name that it uses in topics. Tokens of end users are verified elsewhere; where that is not
configured, a token counts only when it is itself a configured key.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from durable_objects.realtime.core.codes import Code, RealtimeError
from durable_objects.realtime.core.settings import RealtimeSettings

__all__ = [
    "Action",
    "Admission",
    "Connection",
    "Credentials",
    "Role",
    "admit",
    "admit_server",
    "bearer",
    "choose_subprotocol",
    "credentials",
    "key_role",
    "local_origin",
]

Role = Literal["open", "public", "secret", "jwt"]
Action = Literal["subscribe", "publish", "track", "history", "cancel"]

_KEY = "aerostack-key."
_TOKEN = "aerostack-token."
_VERSIONS = ("flarelet-v1.msgpack", "flarelet-v1", "aerostack-v1")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "internal"})


@dataclass(frozen=True, slots=True)
class Connection:
    """Who is at the other end, as hooks of a topic class see it.

    `user_id` is what the client says it is, unless `role` is "jwt": then it is what its token says, as are `claims`.
    """

    id: str
    user_id: str | None = None
    role: Role = "open"
    project: str = ""
    claims: Mapping[str, Any] | None = field(default=None, hash=False, repr=False)

    def described(self) -> list[Any]:
        """Return it as JSON: the arguments that make it again."""
        claims = None if self.claims is None else dict(self.claims)
        return [self.id, self.user_id, self.role, self.project, claims]

    @property
    def user(self) -> str:
        """The name under which this connection is present: the user id, or else the connection's own id."""
        return self.user_id if self.user_id is not None else self.id


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client presented: candidate keys (every reading of each) and tokens."""

    keys: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Admission:
    """What credentials are good for. `expires_s` is when a token ends, in seconds since 1970."""

    role: Role
    user_id: str | None = None
    claims: Mapping[str, Any] | None = field(default=None, repr=False)
    expires_s: float | None = None
    has_key: bool = False
    """Whether a public key was given beside the token, which is good for something without it."""


def choose_subprotocol(offered: Sequence[str]) -> str | None:
    """Return the subprotocol to select: browsers fail when they offered any and none is selected.

    Echoing the first one sends a key back in a header; a public client that offers nothing but its key forces that.
    """
    for version in _VERSIONS:
        if version in offered:
            return version
    return offered[0] if offered else None


def credentials(
    *, subprotocols: Iterable[str] = (), keys: Iterable[str | None] = (), tokens: Iterable[str | None] = ()
) -> Credentials:
    """Collect what a client presented; empty values count as absent."""
    found_keys = [key for key in keys if key]
    found_tokens = [token for token in tokens if token]
    for entry in subprotocols:
        if entry.startswith(_KEY):
            key = entry[len(_KEY) :]
            found_keys += [key, *_decoded(key)]
        elif entry.startswith(_TOKEN):
            found_tokens.append(entry[len(_TOKEN) :])
    return Credentials(tuple(found_keys), tuple(found_tokens))


def bearer(header: str | None) -> str | None:
    """Return the token of an `Authorization: Bearer` header."""
    scheme, _, token = (header or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def admit(given: Credentials, settings: RealtimeSettings) -> Role:
    """Decide whether a client may connect or read history.

    Raises:
        RealtimeError: UNAUTHORIZED, or TOKEN_NOT_VERIFIED when only a token was given.
    """
    if settings.is_open:
        return "open"
    keyed = key_role(given, settings)
    if keyed is not None:
        return keyed
    if settings.jwt is not None and not given.tokens:
        raise RealtimeError(
            Code.UNAUTHORIZED,
            "no token was given: offer the subprotocol aerostack-token.<token>, or the query parameter token",
        )
    if given.keys:
        raise RealtimeError(Code.UNAUTHORIZED, "the key is not a key of this project")
    if given.tokens:
        raise RealtimeError(Code.TOKEN_NOT_VERIFIED, "the token could not be verified and no key was given")
    raise RealtimeError(
        Code.UNAUTHORIZED,
        "no key was given: offer the subprotocol aerostack-key.<key>, or the query parameter apiKey",
    )


def key_role(given: Credentials, settings: RealtimeSettings) -> Role | None:
    """Return what the keys that were given are good for; a token may be a key too."""
    candidates = (*given.keys, *given.tokens)
    if _any_of(candidates, settings.secret_keys):
        return "secret"
    return "public" if _any_of(candidates, settings.public_keys) else None


def admit_server(
    given: Credentials, settings: RealtimeSettings, *, origin: str | None, host: str | None, fetch_site: str | None
) -> None:
    """Decide whether a caller may use the server API (`/internal/hooks/rpc`).

    With keys, only a secret key may. Without, any local program may, but no page of another site: a browser names its
    origin, and one that was led here under a foreign host name (DNS rebinding) names that host.

    Raises:
        RealtimeError: UNAUTHORIZED, FORBIDDEN or CROSS_SITE.
    """
    if settings.is_open:
        _same_site(origin, host, fetch_site)
        return
    candidates = (*given.keys, *given.tokens)
    if _any_of(candidates, settings.secret_keys):
        return
    if _any_of(candidates, settings.public_keys):
        raise RealtimeError(Code.FORBIDDEN, "this needs a secret key; public keys cannot call the server API")
    if candidates:
        raise RealtimeError(Code.UNAUTHORIZED, "the key is not a key of this project")
    raise RealtimeError(Code.UNAUTHORIZED, "no key was given: send Authorization: Bearer <secret key>")


def local_origin(origin: str, host: str | None) -> bool:
    """Whether a page of this origin is of this machine, or of the very host that is asked."""
    try:
        parts = urlsplit(origin)
        name = parts.hostname or ""
    except ValueError:
        return False
    return _is_loopback(name) or (bool(name) and parts.netloc.lower() == (host or "").lower())


def _same_site(origin: str | None, host: str | None, fetch_site: str | None) -> None:
    if fetch_site in ("cross-site", "same-site"):
        raise RealtimeError(Code.CROSS_SITE, "a page of another origin may not call the server API")
    if origin is None:
        return
    name = _host_name(host)
    if urlsplit(origin).netloc.lower() != (host or "").lower() or not _is_loopback(name):
        raise RealtimeError(Code.CROSS_SITE, f"a page of {origin} may not call the server API of {host}")


def _host_name(host: str | None) -> str:
    return urlsplit(f"//{host or ''}").hostname or ""


def _is_loopback(name: str) -> bool:
    return name in _LOOPBACK or name.endswith(".localhost") or name.startswith("127.")


def _decoded(key: str) -> tuple[str, ...]:
    """Return what a base64 or base64-url `key` says: one published client encoded keys, without being asked to."""
    padded = key + "=" * (-len(key) % 4)
    try:
        text = base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return ()
    return (text,) if text else ()


def _any_of(given: Iterable[str], known: Iterable[str]) -> bool:
    known_bytes = [key.encode() for key in known]
    matches = [
        hmac.compare_digest(candidate.encode("utf-8", "replace"), key) for candidate in given for key in known_bytes
    ]
    return any(matches)
