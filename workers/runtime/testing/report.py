"""The parity report: how near a test run came to Cloudflare's limits, what could not hibernate, and what it would cost.

Each test tells its figures; they are merged over the run (and over the workers of pytest-xdist) and shown as a table or
as JSON. Costs are those of `workers.runtime.costs` for a day of given traffic: the average request of the run, as often
as the traffic says.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from d1.database import engine_of
from workers.runtime import costs
from workers.runtime.app import App

__all__ = ["ClassFigures", "Figures", "Near", "Route", "collect", "from_line", "merge", "render", "to_json", "to_line"]

_SHOWN = 20


@dataclass
class Near:
    """The highest figure seen for one limit of D1."""

    value: int
    limit: int
    unit: str
    database: str
    sql: str

    @property
    def share(self) -> float:
        """How much of the limit it is."""
        return self.value / self.limit if self.limit else 0.0


@dataclass
class Route:
    """What requests of one method and path did, together."""

    requests: int = 0
    rows_read: int = 0
    rows_written: int = 0
    most_rows_read: int = 0
    """Of a single request."""
    object_calls: int = 0
    """Requests, calls and alarms of Durable Objects meanwhile."""
    object_messages: int = 0
    object_busy_s: float = 0.0


@dataclass
class ClassFigures:
    """What the objects of one class did."""

    events: dict[str, int] = field(default_factory=dict[str, int])
    awake_s: float = 0.0
    rows_read: int = 0
    rows_written: int = 0
    kept_awake: dict[str, int] = field(default_factory=dict[str, int])
    """Why objects could not hibernate when their time had come, and how often."""


@dataclass
class Figures:
    """What one test, or a whole run, came to."""

    tests: int = 0
    limits: dict[str, Near] = field(default_factory=dict[str, Near])
    routes: dict[str, Route] = field(default_factory=dict[str, Route])
    classes: dict[str, ClassFigures] = field(default_factory=dict[str, ClassFigures])

    @property
    def requests(self) -> int:
        """Requests to Workers."""
        return sum(route.requests for route in self.routes.values())

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Figures:
        """Return the figures that `to_json` told."""
        return cls(
            given["tests"],
            {name: Near(**near) for name, near in given["limits"].items()},
            {name: Route(**route) for name, route in given["routes"].items()},
            {name: ClassFigures(**one) for name, one in given["classes"].items()},
        )


def collect(app: App, routes: Mapping[str, Route]) -> Figures:
    """Return the figures of an application at the end of its test."""
    figures = Figures(1, routes=dict(routes))
    for database in app.resources.databases:
        for name, peak in engine_of(database).usage.peaks.items():
            near = Near(peak.value, peak.limit.documented or peak.limit.value, peak.limit.unit, database.name, peak.sql)
            _keep_higher(figures.limits, name, near)
    for found in app.host.classes():
        usage = found.usage
        figures.classes[found.unique_key] = ClassFigures(
            dict(usage.turns), usage.awake_s, usage.rows_read, usage.rows_written, dict(usage.kept_awake)
        )
    return figures


def _keep_higher(limits: dict[str, Near], name: str, near: Near) -> None:
    known = limits.get(name)
    if known is None or near.value > known.value:
        limits[name] = near


def merge(many: Iterable[Figures]) -> Figures:
    """Return the figures of all together."""
    total = Figures()
    for figures in many:
        total.tests += figures.tests
        for name, near in figures.limits.items():
            _keep_higher(total.limits, name, near)
        for name, route in figures.routes.items():
            mine = total.routes.setdefault(name, Route())
            mine.requests += route.requests
            mine.rows_read += route.rows_read
            mine.rows_written += route.rows_written
            mine.most_rows_read = max(mine.most_rows_read, route.most_rows_read)
            mine.object_calls += route.object_calls
            mine.object_messages += route.object_messages
            mine.object_busy_s += route.object_busy_s
        for name, one in figures.classes.items():
            sums = total.classes.setdefault(name, ClassFigures())
            sums.events = dict(Counter(sums.events) + Counter(one.events))
            sums.kept_awake = dict(Counter(sums.kept_awake) + Counter(one.kept_awake))
            sums.awake_s += one.awake_s
            sums.rows_read += one.rows_read
            sums.rows_written += one.rows_written
    return total


def day(figures: Figures, requests_a_day: int) -> costs.Bill | None:
    """Return the bill of a day in which the run's average request comes so often; None for a run without requests.

    What tests did to objects without a request is left out, and so is the time in which an object could hibernate.
    """
    if not figures.requests:
        return None
    factor, routes = requests_a_day / figures.requests, figures.routes.values()
    return costs.bill(
        costs.Usage(
            worker_requests=requests_a_day,
            object_calls=factor * sum(route.object_calls for route in routes),
            object_messages=factor * sum(route.object_messages for route in routes),
            awake_s=factor * sum(route.object_busy_s for route in routes),
            rows_read=factor * sum(route.rows_read for route in routes),
            rows_written=factor * sum(route.rows_written for route in routes),
        )
    )


def to_json(figures: Figures, requests_a_day: int | None = None) -> str:
    """Return the figures, and the bill if there is one, as JSON."""
    told: dict[str, Any] = asdict(figures)
    bill = None if requests_a_day is None else day(figures, requests_a_day)
    if bill is not None:
        told["day"] = {
            "requests": requests_a_day,
            "prices_as_of": costs.PRICES_AS_OF,
            "dollars": bill.dollars,
            "fits_free_plan": bill.fits_free,
            "lines": [{"unit": line.price.unit, "amount": line.amount, "dollars": line.dollars} for line in bill.lines],
        }
    return json.dumps(told, indent=2)


def to_line(figures: Figures) -> str:
    """Return figures as one line of JSON, as a process tells them to another."""
    return json.dumps(asdict(figures))


def from_line(line: str) -> Figures:
    """Return the figures of such a line."""
    return Figures.from_json(json.loads(line))


def render(figures: Figures, requests_a_day: int) -> Iterator[str]:
    """Yield the lines of the report for a terminal."""
    yield f"{figures.tests} tests used the Worker, {figures.requests} requests"
    if figures.limits:
        yield ""
        yield "Limits of D1 that were come nearest to"
        ranked = sorted(figures.limits.values(), key=lambda near: near.share, reverse=True)
        for near in ranked[:_SHOWN]:
            statement = f"  {near.sql}" if near.sql else ""
            yield f"  {near.share:6.1%}  {near.value:>12,} of {near.limit:,} {near.unit}{statement}"
    if figures.routes:
        yield ""
        yield f"{'Rows by route':<48}{'requests':>10}{'read each':>12}{'written each':>14}{'most read':>12}"
        ranked_routes = sorted(figures.routes.items(), key=lambda item: item[1].most_rows_read, reverse=True)
        for name, route in ranked_routes[:_SHOWN]:
            read, written = route.rows_read / route.requests, route.rows_written / route.requests
            yield f"  {name[:46]:<46}{route.requests:>10,}{read:>12.1f}{written:>14.1f}{route.most_rows_read:>12,}"
    awake = {name: one for name, one in figures.classes.items() if one.kept_awake}
    if awake:
        yield ""
        yield "Objects that could not hibernate"
        for name, one in sorted(awake.items()):
            reasons = ", ".join(f"{why} ({count} times)" for why, count in sorted(one.kept_awake.items()))
            yield f"  {name}: {reasons}"
    bill = day(figures, requests_a_day)
    if bill is not None:
        yield ""
        plan = "fits the free plan" if bill.fits_free else "beyond the free plan"
        yield f"A day of {requests_a_day:,} such requests: ${bill.dollars:.2f} beyond the paid plan's share; {plan}"
        for line in bill.lines:
            yield f"  {line.price.label:<32} {line.amount:>16,.0f}  ${line.dollars:.4f}"
        yield f"  prices as of {costs.PRICES_AS_OF}; requests to the Worker only, without CPU time and idle sockets"
