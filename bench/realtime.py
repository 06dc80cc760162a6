"""Fan-out to many sockets, each figure beside a reference measured in the same run.

Rows: one message at a time and sixteen under way against the limit of what Python can write (`load/peers.py`) and
against npm's `ws`; latency at fixed rates; what a client that does not read costs the others. Ours and the reference
take turns, and a row is the median of the turns: the machine is shared.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from typing import Any

from load.client import Target, allow_many_files, build, load
from load.servers import flarelet, peer

QUICK = ("--rounds", 2, "--warm", 20, "--gap", 50, "--timeout", 60)


FAN_OUTS = ((1, 150, "raw", 0.85, 3.3, 3.0), (16, 1200, "tick", 0.8, 0.5, 0.36))
"""Messages under way, messages a round, the reference, what part of it is the goal; CPU seconds a million deliveries
may cost on the machine on which the reference took the last figure: a busy machine makes both dearer."""


def median(found: list[dict[str, Any]], name: str) -> float:
    return statistics.median([one[name]["median"] for one in found])


def best(found: list[dict[str, Any]], name: str) -> float:
    return max(one[name]["max"] for one in found)


def turns(count: int, targets: list[Target], measure: Callable[[Target], dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Measure every target `count` times, in turns."""
    found: list[list[dict[str, Any]]] = [[] for _ in targets]
    for _ in range(count):
        for target, figures in zip(targets, found, strict=True):
            figures.append(measure(target))
    return found


def row(what: str, text: str, goal: str, is_met: bool) -> None:
    print(f"{what:<44} {text:<62} goal {goal:<14} {'met' if is_met else 'MISSED'}", flush=True)


def fan_out(program: Any, targets: dict[str, Target], count: int) -> None:
    for window, messages, limit, goal, cpu_goal, cpu_limit in FAN_OUTS:
        names = ["flarelet", limit, *(["ws"] if "ws" in targets and window == 1 else [])]
        found = turns(
            count,
            [targets[name] for name in names],
            lambda target, window=window, messages=messages: load(
                program, target, "--mode", "window", "--window", window, "--msgs", messages, *QUICK
            ),
        )
        rates = {name: median(figures, "del_s") / 1000 for name, figures in zip(names, found, strict=True)}
        cpu = {name: median(figures, "srv_cpu_s_per_M") for name, figures in zip(names, found, strict=True)}
        pairs = [
            ours["del_s"]["median"] / theirs["del_s"]["median"] for ours, theirs in zip(found[0], found[1], strict=True)
        ]
        ratio = statistics.median(pairs)
        what = f"1 -> 1,000, {window} under way"
        text = f"{rates['flarelet']:,.0f} k/s, limit {rates[limit]:,.0f} k/s"
        text += f", ws {rates['ws']:,.0f} k/s" if "ws" in rates else ""
        row(what, f"{text}; best turn {max(pairs):.2f}", f">= {goal} limit", ratio >= goal)
        print(f"{'':<44} ratio to the limit {ratio:.2f}; of CPU {cpu[limit] / cpu['flarelet']:.2f}")
        row(
            f"  CPU s a million deliveries, {window} under way",
            f"{cpu['flarelet']:.2f}, limit {cpu[limit]:.2f}" + (f", ws {cpu['ws']:.2f}" if "ws" in cpu else ""),
            f"<= {cpu_goal / cpu_limit:.2f} limit",
            cpu["flarelet"] <= max(cpu_goal, cpu[limit] * cpu_goal / cpu_limit),
        )


def rates(program: Any, targets: dict[str, Target], count: int) -> None:
    def at(rate: int) -> Callable[[Target], dict[str, Any]]:
        return lambda target: load(
            program, target, "--mode", "rate", "--rate", rate, "--secs", 2, "--rounds", 2, "--warm", 20, timeout_s=120
        )

    names = ["flarelet", "ws"] if "ws" in targets else ["flarelet", "raw"]
    ours, other = turns(count, [targets[name] for name in names], at(50))
    p99, theirs = median(ours, "p99_ms"), median(other, "p99_ms")
    row("50 tokens/s x 1,000, p99", f"{p99:.1f} ms, {names[1]} {theirs:.1f} ms", f"<= {names[1]}", p99 <= theirs)
    ours, other = turns(count, [targets["flarelet"], targets["tick"]], at(1000))
    p99, theirs = median(ours, "p99_ms"), median(other, "p99_ms")
    row("1,000 tokens/s x 1,000, p99", f"{p99:.1f} ms, limit {theirs:.1f} ms", "< 10 ms", p99 < 10)


@contextmanager
def stalled(target: Target) -> Any:
    """One subscriber that says hello and then reads nothing, with pipes that are full."""
    host, _, port = target.url.removeprefix("ws://").partition("/")[0].partition(":")
    with socket.socket() as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        own.connect((host, int(port)))
        path = "/" + target.url.removeprefix("ws://").partition("/")[2]
        own.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        own.recv(1024)
        for topic in (target.topic, "room/fill"):
            say(own, {"type": "subscribe", "topic": topic})
        time.sleep(0.3)
        for _ in range(300):  # its own publishes come back to it and fill everything in between
            say(own, {"type": "publish", "topic": "room/fill", "event": "fill", "data": "x" * 60_000})
        time.sleep(0.5)
        yield


def say(own: socket.socket, frame: dict[str, object]) -> None:
    payload = json.dumps(frame).encode()
    size = len(payload)
    head = bytes((0x81, 0x80 | size)) if size < 126 else bytes((0x81, 0xFE)) + size.to_bytes(2, "big")
    own.sendall(head + b"\0\0\0\0" + payload)


def slow_client(program: Any, target: Target, count: int) -> None:
    def measure() -> float:
        options = ("--mode", "rate", "--rate", 50, "--secs", 2, "--rounds", 2, "--warm", 20, "--n", 999)
        return load(program, target, *options)["p99_ms"]["median"]

    without, beside = [], []
    for _ in range(count):
        without.append(measure())
        with stalled(target):
            beside.append(measure())
    ratio = statistics.median([slow / free for slow, free in zip(beside, without, strict=True)])
    text = f"{statistics.median(beside):.1f} ms, without it {statistics.median(without):.1f} ms: {ratio:.2f}x"
    row("999 others beside one that does not read, p99", text, "<= 1.5x", ratio <= 1.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--only", default="", help="fan-out, rates or slow")
    options = parser.parse_args()
    program = build()
    if program is None:
        print("skipped: the load client is C and there is no compiler (cc)")
        return
    allow_many_files()
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with ExitStack() as stack:
        targets = {name: stack.enter_context(peer(name)) for name in ("raw", "tick", "ws")}
        if targets["ws"] is None:
            print("without the peer `ws`: Node or its package is not here (the interop tests install it)")
        known = {"flarelet": stack.enter_context(flarelet())} | {
            name: target for name, target in targets.items() if target is not None
        }
        if options.only in ("", "fan-out"):
            fan_out(program, known, options.turns)
        if options.only in ("", "rates"):
            rates(program, known, options.turns)
        if options.only in ("", "slow"):
            slow_client(program, known["flarelet"], options.turns)


if __name__ == "__main__":
    main()
