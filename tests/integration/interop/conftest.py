"""Two sides on one state folder: `miniflare` runs the real thing in Node, `flarelet` runs this project in process.

Both understand the same steps (see worker.mjs) and answer with one `{"ok": value}` or `{"error": {name, message}}` for
each. `miniflare` says values in tagged JSON; `as_python` turns that into what Python must see.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import fcntl
import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import tempfile
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest

from d1 import D1Database
from durable_objects.clock import SystemClock
from workers import Response
from workers.compat.proxies import JsException
from workers.compat.streams import ReadableStream
from workers.runtime.kv.namespace import KvNamespace
from workers.runtime.testing import Miniflare as KitMiniflare

HERE = Path(__file__).parent
INSTALLED = HERE.parents[2] / "build" / "interop"
DATABASE_ID = "interop-db"
NO_NETWORK = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ENETUNREACH", "ETIMEDOUT")
ANSWER_LIMIT_S = 30
LINE_LIMIT = 2**26

Steps = list[list[Any]]


# -- the real thing


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """Install the pinned miniflare once for all sessions and workers; a changed lock file installs anew."""
    if not _has_node():
        pytest.skip("Node is not installed")
    digest = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = INSTALLED / digest
    INSTALLED.mkdir(parents=True, exist_ok=True)
    with (INSTALLED / f"{digest}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=INSTALLED) as unfinished:
                fresh = Path(unfinished) / "fresh"
                _install(fresh)
                fresh.rename(folder)
    return folder


def _has_node() -> bool:
    if shutil.which("node") is None or shutil.which("npm") is None:
        return False
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return int(version.lstrip("v").split(".")[0]) >= 20


def _install(folder: Path) -> None:
    folder.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode == 0:
        return
    if any(code in done.stderr for code in NO_NETWORK):
        pytest.skip("npm cannot reach its registry to install miniflare")
    pytest.fail(f"npm could not install miniflare: {done.stderr}")


class Miniflare:
    """miniflare on a state folder, in a Node process of its own."""

    def __init__(self, node_modules: Path, state: Path) -> None:
        self._command = ["node", str(HERE / "reference.mjs"), str(node_modules), str(state)]
        self._process: asyncio.subprocess.Process

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        environment = {**os.environ, "CI": "1", "WRANGLER_SEND_METRICS": "false", "NO_COLOR": "1"}
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            limit=LINE_LIMIT,
            env=environment,
            start_new_session=True,
        )
        return self

    async def __aexit__(self, *_error: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                output, errors = await self._process.communicate()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # workerd, should miniflare have left it behind
            await self._process.wait()
        assert self._process.returncode == 0, (output + errors).decode()

    async def _call(self, **body: Any) -> list[Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(body).encode() + b"\n")
        async with asyncio.timeout(ANSWER_LIMIT_S):
            line = await self._process.stdout.readline()
        if not line:
            _, errors = await self._process.communicate()
            pytest.fail(f"miniflare ended: {errors.decode()}")
        answer = json.loads(line)
        assert isinstance(answer, list), answer
        return answer

    async def object(self, name: str, steps: Steps) -> list[Any]:
        """Perform steps in the object of that name."""
        return await self._call(object=name, steps=steps)

    async def database(self, steps: Steps) -> list[Any]:
        """Perform steps on the database."""
        return await self._call(steps=steps)

    async def namespace(self, steps: Steps) -> list[Any]:
        """Perform steps on the KV namespace."""
        return await self._call(namespace=True, steps=steps)

    async def ids(self, names: list[str]) -> list[str]:
        """Return what `idFromName` makes of names."""
        return await self._call(names=names)


# -- flarelet


KEEPER = """
import json

from workers import DurableObject


class Keeper(DurableObject):
    async def alarm(self, info):
        told = {"name": self.ctx.id.name, "scheduledTime": info.scheduledTime, "retryCount": info.retryCount}
        await self.env.TOLD.fetch("http://told/", method="POST", body=json.dumps(told))
