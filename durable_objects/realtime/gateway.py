"""The gateway: one client socket, its frames, its links to many topics."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from durable_objects.realtime.core.access import (
    Connection,
    Role,
    admit,
    bearer,
    choose_subprotocol,
    credentials,
)
from durable_objects.realtime.core.codes import CLOSE_LEFT, Code, Malformed, RealtimeError
from durable_objects.realtime.core.names import TopicName
from durable_objects.realtime.core.protocol import (
    Auth,
    Chat,
    Frame,
    Publish,
    Subscribe,
    Track,
    Unsubscribe,
    Untrack,
    about,
    decode,
    dumps,
    dumps_ascii,
    error_frame,
    pong_frame,
)
from durable_objects.realtime.core.session import Identity
from durable_objects.realtime.directory import Directory
from durable_objects.realtime.kept import Absent, Keeper
from durable_objects.realtime.link import Link
from workers.compat.websocket import WebSocket, WebSocketPair, take
from workers.entrypoints import WorkerEntrypoint
from workers.request import Request
from workers.response import Response

__all__ = ["ClientSocket", "RealtimeGateway", "connect"]

_MAX_USER_ID = 256
_GOING_AWAY = 1001

_log = logging.getLogger(__name__)


class RealtimeGateway(WorkerEntrypoint):
    """A Worker that is nothing but the realtime endpoint; its env must have the binding REALTIME."""

    async def fetch(self, request: Request) -> Response:
        """Answer the endpoint's paths, 404 for any other."""
        return await self.env.REALTIME.fetch(request)


def connect(request: Request, directory: Directory, keeper: Keeper) -> Response:
    """Upgrade a client's request to a socket.

    Raises:
        RealtimeError: It is no upgrade, or its credentials are refused. Refusing here, and not with a Close frame
            afterwards, is what makes the public clients back off.
    """
    headers = request.headers
    if headers.get("upgrade", "").lower() != "websocket":
        raise RealtimeError(Code.UPGRADE_REQUIRED, "this is a WebSocket endpoint: send Upgrade: websocket")
    query = parse_qs(urlsplit(request.url).query)
    offered = [entry.strip() for entry in headers.get("sec-websocket-protocol", "").split(",") if entry.strip()]
    given = credentials(
        subprotocols=offered,
        keys=(*query.get("apiKey", ()), headers.get("x-aerostack-key")),
        tokens=(*query.get("token", ()), bearer(headers.get("authorization"))),
    )
    role = admit(given, directory.settings)
    user_id = _one(query.get("userId"), "userId", _MAX_USER_ID)
    project = _one(query.get("projectId"), "projectId", directory.settings.max_topic_bytes)
    identity = Connection(directory.new_id(), user_id, role, project or directory.settings.project)
    client, server = WebSocketPair()
    credential = hashlib.sha256("\n".join((*given.keys, *given.tokens)).encode("utf-8", "replace")).digest()
    address = "" if user_id or given.tokens else headers.get("cf-connecting-ip") or ""
    known_as = Identity(identity.project, credential, user_id, headers.get("user-agent") or "", address)
    ClientSocket(server, directory, identity, keeper, known_as)
    chosen = choose_subprotocol(offered)
    return Response(None, status=101, headers={"sec-websocket-protocol": chosen} if chosen else None, web_socket=client)


