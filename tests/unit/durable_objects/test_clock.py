from __future__ import annotations

import datetime as dt

from durable_objects.clock import SystemClock


def test_the_system_clock_counts_milliseconds_since_1970():
    now = dt.datetime.now(dt.UTC).timestamp() * 1000
    assert abs(SystemClock().now_ms() - now) < 5000
