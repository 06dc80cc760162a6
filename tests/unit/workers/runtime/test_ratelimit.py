from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from workers.compat.proxies import JsException
from workers.runtime.ratelimit import Ratelimit, Windows


@pytest.fixture
def clock() -> SimpleNamespace:
    clock = SimpleNamespace(at=1_600_000_000_000)
    clock.now_ms = lambda: clock.at
    return clock


async def test_calls_are_counted_by_key_in_windows_of_the_clock(clock: Any) -> None:
    limiter = Ratelimit(Windows(clock), 2, 10)
    assert [(await limiter.limit({"key": "a"})).success for _ in range(3)] == [True, True, False]
    assert (await limiter.limit(key="b")).success
    assert (await limiter.limit({"key": "a", "limit": 3})).success
    clock.at += 10_000
    assert (await limiter.limit({"key": "a"})).success


async def test_two_bindings_of_one_namespace_count_together(clock: Any) -> None:
    windows = Windows(clock)
    first, second = Ratelimit(windows, 1, 60), Ratelimit(windows, 1, 60)
    assert [(await first.limit(key="k")).success, (await second.limit(key="k")).success] == [True, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (None, "invalid rate limit options"),
        ({"kee": "a"}, "bad rate limit options: [kee]"),
        ({"key": 5}, "invalid key: 5"),
        ({"key": "a", "limit": "x"}, "limit must be a number: x"),
        ({"key": "a", "period": 11}, "unsupported period: 11"),
    ],
)
async def test_wrong_options_are_refused(clock: Any, options: Any, message: str) -> None:
    with pytest.raises(JsException) as caught:
        await Ratelimit(Windows(clock), 2, 10).limit(options)
    assert caught.value.message == message
