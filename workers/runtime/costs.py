"""What usage costs on Cloudflare: the published prices as a table, and a day's bill from plain counts.

Sources, as of the date in `PRICES_AS_OF`:
https://developers.cloudflare.com/durable-objects/platform/pricing/, https://developers.cloudflare.com/d1/platform/pricing/,
https://developers.cloudflare.com/workers/platform/pricing/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["PRICES", "PRICES_AS_OF", "Bill", "Line", "Price", "Usage", "bill"]

PRICES_AS_OF: Final = "2026-07"
_DAYS: Final = 30
"""Days of the month that included amounts are spread over."""
_MESSAGES_A_REQUEST: Final = 20
"""Incoming WebSocket messages that are billed as one request of a Durable Object."""
_OBJECT_GB: Final = 0.128
"""Memory that every Durable Object is billed for while it is awake, in GB."""


@dataclass(frozen=True, slots=True)
class Price:
    """One unit of the price list."""

    unit: str
    label: str
    free_a_day: float
    """What the free plan allows in a day."""
    included_a_month: float
    """What the paid plan includes in a month."""
    dollars_a_million: float
    """Beyond that, on the paid plan."""


PRICES: Final = (
    Price("worker_requests", "Worker requests", 100_000, 10e6, 0.30),
    Price("worker_cpu_ms", "Worker CPU, ms", float("inf"), 30e6, 0.02),
    Price("object_requests", "Durable Object requests", 100_000, 1e6, 0.15),
    Price("object_gb_s", "Durable Object duration, GB-s", 13_000, 400_000, 12.50),
    Price("rows_read", "SQL rows read", 5e6, 25e9, 0.001),
    Price("rows_written", "SQL rows written", 100_000, 50e6, 1.00),
)


@dataclass(frozen=True, slots=True)
class Usage:
    """Raw counts of one day."""

    worker_requests: float = 0
    worker_cpu_ms: float = 0
    object_calls: float = 0
    """HTTP requests, RPC sessions and alarms of Durable Objects."""
    object_messages: float = 0
    """Incoming WebSocket messages of Durable Objects, those of auto-responses and protocol pings left out."""
    awake_s: float = 0
    """Seconds that objects were in memory and could not hibernate, over all objects."""
    rows_read: float = 0
    rows_written: float = 0

    def units(self) -> Mapping[str, float]:
        """Return what is billed, by the unit of the price list."""
        return {
            "worker_requests": self.worker_requests,
            "worker_cpu_ms": self.worker_cpu_ms,
            "object_requests": self.object_calls + self.object_messages / _MESSAGES_A_REQUEST,
            "object_gb_s": self.awake_s * _OBJECT_GB,
            "rows_read": self.rows_read,
            "rows_written": self.rows_written,
        }


@dataclass(frozen=True, slots=True)
class Line:
    """One unit of a bill."""

    price: Price
    amount: float
    """Units in the day."""
    dollars: float
    """Beyond the included amount, spread evenly over the month."""
    exceeds_free: bool


@dataclass(frozen=True, slots=True)
class Bill:
    """A day on the paid plan, without its monthly base price."""

    lines: tuple[Line, ...]

    @property
    def dollars(self) -> float:
        """The sum."""
        return sum(line.dollars for line in self.lines)

    @property
    def fits_free(self) -> bool:
        """Whether the free plan would do."""
        return not any(line.exceeds_free for line in self.lines)


def bill(usage: Usage) -> Bill:
    """Return what a day of this usage costs when every day of the month is like it."""
    units = usage.units()
    lines: list[Line] = []
    for price in PRICES:
        amount = units[price.unit]
        beyond = max(0.0, amount - price.included_a_month / _DAYS)
        lines.append(Line(price, amount, beyond / 1e6 * price.dollars_a_million, amount > price.free_a_day))
    return Bill(tuple(lines))
