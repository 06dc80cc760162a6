"""The whole client of one project."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from flarelet_client.realtime import RealtimeClient

__all__ = ["FlareletClient", "create_client"]


class FlareletClient:
    """The client of one project. Use it as `async with FlareletClient(...) as client:`; it connects when first used."""

    def __init__(self, project_id: str = "", base_url: str = "http://127.0.0.1:8787", **options: Any) -> None:
        """Describe the client; `options` are those of `RealtimeClient`."""
        self.realtime = RealtimeClient(base_url, project_id, **options)

    @property
    def project_id(self) -> str:
        """The project's name."""
        return self.realtime.project_id

    @property
    def base_url(self) -> str:
        """The server's address without `/v1`."""
        return self.realtime.base_url

    async def close(self) -> None:
        """Disconnect."""
        await self.realtime.disconnect()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def create_client(project_id: str = "", base_url: str = "http://127.0.0.1:8787", **options: Any) -> FlareletClient:
    """Make the client of one project. It connects when it is first used."""
    return FlareletClient(project_id, base_url, **options)
