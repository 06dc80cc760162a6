"""The listening server: host checks, one handler call a request, WebSocket upgrades, an orderly end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast

from workers.compat import web
from workers.compat.websocket import WebSocket
from workers.runtime.edge.deflate import negotiate
from workers.runtime.edge.hosts import HostPolicy, is_loopback
from workers.runtime.edge.http import send, send_text, to_request, upgrade_head
from workers.runtime.edge.listener import Listener
from workers.runtime.edge.outbox import Outbox
from workers.runtime.edge.protocol import CLOSE, Exchange, HttpServer, Outcome
from workers.runtime.edge.websocket import Connection, accept_key

__all__ = ["Edge", "RequestSeen", "Respond"]

Respond = Callable[[web.Request], Awaitable[web.Response]]
"""Answers one request; never raises for a Worker's mistakes."""
RequestSeen = Callable[[str, str, int, float], None]
"""Told after each answer: method, URL, status, seconds."""

_BACKLOG = 4096
_SHUTDOWN_S = 3.0
_CYCLES_TO_A_REQUEST = 6  # of the event loop, from accepting a connection until its request has begun

_log = logging.getLogger(__name__)


class Edge:
    """One listening address in front of an application."""

    def __init__(
        self,
        respond: Respond,
        *,
        host: str = "127.0.0.1",
        port: int = 8787,
        listener: Listener | None = None,
        extra_names: frozenset[str] = frozenset(),
        any_origin: bool = False,
        seen: RequestSeen | None = None,
        failed: Callable[[BaseException, web.Request], web.Response],
    ) -> None:
        """Describe a server; `start` makes it listen.

        Args:
            respond: The application.
            host: Address to bind. On a loopback address, only requests that name this machine are answered.
            port: Port to bind; 0 picks a free one.
            listener: An address that is listened on already, in place of `port`; it is not closed with the server.
            extra_names: Further host names to answer to.
            any_origin: Pages of any site may open WebSockets, as they have to show a key.
            seen: Told of every answered request.
            failed: Turns an error of sending a response (a used body, say) into a 500.
        """
        self._respond = respond
        self._host, self._port = host, port
        self._policy = HostPolicy(extra_names, everybody=not is_loopback(host))
        self._any_origin = any_origin
        self._seen = seen
        self._failed = failed
        self.patience_s = _SHUTDOWN_S
        """How long running requests, and clients that are asked to close, have at the end."""
        self._loop = asyncio.get_running_loop()
        self._http = HttpServer(self._handle, self._loop)
        self._outbox = Outbox(self._loop)
        self._listener = listener
        self._servers: list[asyncio.Server] = []
        self._authority = host

    @property
    def url(self) -> str:
        """Where a client on this machine reaches the server."""
        return f"http://{self._authority}"

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._authority.rpartition(":")[2])

    @property
    def sockets(self) -> int:
        """Number of open WebSockets."""
        return len(self._outbox.connections)

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            BindError: The address is in use or not ours.
        """
        listener = self._listener or Listener(self._host, self._port)
        try:
            for own in listener.duplicates():
                self._servers.append(await self._loop.create_server(self._http, sock=own, backlog=_BACKLOG))
            port = listener.port
        finally:
            if listener is not self._listener:
                listener.close()
        name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self._host, self._host)
        if ":" in name and not name.startswith("["):
            name = f"[{name}]"
        self._authority = f"{name}:{port}"

    async def stop_listening(self) -> None:
        """Accept no more connections; let running requests end for a while, then close their connections."""
        await self._accept_no_more()
        await self._http.shutdown(self.patience_s)

    async def _accept_no_more(self) -> None:
        """Leave further connections to whoever listens next, and hear out those that are in already.

        asyncio forgets a connection that it accepted just before `Server.close`: its client would wait for ever.
        """
        for server in self._servers:
            for own in server.sockets:
                with suppress(NotImplementedError):  # Windows, where accepting is no matter of readers
                    self._loop.remove_reader(own.fileno())
        for _ in range(_CYCLES_TO_A_REQUEST):
            await asyncio.sleep(0)
        for server in self._servers:
            server.close()

    async def close_sockets(self, code: int) -> None:
        """Close every WebSocket with `code`; cut those whose client does not answer in time."""
        connections = list(self._outbox.connections)
        for connection in connections:
            connection.shut_down(code)
        try:
            async with asyncio.timeout(self.patience_s):
                for connection in connections:
                    await connection.ended()
        except TimeoutError:
            for connection in connections:
                connection.abort()

    async def _handle(self, exchange: Exchange) -> Outcome:
        headers = exchange.message.headers
        host = headers.get("Host")
        if host is None:
            host = self._authority
        elif not self._policy.accepts_host(host):
            return send_text(exchange, 403, f"Forbidden: this server does not answer to the host name {host!r}.")
        seen, started = self._seen, self._loop.time()
        request = to_request(exchange, host)
        try:
            response = await self._respond(request)
            if response.webSocket is not None:
                outcome = self._upgrade(exchange, host, response)
            else:
                outcome = await send(exchange, response)
        except (ConnectionError, TimeoutError):
            self._log_left(exchange)
            return CLOSE
        except Exception as error:  # a request: the Worker's response could not be sent
            response = self._failed(error, request)
            outcome = await self._send_failure(exchange, response)
        if seen is not None:
            seen(exchange.message.method, exchange.message.path, response.status, self._loop.time() - started)
        return outcome

    async def _send_failure(self, exchange: Exchange, response: web.Response) -> Outcome:
        if exchange.head_sent:  # too late to say anything but that the body ends here
            if exchange.message.version < (1, 1):
                exchange.protocol.abort()  # without framing, an orderly close would look like a whole body
            return CLOSE
        return await send(exchange, response)

    def _log_left(self, exchange: Exchange) -> None:
        _log.debug("the client left: %s %s", exchange.message.method, exchange.message.path.partition("?")[0])
        exchange.protocol.abort()

    def _upgrade(self, exchange: Exchange, host: str, response: web.Response) -> Outcome:
        """Answer 101 and hand the socket to the pump; a request that is no handshake gets a clear error."""
        headers = exchange.message.headers
        if headers.get("Upgrade", "").lower() != "websocket":
            raise TypeError(
                "Worker tried to return a WebSocket in a response to a request which did not contain the header "
                '"Upgrade: websocket".'
            )
        key = headers.get("Sec-WebSocket-Key")
        if not key or headers.get("Sec-WebSocket-Version") != "13" or exchange.message.method != "GET":
            return send_text(exchange, 400, "Bad Request: not a WebSocket handshake of version 13 (RFC 6455).")
        if not self._any_origin and not self._policy.accepts_origin(headers.get("Origin"), host):
            return send_text(
                exchange, 403, f"Forbidden: pages of {headers.get('Origin')!r} may not open WebSockets to this machine."
            )
        codec, extension = negotiate(", ".join(headers.getall("Sec-WebSocket-Extensions", ())))
        connection = Connection(self._outbox, cast(WebSocket, response.webSocket), codec)
        transport, tail = exchange.protocol.detach()
        transport.write(upgrade_head(response, accept_key(key), extension))
        connection.start(transport, tail)
        return CLOSE
