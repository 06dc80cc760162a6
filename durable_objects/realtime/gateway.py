"""The gateway: one client socket, its frames, its links to many topics."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from durable_objects.realtime import packing
from durable_objects.realtime.admission import admission
from durable_objects.realtime.core.access import (
    Admission,
    Connection,
    bearer,
    choose_subprotocol,
    credentials,
)
from durable_objects.realtime.core.codes import CLOSE_EXPIRED, CLOSE_LEFT, Code, Malformed, RealtimeError
from durable_objects.realtime.core.following import how_of, since_of, wants_rows
from durable_objects.realtime.core.meter import METER
from durable_objects.realtime.core.names import TopicName
from durable_objects.realtime.core.protocol import (
    MODELS,
    MODELS_V1,
    Auth,
    Cancel,
    Chat,
    Frame,
    PresenceQuery,
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
from durable_objects.realtime.core.v1 import PROTOCOL, PROTOCOL_MSGPACK, welcome
from durable_objects.realtime.directory import Directory
from durable_objects.realtime.guard import Guard, Guards
from durable_objects.realtime.kept import Keeper
from durable_objects.realtime.link import Link
from workers.compat.websocket import WebSocket, WebSocketPair, take
from workers.entrypoints import WorkerEntrypoint
from workers.request import Request
from workers.response import Response

__all__ = ["ClientSocket", "RealtimeGateway", "connect", "seat"]

_MAX_USER_ID = 256
_GOING_AWAY = 1001
_NOT_BY_CHOICE = frozenset({1006, 1011, 1012, 1013, CLOSE_EXPIRED})
"""Close codes of a server that ends or drops a connection: its client comes back."""

_log = logging.getLogger(__name__)


class RealtimeGateway(WorkerEntrypoint):
    """A Worker that is nothing but the realtime endpoint; its env must have the binding REALTIME."""

    async def fetch(self, request: Request) -> Response:
        """Answer the endpoint's paths, 404 for any other."""
        return await self.env.REALTIME.fetch(request)


async def connect(request: Request, directory: Directory, keeper: Keeper, guards: Guards) -> Response:
    """Upgrade a client's request to a socket.

    Raises:
        RealtimeError: It is no upgrade, or its credentials are refused. Refusing here, and not with a Close frame
            afterwards, is what makes the public clients back off.
    """
    headers = request.headers
    if headers.get("upgrade", "").lower() != "websocket":
        raise RealtimeError(Code.UPGRADE_REQUIRED, "this is a WebSocket endpoint: send Upgrade: websocket")
    offered = [entry.strip() for entry in headers.get("sec-websocket-protocol", "").split(",") if entry.strip()]
    client, server = WebSocketPair()
    chosen = choose_subprotocol([name for name in offered if name != PROTOCOL_MSGPACK or packing.is_available()])
    await seat((client, server), request, offered, chosen or "", directory, keeper, guards)
    return Response(None, status=101, headers={"sec-websocket-protocol": chosen} if chosen else None, web_socket=client)


async def seat(
    ends: tuple[WebSocket, WebSocket],
    request: Request,
    offered: Sequence[str],
    subprotocol: str,
    directory: Directory,
    keeper: Keeper,
    guards: Guards,
) -> ClientSocket:
    """Admit the client that sent the request, and serve it at the second of `ends`.

    Raises:
        RealtimeError: Its credentials are refused, or a parameter is wrong.
    """
    headers, query = request.headers, parse_qs(urlsplit(request.url).query)
    given = credentials(
        subprotocols=offered,
        keys=(*query.get("apiKey", ()), headers.get("x-aerostack-key")),
        tokens=(*query.get("token", ()), bearer(headers.get("authorization"))),
    )
    rights = await admission(given, directory)
    user_id = _one(query.get("userId"), "userId", _MAX_USER_ID)
    if rights.role == "jwt":
        user_id = rights.user_id
    project = _one(query.get("projectId"), "projectId", directory.settings.max_topic_bytes)
    project = project or directory.settings.project
    identity = Connection(directory.new_id(), user_id, rights.role, project, rights.claims)
    if guards.is_revoked(identity):
        raise RealtimeError(Code.REVOKED, "access was taken back")
    # A user comes back with a newer token: only what all its tokens have in common tells it apart.
    is_named = rights.role == "jwt" and user_id is not None
    shown = (*given.keys, str((rights.claims or {}).get("iss"))) if is_named else (*given.keys, *given.tokens)
    credential = hashlib.sha256("\n".join((rights.role, *shown)).encode("utf-8", "replace")).hexdigest()
    address = "" if user_id or given.tokens else headers.get("cf-connecting-ip") or ""
    known_as = Identity(identity.project, credential, user_id, headers.get("user-agent") or "", address)
    await keeper.restore()
    return ClientSocket(ends, directory, identity, keeper, known_as, guards, rights, subprotocol)


