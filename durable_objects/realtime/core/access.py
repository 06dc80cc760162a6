"""Who may connect and who may call the server API: keys and tokens, and the verdict on them.

Keys arrive raw or base64-encoded in a subprotocol, in a query parameter or a header. Without configured keys everybody
is admitted; the operator binds such a server to loopback only. A key determines the project, so a connection's
`projectId` is only a name that it uses in topics. Nothing here verifies tokens of end users: a token counts only when
it is itself a configured key.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from durable_objects.realtime.core.codes import Code, RealtimeError
from durable_objects.realtime.core.settings import RealtimeSettings

__all__ = ["Action", "Connection", "Credentials", "Role", "admit", "admit_server", "choose_subprotocol", "credentials"]

Role = Literal["open", "public", "secret"]
Action = Literal["subscribe", "publish", "track", "history"]

_KEY = "aerostack-key."
_TOKEN = "aerostack-token."
_VERSION = "aerostack-v1"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "internal"})


@dataclass(frozen=True, slots=True)
class Connection:
    """Who is at the other end, as hooks of a topic class see it. `user_id` is what the client says it is."""

    id: str
    user_id: str | None = None
    role: Role = "open"
    project: str = ""

    @property
    def user(self) -> str:
        """The name under which this connection is present: the user id, or else the connection's own id."""
        return self.user_id if self.user_id is not None else self.id


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client presented: candidate keys (every reading of each) and tokens."""

    keys: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()


def choose_subprotocol(offered: Sequence[str]) -> str | None:
    """Return the subprotocol to select: browsers fail when they offered any and none is selected.

    Echoing the first one sends a key back in a header; a public client that offers nothing but its key forces that.
    """
    if _VERSION in offered:
        return _VERSION
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
    candidates = (*given.keys, *given.tokens)
    if _any_of(candidates, settings.secret_keys):
        return "secret"
    if _any_of(candidates, settings.public_keys):
        return "public"
    if given.keys:
        raise RealtimeError(Code.UNAUTHORIZED, "the key is not a key of this project")
    if given.tokens:
        raise RealtimeError(Code.TOKEN_NOT_VERIFIED, "the token could not be verified and no key was given")
    raise RealtimeError(
        Code.UNAUTHORIZED,
        "no key was given: offer the subprotocol aerostack-key.<key>, or the query parameter apiKey",
    )


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
