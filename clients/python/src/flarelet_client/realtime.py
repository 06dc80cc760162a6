"""The realtime client: one connection, many topics."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from random import Random, SystemRandom
from typing import Any, cast
from urllib.parse import urlencode

import aiohttp

from flarelet_client.channel import Channel, Topic
from flarelet_client.connection import Connection, Hooks
from flarelet_client.errors import RealtimeError, client_error
from flarelet_client.json_text import dumps
from flarelet_client.listeners import Listeners
from flarelet_client.outbox import Outbox
from flarelet_client.topics import full_topic
from flarelet_client.types import Ack, ChannelOptions, HistoryMessage, PresenceMode, Status

__all__ = ["RealtimeClient"]

_V1 = "flarelet-v1"
_HISTORY_WITHIN_S = 10.0
_NOT_A_TOKEN = re.compile(r"[^!#$%&'*+\-.^_`|~0-9A-Za-z]")  # RFC 7230: what a subprotocol may hold
_log = logging.getLogger(__name__)

Stop = Callable[[], None]


class RealtimeClient:
    """One connection to the realtime endpoint; make it inside a running event loop or before one, use it in one."""

    def __init__(
        self,
        base_url: str,
        project_id: str = "",
        *,
        api_key: str | None = None,
        token: str | None = None,
        user_id: str | None = None,
        max_reconnect_attempts: int | None = None,
        max_queue: int = 100,
        ack_timeout_s: float = 15.0,
        random: Random | None = None,
    ) -> None:
        """Describe the connection; nothing is opened yet.

        Args:
            base_url: The server, with or without `/v1`.
            project_id: The project; its name ends every topic.
            api_key: Key of the project.
            token: Token of the user.
            user_id: Who this client is to others.
            max_reconnect_attempts: Attempts to reconnect before giving up; None: without end.
            max_queue: Publishes that may wait for a connection or an ack.
            ack_timeout_s: How long a publish waits for its ack.
            random: Source of jitter and ids.
        """
        for name, value in (("api_key", api_key), ("token", token)):
            _check_credential(name, value)
        self.base_url = re.sub(r"/v1$", "", base_url.rstrip("/"))
        self.project_id = project_id
        self.user_id = user_id
        self._api_key, self._token = api_key, token
        self._random = random or SystemRandom()
        self._session: aiohttp.ClientSession | None = None
        self._topics: dict[str, Topic] = {}
        self._is_v1 = False
        self._chats: list[str] = []
        self._max_queue = max_queue
        self._errors: Listeners[RealtimeError] = Listeners()
        self._max_retries: Listeners[None] = Listeners()
        hooks = Hooks(self._address, self._opened, self._received, self._tell, self._gave_up)
        attempts = float("inf") if max_reconnect_attempts is None else max_reconnect_attempts
        self._connection = Connection(hooks, session=self._http, max_attempts=attempts, random=self._random)
        self._connection.status_listeners.add(self._status_changed)
        self._outbox = Outbox(self._connection.send, self._tell, limit=max_queue, timeout_s=ack_timeout_s)

    @property
    def status(self) -> Status:
        """Where the connection stands."""
        return self._connection.status

    async def connect(self) -> None:
        """Connect now. The first subscribe, track or publish does it too.

        Raises:
            RealtimeError: The first attempt failed; further ones go on.
        """
        await self._connection.connect()

    async def disconnect(self) -> None:
        """Close the connection until `connect()`; waiting publishes are rejected. Subscriptions come back with it."""
        await self._connection.close()
        self._chats.clear()
        self._outbox.close("disconnected before there was an ack")
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def channel(
        self,
        topic: str,
        *,
        filter: Mapping[str, Any] | None = None,
        columns: Sequence[str] | None = None,
        snapshot: bool = False,
        event: str | Sequence[str] | None = None,
        presence: PresenceMode | None = None,
        recover: bool = True,
    ) -> Channel:
        """Return a channel of a topic. A name without a slash is a table.

        The first channel that is used decides for all channels of the topic how it is subscribed.

        Args:
            topic: The table, or the path of the topic.
            filter: Of a table: only rows that match, `{"status": "open", "total": {"gt": 100}}`.
            columns: Of a table: only these columns, beside the key.
            snapshot: Of a table: its rows first, told to `on_snapshot`; again after a gap.
            event: Only these events.
            presence: Who is present ("full", the default), how many ("occupancy"), or nothing ("none").
            recover: Whether to ask for missed events after a reconnect.
        """
        options = ChannelOptions(filter, columns, snapshot, event, presence, recover)
        return Channel(full_topic(topic, self.project_id), self, options)

    def chat_room(self, room_id: str) -> Channel:
        """Return the channel of a chat room."""
        return self.channel(f"chat/{room_id}")

    def send_chat(self, room_id: str, text: str, metadata: dict[str, Any] | None = None) -> None:
        """Say something in a chat room; it is stored, and arrives as `chat_message`.

        The frame has no id, so there is no ack: where one matters, publish with `persist=True`.
        """
        frame: dict[str, Any] = {"type": "chat", "roomId": room_id, "text": text}
        if metadata is not None:
            frame["metadata"] = metadata
        self._auto_connect()
        written = dumps(frame)
        if self._connection.send(written):
            return
        if len(self._chats) < self._max_queue:
            self._chats.append(written)
        else:
            self._tell(client_error("QUEUE_FULL", "too many chat messages wait for a connection", type="chat"))

    def set_token(self, token: str) -> None:
        """Use another token, now and for later connections."""
        _check_credential("token", token)
        self._token = token
        self._connection.send(dumps({"type": "auth", "token": token}))

    def on_status_change(self, callback: Callable[[Status], object]) -> Stop:
        """Call `callback(status)` at every change; return a function that stops it."""
        return self._connection.status_listeners.add(callback)

    def on_max_retries_exceeded(self, callback: Callable[[None], object]) -> Stop:
        """Call `callback(None)` when reconnecting was given up; return a function that stops it."""
        return self._max_retries.add(callback)

    def on_error(self, callback: Callable[[RealtimeError], object]) -> Stop:
        """Call `callback(error)` for everything that went wrong. Without any listener, errors are logged."""
        return self._errors.add(callback)

    # -- what channels need (see channel.Wire)

    def send(self, frame: dict[str, Any]) -> bool:
        """Send a frame of state; for channels."""
        self._auto_connect()
        return self._connection.send(dumps(frame))

    def publish(self, topic: str, event: str, data: Any, *, persist: bool, id: str | None) -> asyncio.Future[Ack]:
        """Publish an event; for channels."""
        self._auto_connect()
        publish_id = id if id is not None else f"{self._random.getrandbits(96):024x}"
        frame = {"type": "publish", "topic": topic, "event": event, "data": data, "persist": persist, "id": publish_id}
        done = self._outbox.add(frame)
        if self.status == "disconnected":
            self._outbox.close("the client is disconnected: call connect() first")
        return done

    async def history(self, topic: str, limit: int, before: int | None) -> list[HistoryMessage]:
        """Read stored messages, newest first; for channels.

        Raises:
            RealtimeError: The server refused, or could not be reached.
        """
        query = {"room": topic, "limit": str(limit)}
        more = {"before": before, "projectId": self.project_id, "userId": self.user_id}
        query |= {name: str(value) for name, value in more.items() if value not in (None, "")}
        headers: dict[str, str] = {}
        if self._api_key:
            headers["X-Aerostack-Key"] = self._api_key
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        url = f"{self.base_url}/api/v1/public/realtime/history?{urlencode(query)}"
        ref = {"type": "history", "channel": topic}
        try:
            async with asyncio.timeout(_HISTORY_WITHIN_S), self._http().get(url, headers=headers) as response:
                status, text = response.status, await response.text()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise client_error("HTTP", f"history of {topic}: {error!r}", retry=True, **ref) from error
        return _messages(topic, status, text, ref)

    @property
    def is_v1(self) -> bool:
        """Whether the server speaks flarelet-v1 on the present connection; for channels."""
        return self._is_v1

    def topic(self, name: str, options: ChannelOptions) -> Topic:
        """Return the shared topic, made with these options when it is new; for channels."""
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = Topic(name, self, options)
        return topic

    def forget(self, topic: Topic) -> None:
        """Drop a topic nobody uses; for channels."""
        if self._topics.get(topic.name) is topic:
            del self._topics[topic.name]

    # -- the connection

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession()
        return self._session

    def _auto_connect(self) -> None:
        if self.status == "idle":
            self._connection.start()

    def _address(self) -> tuple[str, list[str]]:
        query = {"projectId": self.project_id}
        if self.user_id is not None:
            query["userId"] = self.user_id
        protocols: list[str] = []
        if self._api_key:
            protocols.append(f"aerostack-key.{self._api_key}")
        if self._token:
            protocols.append(f"aerostack-token.{self._token}")
        protocols += ["aerostack-v1", _V1]
        return f"{self.base_url.replace('http', 'ws', 1)}/api/realtime?{urlencode(query)}", protocols

    def _opened(self, protocol: str) -> None:
        self._is_v1 = protocol == _V1
        for topic in list(self._topics.values()):
            topic.restore()
        chats, self._chats = self._chats, []
        for text in chats:
            self._connection.send(text)
        self._outbox.flush()

    def _status_changed(self, status: Status) -> None:
        if status != "connected":
            for topic in self._topics.values():
                topic.is_ready = False

    def _gave_up(self) -> None:
        self._outbox.close("reconnecting was given up")
        self._max_retries.tell(None)

    def _received(self, frame: dict[str, Any]) -> None:
        match frame.get("type"):
            case "ack":
                self._outbox.acknowledged(frame)
            case "error":
                self._refused(frame)
            case _:
                topic = self._topics.get(str(frame.get("topic") or frame.get("channel")))
                if topic is not None:
                    topic.received(frame)

    def _refused(self, frame: dict[str, Any]) -> None:
        ref = dict(frame.get("ref") or {})
        error = RealtimeError(frame["code"], frame["name"], frame["message"], retry=bool(frame.get("retry")), ref=ref)
        if "id" in ref:
            topic = self._outbox.refused(ref["id"], error)
            if topic is not None:
                ref["channel"] = topic
        self._tell(error)

    def _tell(self, error: RealtimeError) -> None:
        topic = self._topics.get(error.ref.get("channel", ""))
        heard = topic is not None and topic.error(error)
        self._errors.tell(error)
        if not heard and not len(self._errors):
            _log.warning("%s", error)


def _messages(topic: str, status: int, text: str, ref: dict[str, Any]) -> list[HistoryMessage]:
    try:
        body: object = json.loads(text)
    except ValueError:
        body = None
    fields = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    if status == 200 and isinstance(fields.get("messages"), list):
        names = ("id", "room_id", "user_id", "event", "data", "created_at")
        return [HistoryMessage(**{name: message.get(name) for name in names}) for message in fields["messages"]]
    message = f"history of {topic}: {fields.get('message', f'HTTP {status}')}"
    if isinstance(fields.get("number"), int):
        raise RealtimeError(fields["number"], fields.get("code", "HTTP"), message, retry=status >= 500, ref=ref)
    raise client_error("HTTP", message, retry=status >= 500, **ref)


def _check_credential(name: str, value: str | None) -> None:
    if value and _NOT_A_TOKEN.search(value):
        allowed = "letters, digits, . - _ ~ +"
        raise client_error("BAD_OPTION", f"{name} has a character that cannot be sent; allowed: {allowed}")
