"""Something to be said on a topic, and the frame that says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from durable_objects.realtime.core import v1
from durable_objects.realtime.core.history import Message, Receipt
from durable_objects.realtime.core.protocol import chat_rest, event_rest
from durable_objects.realtime.core.tail import Entry

__all__ = ["Publication", "rest_of", "stored_entry"]


@dataclass(frozen=True, slots=True)
class Publication:
    """Something to be said on the topic. `data` is JSON text; for chat, an object of `text` and `metadata`."""

    event: str
    data: str
    id: str | None = None
    persist: bool = False
    kind: Literal["event", "chat"] = "event"
    user_id: str | None = None
    room_id: str = ""


def rest_of(publication: Publication, user_id: str | None, receipt: Receipt) -> str:
    """Return the rest of the frame that says it, after the topic."""
    extra = ""
    if receipt.position is not None and receipt.is_stored:
        extra = v1.position_fields(receipt.position.epoch, receipt.position.offset)
    if publication.kind == "chat":
        return chat_rest(
            publication.room_id,
            publication.data,
            user_id=user_id,
            timestamp=receipt.timestamp,
            id=receipt.id,
            extra=extra,
        )
    return event_rest(
        publication.event,
        publication.data,
        user_id=user_id,
        timestamp=receipt.timestamp,
        id=receipt.id or None,
        extra=extra,
    )


def stored_entry(message: Message, room_id: str = "") -> Entry:
    """Return what a stored message once was; its `order` is not known any more.

    `room_id` is the bare id of a chat room, which the log does not keep.
    """
    is_chat = message.event == "chat_message" and message.data.startswith('{"text":')
    publication = Publication(
        message.event, message.data, kind="chat" if is_chat else "event", room_id=room_id if is_chat else ""
    )
    position = message.position
    rest = rest_of(publication, message.user_id, Receipt(message.id, message.created_at, position, is_stored=True))
    kind = "chat_message" if is_chat else "event"
    return Entry(0, kind, rest, message.created_at, message.event, position.epoch, position.offset, True)
