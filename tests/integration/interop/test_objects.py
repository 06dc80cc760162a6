"""Key-value entries, SQL tables and alarms of Durable Objects move between miniflare and flarelet, both ways."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import random
from array import array
from types import SimpleNamespace
from typing import Any

from workers.compat.proxies import JsDict, JsException, JsMap, JsRangeError, MemberList, PairList, jsnull

HOUR_MS = 3_600_000
TYPES_SQL = "SELECT typeof(i), typeof(r), typeof(t), typeof(b), typeof(n), i, r, t, b, n FROM kinds ORDER BY id"
TABLES = [
    ["sql", "CREATE TABLE kinds (id INTEGER PRIMARY KEY, i INTEGER, r REAL, t TEXT, b BLOB, n)"],
    ["sql", "CREATE UNIQUE INDEX kinds_t ON kinds (t)"],
    ["sql", "CREATE VIRTUAL TABLE words USING fts5 (word)"],
    ["sql", "CREATE TABLE log (what TEXT)"],
    ["sql", "CREATE TRIGGER logged AFTER INSERT ON kinds BEGIN INSERT INTO log VALUES (new.t); END"],
    ["sql", "INSERT INTO kinds VALUES (1, ?, ?, ?, ?, ?)", 7, 1.5, "Grüße 🙂", {"$t": "bytes", "hex": "00ff"}, None],
    ["sql", "INSERT INTO kinds VALUES (2, 9007199254740993, 1e308, 'a' || char(0) || 'b', zeroblob(3), 5)"],
    ["sql", "INSERT INTO words VALUES ('the quick fox'), ('lazy dog')"],
]
LOOKS = [
    ["sql", TYPES_SQL],
    ["sql", "SELECT what FROM log ORDER BY rowid"],
    ["sql", "SELECT word FROM words WHERE words MATCH 'quick'"],
    [
        "sql",
        "SELECT type, name FROM sqlite_master WHERE name NOT LIKE '_cf_%' AND name NOT LIKE 'words_%' ORDER BY name",
    ],
    ["sql", "INSERT INTO kinds (t) VALUES ('lazy'), ('lazy')"],
    ["sql", "SELECT count(*) FROM kinds"],
]


# -- what miniflare wrote, flarelet reads


async def test_flarelet_reads_every_kind_of_value_that_javascript_stores(
    miniflare: Any, flarelet: Any, values: SimpleNamespace
) -> None:
    async with miniflare() as reference:
        (stored,) = await reference.object("kinds", [["put_kinds"]])
        assert "ok" in stored, stored
        names = [name for name, _ in (await reference.object("kinds", [["list", {}]]))[0]["ok"]["items"]]
        told = await reference.object("kinds", [["get", name] for name in names])
    async with flarelet() as side:
        found = await side.object("kinds", [["get", name] for name in names])
        (listed,) = await side.object("kinds", [["list", {}]])
    assert list(listed["ok"]) == names
    seen = dict(zip(names, (answer["ok"] for answer in found), strict=True))
    for name in [name for name in names if name.startswith("regexp/") or name == "object/cyclic"]:
        seen.pop(name)  # the next test looks at them
    wanted = dict(zip(names, (answer["ok"] for answer in told), strict=True))
    problems = [values.difference(values.as_python(wanted[name]), value, name) for name, value in seen.items()]
    assert [problem for problem in problems if problem] == []
    assert len(problems) > 60


async def test_flarelet_reads_what_python_has_no_literal_for(miniflare: Any, flarelet: Any) -> None:
    async with miniflare() as reference:
        await reference.object("kinds", [["put_kinds"]])
    names = ["regexp/flags", "object/cyclic", "object/shared", "error/properties", "array/hole-and-errors"]
    async with flarelet() as side:
        pattern, cyclic, shared, error, items = [
            answer["ok"] for answer in await side.object("kinds", [["get", name] for name in names])
        ]
    assert (pattern.source, "IgnoreCase" in repr(pattern.flags)) == ("a+Ω?", True)
    assert cyclic.self is cyclic
    assert cyclic.list[0] is cyclic
    assert shared.first is shared.second
    assert shared.list[0] is shared.first
    assert error.properties == {"code": 42, "detail": {"at": [1]}}
    assert isinstance(items[3], TypeError)


async def test_flarelet_reads_sql_tables_of_miniflare(miniflare: Any, flarelet: Any, values: SimpleNamespace) -> None:
    async with miniflare() as reference:
        assert all("ok" in answer for answer in await reference.object("tables", TABLES))
    async with flarelet() as side:
        found = await side.object("tables", LOOKS)
    async with miniflare() as reference:
        told = await reference.object("tables", LOOKS)
    assert values.difference(values.as_python(told), found) is None
    assert "UNIQUE" in told[4]["error"]["message"]


async def test_text_that_is_no_utf_8_reads_as_in_javascript(
    miniflare: Any, flarelet: Any, values: SimpleNamespace
) -> None:
    half = "x\ud800y"  # half of a surrogate pair: JavaScript has such strings
    looks = [["list", {}], ["sql", "SELECT a FROM t ORDER BY rowid"], ["sql", "SELECT CAST(x'ff41' AS TEXT), ?", half]]
    fill = [
        ["put", half, half],
        ["put", "z", 1],
        ["sql", "CREATE TABLE t (a)"],
        ["sql", "INSERT INTO t VALUES (?)", half],
    ]
    rows = [["run", "CREATE TABLE t (a)"], ["run", "INSERT INTO t VALUES (?), (2)", [half]]]
    async with miniflare() as reference:
        await reference.object("halves", [*fill, ["sql", "INSERT INTO t VALUES (2)"]])
        told = await reference.object("halves", looks)
        told += await reference.database([*rows, ["raw", "SELECT a, ? FROM t", [half]]])
    async with flarelet() as side:
        found = await side.object("halves", looks)
        found += await side.database([["raw", "SELECT a, ? FROM t", [half]]])
    assert values.difference(values.as_python(told[:3] + told[5:]), found) is None


async def test_a_late_alarm_of_miniflare_fires_when_flarelet_starts(miniflare: Any, flarelet: Any) -> None:
    async with miniflare() as reference:
        ((now,),) = (await reference.object("bell Ω", [["sql", "SELECT unixepoch() * 1000"]]))[0]["ok"]
        later = now + HOUR_MS
        await reference.object("bell Ω", [["set_alarm", later]])
        await reference.object("other", [["set_alarm", later + HOUR_MS]])
        await reference.object("none", [["set_alarm", later], ["delete_alarm"]])
    async with flarelet(ahead_ms=HOUR_MS + 60_000) as side:
        async with asyncio.timeout(10):
            info = await side.rung("bell Ω")
        assert info == {"name": "bell Ω", "scheduledTime": later, "retryCount": 0}
        assert await side.object("bell Ω", [["get_alarm"]]) == [{"ok": None}]
        assert await side.object("other", [["get_alarm"]]) == [{"ok": later + HOUR_MS}]
        assert await side.object("none", [["get_alarm"]]) == [{"ok": None}]
    async with miniflare() as reference:  # and miniflare agrees that one is over and the other is not
        assert await reference.object("bell Ω", [["get_alarm"]]) == [{"ok": None}]
        assert await reference.object("other", [["get_alarm"]]) == [{"ok": later + HOUR_MS}]


# -- what flarelet wrote, miniflare reads

SHARED = {"n": 1}
CYCLE: dict[str, Any] = {"name": "loop"}
CYCLE["self"] = CYCLE
BYTES = {"$t": "bytes", "as": "Uint8Array"}
WRITTEN: dict[str, tuple[Any, Any]] = {
    "none": ([None], [None]),
    "none inside": ({"a": None, "b": [None]}, {"a": None, "b": [None]}),
    "jsnull": ([jsnull], [None]),
    "booleans": ([True, False], [True, False]),
    "integers": ([0, -1, 2**30 - 1, 2**30, -(2**30), -(2**30) - 1, 2**31, 2**53 - 1, 1 - 2**53], None),
    "bigints": (
        [2**53, -(2**53), 2**64 - 1, 2**64, -(2**200)],
        [{"$t": "bigint", "v": str(number)} for number in (2**53, -(2**53), 2**64 - 1, 2**64, -(2**200))],
    ),
    "floats": ([1.5, -0.1, 3.0, 1e300, 5e-324, float(2**53)], None),
    "special floats": (
        [math.nan, math.inf, -math.inf, -0.0],
        [{"$t": "float", "v": text} for text in ("NaN", "Infinity", "-Infinity", "-0")],
    ),
    "text": (["", "hello", "Grüße ÿ\0\x80", "Ωmega 日本語", "🙂 a𝒳", "日" * 5000, "é" * 200], None),
    "lone surrogate": ("a\ud800b", "a\ud800b"),
    "text at odd offsets": ([["x" * length, "Ω", "🙂"] for length in range(130)], None),
    "list": ([1, "two", [3, [4]], None, True], None),
    "empty": ([[], {}, ""], None),
    "dict": ({"b": 1, "a": {"deep": {"x": [1, {"y": "z"}]}}, "clé Ω": 2, "": 3}, None),
    "dict with numbers as keys": ({"b": 1, 10: "ten", 2: "two"}, {"2": "two", "10": "ten", "b": 1}),
    "attribute dict": (JsDict(a=1), {"a": 1}),
    "map": (JsMap({1: "one", "k": JsMap()}), {"$t": "map", "items": [[1, "one"], ["k", {"$t": "map", "items": []}]]}),
    "set": ({"a"}, {"$t": "set", "items": ["a"]}),
    "frozenset": (frozenset({7}), {"$t": "set", "items": [7]}),
    "bytes": ([b"", b"\0\x7f\x80\xff"], [{**BYTES, "hex": ""}, {**BYTES, "hex": "007f80ff"}]),
    "equal sized views": (
        [memoryview(b"abcd"), memoryview(b"efgh")],
        [{**BYTES, "hex": b"abcd".hex()}, {**BYTES, "hex": b"efgh".hex()}],
    ),
    "numeric view": (memoryview(array("d", [1.5])), {"$t": "bytes", "as": "Float64Array", "hex": "000000000000f83f"}),
    "naive date": (dt.datetime(2026, 7, 1, 0, 0, 0, 123_000), {"$t": "date", "ms": 1782864000123}),
    "aware date": (
        dt.datetime(2026, 7, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2))),
        {"$t": "date", "ms": 1782864000000},
    ),
    "date before 1970": (dt.datetime(1969, 12, 31, 23, 59, 59), {"$t": "date", "ms": -1000}),
    "exception": (ValueError("boom Ω"), {"$t": "error", "name": "Error", "message": "boom Ω"}),
    "exception without text": (Exception(), {"$t": "error", "name": "Error", "message": ""}),
    "range error": (JsRangeError("far"), {"$t": "error", "name": "RangeError", "message": "far"}),
    "error inside": (
        [JsException("one"), b"x", JsException("two")],
        [
            {"$t": "error", "name": "Error", "message": "one"},
            {**BYTES, "hex": "78"},
            {"$t": "error", "name": "Error", "message": "two"},
        ],
    ),
    "shared": ([SHARED, SHARED, {"again": SHARED}], None),
    "cycle": (CYCLE, {"name": "loop", "self": {"$t": "cycle", "up": 1}}),
    "references past buffers": (
        [b"1", SHARED, b"2", {dt.datetime(1970, 1, 1).isoformat(): SHARED}],
        [{**BYTES, "hex": "31"}, SHARED, {**BYTES, "hex": "32"}, {"1970-01-01T00:00:00": SHARED}],
    ),
}
"""Name -> a Python value and what JavaScript says of it; None where its JSON is that."""


async def test_javascript_reads_every_type_that_python_stores(miniflare: Any, flarelet: Any) -> None:
    async def store(ctx: Any) -> None:
        for name, (value, _) in WRITTEN.items():
            await ctx.storage.put(name, value)

    async with flarelet() as side:
        await side.within("kinds", store)
    async with miniflare() as reference:
        told = await reference.object("kinds", [["get", name] for name in WRITTEN])
        (listed,) = await reference.object("kinds", [["list", {}]])
    for (name, (value, wanted)), answer in zip(WRITTEN.items(), told, strict=True):
        assert answer == {"ok": value if wanted is None else wanted}, name
    assert {name for name, _ in listed["ok"]["items"]} == set(WRITTEN)


async def test_keys_have_the_same_order_on_both_sides(miniflare: Any, flarelet: Any) -> None:
    keys = ["", "\0", "10", "9", "B", "_", "a", "a\0b", "é", "ÿ", "Ω", "\uffff", "😀", "𝒳", "a" * 3000]

    async def store(ctx: Any) -> None:
        await ctx.storage.put({key: place for place, key in enumerate(keys)})

    ranges = [{}, {"reverse": True}, {"prefix": "a"}, {"start": "é", "end": "😀"}, {"startAfter": "9", "limit": 3}]
    looks = [["list", options] for options in [*ranges, {"prefix": "\uffff"}, {"prefix": "😀"}, {"end": ""}]]
    async with flarelet() as side:
        await side.within("keys", store)
        found = await side.object("keys", looks)
    async with miniflare() as reference:
        told = await reference.object("keys", looks)
    assert [list(answer["ok"].items()) for answer in found] == [
        [tuple(pair) for pair in answer["ok"]["items"]] for answer in told
    ]


async def test_miniflare_reads_sql_tables_of_flarelet(miniflare: Any, flarelet: Any, values: SimpleNamespace) -> None:
    async with flarelet() as side:
        assert all("ok" in answer for answer in await side.object("tables", TABLES))
    async with miniflare() as reference:
        told = await reference.object("tables", LOOKS)
    async with flarelet() as side:
        found = await side.object("tables", LOOKS)
    assert values.difference(values.as_python(told), found) is None


async def test_a_late_alarm_of_flarelet_fires_when_miniflare_starts(miniflare: Any, flarelet: Any) -> None:
    async with flarelet(ahead_ms=-2 * HOUR_MS) as side:
        ((now,),) = (await side.object("bell Ω", [["sql", "SELECT unixepoch() * 1000"]]))[0]["ok"]
        late, early = now + HOUR_MS, now + 3 * HOUR_MS  # its clock is two hours behind
        await side.object("bell Ω", [["set_alarm", late]])
        await side.object("other", [["set_alarm", early]])
        await side.object("none", [["set_alarm", late], ["delete_alarm"]])
    async with miniflare() as reference:
        (info,) = await reference.object("bell Ω", [["wait_for_alarm"]])
        assert info == {"ok": {"name": "bell Ω", "scheduledTime": late, "retryCount": 0}}
        assert await reference.object("other", [["get_alarm"]]) == [{"ok": early}]
        assert await reference.object("none", [["get_alarm"]]) == [{"ok": None}]
    async with flarelet() as side:
        assert await side.object("bell Ω", [["get_alarm"]]) == [{"ok": None}]
        assert await side.object("other", [["get_alarm"]]) == [{"ok": early}]


async def test_what_one_side_deletes_is_gone_on_the_other(miniflare: Any, flarelet: Any) -> None:
    filled = [["put", "k", 1], ["sql", "CREATE TABLE t (a)"], ["set_alarm", 4_000_000_000_000]]
    looks = [["get", "k"], ["sql", "SELECT name FROM sqlite_master WHERE name NOT LIKE '_cf_%'"], ["get_alarm"]]
    async with miniflare() as reference:
        await reference.object("theirs", filled)
        await reference.object("ours", filled)
        await reference.object("theirs", [["delete_all"]])
    async with flarelet() as side:
        assert await side.object("theirs", looks) == [{"ok": None}, {"ok": []}, {"ok": None}]
        assert await side.object("ours", [["delete_all"]]) == [{"ok": None}]
    async with miniflare() as reference:
        told = await reference.object("ours", looks)
    assert told == [{"ok": {"$t": "undefined"}}, {"ok": []}, {"ok": None}]


# -- names


async def test_names_have_the_same_ids_and_files(miniflare: Any, flarelet: Any, tmp_path: Any) -> None:
    chance = random.Random(20260730)
    alphabet = "abz019 _-/\\:\0\n\"'é߿Ωя日本🙂𝒳\u200b\ufeff\uffff"
    names = ["", " ", "é", "e\u0301", "a" * 5000]
    names += ["".join(chance.choices(alphabet, k=chance.randint(1, 40))) for _ in range(95)]
    assert len(names) == 100
    folder = tmp_path / "state" / "do" / "interop-Keeper"
    async with miniflare() as reference:
        told = await reference.ids(names)
        for name in names[:8]:
            await reference.object(name, [["put", "k", 1]])
    files = {file.name for file in folder.glob("*.sqlite")}
    async with flarelet() as side:
        assert await side.ids(names) == told
        found = [await side.object(name, [["get", "k"]]) for name in names[:8]]
    assert found == [[{"ok": 1}]] * 8
    assert {file.name for file in folder.glob("*.sqlite")} == files
    assert files == {f"{hex_id}.sqlite" for hex_id in told[:8]} | {"metadata.sqlite"}


async def test_miniflare_reads_errors_and_collections_as_they_were(miniflare: Any, flarelet: Any) -> None:
    outer = JsRangeError("outer", cause=JsException("inner", name="Mine"), code=42, detail={"at": [1]})

    async def write(ctx: Any) -> None:
        await ctx.storage.put("error", {"first": outer, "again": outer, "plain": JsException("p", cause="why")})
        await ctx.storage.put("date", dt.datetime(2024, 1, 2, 3, 4, 5, 6999))
        await ctx.storage.put("members", MemberList([{"a": 1}, 2]))
        await ctx.storage.put("pairs", PairList([[{"a": 1}, 2]]))

    async with flarelet() as side:
        await side.within("errors", write)
    async with miniflare() as reference:
        names = ["error", "date", "members", "pairs"]
        answers = await reference.object("errors", [["get", name] for name in names])
        told = [answer["ok"] for answer in answers]
    inner = {"$t": "error", "name": "Mine", "message": "inner"}
    own = {"code": 42, "detail": {"at": [1]}}
    error = {"$t": "error", "name": "RangeError", "message": "outer", "own": own, "cause": inner}
    plain = {"$t": "error", "name": "Error", "message": "p", "cause": "why"}
    assert told == [
        {"first": error, "again": error, "plain": plain},
        {"$t": "date", "ms": 1_704_164_645_006},
        {"$t": "set", "items": [{"a": 1}, 2]},
        {"$t": "map", "items": [[{"a": 1}, 2]]},
    ]
