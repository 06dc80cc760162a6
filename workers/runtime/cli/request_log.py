"""A line for each answered request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import click

__all__ = ["RequestLog"]

_FLUSH_S = 0.05


class RequestLog:
    """Shows answered requests; lines are written together, so that a busy server is not slowed."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        quiet: bool = False,
        tell: Callable[[str, str, int, float], None] | None = None,
    ) -> None:
        """Prepare a log.

        Args:
            loop: The loop that serves.
            quiet: Write no lines.
            tell: Told of each request too: method, URL without query, status, seconds.
        """
        self._loop, self._quiet, self._tell = loop, quiet, tell
        self._seen: list[tuple[str, str, int, float]] = []

    def seen(self, method: str, url: str, status: int, seconds: float) -> None:
        """Note one answered request; what stands behind `?` is left out, it may hold a key or a token."""
        url = url.partition("?")[0]
        if self._tell is not None:
            self._tell(method, url, status, seconds)
        if self._quiet:
            return
        if not self._seen:
            self._loop.call_later(_FLUSH_S, self.flush)
        self._seen.append((method, url, status, seconds))

    def flush(self) -> None:
        """Write what was noted."""
        seen, self._seen = self._seen, []
        if not seen:
            return
        now = time.strftime("%H:%M:%S")
        lines = [
            f"[{now}] {method} {url if url.isprintable() else ascii(url)} {status} ({seconds * 1000:.1f} ms)\n"
            for method, url, status, seconds in seen
        ]
        click.echo("".join(lines), nl=False)
