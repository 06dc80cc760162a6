"""Who a client is: its keys and its token together, at the upgrade, for history and on a live connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from durable_objects.realtime.core.access import Admission, Credentials, Role, admit, key_role
from durable_objects.realtime.core.codes import Code, RealtimeError
from durable_objects.realtime.directory import Directory

__all__ = ["admission"]

# One for all connections that only a key let in: there may be many thousands.
_PLAIN: Final[Mapping[Role, Admission]] = {role: Admission(role) for role in ("open", "public", "secret")}


async def admission(given: Credentials, directory: Directory) -> Admission:
    """Decide what the credentials of a client are good for.

    A secret key is good for everything, whatever comes with it. A token is good for what its claims say; with keys
    configured and given, the key must be right too. A token that has expired leaves the key's rights if so configured.

    Raises:
        RealtimeError: UNAUTHORIZED, TOKEN_NOT_VERIFIED or TOKEN_EXPIRED.
    """
    settings, keys = directory.settings, directory.token_keys
    keyed = "open" if settings.is_open else key_role(given, settings)
    if keyed in ("open", "secret") or keys is None or not given.tokens:
        return _PLAIN[admit(given, settings)]
    if keyed is None and given.keys and settings.public_keys:
        raise RealtimeError(Code.UNAUTHORIZED, "the key is not a key of this project")
    token = given.tokens[-1]
    if token in settings.public_keys:  # as clients do that know of keys alone
        return _PLAIN["public"]
    try:
        verified = await keys.verify(token)
    except RealtimeError as error:
        may_go_on = keyed == "public" and error.code is Code.TOKEN_EXPIRED
        if may_go_on and settings.jwt is not None and settings.jwt.on_expiry == "downgrade":
            return _PLAIN["public"]
        raise
    return Admission("jwt", verified.user_id, verified.claims, verified.expires_s, has_key=keyed == "public")
