"""One script of database, key-value and SQL operations, made from a fixed seed, has equal results on both sides.

`meta` is compared in `changes` and `last_row_id` only: the other figures need the counters of workerd's own SQLite, and
a `last_row_id` of 2 before the first INSERT is that of a row of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any

SEED = 20260730
Step = list[Any]

KEYS = ["", "a", "a\0", "ab", "b", "B", "10", "9", "é", "Ω", "日本", "\uffff", "🙂", "𝒳", "x" * 300]
ODD_VALUES = [
    [1, 2, 300],
    [1.5, 255.9],
    [-1, 2],
    [],
    ["a", [1, [2]], None, {"a": 1}, True],
    [1e21, 1e-7, 0.1],
    {"$t": "error", "name": "Error", "message": "m"},
    [{"$t": "error", "name": "Error", "message": ""}, {"$t": "date", "ms": 0}],
    {"$t": "date", "ms": 1e12},
    {"$t": "set", "items": [1]},
    {"$t": "bigint", "v": "9007199254740993"},
]
"""Most of them cannot be bound to a statement of the database; what the refusal says is compared."""
NAMES = ["anna", "bertil", "Ω", "🙂", "", "o'neil", "a\0b"]


def value(chance: Random, depth: int = 0) -> Any:
    """Return a storable value in tagged JSON."""
    makers: list[Callable[[], Any]] = [
        lambda: None,
        lambda: chance.choice([True, False]),
        lambda: chance.choice([0, 1, -1, 2**30, -(2**31), 2**53 - 1, chance.randint(-(10**6), 10**6)]),
        lambda: chance.choice([0.5, -1e-7, 1e21, chance.random()]),
        lambda: {"$t": "float", "v": chance.choice(["NaN", "Infinity", "-Infinity"])},
        lambda: {"$t": "bigint", "v": str(chance.choice([2**53, -(2**64), 3**99]))},
        lambda: {"$t": "date", "ms": chance.randint(-(10**12), 10**13)},
        lambda: "".join(chance.choices("aé日🙂\0", k=chance.randint(0, 9))),
        lambda: {"$t": "bytes", "as": "Uint8Array", "hex": chance.randbytes(chance.randint(0, 9)).hex()},
        lambda: {"$t": "set", "items": [chance.randint(0, 9)]},
        lambda: {"$t": "error", "name": "Error", "message": chance.choice(NAMES)},
    ]
    if depth < 3:
        makers += 2 * [
            lambda: [value(chance, depth + 1) for _ in range(chance.randint(0, 4))],
            lambda: {name: value(chance, depth + 1) for name in chance.sample(NAMES, chance.randint(0, 3))},
            lambda: {"$t": "map", "items": [[chance.choice(NAMES), value(chance, depth + 1)]]},
        ]
    return chance.choice(makers)()


def listing(chance: Random) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if chance.random() < 0.3:
        options["prefix"] = chance.choice(KEYS)
    if chance.random() < 0.4:
        options[chance.choice(["start", "startAfter"])] = chance.choice(KEYS)
    if chance.random() < 0.4:
        options["end"] = chance.choice(KEYS)
    if chance.random() < 0.4:
        options["reverse"] = chance.choice([True, False])
    if chance.random() < 0.3:
        options["limit"] = chance.choice([1, 2, 5, 0, -1])
    return options


def key_value(chance: Random) -> Step:
    """Return an operation on entries."""
    some = chance.sample(KEYS, chance.randint(1, 5))
    if chance.random() < 0.1:
        return ["transaction", chance.choice([True, False]), [key_value(chance), ["list", {"limit": 3}]]]
    return chance.choice(
        [
            ["put", some[0], value(chance)],
            ["put", some[0], value(chance)],
            ["put_many", {key: value(chance) for key in some}],
            ["get", some[0]],
            ["get", some],
            ["delete", some[0]],
            ["delete", some],
            ["list", listing(chance)],
            ["list", listing(chance)],
        ]
    )


def bound(chance: Random) -> Any:
    """Return a value that both SQL interfaces bind."""
    return chance.choice(
        [
            None,
            True,
            False,
            0,
            7,
            -3,
            1.5,
            1e300,
            2**53 - 1,
            "text",
            "",
            "Ω🙂",
            "12",
            "1.0",
            {"$t": "bytes", "hex": "00ff"},
        ]
    )


def statement(chance: Random) -> tuple[str, list[Any] | None]:
    """Return an SQL statement and its parameters; some of them fail."""
    number = chance.randint(1, 6)
    return chance.choice(
        [
            (
                "INSERT INTO t (name, n, r, b) VALUES (?, ?, ?, ?)",
                [chance.choice(NAMES), *[bound(chance) for _ in "nrb"]],
            ),
            ("INSERT INTO t (id, name, n) VALUES (?, ?, ?) RETURNING *", [number, chance.choice(NAMES), bound(chance)]),
            (
                "INSERT INTO t (name, n) VALUES (?1, 1) ON CONFLICT (name) DO UPDATE SET n = typeof(n) RETURNING id, n",
                [chance.choice(NAMES)],
            ),
            ("INSERT OR IGNORE INTO t (name) VALUES (?), (?)", chance.sample(NAMES, 2)),
            ("INSERT OR REPLACE INTO t (id, name) VALUES (?, ?)", [number, chance.choice(NAMES)]),
            ("INSERT INTO t (name) VALUES (NULL)", None),
            ("INSERT INTO t (name, n) VALUES ('x', ?)", None),
            ("INSERT INTO child VALUES (?, ?)", [number, bound(chance)]),
            ("UPDATE t SET n = ?, b = ? WHERE id > ?", [bound(chance), bound(chance), number]),
            ("UPDATE t SET r = r + 0.5 WHERE typeof(r) = 'real' RETURNING id, r", None),
            ("DELETE FROM t WHERE id = ?", [number]),
            ("SELECT *, typeof(n) AS kind FROM t ORDER BY id", None),
            ("SELECT id, n, r FROM t WHERE n >= ? ORDER BY id LIMIT 3", [bound(chance)]),
            ("SELECT count(*), sum(id), avg(id), group_concat(name, '|') FROM (SELECT * FROM t ORDER BY id)", None),
            ("SELECT t.id, child.v FROM t LEFT JOIN child ON child.t = t.id ORDER BY 1, 2", None),
            ('SELECT 1 AS a, 2 AS a, 3 AS "2", 4 AS "1"', None),
            ("WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < ?) SELECT x FROM c", [number]),
            ("SELECT id, row_number() OVER (ORDER BY name DESC) AS place FROM t ORDER BY id", None),
            (
                "SELECT json_object('a', ?, 'b', json('[1,2]')) AS j, json_extract('{\"a\":[1,2.5]}', '$.a[1]') AS x",
                [number],
            ),
            ("SELECT ? AS v, typeof(?1) AS kind, hex(?1) AS text", [bound(chance)]),
            (
                "SELECT hex(b), length(name), upper(name), round(r, 1), abs(id), substr(name, 1, 2) FROM t ORDER BY id",
                None,
            ),
            ("SELECT 9007199254740993 AS big, 1e999 AS more, 1.0 AS whole, x'0102' AS bytes, NULL AS none", None),
            ("SELECT name FROM t UNION SELECT 'z' ORDER BY 1", None),
            ("PRAGMA table_info(t)", None),
            ("PRAGMA foreign_key_list(child)", None),
            ("CREATE TABLE IF NOT EXISTS extra (a)", None),
            ("SELECT a FROM extra", None),
            ("INSERT INTO extra SELECT id FROM t; SELECT count(*) AS c FROM extra", None),
            ("DROP TABLE IF EXISTS extra", None),
            ("SELECT * FROM nowhere", None),
            ("SELECT nothing FROM t", None),
            ("SELEC 1", None),
            ("BEGIN", None),
            ("ATTACH 'x' AS y", None),
            ("SELECT 1; -- the end", None),
        ]
    )


def sql(chance: Random) -> Step:
    """Return an operation on an object's tables."""
    text, parameters = statement(chance)
    if parameters is None and chance.random() < 0.1:
        return ["columns", text]
    if chance.random() < 0.1:
        return ["transaction", chance.choice([True, False]), [["sql", text, *(parameters or [])], ["put", "k", text]]]
    return ["sql", text, *(parameters or [])]


