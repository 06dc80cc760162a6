"""`GET /internal/metrics`: figures for Prometheus, for who may call the server API."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from durable_objects.realtime.core.codes import Code, RealtimeError
from durable_objects.realtime.core.meter import METER, Sample, exposition
from durable_objects.realtime.directory import Directory
from durable_objects.realtime.endpoint import admit_caller, error_body
from durable_objects.realtime.guard import Guards
from durable_objects.realtime.kept import Keeper
from durable_objects.realtime.tails import tails_here
from workers.request import Request
from workers.response import Response

__all__ = ["Figures", "answer_metrics"]

Figures = Callable[[], Iterable[Sample]]
"""Further figures, of what realtime runs on."""

_TYPE = {"content-type": "text/plain; version=0.0.4; charset=utf-8"}


def answer_metrics(
    request: Request, directory: Directory, guards: Guards, keeper: Keeper, further: Figures | None
) -> Response:
    """Answer a request for the figures: like the server API, on an open server for programs of this machine only."""
    try:
        if request.method not in ("GET", "HEAD"):
            raise RealtimeError(Code.METHOD_NOT_ALLOWED, f"figures are read with GET, not {request.method}")
        admit_caller(request, directory)
    except RealtimeError as error:
        return error_body(error)
    samples = [*_of_now(guards, keeper), *_counted(), *(further() if further is not None else ())]
    return Response(exposition(samples), headers=_TYPE)


def _of_now(guards: Guards, keeper: Keeper) -> Iterator[Sample]:
    roles, topics, followed = Counter[str](), set[str](), 0
    for guard in guards.live:
        roles[guard.client.identity.role] += 1
        names = [name.text for name in guard.client.topics()]
        topics.update(names)
        followed += len(names)
    for role in sorted(roles):
        yield Sample("flarelet_connections", "gauge", "Live connections.", roles[role], {"role": role})
    if not roles:
        yield Sample("flarelet_connections", "gauge", "Live connections.", 0)
    yield Sample("flarelet_topics", "gauge", "Topics that a live connection follows.", len(topics))
    yield Sample("flarelet_subscriptions", "gauge", "Topics of all live connections added up.", followed)
    yield Sample("flarelet_sessions_kept", "gauge", "Cut connections kept for their return.", len(keeper.sessions))
    yield Sample("flarelet_queued_bytes", "gauge", "Bytes that wait for slow clients.", METER.queued_bytes)
    yield Sample("flarelet_tail_bytes", "gauge", "Bytes of events kept for returning clients.", tails_here().size)


def _counted() -> Iterator[Sample]:
    for role, count in sorted(METER.accepted.items()):
        yield Sample("flarelet_connections_total", "counter", "Connections let in.", count, {"role": role})
    yield Sample("flarelet_received_total", "counter", "Frames of clients.", METER.received)
    for name, count in sorted(METER.refused.items()):
        yield Sample("flarelet_refused_total", "counter", "Refused frames and clients.", count, {"code": name})
    yield Sample("flarelet_said_total", "counter", "Frames said to groups of subscribers.", METER.said)
    yield Sample("flarelet_deliveries_total", "counter", "Frames delivered to subscribers.", METER.deliveries)
    for policy, count in sorted(METER.dropped.items()):
        yield Sample("flarelet_dropped_total", "counter", "Frames slow clients missed.", count, {"policy": policy})
    yield Sample("flarelet_recovered_total", "counter", "Subscriptions continued without a gap.", METER.recovered)
    yield Sample("flarelet_gaps_total", "counter", "Subscriptions told of a gap.", METER.gaps)
    yield Sample("flarelet_captured_commits_total", "counter", "Commits that changed captured rows.", METER.commits)
    yield Sample("flarelet_changes_total", "counter", "Row changes sent to topics.", METER.changes)
