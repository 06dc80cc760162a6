"""Topics as Server-Sent Events: for `curl -N`, and for browsers where no WebSocket gets through.

`GET /api/realtime/sse?topics=chat/a,orders` answers with a stream of the frames that a WebSocket client which
negotiated flarelet-v1 is sent, one event each, under the same rules: behind the stream is such a client. An event's
`id` holds the position in every topic, in the order of `topics`; a client that comes back with it (`Last-Event-ID`,
which browsers send by themselves) is told what it missed, or that it cannot be told. A comment is sent when nothing
else was for a while.

A reader that does not keep up is cut off before what waits for it grows without bound, and continues when it comes
back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlsplit

from durable_objects.realtime.core.codes import Code, RealtimeError
from durable_objects.realtime.core.protocol import dumps, loads
from durable_objects.realtime.core.v1 import PROTOCOL
from durable_objects.realtime.directory import Directory
from durable_objects.realtime.endpoint import cors_for, error_body
from durable_objects.realtime.gateway import seat
from durable_objects.realtime.guard import Guards
from durable_objects.realtime.kept import Keeper
from workers.compat.streams import ReadableStream
from workers.compat.websocket import Port, WebSocket, WebSocketPair, take
from workers.request import Request
from workers.response import Response

__all__ = ["answer_sse"]

_HEARTBEAT_S: Final = 15.0
_RETRY_MS: Final = 2_000
_MAX_WAITING_BYTES: Final = 1_048_576
_MAX_TOPICS: Final = 64
_HEADERS: Final = {
    "content-type": "text/event-stream",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}
_FLAGS: Final = {"1": True, "true": True, "0": False, "false": False}

_SAID: Final = frozenset({"event", "chat_message", "db_change", "transaction"})

Place = tuple[str, int] | None
"""A position in a topic, None for one that is not known."""


async def answer_sse(request: Request, directory: Directory, keeper: Keeper, guards: Guards) -> Response:
    """Answer a request for a stream of topics."""
    cors: Mapping[str, str] = {}
    try:
        cors = cors_for(request, directory)
        if request.method == "OPTIONS":
            wanted = request.headers.get("access-control-request-headers") or "authorization, last-event-id"
            return Response(None, status=204, headers={**cors, "access-control-allow-headers": wanted})
        if request.method != "GET":
            raise RealtimeError(Code.METHOD_NOT_ALLOWED, f"a stream is asked for with GET, not {request.method}")
        subscriptions = _subscriptions(request)
        client, server = cast("tuple[WebSocket, WebSocket]", tuple(WebSocketPair()))
        await seat((client, server), request, (), PROTOCOL, directory, keeper, guards)
    except RealtimeError as error:
        return error_body(error, headers=dict(cors))
    reader = _Reader(client, subscriptions)
    return Response(ReadableStream.from_iterator(reader.events()), headers={**_HEADERS, **cors})


def _subscriptions(request: Request) -> list[dict[str, Any]]:
    """Return the `subscribe` frames that the request's parameters mean."""
    query = parse_qs(urlsplit(request.url).query, keep_blank_values=True)
    given = [topic.strip() for text in query.get("topics", ()) for topic in text.split(",")] + query.get("topic", [])
    topics = list(dict.fromkeys(topic for topic in given if topic))
    if not topics:
        raise RealtimeError(Code.BAD_REQUEST, "query parameter topics is missing: topics=chat/a,orders", "topics")
    if len(topics) > _MAX_TOPICS:
        raise RealtimeError(Code.TOO_MANY_TOPICS, f"one stream can have {_MAX_TOPICS} topics", "topics")
    last = request.headers.get("last-event-id") or query.get("lastEventId", [""])[0]
    common: dict[str, Any] = {"type": "subscribe", "presence": _one(query, "presence") or "none"}
    if events := query.get("event"):
        common["event"] = events
    if (flag := _one(query, "snapshot")) is not None:
        if flag.lower() not in _FLAGS:
            raise RealtimeError(Code.BAD_REQUEST, f"snapshot is {flag[:40]!r}, but must be 1 or 0", "snapshot")
        common["snapshot"] = _FLAGS[flag.lower()]
    if (text := _one(query, "filter")) is not None:
        try:
            common["filter"] = loads(text)
        except ValueError as error:
            raise RealtimeError(Code.BAD_FILTER, f"filter is not JSON: {error}", "filter") from error
    if (text := _one(query, "columns")) is not None:
        common["columns"] = text.split(",")
    frames = [{**common, "topic": topic} for topic in topics]
    for frame, place in zip(frames, _places(last, len(topics)), strict=True):
        if place is not None:
            frame["since"] = {"epoch": place[0], "offset": place[1]}
    return frames