"""


class Flarelet:
    """This project on a state folder, by its test kit; `ahead_ms` sets its clock forward."""

    def __init__(self, state: Path, ahead_ms: int = 0) -> None:
        self._rung: dict[str, asyncio.Future[Any]] = {}
        self._kit = KitMiniflare(
            name="interop",
            script=KEEPER,
            compatibilityDate="2026-07-01",
            durableObjects={"KEEPER": {"className": "Keeper", "useSQLite": True}},
            d1Databases={"DB": DATABASE_ID},
            kvNamespaces={"KV": "interop-kv"},
            serviceBindings={"TOLD": self._told},
            defaultPersistRoot=str(state),
            clock=SimpleNamespace(now_ms=lambda: SystemClock().now_ms() + ahead_ms) if ahead_ms else False,
        )

    async def __aenter__(self) -> Self:
        self._keepers = await self._kit.get_durable_object_namespace("KEEPER")
        self.db = await self._kit.get_d1_database("DB")
        self.kv = await self._kit.get_kv_namespace("KV")
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._kit.dispose()

    async def _told(self, request: Any) -> Response:
        told = await request.json()
        self.rung(told["name"]).set_result(told)
        return Response("heard")

    async def within(self, name: str, script: Callable[[Any], Awaitable[Any]]) -> Any:
        """Run `script(ctx)` in the object of that name and return what it returned, uncopied."""
        return await self._kit.run_in_durable_object(
            self._keepers.getByName(name), lambda _keeper, state: script(state)
        )

    async def object(self, name: str, steps: Steps) -> list[Any]:
        """Perform steps in the object of that name."""
        return await self.within(name, lambda ctx: perform(STORAGE, steps, ctx.storage))

    async def database(self, steps: Steps) -> list[Any]:
        """Perform steps on the database."""
        return await perform(DATABASE, steps, self.db)

    async def namespace(self, steps: Steps) -> list[Any]:
        """Perform steps on the KV namespace."""
        return await perform(NAMESPACE, steps, self.kv)

    async def ids(self, names: list[str]) -> list[str]:
        """Return what `idFromName` makes of names."""
        return [str(self._keepers.idFromName(name)) for name in names]

    def rung(self, name: str) -> asyncio.Future[Any]:
        """What `alarm()` of that object will have been told."""
        return self._rung.setdefault(name, asyncio.get_running_loop().create_future())


Operations = Mapping[str, Callable[..., Any]]


async def perform(operations: Operations, steps: Steps, target: Any) -> list[Any]:
    results: list[Any] = []
    for operation, *args in steps:
        try:
            result = operations[operation](target, *args)
            results.append({"ok": await result if isinstance(result, Awaitable) else result})
        except JsException as error:
            results.append({"error": {"name": error.name, "message": error.message}})
    return results


async def _transaction(storage: Any, keep: bool, steps: Steps) -> list[Any]:
    results: list[Any] = []

    async def closure(_transaction: Any) -> None:
        results.extend(await perform(STORAGE, steps, storage))
        if not keep:
            raise JsException("undo")

    try:
        await storage.transaction(closure)
    except JsException as error:
        results.append({"name": error.name, "message": error.message})
    return results


STORAGE: Operations = {
    "get": lambda storage, key: storage.get(key),
    "put": lambda storage, key, value: storage.put(key, as_python(value)),
    "put_many": lambda storage, entries: storage.put(as_python(entries)),
    "delete": lambda storage, key: storage.delete(key),
    "list": lambda storage, options: storage.list(options),
    "sql": lambda storage, sql, *values: list(storage.sql.exec(sql, *map(as_python, values)).raw()),
    "columns": lambda storage, sql: list(storage.sql.exec(sql).columnNames),
    "set_alarm": lambda storage, at: storage.setAlarm(at),
    "get_alarm": lambda storage: storage.getAlarm(),
    "delete_alarm": lambda storage: storage.deleteAlarm(),
    "delete_all": lambda storage: storage.deleteAll(),
    "transaction": _transaction,
}


def _bound(db: D1Database, sql: str, values: list[Any] | None = None) -> Any:
    statement = db.prepare(sql)
    return statement if values is None else statement.bind(*map(as_python, values))


def _answer(result: Any) -> dict[str, Any]:
    meta = result.meta
    return {"results": list(result.results), "changes": meta.changes, "last_row_id": meta.last_row_id}


async def _run(db: D1Database, sql: str, values: list[Any] | None = None) -> Any:
    return _answer(await _bound(db, sql, values).run())


async def _all(db: D1Database, sql: str, values: list[Any] | None = None) -> Any:
    return _answer(await _bound(db, sql, values).all())


async def _first(db: D1Database, sql: str, values: list[Any] | None = None, column: str | None = None) -> Any:
    return await _bound(db, sql, values).first(*([] if column is None else [column]))


async def _raw(db: D1Database, sql: str, values: list[Any] | None = None, names: bool = False) -> Any:
    return await _bound(db, sql, values).raw(columnNames=names)


async def _batch(db: D1Database, statements: list[Any]) -> Any:
    return [_answer(one) for one in await db.batch([_bound(db, *statement) for statement in statements])]


async def _exec(db: D1Database, sql: str) -> Any:
    return (await db.exec(sql)).count


DATABASE: Operations = {"run": _run, "all": _all, "first": _first, "raw": _raw, "batch": _batch, "exec": _exec}


async def _collected(value: Any) -> Any:
    return memoryview(await value.read_all()) if isinstance(value, ReadableStream) else value


async def _get(kv: KvNamespace, key: Any, options: Any = None) -> Any:
    return await _collected(await kv.get(key, options))


NAMESPACE: Operations = {
    "get": _get,
    "get_with_metadata": lambda kv, key, options=None: kv.getWithMetadata(key, options),
    "put": lambda kv, key, value, options=None: kv.put(key, as_python(value), options),
    "put_stream": lambda kv, key, text: kv.put(key, ReadableStream.from_iterator(_one(text.encode()))),
    "delete": lambda kv, key: kv.delete(key),
    "list": lambda kv, options=None: kv.list(options),
}


async def _one(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk


# -- values

VIEWS = {
    "Int8Array": "b",
    "Int16Array": "h",
    "Uint16Array": "H",
    "Int32Array": "i",
    "Uint32Array": "I",
    "Float32Array": "f",
    "Float64Array": "d",
    "BigInt64Array": "q",
    "BigUint64Array": "Q",
}


def as_python(told: Any) -> Any:
    """Return what Python sees of the JavaScript value that worker.mjs told of."""
    if isinstance(told, list):
        return [as_python(item) for item in told]
    if isinstance(told, float) and told.is_integer() and abs(told) < 2**53:
        return int(told)
    if isinstance(told, int) and not isinstance(told, bool) and abs(told) >= 2**53:
        return float(told)
    if not isinstance(told, dict):
        return told
    match told:
        case {"$t": "undefined" | "hole"}:
            return None
        case {"$t": "float", "v": "-0"}:
            return 0
        case {"$t": "float", "v": text}:
            return float(text)
        case {"$t": "bigint", "v": text}:
            return int(text)
        case {"$t": "date", "ms": milliseconds}:
            return dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=milliseconds)
        case {"$t": "map", "items": items}:
            return {as_python(key): as_python(item) for key, item in items}
        case {"$t": "set", "items": items}:
            return {as_python(item) for item in items}
        case {"$t": "error", "name": name, "message": message}:
            return JsException(message, name=name, cause=as_python(told.get("cause")))
        case {"$t": "bytes", "hex": digits}:
            return _view(bytes.fromhex(digits), VIEWS.get(told.get("as", ""), "B"))
        case {"$t": kind}:
            pytest.fail(f"Python has no {kind}")
        case _:
            return {key: as_python(item) for key, item in told.items()}


def _view(content: bytes, kind: str) -> memoryview:
    return memoryview(content) if kind == "B" else memoryview(array(kind, content))


def difference(wanted: Any, found: Any, where: str = "value") -> str | None:
    """Return where two Python values differ, in type or content; None when they do not."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        wanted, found = _without_own_row(wanted), _without_own_row(found)
        if list(wanted) != list(found):
            return f"{where}: keys {list(wanted)} expected, got {list(found)}"
        places = ((wanted[key], found[key], f"{where}[{key!r}]") for key in wanted)
    elif isinstance(wanted, list) and isinstance(found, list):
        if len(wanted) != len(found):
            return f"{where}: {len(wanted)} items expected, got {len(found)}: {wanted} and {found}"
        places = ((a, b, f"{where}[{index}]") for index, (a, b) in enumerate(zip(wanted, found, strict=True)))
    else:
        return None if _same(wanted, found) else f"{where}: {_shown(wanted)} expected, got {_shown(found)}"
    return next((problem for place in places if (problem := difference(*place))), None)


