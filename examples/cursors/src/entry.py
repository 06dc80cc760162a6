"""The Worker of the cursors example: what may be said on a board. The page itself is a static file."""

from __future__ import annotations

from math import isfinite
from typing import Any

from durable_objects import TopicObject
from durable_objects.realtime import Connection, Refused
from workers import Request, Response, WorkerEntrypoint

__all__ = ["Board", "Default"]

MAX_NAME = 40


class Board(TopicObject):
    """One board. Cursors move on it and are not kept; marks are, the last 200 of them."""

    history_limit = 200

    def on_publish(self, connection: Connection, event: str, data: Any) -> dict[str, Any]:
        """Return what is sent in place of `data`: a place on the board, and without whatever else came along."""
        if not isinstance(data, dict):
            raise Refused("data must be an object")
        place: dict[str, Any] = {"x": _share(data.get("x")), "y": _share(data.get("y"))}
        if event == "move":
            return place
        if event == "mark":
            name = data.get("name")
            return place | {"name": name.strip()[:MAX_NAME] if isinstance(name, str) else connection.user[:MAX_NAME]}
        raise Refused(f"there is no event {event!r} on a board")


class Default(WorkerEntrypoint):
    """Answers what is neither a file of the page nor realtime."""

    async def fetch(self, request: Request) -> Response:
        """Answer one request."""
        return Response("Not Found", status=404, headers={"content-type": "text/plain; charset=utf-8"})


def _share(value: Any) -> float:
    """Return a place along one side of the board, 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise Refused("x and y must be numbers from 0 to 1")
    return round(min(1.0, max(0.0, value)), 4)
