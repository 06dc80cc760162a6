"""`flarelet tail`: what happens in a running `flarelet dev`, line by line."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from workers.runtime.cli.tail_server import FILE_NAME

__all__ = ["Filter", "NotRunning", "events", "pretty"]

_MOST_LINE_BYTES = 4 * 1024 * 1024


class NotRunning(Exception):
    """There is no server to listen to; the text is one line for the person at the terminal."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events are shown."""

    status: str | None = None
    """`ok` or `error`: requests below 400, or the others and exceptions."""
    method: str | None = None
    search: str | None = None

    def passes(self, event: dict[str, Any]) -> bool:
        """Say whether an event is to be shown."""
        kind = event.get("event")
        failed = kind == "exception" or event.get("level") in ("error", "critical") or event.get("status", 0) >= 400
        if self.status is not None and failed is not (self.status == "error"):
            return False
        if self.method is not None and kind == "request" and event.get("method") != self.method.upper():
            return False
        return self.search is None or self.search in json.dumps(event, ensure_ascii=False)


async def events(folder: Path) -> AsyncIterator[dict[str, Any]]:
    """Give the events of the server whose state is in a folder, until it stops.

    Raises:
        NotRunning: There is none.
    """
    try:
        facts = cast(dict[str, Any], json.loads((folder / FILE_NAME).read_text()))
        reader, writer = await asyncio.open_connection("127.0.0.1", int(facts["port"]), limit=_MOST_LINE_BYTES)
    except (OSError, ValueError, KeyError) as error:
        raise NotRunning(f"no flarelet dev is running with the state in {folder}") from error
    try:
        writer.write(f"{facts['token']}\n".encode())
        heard = False
        async for line in reader:
            event = cast(dict[str, Any], json.loads(line))
            if event.get("event") == "hello":
                heard = True
            else:
                yield event
        if not heard:  # another program has the port by now
            raise NotRunning(f"no flarelet dev is running with the state in {folder}")
    except ConnectionError:
        return
    finally:
        writer.close()


def pretty(event: dict[str, Any]) -> str:
    """Return an event as lines for a person."""
    at = time.strftime("%H:%M:%S", time.localtime(event.get("at", 0) / 1000))
    match event.get("event"):
        case "request":
            return f"[{at}] {event['method']} {_plain(event['url'])} {event['status']} ({event['ms']:.1f} ms)"
        case "exception":
            return f"[{at}] EXCEPTION {_plain(event['text'])}"
        case "lost":
            return f"... {event['count']} events were lost: this terminal did not keep up"
        case "log":
            level = event["level"]
            return (
                f"[{at}] {_plain(event['text'])}"
                if level == "print"
                else f"[{at}] {level.upper()} {_plain(event['text'])}"
            )
        case _:
            return f"[{at}] {_plain(event.get('text', event.get('event')))}"


def _plain(text: object) -> str:
    """Return a text without what would steer the terminal."""
    return "".join(
        character if character.isprintable() or character in "\n\t" else repr(character)[1:-1]
        for character in str(text)
    )