def _without_own_row(answer: dict[str, Any]) -> dict[str, Any]:
    """Take away a `last_row_id` that no INSERT of the user made: workerd then tells of a row of its own."""
    if answer.get("last_row_id") in (0, 2) and "changes" in answer:
        return {key: item for key, item in answer.items() if key != "last_row_id"}
    return answer


def _same(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, memoryview):
        return isinstance(found, memoryview) and (wanted.format, bytes(wanted)) == (found.format, bytes(found))
    if isinstance(wanted, JsException):
        same = isinstance(found, JsException) and (wanted.name, wanted.message) == (found.name, found.message)
        return same and difference(wanted.cause, found.cause) is None
    if isinstance(wanted, float) and math.isnan(wanted):
        return isinstance(found, float) and math.isnan(found)
    return type(wanted) is type(found) and wanted == found


def _shown(value: Any) -> str:
    return f"{value.format}:{value.hex()}" if isinstance(value, memoryview) else repr(value)


# -- what tests use


@pytest.fixture
def miniflare(node_modules: Path, tmp_path: Path) -> Callable[..., Miniflare]:
    """Start miniflare on the test's state folder, or one beside it: `async with miniflare() as it`."""
    return lambda folder="state": Miniflare(node_modules, tmp_path / folder)


@pytest.fixture
def flarelet(tmp_path: Path) -> Callable[..., Flarelet]:
    """Start flarelet on the test's state folder, or one beside it: `async with flarelet() as it`."""
    return lambda folder="state", **options: Flarelet(tmp_path / folder, **options)


@pytest.fixture
def values() -> SimpleNamespace:
    """Compare what both sides say: `as_python(told)` and `difference(wanted, found)`."""
    return SimpleNamespace(as_python=as_python, difference=difference)
