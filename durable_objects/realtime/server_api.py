"""The methods of `POST /internal/hooks/rpc`: what a server may say and ask that is not the Worker itself.

`socket.emit` and `db.query` are those of the public server SDKs; the others begin with `realtime.`. Arguments come as
an array; the last one of a `realtime.` method is an object of options and may be left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from durable_objects.realtime.core.codes import Code, RealtimeError
from durable_objects.realtime.core.protocol import dumps
from durable_objects.realtime.core.token_stream import StreamOptions
from durable_objects.realtime.directory import Directory
from durable_objects.realtime.guard import Guards
from workers.compat.proxies import JsException

__all__ = ["METHODS", "Caller", "emit", "publish"]

_LONG_POLL_S: Final = 25.0
_MAX_TOKENS: Final = 4_096


@dataclass(frozen=True, slots=True)
class Caller:
    """What a method works on."""

    directory: Directory
    guards: Guards


class _Options(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Publish(_Options):
    persist: bool = False
    userId: str | None = None
    id: Annotated[str, Field(min_length=1, max_length=128)] | None = None


class _History(_Options):
    limit: Annotated[int, Field(ge=1, le=1_000)] = 50
    before: int | None = None
    after: int | None = None


class _Revoke(_Options):
    userId: str | None = None
    connection: str | None = None
    topic: str | None = None
    forSeconds: Annotated[float, Field(ge=0, le=31_536_000)] = 0.0
    reason: Annotated[str, Field(max_length=120)] = "access was taken back"


class _Stream(_Options):
    id: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    userId: str | None = None
    persist: bool = False
    withoutViewers: Literal["go-on", "cancel"] = "go-on"
    viewerGraceSeconds: Annotated[float, Field(ge=0, le=86_400)] = 10.0
    idleSeconds: Annotated[float, Field(gt=0, le=60)] = 60.0
    text: str = ""
    count: Annotated[int, Field(ge=0)] = 0


Model = TypeVar("Model", bound=_Options)


async def emit(directory: Directory, event: str, data: object, room: str) -> None:
    """Send an event to a room; a bare room is a chat room.

    Raises:
        RealtimeError: BAD_TOPIC.
    """
    name = directory.room(room)
    await directory.stub(name.text).publish_json(event, dumps(data), False, None, None, directory.limits(name.text))


async def publish(
    directory: Directory,
    topic: str,
    event: str,
    data: object,
    *,
    persist: bool = False,
    user_id: str | None = None,
    id: str | None = None,
) -> dict[str, Any] | None:
    """Send an event to a topic; returns the stored message, None for one that is not stored.

    Raises:
        RealtimeError: BAD_TOPIC.
    """
    name = directory.topic(topic).text
    stub = directory.stub(name)
    return await stub.publish_json(event, dumps(data), persist, user_id, id, directory.limits(name))


async def _emit(caller: Caller, args: list[Any]) -> object:
    event, data, room = (*args, None, None, None)[:3]
    name = _text("socket.emit", event, 0, "the event")
    await emit(caller.directory, name, data, _text("socket.emit", room, 2, "the room"))
    return {"success": True}


async def _query(caller: Caller, args: list[Any]) -> object:
    sql, params = (*args, None, None)[:2]
    if not isinstance(sql, str):
        raise RealtimeError(Code.BAD_REQUEST, "db.query: args[0], the SQL, must be a string", "args.0")
    if params is not None and not isinstance(params, list):
        raise RealtimeError(Code.BAD_REQUEST, "db.query: args[1], the parameters, must be an array", "args.1")
    tables = caller.directory.tables
    if tables is None:
        raise RealtimeError(Code.BAD_REQUEST, "db.query: no database is configured for realtime")
    try:
        return await tables.query(sql, cast("list[object]", params or []))
    except JsException as error:
        raise RealtimeError(Code.BAD_SQL, f"db.query: {error}") from error


async def _publish(caller: Caller, args: list[Any]) -> object:
    name = "realtime.publish"
    topic, event, data, given = (*args, None, None, None, None)[:4]
    options = _options(name, _Publish, given, 3)
    return await publish(
        caller.directory,
        _text(name, topic, 0, "the topic"),
        _text(name, event, 1, "the event"),
        data,
        persist=options.persist,
        user_id=options.userId,
        id=options.id,
    )


async def _presence(caller: Caller, args: list[Any]) -> object:
    return {"users": await _stub(caller, "realtime.presence", args).presence()}


async def _history(caller: Caller, args: list[Any]) -> object:
    options = _options("realtime.history", _History, (*args, None, None)[1], 1)
    stub = _stub(caller, "realtime.history", args)
    return {"messages": await stub.history(options.limit, options.before, options.after)}


async def _revoke(caller: Caller, args: list[Any]) -> object:
    options = _options("realtime.revoke", _Revoke, (*args, None)[0], 0)
    try:
        count = caller.guards.revoke(
            user_id=options.userId,
            connection=options.connection,
            topic=options.topic,
            for_s=options.forSeconds,
            reason=options.reason,
        )
    except ValueError as error:
        raise RealtimeError(Code.BAD_REQUEST, f"realtime.revoke: {error}", "args.0") from error
    return {"connections": count}


async def _open_stream(caller: Caller, args: list[Any]) -> object:
    name = "realtime.stream.open"
    given = _options(name, _Stream, (*args, None, None)[1], 1)
    options = StreamOptions(
        given.withoutViewers, given.viewerGraceSeconds, given.persist, given.idleSeconds, given.userId
    )
    stream = given.id or caller.directory.new_id()
    described = {field: getattr(options, field) for field in options.__slots__}
    await _stub(caller, name, args).open_stream(stream, described, given.text, given.count)
    return {"stream": stream}


async def _stream_tokens(caller: Caller, args: list[Any]) -> object:
    name = "realtime.stream.tokens"
    tokens: Any = (*args, None, None, None)[2]
    stream = _text(name, (*args, None, None)[1], 1, "the stream")
    is_list = isinstance(tokens, list) and all(isinstance(token, str) for token in cast("list[Any]", tokens))
    if not is_list or len(cast("list[str]", tokens)) > _MAX_TOKENS:
        message = f"{name}: args[2], the tokens, must be an array of at most {_MAX_TOKENS} strings"
        raise RealtimeError(Code.BAD_REQUEST, message, "args.2")
    return {"over": await _stub(caller, name, args).stream_tokens(stream, tokens)}


async def _stream_over(caller: Caller, args: list[Any]) -> object:
    name = "realtime.stream.over"
    stream = _text(name, (*args, None, None)[1], 1, "the stream")
    try:
        async with asyncio.timeout(_LONG_POLL_S):
            return {"over": await _stub(caller, name, args).stream_over(stream)}
    except TimeoutError:
        return {"over": None}


async def _close_stream(caller: Caller, args: list[Any]) -> object:
    name = "realtime.stream.close"
    _, stream, reason, message = (*args, None, None, None, None)[:4]
    if reason not in (None, "done", "cancelled", "error"):
        raise RealtimeError(Code.BAD_REQUEST, f"{name}: args[2] must be done, cancelled or error", "args.2")
    told = message if isinstance(message, str) else ""
    await _stub(caller, name, args).close_stream(_text(name, stream, 1, "the stream"), reason or "done", told[:1_000])
    return {"success": True}


Method = Callable[[Caller, list[Any]], Awaitable[object]]

METHODS: Mapping[str, Method] = {
    "socket.emit": _emit,
    "db.query": _query,
    "realtime.publish": _publish,
    "realtime.presence": _presence,
    "realtime.history": _history,
    "realtime.revoke": _revoke,
    "realtime.stream.open": _open_stream,
    "realtime.stream.tokens": _stream_tokens,
    "realtime.stream.over": _stream_over,
    "realtime.stream.close": _close_stream,
}
"""The methods by name. They raise RealtimeError for a caller's mistake."""


def _stub(caller: Caller, name: str, args: list[Any]) -> Any:
    topic = _text(name, (*args, None)[0], 0, "the topic")
    return caller.directory.stub(caller.directory.topic(topic).text)


def _text(name: str, value: Any, place: int, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise RealtimeError(Code.BAD_REQUEST, f"{name}: args[{place}], {what}, must be a string", f"args.{place}")
    return value


def _options(name: str, model: type[Model], given: Any, place: int) -> Model:
    try:
        return model.model_validate({} if given is None else given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join([f"args.{place}", *map(str, first["loc"])])
        raise RealtimeError(Code.BAD_REQUEST, f"{name}: {where}: {first['msg']}", where) from error