def database(chance: Random) -> Step:
    """Return an operation on the database."""
    text, parameters = statement(chance)
    match chance.randint(0, 7):
        case 0:
            return ["run", text, parameters]
        case 1:
            return ["first", text, parameters]
        case 2:
            return ["first", text, parameters, chance.choice(["id", "n", "nope"])]
        case 3:
            return ["raw", text, parameters, chance.choice([True, False])]
        case 4:
            members = [[text, parameters], *[list(statement(chance)) for _ in range(chance.randint(0, 2))]]
            return ["batch", members]
        case 5:
            return ["exec", f"{text}\nSELECT 1"] if parameters is None else ["all", text, [*parameters[1:], {"a": 1}]]
        case 6:
            return ["all", "SELECT ? AS v, typeof(?1) AS kind", [chance.choice(ODD_VALUES)]]
        case _:
            return ["all", text, parameters]


TABLES = [
    "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, n, r REAL, b BLOB)",
    "CREATE TABLE child (t INTEGER REFERENCES t (id) ON DELETE CASCADE, v)",
]
DUMP = [
    "SELECT * FROM t ORDER BY id",
    "SELECT * FROM child ORDER BY t, v",
    "SELECT name FROM sqlite_master WHERE name = 'extra'",
]


def script(seed: int = SEED, rounds: int = 15) -> list[tuple[str | None, list[Step]]]:
    """Return calls: an object's name, or None for the database, and the steps of the call."""
    chance = Random(seed)
    calls: list[tuple[str | None, list[Step]]] = [(None, [["run", text] for text in TABLES])]
    calls.append(("tables", [["sql", text] for text in TABLES]))
    for _ in range(rounds):
        calls.append(("entries", [key_value(chance) for _ in range(4)]))
        calls.append(("tables", [sql(chance) for _ in range(4)]))
        calls.append((None, [database(chance) for _ in range(4)]))
    return calls