class ClientSocket:
    """One client's socket. It is the sink of what the client sends; answers go straight to the client."""

    __slots__ = (
        "_directory",
        "_end",
        "_guard",
        "_held",
        "_is_over",
        "_keeper",
        "_port",
        "_projects",
        "closing_at",
        "closing_ms",
        "copied_at_ms",
        "heard_at_ms",
        "identity",
        "is_pinging",
        "is_restored",
        "is_v1",
        "known_as",
        "links",
        "send",
    )

    def __init__(
        self,
        ends: tuple[WebSocket, WebSocket],
        directory: Directory,
        identity: Connection,
        keeper: Keeper,
        known_as: Identity,
        guards: Guards,
        rights: Admission,
        subprotocol: str,
    ) -> None:
        """Take over the second of `ends`; the first is the client's."""
        self.identity = identity
        self.known_as = keeper.interned(known_as)
        self.links: dict[str, Link] = {}
        self.heard_at_ms = directory.clock.now_ms()
        self.is_pinging = False
        self.copied_at_ms = 0
        self.closing_at = self.closing_ms = 0
        self.is_v1 = subprotocol in (PROTOCOL, PROTOCOL_MSGPACK)
        self.is_restored = not self.is_v1
        self._directory = directory
        self._projects = (identity.project,)
        self._end = ends[0]
        self._port = take(ends[1], self)
        self.send = self._send_packed if subprotocol == PROTOCOL_MSGPACK else self._port.send
        self._keeper = keeper
        self._is_over = False
        self._held: list[str | bytes] | None = None
        self._guard = Guard(guards, self, rights)
        METER.accepted[rights.role] += 1
        keeper.add(self)
        if self.is_v1:
            self._welcome()

    def _welcome(self) -> None:
        settings = self._directory.settings
        limits: dict[str, object] = {
            "silenceMs": int(settings.silence_s * 1_000),
            "graceMs": int(settings.session_grace_s * 1_000),
            "maxFrameBytes": settings.max_frame_bytes,
            "maxTopics": settings.max_topics,
        }
        self.is_pinging = True  # a client of ours says at least that it is there
        self.send(welcome(self.identity.id, self.identity.user_id, limits))

    # -- what the client does

    def message(self, data: str | bytes) -> None:
        """Act on one frame; a frame that cannot be acted on is answered with an error and changes nothing."""
        self.heard_at_ms = self._directory.clock.now_ms()
        METER.received += 1
        if not self._guard.hears():
            return
        if self._held is None:
            self._take(data)
        elif len(self._held) < self._directory.settings.max_waiting:
            self._held.append(data)
        else:
            self.tell(RealtimeError(Code.OVERLOADED, f"{len(self._held)} frames wait for a token to be verified"))

    def _take(self, data: str | bytes) -> None:
        try:
            if isinstance(data, bytes):
                if self.send != self._send_packed:
                    raise Malformed(Code.BINARY_FRAME, "binary frames are not understood; send JSON text")
                data = packing.unpacked(data, max_bytes=self._directory.settings.max_frame_bytes)
            models = MODELS_V1 if self.is_v1 else MODELS
            self._act(decode(data, max_bytes=self._directory.settings.max_frame_bytes, models=models))
        except RealtimeError as error:
            self.tell(error)
        except Exception:  # a request: our own mistake must not cost the client its connection
            _log.exception("a frame could not be handled", extra={"connection": self.identity.id})
            self.send(error_frame(RealtimeError(Code.HANDLER_FAILED, "the server failed on this frame")))

    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        """End every link, and presence with it; what a cut connection had is kept for its return."""
        if self._is_over:
            return
        self._is_over = True
        self._guard.over()
        if self.closing_at:
            self._keeper.keep(self, is_told=was_clean)
        elif not was_clean or code in _NOT_BY_CHOICE:
            self._keeper.keep(self)
        elif code == _GOING_AWAY:
            self._keeper.linger(self)
        else:
            self._keeper.leave(self)
        self._port.close(code if was_clean and code != 1005 else CLOSE_LEFT)

    def failed(self, message: str) -> None:
        """The client broke the protocol: it is cut off, and may come back."""
        self.closed(1006, message, False)

    def cut(self) -> None:
        """Treat the client as gone: it has been silent for too long."""
        self.closed(1006, "silent", False)
        self._port.abort()

    def loss(self) -> tuple[int, bool]:
        """Return how many bytes are on their way to the client, and whether it ended the connection without a Close."""
        undelivered = getattr(self._end.sink, "undelivered", None)
        return (0, False) if undelivered is None else undelivered()

    def _send_packed(self, data: str | bytes) -> None:
        self._port.send(packing.packed(data) if isinstance(data, str) else data)

    # -- what links may ask

    def tell(self, error: RealtimeError) -> None:
        """Send an error frame; log it, for public clients drop the frame unseen."""
        frame = error.frame if isinstance(error, Malformed) else None
        METER.refused[error.code.name] += 1
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
        if self._is_over or self.closing_at:
            return
        self._guard.over()
        if code in _NOT_BY_CHOICE and self.is_on_network:
            # Whether it was told everything until here is known when it answers.
            self.closing_at, self.closing_ms = self._keeper.closes_at(), self._directory.clock.now_ms()
        else:
            self._is_over = True
            if code in _NOT_BY_CHOICE:
                self._keeper.keep(self)
            else:
                self._keeper.leave(self)
        self._port.close(code, reason)

    @property
    def is_on_network(self) -> bool:
        """Whether the end of the connection is seen later than it is asked for."""
        return hasattr(self._end.sink, "undelivered")

    def link_failed(self, topic: str, link: object) -> None:
        """Forget a link that could not be opened; a later frame tries again."""
        if self.links.get(topic) is link:
            del self.links[topic]

    # -- what its guard may ask

    def identified(self, identity: Connection) -> None:
        """The connection may do more or less from now on."""
        self.identity = identity
        for link in self.links.values():
            try:
                link.identified()
            except RealtimeError as error:  # too much waits for the topic already
                self.tell(error)

    def topics(self) -> list[TopicName]:
        """Return the topics it is subscribed to, or present on."""
        return [link.name for link in self.links.values() if not link.is_idle]

    def police(self, topic: str, rows: Mapping[str, Any] | None) -> None:
        """Show the client only these rows of a table from now on."""
        self.links[topic].police(rows)

    def drop(self, topic: str, error: RealtimeError) -> None:
        """End its subscriptions of a topic and tell it why."""
        link = self.links.pop(topic)
        for spelling in link.spellings or (topic,):
            self.tell(about(error, frame="subscribe", channel=spelling))
        link.let_go()
        self._keeper.changed(self)

    # -- what was kept for the client

    def take_up(self) -> None:
        """Take up what is kept for the client, or what its old connection has."""
        if not self._is_over:
            self._keeper.claim(self)

    def link_to(self, name: TopicName) -> Link | None:
        """Return a link to a topic; None, and the client is told, when there can be none."""
        try:
            rows = self._guard.allow("subscribe", name).rows
            link = self._link(name)
            link.rows = rows
            return link
        except RealtimeError as error:
            self.tell(error)
            return None

    # -- frames

    def _act(self, frame: Frame) -> None:
        match frame:
            case Publish() | Subscribe() | Unsubscribe() | Track() | Untrack() | PresenceQuery() | Cancel():
                try:
                    self._use_topic(frame)
                except RealtimeError as error:
                    publish_id = frame.id if isinstance(frame, (Publish, PresenceQuery)) else None
                    raise about(error, frame=frame.type, channel=frame.topic, id=publish_id) from error
            case Chat():
                try:
                    self._chat(frame)
                except RealtimeError as error:
                    raise about(error, frame="chat") from error
            case Auth():
                self._held = []  # what follows may need what the token allows
                self._directory.tasks.spawn(self._authenticate(frame.token), "realtime-authenticate")
            case _:
                self.is_pinging = True
                self.send(pong_frame())

    def _use_topic(self, frame: Publish | Subscribe | Unsubscribe | Track | Untrack | PresenceQuery | Cancel) -> None:
        name = self._directory.topic(frame.topic, self._projects)
        match frame:
            case Publish():
                self._publish(frame, name)
                return
            case Subscribe():
                verdict = self._guard.allow("subscribe", name)
                rows, is_snapshot = verdict.rows, wants_rows(frame, name)
                if is_snapshot and not verdict.is_meant:
                    why = f"rows that are there already are shown where a rule allows table-read on {name.text}"
                    raise RealtimeError(Code.REFUSED, why, "snapshot")
                how, link = how_of(frame, name), self._link(name)
                link.rows = rows
                link.subscribe(frame.topic, how, since_of(frame), snapshot=is_snapshot)
            case Unsubscribe():
                link = self.links.get(name.text)
                if link is not None and link.unsubscribe(frame.topic):
                    del self.links[name.text]
            case Track():
                self._track(frame, name)
            case Untrack():
                link = self.links.get(name.text)
                if link is not None:
                    link.untrack(frame.topic)
            case PresenceQuery():
                self._guard.allow("subscribe", name)
                query = {"do": "presence", "as": frame.topic}
                self._link(name).command(query if frame.id is None else query | {"id": frame.id})
                return
            case Cancel():
                self._guard.allow("publish", name)
                self._link(name).command({"do": "cancel", "as": frame.topic, "stream": frame.stream})
                return
        self._keeper.changed(self)

    def _publish(self, frame: Publish, name: TopicName) -> None:
        self._guard.allow_publish(name)
        header: dict[str, Any] = {"do": "publish", "as": frame.topic, "event": frame.event}
        if frame.id is not None:
            header["id"] = frame.id
        if frame.persist:
            header["persist"] = True
        if self.is_v1:
            header["v"] = 1
        header["limits"] = self._directory.limits(name.text)
        self._link(name).publish(header, _written(frame.data, "data"))

    def _track(self, frame: Track, name: TopicName) -> None:
        self._guard.allow("presence", name)
        limit = self._directory.settings.max_state_bytes
        size = len(_written(frame.state, "state", dumps_ascii))  # as it is kept with the leg
        if size > limit:
            raise RealtimeError(Code.TOO_BIG, f"presence state has {size} bytes, at most {limit} are allowed", "state")
        self._link(name).track(frame.topic, frame.state)

    def _chat(self, frame: Chat) -> None:
        name = self._directory.chat(frame.roomId, self._projects)
        self._guard.allow_publish(name)
        said = {"text": frame.text}
        if "metadata" in frame.model_fields_set:
            said["metadata"] = frame.metadata
        header = {
            "do": "chat",
            "as": frame.roomId,
            "room": frame.roomId,
            "event": "chat_message",
            "persist": True,
            "limits": self._directory.limits(name.text),
        }
        self._link(name).publish(header, _written(said, "metadata"))

    async def _authenticate(self, token: str) -> None:
        try:
            await self._guard.authenticate(token)
        except RealtimeError as error:
            self.tell(about(error, frame="auth"))
        finally:
            held, self._held = self._held or [], None
            while held and self._held is None and not self._is_over:
                self._take(held.pop(0))
            if held and self._held is not None:  # another token came meanwhile
                self._held += held

    def _link(self, name: TopicName) -> Link:
        link = self.links.get(name.text)
        if link is None:
            self._make_room()
            link = Link(self._directory, self, name)
            self.links[name.text] = link
            link.open()
        return link

    def _make_room(self) -> None:
        limit = self._directory.settings.max_topics
        if len(self.links) < limit:
            return
        for key, link in self.links.items():
            if link.is_idle:  # it was only published to
                del self.links[key]
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
