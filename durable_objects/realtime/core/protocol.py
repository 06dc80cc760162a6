"""Frames: what a client sends, read and checked once; what it receives, written as compact JSON.

A frame from a client is a pydantic model. A frame to a client is text: `{"type":...,"topic":<spelling>` + a rest that
is the same for all its receivers, so the rest is written once and only the subscriber's own spelling differs.
Only `event`, `db_change`, `chat_message` and `subscribed` carry `topic`: some public clients hand any frame with a
`topic` to user code.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from durable_objects.realtime.core.codes import Code, Malformed, RealtimeError
from durable_objects.realtime.core.json_text import dumps, dumps_ascii, loads

__all__ = [
    "MODELS",
    "MODELS_V1",
    "Auth",
    "Cancel",
    "Chat",
    "Frame",
    "Ping",
    "PresenceQuery",
    "Publish",
    "Since",
    "Subscribe",
    "SubscribeV1",
    "Track",
    "Unsubscribe",
    "Untrack",
    "about",
    "ack_frame",
    "addressed",
    "chat_rest",
    "decode",
    "dumps",
    "dumps_ascii",
    "error_frame",
    "event_rest",
    "is_leg_note",
    "leg_command",
    "leg_refused",
    "leg_resumed",
    "loads",
    "pong_frame",
    "subscribed_frame",
]

_PONG = '{"type":"pong"}'

Name = Annotated[str, Field(min_length=1, max_length=256)]
PublishId = Annotated[str, Field(min_length=1, max_length=128)]


class Frame(BaseModel):
    """What all frames of a client have in common: fields are not coerced, unknown ones are ignored."""

    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="ignore", frozen=True)


class Subscribe(Frame):
    """Start receiving a topic."""

    type: Literal["subscribe"]
    topic: str
    filter: dict[str, Any] | None = None


class Unsubscribe(Frame):
    """Stop receiving a topic."""

    type: Literal["unsubscribe"]
    topic: str


class Publish(Frame):
    """Send an event to a topic's subscribers; `persist` stores it first, `id` makes a repetition harmless."""

    type: Literal["publish"]
    topic: str
    event: Name
    data: Any = None
    persist: bool | None = None
    id: PublishId | None = None


class Track(Frame):
    """Be present on a topic with this state."""

    type: Literal["track"]
    topic: str
    state: dict[str, Any] = Field(default_factory=dict)


class Untrack(Frame):
    """Be no longer present on a topic."""

    type: Literal["untrack"]
    topic: str


class Auth(Frame):
    """Present a new token on the live connection."""

    type: Literal["auth"]
    token: str


class Chat(Frame):
    """Say something in a chat room; always persisted."""

    type: Literal["chat"]
    roomId: Name
    text: str
    metadata: Any = None


class Ping(Frame):
    """Ask for a `pong`."""

    type: Literal["ping"]


class Since(Frame):
    """The position of the last event that a client has seen."""

    epoch: Annotated[str, Field(min_length=1, max_length=64)]
    offset: Annotated[int, Field(ge=0, lt=2**53)]


class SubscribeV1(Subscribe):
    """`subscribe` of flarelet-v1: where to continue, what to begin with, which events and columns to receive.

    `since` asks for everything after a position, `snapshot` for a table's rows first; `event` names the only events
    to deliver; `filter` and `columns` restrict row changes; `presence` says how much of it to tell.
    """

    since: Since | None = None
    snapshot: bool = False
    columns: Annotated[list[Name], Field(min_length=1, max_length=256)] | None = None
    event: Name | Annotated[list[Name], Field(min_length=1, max_length=64)] | None = None
    presence: Literal["full", "occupancy", "none"] = "full"


class PresenceQuery(Frame):
    """Ask of flarelet-v1 who is present on a topic; `id` comes back with the answer."""

    type: Literal["presence"]
    topic: str
    id: PublishId | None = None


class Cancel(Frame):
    """Ask of flarelet-v1 to stop a token stream."""

    type: Literal["cancel"]
    topic: str
    stream: PublishId
    reason: Annotated[str, Field(max_length=256)] = ""


MODELS: Mapping[str, type[Frame]] = {
    "subscribe": Subscribe,
    "unsubscribe": Unsubscribe,
    "publish": Publish,
    "track": Track,
    "untrack": Untrack,
    "auth": Auth,
    "chat": Chat,
    "ping": Ping,
}
"""The frames of a public client by their type."""

MODELS_V1: Mapping[str, type[Frame]] = {
    **MODELS,
    "subscribe": SubscribeV1,
    "presence": PresenceQuery,
    "cancel": Cancel,
}
"""The frames of a client that negotiated flarelet-v1."""


