import json
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlparse

from js import Object, WebSocketPair
from workers import DurableObject, Response, WorkerEntrypoint


class Chatroom(DurableObject):
    def __init__(self, state, env):
        super().__init__(state, env)
        self.state = state
        self.env = env
        self.history = []

    async def fetch(self, request):
        upgrade = request.headers.get("Upgrade")
        if not upgrade or upgrade.lower() != "websocket":
            return Response("Expected a WebSocket", status=400)
        pair = Object.values(WebSocketPair.new())
        client, server = pair[0], pair[1]
        self.state.acceptWebSocket(server)
        if self.history:
            server.send(json.dumps({"type": "history", "messages": self.history}))
        server.send(json.dumps({"type": "system", "at": datetime.now(timezone.utc).isoformat()}))
        return Response(None, status=101, web_socket=client)

    async def webSocketMessage(self, ws, message):
        data = json.loads(message)
        said = {"type": "message", "who": data.get("who", "Anonymous"), "text": data.get("text", "")}
        self.history.append(said)
        for socket in self.state.getWebSockets():
            socket.send(json.dumps(said))

    async def webSocketClose(self, ws, code, reason, wasClean):
        ws.close(code, reason)
        print(f"left; {len(self.state.getWebSockets())} sockets")

    async def webSocketError(self, ws, error):
        ws.close(1011, "WebSocket error")


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = urlparse(request.url).path
        if path == "/":
            page = Path(__file__).parent / "chatroom.html"
            return Response(page.read_text(), headers={"Content-Type": "text/html"})
        if path.startswith("/room/"):
            namespace = self.env.CHATROOM
            return await namespace.get(namespace.idFromName(path.removeprefix("/room/"))).fetch(request)
        return Response("Not found", status=404)
