"""What many sockets and many topics cost: memory, connecting, and whether a delivery and a publish stay as cheap.

Beside plain aiohttp in the same run where there is a reference. A delivery's cost is what one more subscriber adds to
the server's CPU time, sixteen messages under way; a publish's cost is taken inside the Worker.
"""

from __future__ import annotations

import argparse
import os
import statistics
import urllib.request
from itertools import pairwise
from typing import Any

from load.client import Target, allow_many_files, build, load
from load.servers import flarelet, peer

ENTRY = """
import time

from workers import Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        topics, first, count = (int(part) for part in request.url.rsplit("/", 3)[1:])
        publish = self.env.REALTIME.publish
        began = time.process_time()
        for number in range(first, first + count):
            await publish(f"many/{number % topics}", "tick", {"token": "hello "})
        return Response(str((time.process_time() - began) / count * 1e6))
"""


def row(what: str, text: str, goal: str, is_met: bool) -> None:
    print(f"{what:<40} {text:<70} goal {goal:<24} {'met' if is_met else 'MISSED'}", flush=True)


def idle(program: Any, count: int) -> None:
    """Memory and time of many connections that subscribe and then say nothing."""
    figures: dict[str, dict[str, Any]] = {}
    for name, server in (("flarelet", flarelet()), ("aiohttp", peer("aiohttp"))):
        with server as target:
            assert target is not None
            # What a server takes once, for its first connections, is not counted.
            load(program, target, "--n", 100, "--header", "User-Agent: first", "--mode", "hold", "--hold", 0.5)
            figures[name] = load(program, target, "--n", count, "--mode", "hold", "--hold", 3)
    ours, plain = (figures[name]["rss_per_conn_end_kb"] for name in ("flarelet", "aiohttp"))
    text = f"{ours:.1f} KiB, plain aiohttp {plain:.1f}"
    row(f"{count:,} idle sockets, memory each", text, "<= aiohttp + 3, aim 9.8", ours <= plain + 3)
    seconds, theirs = (figures[name]["connect_cpu_s"] for name in ("flarelet", "aiohttp"))
    wall, their_wall = (figures[name]["connect_s"] for name in ("flarelet", "aiohttp"))
    text = f"{wall:.2f} s, aiohttp {their_wall:.2f}; CPU {seconds:.2f} s, aiohttp {theirs:.2f}: {seconds / theirs:.2f}x"
    row(f"connecting and subscribing {count:,}", text, "<= 1.5x aiohttp's CPU", seconds / theirs <= 1.5)


def per_publish_us(program: Any, target: Target, subscribers: int, turns: int) -> float:
    messages = max(40, min(4000, 400_000 // subscribers))
    options = ("--mode", "window", "--window", 16, "--msgs", messages, "--rounds", turns, "--warm", 20, "--gap", 20)
    figures = load(program, target, "--n", subscribers, *options)
    return figures["srv_cpu_s_per_M"]["min"] * subscribers


def deliveries(program: Any, sizes: list[int], turns: int) -> None:
    """The cost of one more subscriber, between each two sizes."""
    with flarelet() as target:
        cost = {size: per_publish_us(program, target, size, turns) for size in sizes}
    added = {size: (cost[size] - cost[before]) / (size - before) for before, size in pairwise(sizes)}
    text = ", ".join(f"{size:,}: {us:.2f} us" for size, us in added.items())
    spread = max(added.values()) / statistics.median(added.values())
    text += f"; a publish to {sizes[0]}: {cost[sizes[0]]:.0f} us"
    row(f"one more subscriber, {sizes[0]} -> {sizes[-1]:,}", text, "flat (<= 1.5x median)", spread <= 1.5)


def publishes(topics: int) -> None:
    """The cost of a publish to one of few topics, and to one of many that all exist."""
    with flarelet(ENTRY) as target:
        base = target.url.replace("ws://", "http://").partition("/api/")[0]

        def run(among: int, count: int) -> float:
            took = [
                float(urllib.request.urlopen(f"{base}/{among}/{first}/2000", timeout=120).read())
                for first in range(0, count, 2000)
            ]
            return statistics.median(took)

        run(1, 4000)
        one = run(1, 20_000)
        made = run(topics, topics)
        many = run(topics, min(topics, 40_000))
    text = f"1 topic {one:.0f} us, {topics:,} topics {many:.0f} us, the first to each {made:.0f} us"
    row(f"a publish, 1 -> {topics:,} topics", text, "flat (<= 1.5x)", many / one <= 1.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sockets", type=int, default=5_000)
    parser.add_argument("--topics", type=int, default=100_000)
    parser.add_argument("--most", type=int, default=10_000, help="subscribers of one topic")
    parser.add_argument("--only", default="", help="idle, deliveries or publishes")
    options = parser.parse_args()
    program = build()
    if program is None:
        print("skipped: the load client is C and there is no compiler (cc)")
        return
    files = allow_many_files()
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if files < max(options.sockets, options.most) + 200:
        print(f"only {files} files may be open: fewer sockets are measured")
    room = files - 200
    if options.only in ("", "idle"):
        idle(program, min(options.sockets, room))
    if options.only in ("", "deliveries"):
        deliveries(program, [size for size in (10, 100, 1_000, 10_000) if size <= min(options.most, room)], 3)
    if options.only in ("", "publishes"):
        publishes(options.topics)


if __name__ == "__main__":
    main()
