"""Recorded answers of production's D1, replayed here."""

from __future__ import annotations

import math
import re
import sqlite3
from array import array
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from d1 import D1Database
from workers.compat.proxies import JsException, JsMap, jsnull
from workers.runtime.testing import Miniflare

SUITE = "d1"

ENGINE_FIGURES = {"size_after", "rows_read", "rows_written"}
"""Counted inside production's own SQLite; stock SQLite cannot tell them exactly."""

INEXPRESSIBLE = {
    "types/bind-undefined": "Python's None is null",
    "types/bind-bigint": "a small Python int is a number",
    "types/bind-function": "a Python function prints otherwise",
    "types/bind-symbol": "Python has no symbols",
}

NEWER_SQLITE = {
    "pragma/optimize(-1)": (3, 46),  # looks at tables that were never analyzed since then
}


@pytest.fixture
async def db() -> AsyncIterator[D1Database]:
    async with Miniflare(script="", d1Databases=["DB"]) as miniflare:
        yield await miniflare.get_d1_database("DB")


async def test_d1_answers_as_recorded(case: dict[str, Any], db: D1Database) -> None:
    if case["name"] in INEXPRESSIBLE:
        pytest.skip(INEXPRESSIBLE[case["name"]])
    if sqlite3.sqlite_version_info < NEWER_SQLITE.get(case["name"], (3,)):
        pytest.skip(f"another answer in SQLite {sqlite3.sqlite_version}")
    for sql in case.get("setup", ()):
        await db.prepare(sql).run()
    answer = await observe(db, case["op"], case["args"])
    if case["op"] == "prepare" and "ok" in case["expect"]:
        assert "ok" in answer  # the statement itself has no recorded form
    else:
        problem = difference(expected(case), answer)
        assert problem is None, problem
    for query in case.get("after", ()):
        answer = await observe(db, "all", {"sql": query["sql"]})
        if "rows" in query:
            wanted: dict[str, Any] = {"ok": without_internal_tables(query["rows"])}
            answer = {"ok": answer["ok"]["results"]} if "ok" in answer else answer
        else:
            wanted = {"error": query["error"]}
        problem = difference(wanted, answer)
        assert problem is None, f"afterwards {query['sql']}: {problem}"


def without_internal_tables(rows: list[Any]) -> list[Any]:
    return [row for row in rows if not str(row.get("name", "")).startswith("_cf_")]


def expected(case: dict[str, Any]) -> Any:
    expect = case["expect"]
    if case["name"].startswith("pragma/optimize") and "ok" in expect:
        return {"ok": [row for row in expect["ok"] if "_cf_METADATA" not in row[0]]}
    return expect


# running


async def observe(db: D1Database, op: str, args: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"ok": await perform(db, op, args)}
    except (JsException, TypeError) as error:
        return {"error": described(error)}


def described(error: BaseException) -> dict[str, Any]:
    if not isinstance(error, JsException):
        return {"name": type(error).__name__, "message": str(error)}
    found: dict[str, Any] = {"name": error.name, "message": error.message}
    if isinstance(error.cause, BaseException):
        found["cause"] = described(error.cause)
    return found | {f"+{name}": value for name, value in error.properties.items()}


async def perform(db: Any, op: str, args: dict[str, Any]) -> Any:
    match op:
        case "run" | "all":
            return await getattr(statement(db, args), op)()
        case "first":
            column = (args["column"],) if "column" in args else ()
            return await statement(db, args).first(*column)
        case "raw":
            return await statement(db, args).raw(**args.get("options", {}))
        case "batch":
            return await db.batch([statement(db, member) for member in args["statements"]])
        case "exec":
            sql = args["sql"]
            return await (db.exec() if sql == {"$t": "undefined"} else db.exec(decoded(sql)))
        case "session":
            return await session(db, args)
        case "concurrent":
            return await concurrent(db, args)
        case "dump":
            return await db.dump()
        case "prepare":
            return statement(db, args)
        case "members":
            return members(db)
        case "bind_reuse":
            return await reuse(db, args)
        case _:
            pytest.fail(f"unknown operation {op}")


def statement(db: Any, args: dict[str, Any]) -> Any:
    prepared = db.prepare(decoded(args["sql"]))
    return prepared.bind(*[decoded(value) for value in args["params"]]) if "params" in args else prepared


async def session(db: D1Database, args: dict[str, Any]) -> list[Any]:
    session = db.withSession(args.get("constraint"))
    seen: list[Any] = [{"bookmark": session.getBookmark()}]
    for query in args["queries"]:
        rows: Any
        if "batch" in query:
            results = await session.batch([statement(session, member) for member in query["batch"]])
            rows = [result.results for result in results]
        else:
            rows = (await statement(session, query).all()).results
        seen.append({"rows": rows, "bookmark": session.getBookmark()})
    return seen


async def concurrent(db: D1Database, args: dict[str, Any]) -> list[Any]:
    import asyncio

    async def one(member: dict[str, Any]) -> Any:
        try:
            return (await statement(db, member).all()).results
        except JsException as error:
            return {"error": error.message}

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(member)) for member in args["statements"]]
    return [task.result() for task in tasks]


