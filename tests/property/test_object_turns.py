"""Random turns of one object against a model: a dict that keeps a turn's writes unless the object was reset in it."""

from __future__ import annotations

import asyncio
import copy
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from durable_objects import Host, ObjectClass
from workers import DurableObject
from workers.compat.proxies import JsException

KEYS = st.sampled_from(["a", "b", "é", ""])
WRITES = st.one_of(
    st.tuples(st.just("put"), KEYS, st.integers(0, 99)),
    st.tuples(st.just("delete"), KEYS),
    st.tuples(st.just("insert"), st.integers(0, 5)),
    st.tuples(st.just("remove"), st.integers(0, 5)),
    st.tuples(st.just("pause")),
)
NESTED = st.recursive(
    st.lists(WRITES, max_size=3),
    lambda inner: st.lists(
        WRITES
        | st.tuples(st.sampled_from(["transaction", "transactionSync"]), inner, st.sampled_from(["keep", "throw"])),
        max_size=4,
    ),
    max_leaves=8,
)
TURNS = st.lists(st.tuples(NESTED, st.sampled_from(["return", "throw", "abort", "evict", "restart"])), max_size=6)


class _Undo(Exception):
    """Thrown out of a transaction on purpose."""


class Subject(DurableObject):
    async def turn(self, writes: list[Any], end: str) -> None:
        self.ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS t(n INTEGER PRIMARY KEY)")
        await self._run(writes)
        if end == "throw":
            raise _Undo
        if end == "abort":
            self.ctx.abort("aborted")

    async def _run(self, writes: list[Any]) -> None:
        for write in writes:
            if write[0] == "pause":
                await asyncio.sleep(0)
            elif write[0] == "transaction":
                await self._transaction(write)
            else:
                self._apply(write)

    async def _transaction(self, write: list[Any]) -> None:
        async def closure(_txn: Any) -> None:
            await self._run(write[1])
            if write[2] == "throw":
                raise _Undo

        with suppress(_Undo):
            await self.ctx.storage.transaction(closure)

    def _apply(self, write: list[Any]) -> None:
        storage = self.ctx.storage
        match write:
            case ["put", key, value]:
                storage.put(key, value)
            case ["delete", key]:
                storage.delete(key)
            case ["insert", number]:
                storage.sql.exec("INSERT OR IGNORE INTO t VALUES (?)", number)
            case ["remove", number]:
                storage.sql.exec("DELETE FROM t WHERE n = ?", number)
            case ["transactionSync", inner, end]:
                self._transaction_sync(inner, end)
            case _:
                pass

    def _transaction_sync(self, inner: list[Any], end: str) -> None:
        def closure() -> None:
            for write in inner:
                if write[0] != "transaction":
                    self._apply(write)
            if end == "throw":
                raise _Undo

        with suppress(_Undo):
            self.ctx.storage.transactionSync(closure)

    async def state(self) -> Any:
        self.ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS t(n INTEGER PRIMARY KEY)")
        rows = self.ctx.storage.sql.exec("SELECT n FROM t ORDER BY n")
        return [await self.ctx.storage.list(), [row.n for row in rows]]


class Model:
    def __init__(self) -> None:
        self.keys: dict[str, int] = {}
        self.rows: set[int] = set()
        self.committed: tuple[dict[str, int], set[int]] = ({}, set())

    def run(self, writes: list[Any], *, is_sync: bool = False) -> None:
        for write in writes:
            match write:
                case ("put", key, value):
                    self.keys[key] = value
                case ("delete", key):
                    self.keys.pop(key, None)
                case ("insert", number):
                    self.rows.add(number)
                case ("remove", number):
                    self.rows.discard(number)
                case ("transactionSync" | "transaction" as kind, inner, end):
                    if not (is_sync and kind == "transaction"):
                        self._nested(inner, end, is_sync=is_sync or kind == "transactionSync")
                case ("pause",):
                    if not is_sync and not self.depth:
                        self.commit()
                case _:
                    pass

    depth = 0

    def _nested(self, inner: list[Any], end: str, *, is_sync: bool) -> None:
        before = copy.deepcopy((self.keys, self.rows))
        self.depth += 1
        self.run(inner, is_sync=is_sync)
        self.depth -= 1
        if end == "throw":
            self.keys, self.rows = before

    def commit(self) -> None:
        self.committed = copy.deepcopy((self.keys, self.rows))

    def lose(self) -> None:
        self.keys, self.rows = copy.deepcopy(self.committed)


@settings(max_examples=80, deadline=None)
@given(TURNS)
def test_an_object_holds_what_the_model_holds(turns: list[Any]):
    root = Path(tempfile.mkdtemp())
    try:
        asyncio.run(_play(root, turns))
    finally:
        shutil.rmtree(root)


async def _play(root: Path, turns: list[Any]) -> None:
    model = Model()
    host = Host(root, random=Random(0))
    spec = ObjectClass("w-Subject", Subject, None)
    namespace = host.namespace(spec)
    for writes, end in turns:
        stub = namespace.getByName("one")
        model.run(writes)
        with suppress(_Undo, JsException):
            await stub.turn(_as_lists(writes), end)
        if end == "abort":
            model.lose()
        model.commit()
        if end == "evict":
            await host.evict(namespace, stub.id)
        elif end == "restart":
            await host.close()
            host = Host(root, random=Random(0))
            namespace = host.namespace(spec)
        keys, rows = await namespace.getByName("one").state()
        assert dict(keys) == model.keys
        assert list(keys) == sorted(model.keys, key=str.encode)
        assert list(rows) == sorted(model.rows)
    await host.close()


def _as_lists(writes: Any) -> Any:
    return [_as_lists(item) for item in writes] if isinstance(writes, (list, tuple)) else writes
