from __future__ import annotations

import re
from typing import Any

from d1.changes import RowChange
from durable_objects.realtime.core.meter import Sample

METRICS = "/internal/metrics"


async def figures(world: Any, **headers: str) -> dict[str, float]:
    response = await world.request(METRICS, headers=headers)
    assert response.status == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = [line for line in (await response.text()).splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r'[a-z0-9_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+', line) for line in lines)
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def test_figures_follow_what_happens(world: Any):
    before = await figures(world)
    ann, bob = await world.connect(), await world.connect()
    for client in (ann, bob):
        await client.subscribe("chat/a")
        await client.subscribe("orders")
    await world.realtime.publish("chat/a", "m", 1)
    world.commit(RowChange(1, "INSERT", "orders", {"id": 1}, None))
    for client in (ann, bob):
        assert {(await client.next())["type"] for _ in range(2)} == {"event", "db_change"}
    ann.send("nonsense")
    await ann.next()
    bob.abort()
    after = await figures(world)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert after['flarelet_connections{role="open"}'] == 1
    assert (after["flarelet_topics"], after["flarelet_subscriptions"]) == (2, 2)
    assert after["flarelet_sessions_kept"] == 1
    assert grown("flarelet_deliveries_total") == 4
    assert grown("flarelet_changes_total") == grown("flarelet_captured_commits_total") == 1
    assert grown('flarelet_refused_total{code="NOT_JSON"}') == 1
    assert grown('flarelet_connections_total{role="open"}') == 2


async def test_only_who_may_call_the_server_api_reads_figures(start: Any, world: Any):
    response = await world.request(METRICS, headers={"Origin": "http://evil.example", "Host": "localhost:8787"})
    assert response.status == 403
    assert (await world.request(METRICS, method="POST")).status == 405
    guarded = await start(public_keys=("pk_1",), secret_keys=("sk_1",))
    assert (await guarded.request(METRICS)).status == 401
    assert (await guarded.request(METRICS, headers={"Authorization": "Bearer pk_1"})).status == 403
    assert await figures(guarded, Authorization="Bearer sk_1")


async def test_what_realtime_runs_on_adds_its_figures(world: Any):
    world.realtime._figures = lambda: [Sample("other", "gauge", "Other.", 7)]
    assert (await figures(world))["other"] == 7
