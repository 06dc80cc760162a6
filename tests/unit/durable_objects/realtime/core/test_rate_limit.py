from __future__ import annotations

from durable_objects.realtime.core.rate_limit import Bucket, Buckets


def test_a_burst_is_allowed_and_then_the_rate():
    bucket = Bucket(10, 3)
    assert [bucket.take(0.0) for _ in range(3)] == [0, 0, 0]
    assert bucket.take(0.0) == 0.1
    assert bucket.take(0.05) == 0.05
    assert bucket.take(0.1) == 0
    assert bucket.take(0.1) > 0
    assert [bucket.take(100.0) for _ in range(3)] == [0, 0, 0]
    assert bucket.take(100.0) > 0


def test_a_rate_of_zero_sets_no_limit():
    bucket = Bucket(0, 1)
    assert not any(bucket.take(0.0) for _ in range(100))
    buckets = Buckets(0, 1)
    assert not any(buckets.take("a", 0.0) for _ in range(100))
    assert len(buckets) == 0


def test_what_was_refused_is_told_once_a_second():
    bucket = Bucket(1, 1)
    bucket.take(0.0)
    told = []
    for at in (0.0, 0.1, 0.5, 0.9, 0.95):
        assert bucket.take(at)
        if bucket.is_notice_due(at):
            told.append((at, bucket.told()))
    assert told == [(0.0, 1)]
    bucket.take(0.99)
    assert bucket.is_notice_due(1.0)
    assert bucket.told() == 5


def test_names_have_buckets_of_their_own_up_to_a_limit():
    buckets = Buckets(1, 1, limit=2)
    assert buckets.take("a", 0.0) == 0
    assert buckets.take("b", 0.0) == 0
    assert buckets.take("a", 0.0) > 0
    assert buckets.take("c", 0.0) == 0  # pushes out b, which was used longest ago
    assert buckets.take("b", 0.0) == 0
    assert len(buckets) == 2