async def reuse(db: D1Database, args: dict[str, Any]) -> list[Any]:
    if "binds" not in args:
        pytest.skip(f"arguments in an unknown form: {sorted(args)}")
    prepared = db.prepare(args["sql"])
    bound = [prepared.bind(*[decoded(value) for value in values]) for values in args["binds"]]
    return [(await one.all()).results for one in bound]


def members(db: D1Database) -> dict[str, Any]:
    """The methods of production's three objects; its private fields are not the interface."""
    prepared, session = db.prepare("SELECT 1"), db.withSession()
    return {
        "db": [name for name in ("batch", "dump", "exec", "prepare", "withSession") if hasattr(db, name)],
        "stmt": [
            name for name in ("all", "bind", "first", "params", "raw", "run", "statement") if hasattr(prepared, name)
        ],
        "session": [name for name in ("batch", "getBookmark", "prepare") if hasattr(session, name)],
        "classes": [type(one).__name__ for one in (db, prepared, session)],
    }


# values


def decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [decoded(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53 - 1:
        return float(value)  # a JavaScript number; the Python int would be a bigint
    if not isinstance(value, dict):
        return jsnull if value is None else value
    match value.get("$t"):
        case None:
            return {key: decoded(item) for key, item in value.items()}
        case "bytes":
            return bytes.fromhex(value["hex"])
        case "float":
            return float(value["v"])
        case "repeat":
            return value["s"] * value["n"]
        case "date":
            return datetime.fromtimestamp(value["ms"] / 1000, UTC)
        case "map":
            return JsMap(value["items"])
        case "set":
            return {decoded(item) for item in value["items"]}
        case "f32":
            return memoryview(array("f", value["v"]))
        case "i16":
            return memoryview(array("h", value["v"]))
        case "object":
            return {key: decoded(item) for key, item in value["v"].items()}
        case "raw":
            return value["v"]
        case other:
            pytest.skip(f"Python has no {other}")


def difference(wanted: Any, found: Any, where: str = "") -> str | None:
    """Return where two values differ, None when they do not."""
    if isinstance(wanted, dict):
        special = matches(wanted, found)
        if special is not None:
            return None if special else f"{where}: {found!r} does not match {wanted}"
        if not isinstance(found, dict):
            return f"{where}: expected {wanted!r}, got {found!r}"
        if where.endswith(".ok") and "stmt" in wanted:
            return None if members_are_there(wanted, found) else f"{where}: {found}"
        keys = wanted.keys() - ENGINE_FIGURES
        if keys != found.keys() - ENGINE_FIGURES:
            return f"{where}: keys {sorted(keys)} expected, got {sorted(found)}"
        for key in keys:
            if key == "last_row_id" and wanted[key] == 2 and found[key] == 0:
                continue  # the id of production's own internal row, before the user's first INSERT
            if problem := difference(wanted[key], found[key], f"{where}.{key}"):
                return problem
        return None
    if isinstance(wanted, list):
        if not isinstance(found, list):
            return f"{where}: expected a list, got {found!r}"
        kept = without_internal_tables(found) if found and isinstance(found[0], dict) else found
        if len(wanted) != len(kept):
            return f"{where}: {len(wanted)} items expected, got {len(kept)}: {kept!r}"
        pairs = enumerate(zip(wanted, kept, strict=True))
        return next((p for index, (a, b) in pairs if (p := difference(a, b, f"{where}[{index}]"))), None)
    return None if same_value(wanted, found) else f"{where}: expected {wanted!r}, got {found!r}"


def members_are_there(wanted: dict[str, Any], found: dict[str, Any]) -> bool:
    return (
        found["classes"] == wanted["classes"]
        and all(set(found[key]) <= set(wanted[key]) for key in found)
        and all(found[key] for key in found)
    )


def matches(wanted: dict[str, Any], found: Any) -> bool | None:
    """Apply a matcher; None when `wanted` is not one."""
    match wanted:
        case {"$any": "number"}:
            return isinstance(found, int | float) and not isinstance(found, bool)
        case {"$any": "bookmark"}:
            return (
                isinstance(found, str)
                and re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{32}", found) is not None
            )
        case {"$re": pattern}:
            return isinstance(found, str) and re.search(pattern, found) is not None
        case {"$prefix": prefix}:
            return isinstance(found, str) and found.startswith(prefix)
        case {"$t": "longstr", "len": length, "head": head}:
            return isinstance(found, str) and len(found) == length and found.startswith(head)
        case {"$t": "float", "v": text}:
            return isinstance(found, float) and repr(found) == repr(float(text))
        case _:
            return None


def same_value(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, bool) or isinstance(found, bool) or wanted is None or found is None:
        return wanted is found
    if isinstance(wanted, int | float) and isinstance(found, int | float):
        return float(wanted) == float(found) and not math.isnan(float(found))
    return type(wanted) is type(found) and wanted == found
