"""The way to the network, opened by the first request that needs it: most tests never import an HTTP client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.compat import web
from workers.runtime.testing.owned import Owned

if TYPE_CHECKING:
    from workers.runtime.edge.outbound import OutboundClient

__all__ = ["Network"]


class Network:
    """Sends requests of a Worker."""

    def __init__(self) -> None:
        self._owned: Owned[OutboundClient] | None = None
        self._client: OutboundClient | None = None

    async def fetch(self, request: web.Request) -> web.Response:
        """Send a request."""
        if self._client is None:
            from workers.runtime.edge.outbound import OutboundClient

            self._owned = Owned(OutboundClient())
            self._client = await self._owned.enter()
        return await self._client.fetch(request)

    async def close(self) -> None:
        """Close every connection."""
        owned, self._owned, self._client = self._owned, None, None
        if owned is not None:
            await owned.leave()
