"""Server-Sent Events: as Workers AI writes them, and as endpoints of OpenAI's protocol are read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from workers.compat.json_text import js_json

__all__ = ["DONE", "event", "payloads"]

DONE = b"data: [DONE]\n\n"
_LONGEST_LINE = 4 * 1024 * 1024


def event(data: dict[str, Any]) -> bytes:
    """Return one event."""
    return f"data: {js_json(data)}\n\n".encode("utf-8", "replace")


async def payloads(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """Yield the data of every event, however the bytes are cut; each is one line, as these endpoints write it.

    Raises:
        ValueError: A line has no end.
    """
    waiting = b""
    async for chunk in chunks:
        *lines, waiting = (waiting + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip().decode("utf-8", "replace")
        if len(waiting) > _LONGEST_LINE:
            raise ValueError("an event is too long")
    if waiting.startswith(b"data:"):
        yield waiting[5:].strip().decode("utf-8", "replace")