class ClientSocket:
    """One client's socket. It is the sink of what the client sends; answers go straight to the client."""

    def __init__(
        self, socket: WebSocket, directory: Directory, identity: Connection, keeper: Keeper, known_as: Identity
    ) -> None:
        self.identity = identity
        self._directory = directory
        self._projects = (identity.project,)
        self._links: dict[str, Link] = {}
        self._port = take(socket, self)
        self.send = self._port.send
        self._keeper = keeper
        self._known_as = known_as
        self._is_over = False
        if keeper.sessions.has(known_as):
            asyncio.get_running_loop().call_later(directory.settings.session_moment_s, self._take_up)

    # -- what the client does

    def message(self, data: str | bytes) -> None:
        """Act on one frame; a frame that cannot be acted on is answered with an error and changes nothing."""
        try:
            if isinstance(data, bytes):
                raise Malformed(Code.BINARY_FRAME, "binary frames are not understood; send JSON text")
            self._act(decode(data, max_bytes=self._directory.settings.max_frame_bytes))
        except RealtimeError as error:
            self.tell(error)
        except Exception:  # a request: our own mistake must not cost the client its connection
            _log.exception("a frame could not be handled", extra={"connection": self.identity.id})
            self.send(error_frame(RealtimeError(Code.HANDLER_FAILED, "the server failed on this frame")))

    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        """End every link, and presence with it; what a cut connection had is kept for its return."""
        links, self._links = self._links, {}
        self._is_over = True
        if not was_clean:
            self._keeper.keep(self.identity, self._known_as, links)
        elif code == _GOING_AWAY:
            self._keeper.linger(links.values())
        else:
            for link in links.values():
                link.end()
        self._port.close(code if was_clean and code != 1005 else CLOSE_LEFT)

    # -- what links may ask

    def tell(self, error: RealtimeError) -> None:
        """Send an error frame; log it, for public clients drop the frame unseen."""
        frame = error.frame if isinstance(error, Malformed) else None
        _log.warning(
            "refused a %s frame: %s: %s",
            frame or "client",
            error.code.name,
            error.message,
            extra={"connection": self.identity.id},
        )
        self.send(error_frame(error))

    def close(self, code: int, reason: str) -> None:
        """End the connection from the server's side."""
        self._is_over = True
        links, self._links = self._links, {}
        for link in links.values():
            link.end()
        self._port.close(code, reason)

    def link_failed(self, link: Link) -> None:
        """Forget a link that could not be opened; a later frame tries again."""
        if self._links.get(link.name.text) is link:
            del self._links[link.name.text]

    # -- what was kept for the client

    def _take_up(self) -> None:
        if not self._is_over:
            own = [name for name, link in self._links.items() if link.spellings]
            self._keeper.claim(self._known_as, own, self._link_like)

    def _link_like(self, name: str, absent: Absent) -> Link | None:
        try:
            return self._link(absent.links[name].name)
        except RealtimeError as error:
            self.tell(error)
            return None

    # -- frames

    def _act(self, frame: Frame) -> None:
        match frame:
            case Publish() | Subscribe() | Unsubscribe() | Track() | Untrack():
                try:
                    self._use_topic(frame)
                except RealtimeError as error:
                    publish_id = frame.id if isinstance(frame, Publish) else None
                    raise about(error, frame=frame.type, channel=frame.topic, id=publish_id) from error
            case Chat():
                try:
                    self._chat(frame)
                except RealtimeError as error:
                    raise about(error, frame="chat") from error
            case Auth():
                self._authenticate(frame.token)
            case _:
                self.send(pong_frame())

    def _use_topic(self, frame: Publish | Subscribe | Unsubscribe | Track | Untrack) -> None:
        name = self._directory.topic(frame.topic, self._projects)
        match frame:
            case Publish():
                self._publish(frame, name)
            case Subscribe():
                self._link(name).subscribe(frame.topic)
            case Unsubscribe():
                link = self._links.get(name.text)
                if link is not None and link.unsubscribe(frame.topic):
                    del self._links[name.text]
            case Track():
                self._track(frame, name)
            case Untrack():
                link = self._links.get(name.text)
                if link is not None:
                    link.untrack(frame.topic)

    def _publish(self, frame: Publish, name: TopicName) -> None:
        header: dict[str, Any] = {"do": "publish", "as": frame.topic, "event": frame.event}
        if frame.id is not None:
            header["id"] = frame.id
        if frame.persist:
            header |= {"persist": True, "keep": self._directory.settings.history_limit}
        self._link(name).publish(header, _written(frame.data, "data"))

    def _track(self, frame: Track, name: TopicName) -> None:
        limit = self._directory.settings.max_state_bytes
        size = len(_written(frame.state, "state", dumps_ascii))  # as it is kept with the leg
        if size > limit:
            raise RealtimeError(Code.TOO_BIG, f"presence state has {size} bytes, at most {limit} are allowed", "state")
        self._link(name).track(frame.topic, frame.state)

    def _chat(self, frame: Chat) -> None:
        name = self._directory.chat(frame.roomId, self._projects)
        said = {"text": frame.text}
        if "metadata" in frame.model_fields_set:
            said["metadata"] = frame.metadata
        header = {
            "do": "chat",
            "as": frame.roomId,
            "room": frame.roomId,
            "event": "chat_message",
            "persist": True,
            "keep": self._directory.settings.history_limit,
        }
        self._link(name).publish(header, _written(said, "metadata"))

    def _authenticate(self, token: str) -> None:
        role: Role = admit(credentials(tokens=(token,)), self._directory.settings)
        if role == "secret" or self.identity.role != "secret":
            who = self.identity
            self.identity = Connection(who.id, who.user_id, role, who.project)

    def _link(self, name: TopicName) -> Link:
        link = self._links.get(name.text)
        if link is None:
            self._make_room()
            link = Link(self._directory, self, name)
            self._links[name.text] = link
            link.open()
        return link

    def _make_room(self) -> None:
        limit = self._directory.settings.max_topics
        if len(self._links) < limit:
            return
        for key, link in self._links.items():
            if link.is_idle:  # it was only published to
                del self._links[key]
                link.let_go()
                return
        raise RealtimeError(Code.TOO_MANY_TOPICS, f"one connection can use {limit} topics at a time", "topic")


def _written(value: object, field: str, write: Callable[[object], str] = dumps) -> str:
    try:
        return write(value)
    except ValueError as error:
        raise RealtimeError(Code.BAD_FIELD, f"field {field!r}: {error}", field) from error


def _one(values: Iterable[str] | None, name: str, limit: int) -> str | None:
    value = next(iter(values or ()), None)
    if value is not None and len(value) > limit:
        raise RealtimeError(Code.BAD_REQUEST, f"query parameter {name} is longer than {limit} characters", name)
    return value or None
