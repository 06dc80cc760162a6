"""A chat room: its page, and the class that every topic `chat/<room>` is an object of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pages import Pages

from durable_objects import TopicObject
from workers import Request, Response

pages = Pages("/chat", Path(__file__).resolve().parent / "page")

MAX_TEXT = 2_000
MAX_NAME = 40


async def respond(request: Request, env: Any, path: str) -> Response | None:
    """Answer what belongs to this example, None for every other path."""
    return pages.respond(request, path)


class ChatRoom(TopicObject):
    """One room. What is said in it is trimmed, and refused when it is empty or too long."""
