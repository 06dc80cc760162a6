from __future__ import annotations

import pytest

from workers.runtime.costs import Usage, bill


def test_a_quiet_day_costs_nothing_and_fits_the_free_plan():
    day = bill(Usage(worker_requests=99_999, rows_read=4e6, awake_s=1000))
    assert day.dollars == 0
    assert day.fits_free


def test_a_busy_day_is_billed_beyond_what_the_month_includes():
    day = bill(
        Usage(
            worker_requests=1_000_000,
            object_calls=500_000,
            object_messages=2_000_000,
            awake_s=864_000,
            rows_read=2e9,
            rows_written=3e6,
        )
    )
    # by hand: (1e6 - 10e6/30) * 0.30 + (5e5 + 2e6/20 - 1e6/30) * 0.15 + (864000 * 0.128 - 4e5/30) * 12.50
    #          + (2e9 - 25e9/30) * 0.001 + (3e6 - 50e6/30) * 1.00, each a million
    expected = 0.2 + 0.085 + 1.21573333 + 1.16666667 + 1.33333333
    assert day.dollars == pytest.approx(expected, rel=1e-6)
    assert not day.fits_free


def test_twenty_messages_are_one_request():
    lines = {line.price.unit: line.amount for line in bill(Usage(object_messages=100)).lines}
    assert lines["object_requests"] == 5
