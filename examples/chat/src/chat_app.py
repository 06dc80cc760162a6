"""A chat room: its page, and the class that every topic `chat/<room>` is an object of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pages import Pages

from durable_objects import TopicObject
from durable_objects.realtime import Connection, Refused
from workers import Request, Response

pages = Pages("/chat", Path(__file__).resolve().parent / "page")

MAX_TEXT = 2_000
MAX_NAME = 40


async def respond(request: Request, env: Any, path: str) -> Response | None:
    """Answer what belongs to this example, None for every other path."""
    return pages.respond(request, path)


class ChatRoom(TopicObject):
    """One room. It keeps the last messages, and takes only what belongs into a conversation."""

    history_limit = 1_000

    def on_publish(self, connection: Connection, event: str, data: Any) -> dict[str, Any]:
        """Return what is sent in place of `data`: trimmed, and without whatever else came along."""
        if not isinstance(data, dict):
            raise Refused("data must be an object")
        if event == "typing":
            return {"name": _name(data, connection)}
        if event not in ("message", "chat_message"):  # the second one is what the public clients' `chat` sends
            raise Refused(f"there is no event {event!r} in a chat room")
        return {"name": _name(data, connection), "text": _text(data)}


def _text(data: dict[str, Any]) -> str:
    text = data.get("text")
    if not isinstance(text, str) or not text.strip():
        raise Refused("a message needs a text")
    if len(text := text.strip()) > MAX_TEXT:
        raise Refused(f"a message has at most {MAX_TEXT} characters")
    return text


def _name(data: dict[str, Any], connection: Connection) -> str:
    name = data.get("name")
    return (name.strip()[:MAX_NAME] if isinstance(name, str) else "") or connection.user[:MAX_NAME]
