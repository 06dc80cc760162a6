"""Token buckets: how many frames a connection, and how many publishes a topic, may have.

A bucket holds up to `burst` tokens and gains `rate` of them a second. Times are seconds of any clock that never goes
back. Buckets of topics are kept for a bounded number of topics; one that is forgotten was used longest ago and is full
again by then, unless there are more busy topics than buckets.
"""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["Bucket", "Buckets"]

_NOTICE_EVERY_S = 1.0


class Bucket:
    """One allowance. A rate of 0 allows everything."""

    __slots__ = ("_at_s", "_burst", "_noticed_s", "_rate", "_tokens", "dropped")

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._tokens = float(burst)
        self._at_s: float | None = None
        self._noticed_s: float | None = None
        self.dropped = 0
        """What was refused since the last notice."""

    def take(self, now_s: float) -> float:
        """Take one token; returns 0, or the seconds until there is one."""
        if not self._rate:
            return 0.0
        if self._at_s is not None:
            self._tokens = min(self._burst, self._tokens + (now_s - self._at_s) * self._rate)
        self._at_s = now_s
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        self.dropped += 1
        return (1 - self._tokens) / self._rate

    def is_notice_due(self, now_s: float) -> bool:
        """Whether to tell of what was refused: at once the first time, then once a second. Asking counts as telling."""
        if self._noticed_s is not None and now_s - self._noticed_s < _NOTICE_EVERY_S:
            return False
        self._noticed_s = now_s
        return True

    def told(self) -> int:
        """Return what was refused since the last notice, and begin to count again."""
        dropped, self.dropped = self.dropped, 0
        return dropped


class Buckets:
    """The buckets of many names, the longest unused ones first."""

    def __init__(self, rate: float, burst: int, *, limit: int = 10_000) -> None:
        self._rate = rate
        self._burst = burst
        self._limit = limit
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: str, now_s: float) -> float:
        """Take one token of `name`; returns 0, or the seconds until there is one."""
        if not self._rate:
            return 0.0
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(self._rate, self._burst)
            if len(self._buckets) > self._limit:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(name)
        return bucket.take(now_s)