def decode(text: str, *, max_bytes: int, models: Mapping[str, type[Frame]] = MODELS) -> Frame:
    """Read one frame of a client.

    Raises:
        Malformed: It is too big, not JSON, not an object, of an unknown type, or a field is wrong.
    """
    if len(text) > max_bytes or (not text.isascii() and len(text.encode("utf-8", "surrogatepass")) > max_bytes):
        raise Malformed(Code.TOO_BIG, f"frame is larger than {max_bytes} bytes")
    try:
        value = loads(text)
    except ValueError as error:
        raise Malformed(Code.NOT_JSON, f"frame is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Malformed(Code.NOT_AN_OBJECT, f"frame is a JSON {_kind(value)}, but must be an object")
    fields = cast("dict[str, Any]", value)
    kind = fields.get("type")
    model = models.get(kind) if isinstance(kind, str) else None
    if model is None:
        known = ", ".join(models)
        shown = _short(kind) if "type" in fields else "missing"
        raise Malformed(Code.UNKNOWN_TYPE, f"frame type {shown} is unknown; known: {known}", field="type")
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise _bad_field(cast(str, kind), fields, error) from error


def addressed(kind: str, spelling: str, rest: str) -> str:
    """Join a frame: its type, the subscriber's own spelling of the topic, and the rest that all receivers share."""
    return f'{{"type":"{kind}","topic":{dumps(spelling)}{rest}'


def event_rest(
    event: str, data_json: str, *, user_id: str | None, timestamp: int, id: str | None, extra: str = ""
) -> str:
    """Return the shared rest of an `event` frame. `data_json` is JSON already; `extra` begins with a comma."""
    user = f',"userId":{dumps(user_id)}' if user_id is not None else ""
    known = f',"id":{dumps(id)}' if id is not None else ""
    return f',"event":{dumps(event)},"data":{data_json}{user},"timestamp":{timestamp}{known}{extra}}}'


def chat_rest(room_id: str, data_json: str, *, user_id: str | None, timestamp: int, id: str, extra: str = "") -> str:
    """Return the shared rest of a `chat_message` frame; `data_json` holds `text` and, if given, `metadata`."""
    user = f',"userId":{dumps(user_id)}' if user_id is not None else ""
    inner = data_json[1:-1]  # `text` and `metadata` also at the top: the payload's shape is not documented
    return (
        f',"roomId":{dumps(room_id)},"data":{data_json},{inner}{user},"timestamp":{timestamp},"id":{dumps(id)}{extra}}}'
    )


def pong_frame() -> str:
    """Return the answer to a `ping`, always the same text object."""
    return _PONG


def is_leg_note(text: str) -> bool:
    """Whether a frame on a leg is for the gateway."""
    return text.startswith('{"type":"leg",')


def leg_resumed(mark: str) -> str:
    """Return what a topic says down a leg, to the gateway and not to the client: the leg is subscribed from here on."""
    return f'{{"type":"leg","resumed":"{mark}"}}'


def leg_refused(spelling: str) -> str:
    """Return what a topic says down a leg, to the gateway: the leg is not subscribed under this spelling."""
    return f'{{"type":"leg","refused":{dumps(spelling)}}}'


def leg_command(command: Mapping[str, Any]) -> str:
    """Write a command to a topic: a header, and published data, which is JSON text already, after a newline."""
    data = command.get("data")
    if data is None:
        return dumps(command)
    return f"{dumps({name: value for name, value in command.items() if name != 'data'})}\n{data}"


def subscribed_frame(spelling: str) -> str:
    """Return the confirmation of a subscription, in the subscriber's spelling."""
    return addressed("subscribed", spelling, "}")


def ack_frame(id: str | None, fields: Mapping[str, object]) -> str:
    """Return the acknowledgement of a publish. It has no `topic`: one public client would show it to user code."""
    return dumps({"type": "ack", "id": id, **fields})


def error_frame(error: RealtimeError) -> str:
    """Return the frame that tells a client what went wrong; public clients ignore its type."""
    ref: dict[str, str] = {}
    if isinstance(error, Malformed):
        parts = (("type", error.frame), ("channel", error.channel), ("id", error.publish_id))
        ref = {name: value for name, value in parts if value is not None}
    if error.field is not None:
        ref["field"] = error.field
    code = error.code
    return dumps(
        {
            "type": "error",
            "code": code.number,
            "name": code.name,
            "message": error.message,
            "retry": code.retry,
            "ref": ref,
            **(error.more or {}),
        }
    )


def about(error: RealtimeError, *, frame: str, channel: str | None = None, id: str | None = None) -> Malformed:
    """Return `error` with a reference to the frame that caused it."""
    return Malformed(
        error.code, error.message, field=error.field, frame=frame, channel=channel, publish_id=id, more=error.more
    )


def _bad_field(kind: str, fields: Mapping[str, Any], error: ValidationError) -> Malformed:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = _path(first["loc"])
    given: object = fields.get(str(first["loc"][0])) if first["loc"] else None
    shown = "" if first["type"] == "missing" else f" (got {_kind(given)})"
    channel, publish_id = fields.get("topic"), fields.get("id")
    return Malformed(
        Code.BAD_FIELD,
        f"{kind} frame: field {field!r}: {first['msg']}{shown}",
        field=field,
        frame=kind,
        channel=channel if isinstance(channel, str) else None,
        publish_id=publish_id if isinstance(publish_id, str) else None,
    )


def _path(location: Iterable[int | str]) -> str:
    return ".".join(str(part) for part in location)


def _kind(value: object) -> str:
    for types, name in (
        (bool, "boolean"),
        (str, "string"),
        ((int, float), "number"),
        (list, "array"),
        (dict, "object"),
    ):
        if isinstance(value, types):
            return name
    return "null"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
