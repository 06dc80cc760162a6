"""What a running `flarelet dev` tells those who ask with `flarelet tail`: requests, exceptions and what was printed.

It listens on a port of its own, on this machine only, and tells nobody who does not know a token. The token lies in a
file beside the state that the same user can read. While nobody asks, nothing is collected.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import secrets
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from workers.compat import ambient
from workers.runtime.tracebacks import Report

__all__ = ["FILE_NAME", "TailServer"]

FILE_NAME = ".flarelet.tail"
"""Where the port and the token are, in the folder of the state."""

_MOST_WAITING = 1_000
_MOST_LISTENERS = 16
_TOKEN_S = 5.0

Event = dict[str, Any]


class TailServer:
    """Tells listeners what happens."""

    def __init__(self, folder: Path) -> None:
        """Prepare; `folder` is the one of the state."""
        self._path = folder / FILE_NAME
        self._token = secrets.token_urlsafe(32)
        self._listeners: set[_Listener] = set()
        self._server: asyncio.Server | None = None
        self._handler = _Handler(self.tell)
        self._printed: _Printed | None = None

    async def start(self) -> None:
        """Begin to listen, and write down where.

        Raises:
            OSError: There is no place to listen on or to write to.
        """
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=4096)
        port = self._server.sockets[0].getsockname()[1]
        self._path.unlink(missing_ok=True)
        text = json.dumps({"port": port, "token": self._token, "pid": os.getpid()})
        with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)

    async def stop(self) -> None:
        """Tell listeners that it is over."""
        if self._server is None:
            return
        self._path.unlink(missing_ok=True)
        self._server.close()
        for listener in list(self._listeners):
            listener.end()
        await self._server.wait_closed()
        self._server = None

    def request(self, method: str, url: str, status: int, seconds: float) -> None:
        """Tell of an answered request."""
        if self._listeners:
            self.tell(
                {"event": "request", "method": method, "url": url, "status": status, "ms": round(seconds * 1000, 2)}
            )

    def tell(self, event: Event) -> None:
        """Tell every listener of an event."""
        if not self._listeners:
            return
        line = json.dumps({"at": time.time_ns() // 1_000_000, **event}, default=str).encode() + b"\n"
        for listener in self._listeners:
            listener.push(line)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_TOKEN_S):
                given = (await reader.readline()).strip()
            if not hmac.compare_digest(given, self._token.encode()) or len(self._listeners) >= _MOST_LISTENERS:
                return
            await self._listen(writer, reader)
        except (OSError, ValueError, TimeoutError):  # it left, sent too much, or nothing
            pass
        finally:
            writer.close()

    async def _listen(self, writer: asyncio.StreamWriter, reader: asyncio.StreamReader) -> None:
        listener = _Listener()
        if not self._listeners:
            self._collect()
        self._listeners.add(listener)
        try:
            listener.push(b'{"event": "hello"}\n')
            async with asyncio.TaskGroup() as tasks:
                leaving = tasks.create_task(_until_it_leaves(reader, listener))
                while (lines := await listener.lines()) is not None:
                    writer.write(lines)
                    await writer.drain()
                leaving.cancel()
        except* OSError:
            pass  # it left
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                self._collect_no_more()

    def _collect(self) -> None:
        logging.getLogger().addHandler(self._handler)
        self._printed = _Printed(sys.stdout, self.tell)
        sys.stdout = self._printed  # type: ignore[assignment] - a text file in all that counts

    def _collect_no_more(self) -> None:
        logging.getLogger().removeHandler(self._handler)
        printed, self._printed = self._printed, None
        if printed is not None and sys.stdout is printed:
            sys.stdout = printed.file


async def _until_it_leaves(reader: asyncio.StreamReader, listener: _Listener) -> None:
    while await reader.read(4096):
        pass
    listener.end()


class _Listener:
    """The lines that wait for one listener. One that does not keep up loses the oldest, and is told how many."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._lost = 0
        self._ended = False
        self._more = asyncio.Event()

    def push(self, line: bytes) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            self._waiting.popleft()
            self._lost += 1
        self._waiting.append(line)
        self._more.set()

    def end(self) -> None:
        self._ended = True
        self._more.set()

    async def lines(self) -> bytes | None:
        """Wait for lines and return them; None at the end."""
        await self._more.wait()
        self._more.clear()
        if not self._waiting and self._ended:
            return None
        if self._ended:
            self._more.set()
        lost, self._lost = self._lost, 0
        lines = b"".join(self._waiting)
        self._waiting.clear()
        return b'{"event": "lost", "count": %d}\n' % lost + lines if lost else lines


class _Handler(logging.Handler):
    """Log records as events."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        super().__init__(logging.INFO)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        report = getattr(record, "report", None)
        text = record.getMessage()
        if record.exc_info and record.exc_text:  # the terminal's handler has made it
            text += f"\n{record.exc_text}"
        event: Event = {"event": "log", "level": record.levelname.lower(), "text": text}
        if isinstance(report, Report):
            own = report.own
            where = {"path": own.path, "line": own.line, "function": own.function} if own is not None else None
            event = {"event": "exception", "name": report.name, "message": report.message, "where": where}
            event["text"] = report.text().rstrip()
        event["worker"] = getattr(record, "worker", "")
        self._tell(event)


class _Printed:
    """Standard output, with a copy of what a Worker prints."""

    def __init__(self, file: TextIO, tell: Callable[[Event], None]) -> None:
        self.file, self._tell = file, tell
        self._begun = ""

    def write(self, text: str) -> int:
        running = ambient.current.get(None)
        if running is not None:
            lines = (self._begun + text).split("\n")
            self._begun = lines.pop()[-10_000:]
            for line in lines:
                self._tell({"event": "log", "level": "print", "text": line, "worker": running.worker})
        return self.file.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)
