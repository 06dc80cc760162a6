"""Where the keys of end users' tokens come from, and tokens verified with them.

A key set from a file or an address is read when the first token comes, and again when it is older than `cache_s`: at
once when a token names a key that is not in it (keys rotate), though not more often than every few seconds, so that
made-up key names cause no traffic. While a set cannot be read again, the old one is used for a day.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from durable_objects.clock import Clock
from durable_objects.realtime.core.codes import Code, RealtimeError
from durable_objects.realtime.core.settings import JwtSettings
from durable_objects.realtime.core.tokens import (
    Key,
    KeyUnknown,
    Verified,
    keys_of_jwks,
    keys_of_pem,
    keys_of_secret,
    verify,
)
from durable_objects.realtime.tasks import Tasks

__all__ = ["Fetch", "TokenKeys"]

Fetch = Callable[[str], Awaitable[bytes]]
"""Reads an address: the way to the network, given by the runtime."""

_READ_TIMEOUT_S: Final = 10.0
_MAX_SET_BYTES: Final = 1_048_576
_PAUSE_S: Final = 5.0  # between two readings because of an unknown key
_STALE_S: Final = 86_400.0

_log = logging.getLogger(__name__)


class TokenKeys:
    """The keys of one endpoint."""

    def __init__(self, settings: JwtSettings, clock: Clock, tasks: Tasks, fetch: Fetch | None = None) -> None:
        """Read the keys that are in the settings themselves.

        Raises:
            ValueError: One of them is no key, or the address of the key set is not one that may be used.
        """
        self._settings = settings
        self._clock = clock
        self._tasks = tasks
        self._fetch = fetch
        self._own: tuple[Key, ...] = (
            *(key for secret in settings.secrets for key in keys_of_secret(secret)),
            *(key for text in settings.pem for key in keys_of_pem(text)),
        )
        self._set: tuple[Key, ...] = ()
        self._read_at_s: float | None = None
        self._tried_at_s: float | None = None
        self._reading: asyncio.Future[None] | None = None
        self._has_set = bool(settings.jwks_file or settings.jwks_url)
        if not (self._own or self._has_set):
            raise ValueError("jwt names no keys: secrets, pem, jwks_file or jwks_url")
        if settings.jwks_url:
            _check_address(settings.jwks_url)

    async def verify(self, token: str) -> Verified:
        """Check a token and return what it says.

        Raises:
            RealtimeError: TOKEN_EXPIRED or TOKEN_NOT_VERIFIED.
        """
        now_s = self._clock.now_ms() / 1000
        if self._has_set and self._is_due(now_s, self._settings.cache_s):
            await self._read()
        try:
            return verify(token, (*self._own, *self._usable(now_s)), self._settings, now_s)
        except KeyUnknown:
            if not (self._has_set and self._is_due(now_s, _PAUSE_S)):
                raise
        await self._read()
        return verify(token, (*self._own, *self._usable(now_s)), self._settings, now_s)

    def _is_due(self, now_s: float, after_s: float) -> bool:
        if self._tried_at_s is None or self._reading is not None:
            return True
        age_s = now_s - (self._read_at_s if self._read_at_s is not None else self._tried_at_s)
        return age_s >= after_s and now_s - self._tried_at_s >= min(after_s, _PAUSE_S)

    def _usable(self, now_s: float) -> tuple[Key, ...]:
        if self._read_at_s is None or now_s - self._read_at_s > self._settings.cache_s + _STALE_S:
            return ()
        return self._set

    async def _read(self) -> None:
        """Read the set again, once for all who wait for it."""
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_future()
            self._tried_at_s = self._clock.now_ms() / 1000
            self._tasks.spawn(self._read_set(self._reading), "realtime-token-keys")
        await asyncio.shield(self._reading)

    async def _read_set(self, done: asyncio.Future[None]) -> None:
        try:
            async with asyncio.timeout(_READ_TIMEOUT_S):
                found = keys_of_jwks((await self._text()).decode())
            if not found:
                raise ValueError("it holds no key that is used here")
            self._set, self._read_at_s = tuple(found), self._clock.now_ms() / 1000
        except Exception as error:  # a task root: files and networks fail in many ways
            _log.warning("the key set for tokens could not be read: %s: %s", type(error).__name__, error)
        finally:
            self._reading = None
            if not done.done():
                done.set_result(None)

    async def _text(self) -> bytes:
        settings = self._settings
        if settings.jwks_file:
            text = await asyncio.to_thread(Path(settings.jwks_file).read_bytes)
        elif self._fetch is not None:
            text = await self._fetch(settings.jwks_url)
        else:
            raise RealtimeError(Code.TOKEN_NOT_VERIFIED, "there is no way to the network here")
        if len(text) > _MAX_SET_BYTES:
            raise ValueError(f"it is larger than {_MAX_SET_BYTES} bytes")
        return text


def _check_address(address: str) -> None:
    parts = urlsplit(address)
    is_local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_local):
        raise ValueError("jwks_url must be an https address: who can change it on its way decides who gets in")
