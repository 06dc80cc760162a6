"""The Worker of the AI stream example."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "shared"))

from ai_app import Writer, respond
from pages import first_answer

from workers import Request, Response, WorkerEntrypoint

__all__ = ["Default", "Writer"]


class Default(WorkerEntrypoint):
    """Serves the page at `/`, `POST /api/ask` and `GET /api/answer`."""

    async def fetch(self, request: Request) -> Response:
        """Answer one request."""
        return await first_answer(request, self.env, [respond], home="/ai-stream")
