"""The Worker of the chat example."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "shared"))

from chat_app import ChatRoom, respond
from pages import first_answer

from workers import Request, Response, WorkerEntrypoint

__all__ = ["ChatRoom", "Default"]


class Default(WorkerEntrypoint):
    """Serves the page at `/`; the room itself is `ChatRoom`."""

    async def fetch(self, request: Request) -> Response:
        """Answer one request."""
        return await first_answer(request, self.env, [respond], home="/chat")
