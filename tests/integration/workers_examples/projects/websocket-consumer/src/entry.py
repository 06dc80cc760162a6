import json
import time
from urllib.parse import urlparse

import js
from pyodide.ffi import create_proxy
from workers import DurableObject, Response, WorkerEntrypoint


class Consumer(DurableObject):
    """Keeps one connection to a stream of events open, and counts what comes."""

    def __init__(self, state, env):
        super().__init__(state, env)
        self.websocket = None
        self.connected = False

    async def fetch(self, request):
        if urlparse(request.url).path == "/status":
            seen = self.ctx.storage.kv.get("seen")
            return Response(f"{'connected' if self.connected else 'disconnected'}, seen {seen or 0}")
        if not self.connected:
            await self._keep_alive()
            self._connect()
        return Response("connecting")

    async def alarm(self):
        if not self.connected:
            self._connect()
        await self._keep_alive()

    async def _keep_alive(self):
        await self.ctx.storage.setAlarm(int(time.time() * 1000) + 60_000)

    async def _on_open(self, event):
        self.connected = True
        await self._keep_alive()
        self.websocket.send(json.dumps({"type": "hello"}))

    def _on_message(self, event):
        data = json.loads(event.data)
        if data.get("kind") == "commit":
            self.ctx.storage.kv.put("seen", data["seq"])

    async def _on_close(self, event):
        print(f"closed: {event.code} {event.reason}")
        self.connected = False

    def _on_error(self, event):
        self.connected = False
        self.ctx.abort("the stream failed")

    def _connect(self):
        seen = self.ctx.storage.kv.get("seen")
        socket = js.WebSocket.new(self.env.STREAM + (f"?cursor={seen}" if seen else ""))
        self.websocket = socket
        socket.addEventListener("open", create_proxy(self._on_open))
        socket.addEventListener("message", create_proxy(self._on_message))
        socket.addEventListener("error", create_proxy(self._on_error))
        socket.addEventListener("close", create_proxy(self._on_close))


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        namespace = self.env.CONSUMER
        return await namespace.get(namespace.idFromName("one")).fetch(request)
