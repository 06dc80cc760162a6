"""The rate limiting binding: so many calls for a key in fixed windows of the clock, counted in memory.

https://developers.cloudflare.com/workers/runtime-apis/bindings/rate-limit/
"""

from __future__ import annotations

from typing import Any, cast

from durable_objects.clock import Clock
from workers.compat.js_string import js_string
from workers.compat.proxies import JsDict, JsException, JsProxy, init_options

__all__ = ["Ratelimit", "Windows"]

_PERIODS = (10, 60)
_KNOWN = ("key", "limit", "period")


class Windows:
    """The counts of one rate limit namespace, which several Workers may share."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._epochs: dict[int, int] = {}
        self._counts: dict[int, dict[str, int]] = {}

    def admit(self, key: str, limit: float, period_s: int) -> bool:
        """Count one call for a key; say whether it is within the limit."""
        epoch = self._clock.now_ms() // (period_s * 1000)
        if self._epochs.get(period_s) != epoch:
            self._epochs[period_s] = epoch
            self._counts[period_s] = {}
        counts = self._counts[period_s]
        count = counts.get(key, 0)
        if count >= limit:
            return False
        counts[key] = count + 1
        return True


class Ratelimit(JsProxy):
    """`env.LIMITER`."""

    __slots__ = ("_limit", "_period", "_windows")

    def __init__(self, windows: Windows, limit: int, period: int) -> None:
        self._windows = windows
        self._limit, self._period = limit, period

    async def limit(self, options: Any = None, /, **members: Any) -> JsDict:
        """Count one call for `key`; the result is `{success}`, false when the limit was reached before.

        Raises:
            JsException: An option is unknown or of the wrong type.
        """
        if not members and not isinstance(options, dict):
            raise JsException("invalid rate limit options")
        given = init_options(cast(object, options), members)
        unknown = [name for name in given if name not in _KNOWN]
        if unknown:
            raise JsException(f"bad rate limit options: [{','.join(unknown)}]")
        key, limit, period = given.get("key", ""), given.get("limit", self._limit), given.get("period", self._period)
        if not isinstance(key, str):
            raise JsException(f"invalid key: {'null' if key is None else js_string(key)}")
        for name, value in (("limit", limit), ("period", period)):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise JsException(f"{name} must be a number: {js_string(value)}")
        if period not in _PERIODS:
            raise JsException(f"unsupported period: {js_string(period)}")
        return JsDict(success=self._windows.admit(key, limit, int(period)))

    def __repr__(self) -> str:
        return "Ratelimit"
