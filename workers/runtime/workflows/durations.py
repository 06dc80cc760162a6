"""Durations and dates as Workflows write them: milliseconds, "10 seconds", a date."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast

from workers.compat.proxies import JsTypeError, init_options

__all__ = ["StepConfig", "date_ms", "duration_ms", "read_config"]

_UNITS = {
    "second": 1_000,
    "minute": 60_000,
    "hour": 3_600_000,
    "day": 86_400_000,
    "week": 604_800_000,
    "month": 2_592_000_000,
    "year": 31_536_000_000,
}
_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+?)s?\s*", re.IGNORECASE)
_LONGEST_MS = 365 * _UNITS["day"]


def duration_ms(value: object) -> int:
    """Return a duration in milliseconds: of a number of them, a text such as "10 seconds", or a `timedelta`.

    Raises:
        JsTypeError: It is none of these, negative, or longer than 365 days.
    """
    if isinstance(value, timedelta):
        found = value.total_seconds() * 1000
    elif isinstance(value, int | float) and not isinstance(value, bool):
        found = float(value)
    else:
        match = _TEXT.fullmatch(value) if isinstance(value, str) else None
        unit = _UNITS.get(match[2].lower()) if match is not None else None
        if match is None or unit is None:
            raise JsTypeError(f'{value!r} is not a duration; write milliseconds or a text such as "10 seconds"')
        found = float(match[1]) * unit
    if not 0 <= found <= _LONGEST_MS:
        raise JsTypeError(f"{value!r} is not a duration between 0 and 365 days")
    return int(found)


def date_ms(value: object) -> int:
    """Return a date in milliseconds since the Unix epoch: of a `datetime`, a JavaScript Date, a number or ISO text.

    Raises:
        JsTypeError: It is none of these.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise JsTypeError(f"{value!r} is not a date") from None
    if isinstance(value, datetime):
        return int((value if value.tzinfo is not None else value.replace(tzinfo=UTC)).timestamp() * 1000)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return int(value)
    get_time = getattr(value, "getTime", None)
    if callable(get_time):
        return int(cast(float, get_time()))
    raise JsTypeError(f"{value!r} is not a date")


@dataclass(frozen=True, slots=True)
class StepConfig:
    """How often and how long a step is tried; the defaults are Cloudflare's."""

    limit: float = 5
    delay_ms: int = 10_000
    backoff: Literal["constant", "linear", "exponential"] = "exponential"
    timeout_ms: int = 600_000

    def wait_ms(self, attempts: int) -> int:
        """Return the time between the failure of an attempt, the first being number 1, and the next one."""
        factor = {"constant": 1, "linear": attempts, "exponential": 2 ** min(attempts - 1, 40)}[self.backoff]
        return min(self.delay_ms * factor, _LONGEST_MS)


def read_config(value: object) -> StepConfig:
    """Read `{retries: {limit, delay, backoff}, timeout}`.

    Raises:
        JsTypeError: A member is not what it must be.
    """
    given: Mapping[str, Any] = init_options(value, {})
    retries: Mapping[str, Any] = init_options(given.get("retries"), {})
    usual = StepConfig()
    limit, backoff = retries.get("limit", usual.limit), retries.get("backoff", usual.backoff)
    if not isinstance(limit, int | float) or isinstance(limit, bool) or limit < 0:
        raise JsTypeError(f"retries.limit must be a number of retries, not {limit!r}")
    if backoff not in ("constant", "linear", "exponential"):
        raise JsTypeError(f'retries.backoff must be "constant", "linear" or "exponential", not {backoff!r}')
    return StepConfig(
        limit,
        duration_ms(retries.get("delay", usual.delay_ms)),
        backoff,
        duration_ms(given.get("timeout", usual.timeout_ms)),
    )
