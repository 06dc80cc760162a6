from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import aiohttp

Serve = Callable[..., AbstractAsyncContextManager[str]]

DATABASE = """
[[d1_databases]]
binding = "DB"
database_id = "library"
"""
OBJECT = """
[[durable_objects.bindings]]
name = "COUNTER"
class_name = "Counter"
[[migrations]]
tag = "v1"
new_sqlite_classes = ["Counter"]
"""
# The way a synchronous data layer over D1 is written: the view knows nothing of await.
VIEWS = """
from contextvars import ContextVar
from pyodide.ffi import run_sync
from workers import Response, WorkerEntrypoint, env

reader = ContextVar("reader", default="nobody")

class Shelf:
    def execute(self, sql, *values):
        return run_sync(env.DB.prepare(sql).bind(*values).all()).results

def view(path):
    shelf = Shelf()
    if path == "/setup":
        shelf.execute("CREATE TABLE book (title TEXT)")
        for title in ("A", "B"):
            shelf.execute("INSERT INTO book VALUES (?)", title)
    if path == "/error":
        try:
            shelf.execute("SELECT title FROM nowhere")
        except Exception as error:
            return str(error)
    titles = [row["title"] for row in shelf.execute("SELECT title FROM book ORDER BY 1")]
    return f"{reader.get()}: {titles}"

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        reader.set(request.headers.get("x-reader"))
        return Response(view(request.url.partition("//")[2].partition("/")[1] + request.url.rpartition("/")[2]))
"""


async def test_synchronous_views_read_a_database_below_an_async_handler(run: Serve, client: aiohttp.ClientSession):
    async with run(VIEWS, DATABASE) as url:

        async def get(path: str, reader: str) -> str:
            async with client.get(url + path, headers={"x-reader": reader}) as response:
                return await response.text()

        assert await get("/setup", "ann") == "ann: ['A', 'B']"
        assert "no such table: nowhere" in await get("/error", "ann")
        async with asyncio.TaskGroup() as tasks:
            answers = [tasks.create_task(get("/books", f"reader {n}")) for n in range(40)]
        assert [task.result() for task in answers] == [f"reader {n}: ['A', 'B']" for n in range(40)]


LATE = """
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        from pyodide.ffi import run_sync
        return Response(str(run_sync(self.env.DB.prepare("SELECT 7 AS n").first("n"))))
"""


async def test_an_import_inside_the_handler_is_in_time_for_the_first_request(run: Serve, client: aiohttp.ClientSession):
    async with run(LATE, DATABASE) as url, client.get(url) as response:
        assert await response.text() == "7"


COUNTER = """
from pyodide.ffi import run_sync
from workers import DurableObject, Response, WorkerEntrypoint

class Counter(DurableObject):
    def next(self):
        count = (run_sync(self.ctx.storage.get("count")) or 0) + 1
        run_sync(self.ctx.storage.put("count", count))
        return count

    async def fetch(self, request):
        before = self.next()
        run_sync(self.wait())
        return Response(f"{before} {self.next()}")

    async def wait(self):
        import asyncio
        await asyncio.sleep(0)

    def increment(self):
        return self.next()

    def fail(self):
        self.next()
        raise ValueError("no more")

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        counter = self.env.COUNTER.getByName("one")
        if request.url.endswith("/fail"):
            try:
                await counter.fail()
            except Exception as error:
                return Response(str(error))
        if request.url.endswith("/rpc"):
            return Response(str(await counter.increment()))
        return await counter.fetch(request)
"""


async def test_methods_of_durable_objects_wait_synchronously(run: Serve, client: aiohttp.ClientSession):
    async with run(COUNTER, OBJECT) as url:

        async def get(path: str) -> str:
            async with client.get(url + path) as response:
                return await response.text()

        assert await get("/") == "1 2"
        assert await get("/rpc") == "3"
        assert "no more" in await get("/fail")
        async with asyncio.TaskGroup() as tasks:
            answers = [tasks.create_task(get("/rpc")) for _ in range(20)]
        # An object's turns do not mix, and what a failed turn had written stays written, as with await.
        assert sorted(int(task.result()) for task in answers) == list(range(5, 25))
