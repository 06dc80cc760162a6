"""The Worker of the live orders example."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "shared"))

from orders_app import respond
from pages import first_answer

from workers import Request, Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    """Serves the board at `/` and its API under `/api/orders`."""

    async def fetch(self, request: Request) -> Response:
        """Answer one request."""
        return await first_answer(request, self.env, [respond], home="/live-orders")
