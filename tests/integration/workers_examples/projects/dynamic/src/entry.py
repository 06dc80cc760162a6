from urllib.parse import urlparse

from js import Object
from pyodide.ffi import create_proxy, to_js
from workers import Response, WorkerEntrypoint

SOURCE = """
from helper import greeting
from workers import Response, WorkerEntrypoint, fetch

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if request.url.endswith("/out"):
            await fetch("http://example.com")
        if request.url.endswith("/store"):
            await self.env.STORE.put("by", "the dynamic Worker")
        return Response(greeting(self.env.NAME))

    async def add(self, a, b):
        return a + b

class Admin(WorkerEntrypoint):
    async def level(self):
        return self.ctx.props.level
"""


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = urlparse(request.url).path

        def code():
            described = {
                "compatibilityDate": "2026-07-01",
                "compatibilityFlags": ["python_workers"],
                "mainModule": "entry.py",
                "modules": {"entry.py": SOURCE, "helper.py": "def greeting(name):\n    return f'Hello {name}'\n"},
                "env": {"NAME": "from memory", "STORE": self.env.SCRIPTS},
                "globalOutbound": None,
            }
            return to_js(described, dict_converter=Object.fromEntries)

        async def broken():
            return to_js({"mainModule": "a.py", "modules": {"a.py": "1 / 0"}}, dict_converter=Object.fromEntries)

        if path == "/broken":
            try:
                await self.env.LOADER.get("broken", create_proxy(broken)).getEntrypoint().fetch(request)
            except Exception as error:
                return Response(str(error))
        worker = self.env.LOADER.get("one", create_proxy(code))
        if path == "/rpc":
            admin = worker.getEntrypoint("Admin", to_js({"props": {"level": 3}}, dict_converter=Object.fromEntries))
            return Response(f"{await worker.getEntrypoint().add(1, 2)} {await admin.level()}")
        if path == "/once":
            worker = self.env.LOADER.load(code())
        answer = await worker.getEntrypoint().fetch(request._js_request)
        if path == "/store":
            return Response(await self.env.SCRIPTS.get("by"))
        return answer
