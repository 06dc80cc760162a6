"""Cron expressions as Cloudflare reads them: five fields in UTC, days of the week from 1 (Sunday) to 7 (Saturday).

Names of months and days, `L`, `W` and `#` are known. Where both kinds of day are restricted, one of them is enough.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

__all__ = ["Cron", "CronError", "parse_cron"]

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_ITEM = re.compile(r"(\*|[0-9]+|[A-Z]+)(?:-([0-9]+|[A-Z]+))?(?:/([0-9]+))?")
_LAST_DAY = re.compile(r"L(?:-([0-9]+))?(W)?")
_NEAREST = re.compile(r"([0-9]+)W")
_LAST_WEEKDAY = re.compile(r"([1-7]|[A-Z]{3})L")
_NTH_WEEKDAY = re.compile(r"([1-7]|[A-Z]{3})#([1-5])")
_YEARS_AHEAD = 8  # the longest gap is from one 29 February to the next over a year like 2100


class CronError(ValueError):
    """A text that is no cron expression; the message says which field is wrong and why."""


@dataclass(frozen=True, slots=True)
class _Field:
    label: str
    low: int
    high: int
    names: Sequence[str] = ()

    def value(self, text: str) -> int:
        if text in self.names:
            return self.names.index(text) + self.low
        if not text.isdigit() or not self.low <= int(text) <= self.high:
            names = f" or {self.names[0]} to {self.names[-1]}" if self.names else ""
            raise CronError(f"{self.label}: {text!r} is not {self.low} to {self.high}{names}")
        return int(text)

    def values(self, text: str) -> frozenset[int]:
        found: set[int] = set()
        for item in text.split(","):
            found |= self._item(item)
        return frozenset(found)

    def _item(self, text: str) -> set[int]:
        match = _ITEM.fullmatch(text)
        if match is None or (match[1] == "*" and match[2]):
            raise CronError(f"{self.label}: {text!r} is not a value, a range or a step")
        first, last, step = match[1], match[2], int(match[3] or 1)
        if not 1 <= step <= self.high:
            raise CronError(f"{self.label}: the step {step} is not 1 to {self.high}")
        low = self.low if first == "*" else self.value(first)
        high = self.value(last) if last else self.high if first == "*" or match[3] else low
        if high < low:  # over the end: FRI-MON, 22-2
            return set([*range(low, self.high + 1), *range(self.low, high + 1)][::step])
        return set(range(low, high + 1, step))


_MINUTE = _Field("minute", 0, 59)
_HOUR = _Field("hour", 0, 23)
_DAY = _Field("day of the month", 1, 31)
_MONTH = _Field("month", 1, 12, _MONTHS)
_WEEKDAY = _Field("day of the week", 1, 7, _DAYS)

_OnDay = Callable[[date], bool]


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression."""

    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    months: frozenset[int]
    on_day: _OnDay

    def matches(self, at: datetime) -> bool:
        """Say whether the minute of `at` (UTC) is one of the expression's."""
        return at.minute in self.minutes and at.hour in self.hours and at.month in self.months and self.on_day(at)

    def next_after(self, at_ms: int) -> int | None:
        """Return the first of the expression's minutes after a time, both in milliseconds; None if there is none."""
        after = datetime.fromtimestamp(at_ms / 1000, UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        day, earliest = after.date(), after.hour * 60 + after.minute
        times = sorted(hour * 60 + minute for hour in self.hours for minute in self.minutes)
        for _ in range(_YEARS_AHEAD * 366):
            if day.month in self.months and self.on_day(day):
                for time in times:
                    if time >= earliest:
                        found = datetime(day.year, day.month, day.day, time // 60, time % 60, tzinfo=UTC)
                        return int(found.timestamp()) * 1000
            day, earliest = day + timedelta(days=1), 0
        return None


def parse_cron(text: str) -> Cron:
    """Read a cron expression.

    Raises:
        CronError: It is none.
    """
    fields = text.upper().split()
    if len(fields) != 5:
        raise CronError(f"has {len(fields)} fields, not 5: minute, hour, day of the month, month, day of the week")
    minute, hour, day, month, weekday = fields
    cron = Cron(text, _MINUTE.values(minute), _HOUR.values(hour), _MONTH.values(month), _days(day, weekday))
    if cron.next_after(0) is None:
        raise CronError("there is no such day")
    return cron


def _days(day: str, weekday: str) -> _OnDay:
    by_month, by_week = _by_month(day), _by_week(weekday)
    if day == "*":
        return by_week
    if weekday == "*":
        return by_month
    return lambda on: by_month(on) or by_week(on)


def _by_month(text: str) -> _OnDay:
    if text == "*":
        return lambda on: True
    if (match := _LAST_DAY.fullmatch(text)) is not None:
        before, to_weekday = int(match[1] or 0), match[2] is not None
        if before > 30:
            raise CronError(f"day of the month: {before} days before the last is not in any month")
        return lambda on: on.day == _shifted(on, _length(on) - before, to_weekday=to_weekday)
    if (match := _NEAREST.fullmatch(text)) is not None:
        wanted = _DAY.value(match[1])
        return lambda on: wanted <= _length(on) and on.day == _shifted(on, wanted, to_weekday=True)
    days = _DAY.values(text)
    return lambda on: on.day in days


def _shifted(on: date, day: int, *, to_weekday: bool) -> int:
    """Return a day of the month of `on`, or the nearest weekday to it in the same month; 0 when it is not in it."""
    if day < 1:
        return 0
    weekday = on.replace(day=day).isoweekday()
    if not to_weekday or weekday < 6:
        return day
    if weekday == 6:
        return day - 1 if day > 1 else day + 2
    return day + 1 if day < _length(on) else day - 2


def _by_week(text: str) -> _OnDay:
    if text == "*":
        return lambda on: True
    if text == "L":
        text = "SAT"
    if (match := _LAST_WEEKDAY.fullmatch(text)) is not None:
        wanted = _WEEKDAY.value(match[1])
        return lambda on: _weekday(on) == wanted and on.day + 7 > _length(on)
    if (match := _NTH_WEEKDAY.fullmatch(text)) is not None:
        wanted, number = _WEEKDAY.value(match[1]), int(match[2])
        return lambda on: _weekday(on) == wanted and (on.day - 1) // 7 + 1 == number
    weekdays = _WEEKDAY.values(text)
    return lambda on: _weekday(on) in weekdays


def _weekday(on: date) -> int:
    """Return 1 for Sunday to 7 for Saturday."""
    return on.isoweekday() % 7 + 1


def _length(on: date) -> int:
    return monthrange(on.year, on.month)[1]
