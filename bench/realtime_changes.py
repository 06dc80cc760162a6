"""From a write through the binding to the change event at the subscriber, beside a plain publish.

The Worker notes the time just before it writes, and the row carries it; the load client, a C program, compares it with
the time at which the event has arrived. The change is captured as always: a subscriber watches the table.
"""

from __future__ import annotations

import argparse
import os
import statistics
import urllib.request
from dataclasses import replace
from typing import Any

from load.client import allow_many_files, build, load
from load.servers import flarelet

ENTRY = """
import time

from workers import Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if request.url.endswith("/setup"):
            await self.env.DB.exec("CREATE TABLE items (id INTEGER PRIMARY KEY, email TEXT, name TEXT, t INTEGER)")
        elif request.url.endswith("/write"):
            statement = self.env.DB.prepare("INSERT INTO items (email, name, t) VALUES (?, ?, ?)")
            now_us = time.monotonic_ns() // 1000
            await statement.bind("user@example.com", "A name of ordinary length", now_us).run()
        else:
            row = {"id": 1, "email": "user@example.com", "name": "A name of ordinary length"}
            row["t"] = time.monotonic_ns() // 1000
            await self.env.REALTIME.publish("room/plain", "INSERT", row)
        return Response("ok")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    turns = parser.parse_args().turns
    program = build()
    if program is None:
        print("skipped: the load client is C and there is no compiler (cc)")
        return
    allow_many_files()
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with flarelet(ENTRY) as target:
        base = target.url.replace("ws://", "http://").partition("/api/")[0]
        urllib.request.urlopen(f"{base}/setup").read()
        ways = {
            "write": (replace(target, topic="items", event="INSERT"), f"{base}/write"),
            "publish": (replace(target, topic="room/plain", event="INSERT"), f"{base}/publish"),
        }
        for subscribers, messages in ((1, 1500), (1000, 200)):
            found: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
            for _ in range(turns):
                for name, (to, url) in ways.items():
                    options = ("--n", subscribers, "--hpub", url, "--mode", "window", "--window", 1, "--msgs", messages)
                    found[name].append(load(program, to, *options, "--rounds", 2, "--warm", 50, "--gap", 50))
            report(subscribers, found)


def report(subscribers: int, found: dict[str, list[dict[str, Any]]]) -> None:
    figures = {
        (name, which): statistics.median([one[which]["median"] for one in runs])
        for name, runs in found.items()
        for which in ("p50_ms", "p99_ms")
    }
    fastest = min(one["p50_ms"]["min"] for one in found["write"])
    text = ", ".join(
        f"{name} p50 {figures[name, 'p50_ms']:.3f} p99 {figures[name, 'p99_ms']:.3f} ms"
        for name in ("write", "publish")
    )
    ratio = figures["write", "p99_ms"] / figures["publish", "p99_ms"]
    if subscribers == 1:
        met, goal = figures["write", "p50_ms"] < 0.25, "write p50 < 0.25 ms"
    else:
        met, goal = ratio <= 1.3, "p99 <= 1.3x publish"
    verdict = f"goal {goal}: {'met' if met else 'MISSED'}"
    print(f"{subscribers:>5} subscribers: {text}, p99 {ratio:.2f}x, best p50 {fastest:.3f}  {verdict}", flush=True)


if __name__ == "__main__":
    main()
