from __future__ import annotations

from durable_objects.realtime.core.delivery import Backlog, Bounds, Kind, Lane, Policy
from durable_objects.realtime.core.meter import METER, Sample, exposition


def test_samples_are_written_as_prometheus_reads_them():
    text = exposition(
        [
            Sample("a_total", "counter", "How\nmany.", 3, {"kind": 'x"\\\ny'}),
            Sample("a_total", "counter", "How\nmany.", 4, {"kind": "z"}),
            Sample("b", "gauge", "Now.", 0.5),
        ]
    )
    assert text == (
        "# HELP a_total How\\nmany.\n"
        "# TYPE a_total counter\n"
        'a_total{kind="x\\"\\\\\\ny"} 3\n'
        'a_total{kind="z"} 4\n'
        "# HELP b Now.\n"
        "# TYPE b gauge\n"
        "b 0.5\n"
    )


def test_what_slow_clients_miss_is_counted_by_policy_and_what_waits_is_known():
    lane = Lane("chat/a", Kind.EVENT, Policy.DROP_OLDEST, Bounds(1_000, 2))
    before, queued = METER.dropped["drop_oldest"], METER.queued_bytes
    backlog = Backlog(Bounds())
    for _ in range(5):
        backlog.put("x" * 10, 10, lane)
    assert METER.queued_bytes == queued + 20
    backlog.take(0)
    assert METER.dropped["drop_oldest"] == before + 3
    assert METER.queued_bytes == queued
    closing = Lane("chat/a", Kind.EVENT, Policy.CLOSE, Bounds(5, 1))
    closed = METER.dropped["close"]
    assert not backlog.put("x" * 10, 10, closing)
    assert METER.dropped["close"] == closed + 1
