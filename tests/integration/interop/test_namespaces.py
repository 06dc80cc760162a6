"""KV namespaces move between miniflare and flarelet, both ways, and both say the same of every call."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

BYTES = {"$t": "bytes", "as": "Uint8Array", "hex": "01ff007f"}
WRITES: list[list[Any]] = [
    ["put", "text", "Grüße 🙂"],
    ["put", "json", '{"a": [1, 2.0, {"b": null}], "c": "d"}'],
    ["put", "bytes", BYTES],
    ["put", "empty", ""],
    ["put", "number", 5],
    ["put", "true", True],
    ["put", "none", None],
    ["put", "%20/é ?#", "a name that a path must quote"],
    ["put", "mark", "\ufeffx"],
    ["put", "described", "v", {"metadata": {"x": 1, "list": [1, None, "é"], "nested": {"y": 1.5}}}],
    ["put", "labelled", "v", {"metadata": "label"}],
    ["put", "unlabelled", "v", {"metadata": None}],
    ["put", "far", "v", {"expiration": 2000000000}],
    ["put", "strange", "v", {"expiration": "2000000000.7"}],
    ["put_stream", "streamed", "one chunk " * 1000],
    ["put", "gone", "v"],
    ["delete", "gone"],
    ["delete", "never"],
    ["put", "text", "Grüße 🙂, again"],
]
KEYS = [write[1] for write in WRITES]
READS: list[list[Any]] = [
    *[["get", key] for key in KEYS],
    *[["get", key, "arrayBuffer"] for key in KEYS],
    *[["get", key, {"type": "stream", "cacheTtl": 60}] for key in KEYS],
    ["get", "json", "json"],
    ["get", "number", {"type": "json"}],
    *[["get_with_metadata", key] for key in [*KEYS, "never"]],
    ["get_with_metadata", "json", "json"],
    ["get", ["text", "never", "text", "empty"]],
    ["get", ["json", "number"], "json"],
    ["get_with_metadata", ["described", "never", "text"]],
    ["list"],
    ["list", {"prefix": "u"}],
    ["list", {"prefix": "%"}],
    ["list", {"prefix": "", "limit": None, "cursor": None}],
    ["list", {"limit": 2}],
    ["list", {"limit": 2, "cursor": "Ynl0ZXM="}],
    ["list", {"limit": "3"}],
    ["list", {"limit": 1.9}],
    ["list", {"limit": 0}],
    ["list", {"limit": -1}],
    ["list", {"cursor": "???"}],
    ["list", {"prefix": "text", "cursor": "dGV4dA=="}],
]
LONG = "x" * 513
MISTAKES: list[list[Any]] = [
    *[[call, key] for call in ("get", "get_with_metadata", "delete") for key in ("", ".", "..", LONG, "é" * 257)],
    *[["put", key, "v"] for key in ("", ".", LONG)],
    ["get", "text", "json"],
    ["get", "empty", "json"],
    ["get", "text", "bogus"],
    ["get", "text", {"type": None}],
    ["get", "text", {"cacheTtl": 29}],
    ["put", "x", {"a": 1}],
    ["put", "x", [1]],
    *[["put", "x", "v", {"expirationTtl": ttl}] for ttl in (59, 0, -1, "x", 59.9, "5")],
    *[["put", "x", "v", {"expiration": at}] for at in (5, 0, -1, "x", 2**31)],
    ["put", "x", "v", {"metadata": {"m": "x" * 1024}}],
    ["put", "x", "v", {"metadata": {"m": "é" * 520}}],
    ["put", "x", "y" * (25 * 1024 * 1024 + 1)],
    ["get", []],
    ["get", [f"k{number}" for number in range(101)]],
    ["get", ["text", ""]],
    ["get", ["text", "."]],
    ["get", [LONG]],
    ["get", ["text"], "arrayBuffer"],
    ["get", ["text"], "json"],
    ["get", ["text"], {"cacheTtl": 3}],
    ["list", {"limit": 1001}],
    ["list", {"prefix": "x" * 513}],
    ["get", "x"],
]


def _same(values: SimpleNamespace, told: list[Any], found: list[Any], steps: list[list[Any]]) -> list[str]:
    problems: list[str] = []
    for step, wanted, got in zip(steps, told, found, strict=True):
        problem = values.difference(values.as_python(wanted), got, str(step)[:80])
        if problem is not None:
            problems.append(problem)
    return problems


@pytest.mark.parametrize("writer", ["miniflare", "flarelet"])
async def test_a_namespace_that_one_side_wrote_is_the_same_on_both(
    writer: str, miniflare: Any, flarelet: Any, values: SimpleNamespace
) -> None:
    sides = {"miniflare": miniflare, "flarelet": flarelet}
    async with sides[writer]() as side:
        assert [answer for answer in await side.namespace(WRITES) if "ok" not in answer] == []
    async with miniflare() as side:
        told = await side.namespace(READS)
    async with flarelet() as side:
        found = await side.namespace(READS)
    assert _same(values, told, found, READS) == []


async def test_both_sides_refuse_the_same_calls_in_the_same_words(
    miniflare: Any, flarelet: Any, values: SimpleNamespace
) -> None:
    async with miniflare("one") as side:
        told = await side.namespace([*WRITES[:4], *MISTAKES])
    async with flarelet("other") as side:
        found = await side.namespace([*WRITES[:4], *MISTAKES])
    assert _same(values, told, found, [*WRITES[:4], *MISTAKES]) == []
    assert sum("error" in answer for answer in told) == len(MISTAKES) - 1


async def test_each_side_goes_on_where_the_other_stopped(miniflare: Any, flarelet: Any) -> None:
    for number in range(3):
        async with (miniflare if number % 2 else flarelet)() as side:
            await side.namespace([["put", f"key {number}", "v"], ["put", "last", str(number)], ["delete", "key 0"]])
    for side in (miniflare, flarelet):
        async with side() as it:
            [last, listed] = await it.namespace([["get", "last"], ["list"]])
            names = [key["name"] for key in listed["ok"]["keys"]]
        assert (last, names) == ({"ok": "2"}, ["key 1", "key 2", "last"])


async def test_values_whose_time_is_over_are_gone_on_both_sides(miniflare: Any, flarelet: Any) -> None:
    async with miniflare() as side:
        await side.namespace([["put", "soon", "v", {"expirationTtl": 60}], ["put", "kept", "v"]])
    async with flarelet() as side:
        [[value], [listed]] = [await side.namespace([["get", "soon"]]), await side.namespace([["list"]])]
        assert (value, len(listed["ok"]["keys"])) == ({"ok": "v"}, 2)
    async with flarelet(ahead_ms=61_000) as side:
        [value, listed] = await side.namespace([["get", "soon"], ["list"]])
        assert (value, [key["name"] for key in listed["ok"]["keys"]]) == ({"ok": None}, ["kept"])
    async with miniflare() as side:
        assert await side.namespace([["get", "soon"]]) == [{"ok": None}]
