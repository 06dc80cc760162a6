"""The gateway: one client socket, its frames, its links to many topics, and what is kept of it when it is cut.

Sessions of cut connections: their links stay open, what topics say goes on tapes, a returning client is given both.
The old leg stays subscribed while its client is away, so its tape has no gap and costs a topic nothing more than any
subscriber. When the client returns, each topic is asked to take in the new leg and to mark that place on both legs:
the tape up to the mark, and then the new leg, are every frame once and in order. Nothing here survives the process.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
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
from durable_objects.realtime.core.codes import CLOSE_LEFT, CLOSE_LOST, Code, Malformed, RealtimeError
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
    is_leg_note,
    loads,
    pong_frame,
)
from durable_objects.realtime.core.session import Identity, Kept, Session, Sessions, Tape
from durable_objects.realtime.directory import Directory
from durable_objects.realtime.link import Link
from workers.compat.websocket import WebSocket, WebSocketPair, take
from workers.entrypoints import WorkerEntrypoint
from workers.request import Request
from workers.response import Response

__all__ = ["Absent", "ClientSocket", "Keeper", "RealtimeGateway", "connect"]

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


class Keeper:
    """Owner of an endpoint's sessions, and of the timers that end them."""

    def __init__(self, directory: Directory) -> None:
        settings = directory.settings
        self.directory = directory
        self.sessions = Sessions(
            max_sessions=settings.max_sessions,
            max_topics=settings.max_session_topics,
            max_bytes=settings.max_sessions_bytes,
        )
        self._absent: dict[Session, Absent] = {}

    def keep(self, who: Connection, identity: Identity, links: Mapping[str, Link]) -> None:
        """Keep what a cut connection had, for a grace time; without one its links end."""
        grace_s = self.directory.settings.session_grace_s
        kept = {name: link for name, link in links.items() if not link.is_idle}
        for name, link in links.items():
            if name not in kept or not grace_s:
                link.end(CLOSE_LOST)
        if not kept or not grace_s:
            return
        session = Session(identity)
        absent = self._absent[session] = Absent(self, who, session, kept)
        absent.start(grace_s, self.directory.settings.presence_grace_s)
        self.end(self.sessions.keep(session))

    def linger(self, links: Iterable[Link]) -> None:
        """End links whose client went away properly; the presence of a page that is reloaded stays a little."""
        grace_s = self.directory.settings.presence_grace_s
        for link in links:
            if link.is_present and grace_s and len(self.sessions) < self.directory.settings.max_sessions:
                link.park(link.client, _nowhere)
                asyncio.get_running_loop().call_later(grace_s, link.end, CLOSE_LEFT)
            else:
                link.end(CLOSE_LEFT)

    def claim(self, identity: Identity, own: Iterable[str], link_to: Callable[[str, Absent], Link | None]) -> None:
        """Give a new connection what is kept for it; `link_to` returns its link to a topic that an absent one has."""
        own = set(own)
        found, over = self.sessions.claim(identity, own)
        done: set[str] = set(own)
        for session in found:
            absent = self._absent[session]
            for name, kept in session.topics.items():
                if name in done:
                    continue
                done.add(name)
                link = link_to(name, absent)
                if link is not None:
                    absent.readers += 1
                    link.resume(kept, absent.links[name].leg_id, absent.read)
        for session in over:
            self._absent[session].finish()

    def grew(self, session: Session, by: int) -> None:
        """Count what a tape took in."""
        self.end(self.sessions.grew(session, by))

    def end(self, sessions: Iterable[Session]) -> None:
        """End sessions that are over."""
        for session in sessions:
            absent = self._absent.pop(session, None)
            if absent is not None:
                absent.stop()

    def close(self) -> None:
        """End all sessions."""
        self.sessions.clear()
        self.end(list(self._absent))


class Absent:
    """A client that is away, in the place of its socket: the client that its links know."""

    def __init__(self, keeper: Keeper, who: Connection, session: Session, links: dict[str, Link]) -> None:
        self.identity = who
        self.links = links
        self.readers = 0
        self._keeper = keeper
        self._session = session
        self._is_finished = False
        self._timers: list[asyncio.TimerHandle] = []
        max_bytes, now_ms = keeper.directory.settings.max_session_bytes, keeper.directory.clock.now_ms()
        for name, link in links.items():
            tape = Tape(max_bytes, now_ms)
            session.topics[name] = Kept(tuple(link.spellings), link.state, tape)
            link.park(self, self._holder(tape))

    def start(self, grace_s: float, presence_grace_s: float) -> None:
        """Start the times after which presence, and then everything, ends."""
        loop = asyncio.get_running_loop()
        self._timers = [
            loop.call_later(grace_s, self._expire),
            loop.call_later(min(presence_grace_s, grace_s), self._leave),
        ]

    def read(self) -> None:
        """Hear that a reader has what it needs of this session."""
        self.readers -= 1
        if self._is_finished and not self.readers:
            self._keeper.end([self._session])

    def finish(self) -> None:
        """End the session as soon as nobody reads from it any more."""
        self._is_finished = True
        if not self.readers:
            self._keeper.end([self._session])

    def stop(self) -> None:
        """End the links."""
        for timer in self._timers:
            timer.cancel()
        for link in self.links.values():
            link.end(CLOSE_LOST)

    # -- the client, as links see it

    def send(self, data: str | bytes) -> None:
        """Drop what belongs to no topic."""

    def tell(self, error: RealtimeError) -> None:
        """Log an error that there is no client to tell."""
        _log.info("an absent client: %s: %s", error.code.name, error.message)

    def close(self, code: int, reason: str) -> None:
        """The server stops."""
        self._expire()

    def link_failed(self, link: Link) -> None:
        """A returning client opens a link of its own."""

    def _holder(self, tape: Tape) -> Callable[[str | bytes], None]:
        def hold(data: str | bytes) -> None:
            if isinstance(data, bytes):
                return
            if is_leg_note(data):
                tape.mark(loads(data).get("mark", ""))
            else:
                self._keeper.grew(self._session, tape.hold(data))

        return hold

    def _leave(self) -> None:
        for link in self.links.values():
            if link.is_present:
                link.untrack(link.name.text)

    def _expire(self) -> None:
        self._keeper.sessions.drop(self._session)
        self._keeper.end([self._session])


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


def _nowhere(data: str | bytes) -> None:
    """Drop a frame that nobody is there for."""