async def run(side: Any, calls: list[tuple[str | None, list[Step]]]) -> list[Any]:
    return [await (side.database(steps) if name is None else side.object(name, steps)) for name, steps in calls]


async def test_one_script_has_equal_results_on_both_sides(
    miniflare: Any, flarelet: Any, values: SimpleNamespace
) -> None:
    calls = script()
    async with miniflare("theirs") as reference:
        told = await run(reference, calls)
    async with flarelet("ours") as side:
        found = await run(side, calls)
    problems: list[str] = []
    for (name, steps), wanted_answers, answers in zip(calls, told, found, strict=True):
        for step, wanted, answer in zip(steps, wanted_answers, answers, strict=True):
            problem = values.difference(values.as_python(wanted), answer)
            if problem:
                problems.append(f"{name or 'database'} {step}: {problem}")
    assert problems == [], "\n".join(problems)
    assert sum("error" in answer for answers in told for answer in answers) > 20
    assert sum("ok" in answer for answers in told for answer in answers) > 100

    # and what the script left on one side is what the other side reads
    looks: list[tuple[str | None, list[Step]]] = [
        ("entries", [["list", {}], ["list", {"reverse": True, "limit": 4}]]),
        ("tables", [["sql", text] for text in DUMP]),
        (None, [["raw", text] for text in DUMP]),
    ]
    async with miniflare("ours") as reference:
        told = await run(reference, looks)
    async with flarelet("theirs") as side:
        found = await run(side, looks)
    assert values.difference(values.as_python(told), found) is None
