from urllib.parse import urlparse

from pyodide.ffi import to_js
from workers import DurableObject, Response, WorkerEntrypoint


class List(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS log (what TEXT)")

    async def messages(self):
        found = await self.ctx.storage.get("messages")
        return found if found else []

    async def add(self, message):
        messages = await self.messages()
        messages.append(message)
        await self.ctx.storage.put("messages", to_js(messages))
        self.ctx.storage.sql.exec("INSERT INTO log VALUES (?)", f"added {message}")

    def log(self):
        return [row.what for row in self.ctx.storage.sql.exec("SELECT what FROM log ORDER BY rowid")]


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        _, name, what, *rest = urlparse(request.url).path.split("/") + [""]
        stub = self.env.LISTS.get(self.env.LISTS.idFromName(name))
        if what == "add":
            await stub.add(rest[0])
            return Response("added")
        if what == "log":
            return Response.json(await stub.log())
        return Response("\n".join(await stub.messages()) or "empty")