def _one(query: Mapping[str, Sequence[str]], name: str) -> str | None:
    values = query.get(name)
    return values[0] if values else None


def _places(text: str, count: int) -> list[Place]:
    """Read an event's id; what is none, or of other topics, is no position."""
    parts = text.split(",") if text else []
    if len(parts) != count:
        return [None] * count
    places: list[Place] = []
    for part in parts:
        epoch, _, offset = part.rpartition(":")
        places.append((epoch, int(offset)) if epoch and offset.isdecimal() and len(offset) < 16 else None)
    return places


def _written(places: Sequence[Place]) -> str:
    return ",".join(["-" if place is None else f"{place[0]}:{place[1]}" for place in places])


class _Reader:
    """The client behind a stream: it subscribes, and keeps what it is told until the stream is read."""

    def __init__(self, socket: WebSocket, subscriptions: Sequence[Mapping[str, Any]]) -> None:
        self._waiting: deque[str] = deque()
        self._size = 0
        self._is_over = False
        self._wakes = asyncio.Event()
        since = [frame.get("since") for frame in subscriptions]
        self._places: list[Place] = [None if each is None else (each["epoch"], each["offset"]) for each in since]
        self._topics = {frame["topic"]: number for number, frame in enumerate(subscriptions)}
        self._fresh = {frame["topic"] for frame in subscriptions if not ("since" in frame or frame.get("snapshot"))}
        self._subscriptions = subscriptions
        self._port: Port = take(socket, self)

    # -- the sink of what the client is sent

    def message(self, data: str | bytes) -> None:
        """Keep a frame for the stream."""
        if isinstance(data, bytes) or self._is_over or data.startswith(('{"type":"pong"', '{"type":"welcome"')):
            return
        self._size += len(data)
        if self._size > _MAX_WAITING_BYTES and self._waiting:
            self._leave()
            return
        self._waiting.append(data)
        self._wakes.set()

    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        """End the stream after what waits."""
        self._is_over = True
        self._wakes.set()

    # -- the stream

    async def events(self) -> AsyncIterator[bytes]:
        """Yield the text of the stream; the client leaves when nobody reads it any more."""
        try:
            yield f": {PROTOCOL}\nretry: {_RETRY_MS}\n\n".encode()
            for frame in self._subscriptions:
                self._port.send(dumps(frame))
            while self._waiting or not self._is_over:
                if not self._waiting:
                    try:
                        async with asyncio.timeout(_HEARTBEAT_S):
                            await self._wakes.wait()
                    except TimeoutError:
                        self._port.send('{"type":"ping"}')
                        yield b":\n\n"
                    self._wakes.clear()
                    continue
                waiting, self._waiting, self._size = self._waiting, deque(), 0
                yield "".join([self._event(data) for data in waiting]).encode("utf-8", "replace")
        finally:
            self._leave()

    def _event(self, data: str) -> str:
        """Return a frame as an event, with an id when it moves a position. JSON text has no line breaks."""
        if '"offset":' not in data:
            return f"data: {data}\n\n"
        frame = loads(data)
        number = self._topics.get(frame.get("topic", ""))
        if number is None or not isinstance(frame.get("epoch"), str) or not isinstance(frame.get("offset"), int):
            return f"data: {data}\n\n"
        if self._moves(frame):
            self._places[number] = frame["epoch"], frame["offset"]
        return f"id: {_written(self._places)}\ndata: {data}\n\n"

    def _moves(self, frame: Mapping[str, Any]) -> bool:
        """Whether everything up to the frame's position has been told once the frame is."""
        kind = frame["type"]
        if kind == "snapshot":
            return bool(frame["last"])
        return kind in _SAID or (kind == "subscribed" and frame["topic"] in self._fresh)

    def _leave(self) -> None:
        self._is_over = True
        self._wakes.set()
        self._port.close(1000)
