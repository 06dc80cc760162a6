from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.runtime.cron import CronError, parse_cron


def after(text: str, start: str, count: int = 1) -> list[str]:
    cron, at, found = parse_cron(text), int(datetime.fromisoformat(start + "+00:00").timestamp() * 1000), []
    for _ in range(count):
        following = cron.next_after(at)
        assert following is not None
        at = following
        found.append(datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M"))
    return found


@pytest.mark.parametrize(
    ("text", "start", "expected"),
    [
        ("* * * * *", "2026-01-01T00:00:30", ["2026-01-01T00:01", "2026-01-01T00:02"]),
        ("*/30 * * * *", "2026-01-01T00:00", ["2026-01-01T00:30", "2026-01-01T01:00"]),
        ("45 * * * *", "2026-01-01T00:50", ["2026-01-01T01:45"]),
        ("0 17 * * sun", "2026-01-01T00:00", ["2026-01-04T17:00", "2026-01-11T17:00"]),
        ("0 17 * * 1", "2026-01-01T00:00", ["2026-01-04T17:00"]),
        ("10 7 * * mon-fri", "2026-01-02T08:00", ["2026-01-05T07:10"]),
        ("10 7 * * 2-6", "2026-01-02T08:00", ["2026-01-05T07:10"]),
        ("0 15 1 * *", "2026-01-02T00:00", ["2026-02-01T15:00"]),
        ("0 18 * * 6L", "2026-01-01T00:00", ["2026-01-30T18:00", "2026-02-27T18:00"]),
        ("0 18 * * friL", "2026-01-01T00:00", ["2026-01-30T18:00"]),
        ("59 23 LW * *", "2026-01-01T00:00", ["2026-01-30T23:59", "2026-02-27T23:59", "2026-03-31T23:59"]),
        ("0 0 L * *", "2026-01-15T00:00", ["2026-01-31T00:00", "2026-02-28T00:00"]),
        ("0 0 L-2 * *", "2026-01-15T00:00", ["2026-01-29T00:00"]),
        ("0 0 1W * *", "2026-08-01T00:00", ["2026-08-03T00:00", "2026-09-01T00:00"]),
        ("0 0 * * 2#1", "2026-01-01T00:00", ["2026-01-05T00:00", "2026-02-02T00:00"]),
        ("0 0 * * L", "2026-01-01T00:00", ["2026-01-03T00:00"]),
        ("0 22-2/2 * * *", "2026-01-01T03:00", ["2026-01-01T22:00", "2026-01-02T00:00", "2026-01-02T02:00"]),
        ("0 0 * * FRI-SUN", "2026-01-01T00:00", ["2026-01-02T00:00", "2026-01-03T00:00", "2026-01-04T00:00"]),
        ("0 0 13 * fri", "2026-01-01T00:00", ["2026-01-02T00:00", "2026-01-09T00:00", "2026-01-13T00:00"]),
        ("0 0 29 2 *", "2026-01-01T00:00", ["2028-02-29T00:00"]),
        ("0 0 * JAN,jul *", "2026-02-01T00:00", ["2026-07-01T00:00"]),
        ("5/20 0 * * *", "2026-01-01T00:00", ["2026-01-01T00:05", "2026-01-01T00:25", "2026-01-01T00:45"]),
    ],
)
def test_the_times_of_an_expression(text: str, start: str, expected: list[str]) -> None:
    assert after(text, start, len(expected)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("* * * *", "has 4 fields, not 5"),
        ("60 * * * *", "minute: '60' is not 0 to 59"),
        ("* * * * 0", "day of the week: '0' is not 1 to 7 or SUN to SAT"),
        ("* * * * 8", "day of the week: '8' is not"),
        ("* * * FOO *", "month: 'FOO' is not 1 to 12 or JAN to DEC"),
        ("*/0 * * * *", "minute: the step 0 is not 1 to 59"),
        ("*-5 * * * *", "is not a value, a range or a step"),
        ("0 0 31 11 *", "there is no such day"),
        ("* * 1,L * *", "is not 1 to 31"),
        ("* * * * fri#6", "is not a value, a range or a step"),
        ("", "has 0 fields"),
    ],
)
def test_a_wrong_expression_says_which_field(text: str, message: str) -> None:
    with pytest.raises(CronError, match=message.replace("(", r"\(")):
        parse_cron(text)


FIELD = st.sampled_from(["*", "*/7", "3", "5-9", "9-5", "1,4,8", "2/3"])
WEEKDAY = st.sampled_from(["*", "1", "2-6", "FRI-MON", "6L", "3#2", "*/2"])
DAY = st.sampled_from(["*", "1", "31", "L", "LW", "15W", "L-3", "10-20/3"])


@given(st.tuples(FIELD, FIELD, DAY, FIELD, WEEKDAY), st.integers(0, 4_000_000_000_000))
def test_the_next_time_matches_and_nothing_between_does(fields: tuple[str, ...], at_ms: int) -> None:
    cron = parse_cron(" ".join(fields))
    found = cron.next_after(at_ms)
    assert found is not None
    assert found > at_ms
    assert found % 60_000 == 0
    assert cron.matches(datetime.fromtimestamp(found / 1000, UTC))
    first = at_ms // 60_000 * 60_000 + 60_000
    for minute in range(first, min(found, first + 200 * 60_000), 60_000):
        assert not cron.matches(datetime.fromtimestamp(minute / 1000, UTC))
