"""The reference page of the realtime protocol, made of the models of its frames."""

from __future__ import annotations

import inspect
import json
from types import UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from pydantic import BaseModel

__all__ = ["protocol_page"]


def protocol_page() -> str:
    """Return the frames of the realtime protocol, both ways, from the models that read and describe them."""
    from durable_objects.realtime.core.protocol import MODELS, MODELS_V1
    from durable_objects.realtime.core.told import TOLD

    sent = "".join(_frame(name, model, is_v1=name not in MODELS) for name, model in MODELS_V1.items())
    told = "".join(_frame(name, model, is_v1=name in _ONLY_V1) for name, model in TOLD.items())
    return f"{PROTOCOL}## What a client sends\n\n{sent}## What a client is told\n\n{told}"


def _frame(name: str, model: type[BaseModel], *, is_v1: bool) -> str:
    text = inspect.cleandoc(model.__doc__ or "")
    rows = "".join(
        f"| `{field.alias or key}` | {_type(field.annotation)} | {'yes' if field.is_required() else 'no'} |\n"
        for key, field in model.model_fields.items()
    )
    mark = " (flarelet-v1)" if is_v1 else ""
    return f"### `{name}`{mark}\n\n{text}\n\n| field | type | always |\n| --- | --- | --- |\n{rows}\n"


def _type(annotation: object) -> str:
    """Return a type as JSON knows it."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(parts[0])
    if origin is Literal:
        return " or ".join(f"`{json.dumps(part)}`" for part in parts)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_type(part) for part in parts))
    if origin is list:
        return f"array of {_type(parts[0])}"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return f"object {{{', '.join(f'`{name}`' for name in annotation.model_fields)}}}"
    known = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", Any: "anything"}
    return "object" if origin is dict else known.get(cast("type", annotation), "anything")


_ONLY_V1 = frozenset({"welcome", "recovered", "gap", "presence"})

PROTOCOL = """# The realtime protocol

One WebSocket at `/api/realtime` (also `/v1/realtime` and `/realtime`) carries JSON texts, one object a frame. What
public clients of the protocol say and understand is all there; a client that wants more negotiates **flarelet-v1**.

## Negotiation

Offer the subprotocol `flarelet-v1`, in any place of the list and beside `aerostack-key.<key>` and
`aerostack-token.<token>`. A server that knows it selects it and sends `welcome` first; another server selects
`aerostack-v1` or nothing, and the client goes on with the public protocol. `flarelet-v1.msgpack` is the same with
binary frames of MessagePack both ways (the server needs the package `msgpack`).

## Positions

Every `event`, `chat_message` and `db_change` has a position: `epoch` and `offset`. Offsets grow with every event of a
topic; those of a table's topic are the database's, and also grow by changes of other tables. Positions of different
epochs cannot be compared. A client keeps the newest one of each topic it follows.

## Coming back

A client that was cut off subscribes again with `since`, its position. It is answered with `subscribed`, then one
verdict, then everything that it missed, once and in order, and then what happens:

* `recovered`: nothing is missing.
* `gap`: something between two positions may be missing. What is still there follows. A client reads the state again.

There is always a verdict. `recovered` after a restart of the server, even after a crash, is possible where everything
is stored: on topics whose publishes are persisted, and on tables by the database's log of changes.

A public client does not subscribe again. What it had is kept for `session_grace_s`, also over a restart, and given back
to a new connection of the same key, user and program that does not subscribe by itself for `session_moment_s`. Nothing
is lost; what went out in the last `session_overlap_s` before it vanished may be told twice.

## Presence

Public clients are told `presence:join`, `presence:update`, `presence:leave` and `presence:sync` as events. In
flarelet-v1 there is one frame, `presence`: a snapshot with a version when the subscription begins, then one diff a
turn with the next version. With `"presence": "occupancy"` in `subscribe` only numbers are told, with `"none"` nothing.
A user is there from the first connection that tracks to the last one, and for `presence_grace_s` after a cut.

## Heartbeats

A client sends `ping` every 30 s and is answered with `pong`. A connection that has ever sent one, and any of
flarelet-v1, counts as cut when it was silent for `silence_s` (70 s).

## Acknowledgements and errors

A `publish` with an `id` is answered with `ack`; said again with the same `id`, by the same user, it has no effect and
gets the same answer. Whatever is refused is answered with `error`, see [the codes](errors.md): `ref` tells which frame
it was about, `retry` whether the same frame may succeed later.

"""
