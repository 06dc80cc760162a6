"""The Worker of the repository's root: the three examples, side by side on one page and each on its own.

It has no code of theirs: it imports their modules, and its page shows the panels of their pages.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path += [
    str(Path(__file__).resolve().parents[2] / folder)
    for folder in ("shared", "chat/src", "live-orders/src", "ai-stream/src")
]

import ai_app
import chat_app
import demo_page
import orders_app
from ai_app import Writer
from chat_app import ChatRoom
from pages import first_answer

from workers import Request, Response, WorkerEntrypoint

__all__ = ["ChatRoom", "Default", "Writer"]

_HANDLERS = (demo_page.respond, chat_app.respond, orders_app.respond, ai_app.respond)


class Default(WorkerEntrypoint):
    """Serves the landing page at `/`, and `/chat`, `/live-orders` and `/ai-stream` with their APIs."""

    async def fetch(self, request: Request) -> Response:
        """Answer one request."""
        return await first_answer(request, self.env, _HANDLERS)
