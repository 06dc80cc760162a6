"""`python -m workers dev` as a process of its own, for tests that kill it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["DevProcess", "ProcessFailed"]

_READY = "Ready on "
_ROOT = str(Path(__file__).resolve().parents[3])  # where `workers` is imported from, installed or not
_START_S = 30.0
_STOP_S = 20.0


class ProcessFailed(Exception):
    """The process ended, or said nothing, before it was ready; the text holds its output."""


class DevProcess:
    """One server process. Use it as `async with DevProcess(config, persist_to) as dev:`, or `start` it again and again.

    The folders of state stay when it is killed, so a second `start` finds what the first one had committed.
    """

    def __init__(self, config_path: Path, persist_to: Path, *, port: int = 0, arguments: Sequence[str] = ()) -> None:
        """Describe the process.

        Args:
            config_path: Configuration file to serve.
            persist_to: Folder for state.
            port: Port to listen on; 0 picks a free one at the first start, which later starts keep.
            arguments: Further command line arguments.
        """
        self._config, self._persist_to, self._port = config_path, persist_to, port
        self._arguments = tuple(arguments)
        self._process: asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []
        self._lines: list[str] = []
        self._waiters: list[tuple[str, asyncio.Future[str]]] = []
        self._ready: asyncio.Future[str]
        self.url = ""
        """Where the server answers, once `start` has returned."""

    @property
    def output(self) -> str:
        """What all runs have written so far, stdout and stderr."""
        return "".join(self._lines)

    @property
    def pid(self) -> int:
        """The process id, 0 when it is not running."""
        return self._process.pid if self._process is not None else 0

    async def start(self) -> str:
        """Start the server and wait until it answers; return its URL.

        Raises:
            ProcessFailed: It ended instead, or took too long.
        """
        if self._process is not None:
            raise RuntimeError("the process is running already")
        path = os.pathsep.join(part for part in (_ROOT, os.environ.get("PYTHONPATH", "")) if part)
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-u", "-m", "workers", "dev", "--config", str(self._config)),
            *("--persist-to", str(self._persist_to), "--port", str(self._port), *self._arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            limit=1024 * 1024,
        )
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        streams = (self._process.stdout, self._process.stderr)
        self._readers = [loop.create_task(self._read(stream)) for stream in streams if stream is not None]
        try:
            async with asyncio.timeout(_START_S):
                self.url = await self._ready
        except TimeoutError:
            await self.kill()
            raise ProcessFailed(f"not ready after {_START_S} s:\n{self.output}") from None
        self._port = int(self.url.rpartition(":")[2])
        return self.url

    async def _read(self, stream: asyncio.StreamReader) -> None:
        async for raw in stream:
            line = raw.decode("utf-8", "replace")
            self._lines.append(line)
            self._tell(line)
            if line.startswith(_READY) and not self._ready.done():
                self._ready.set_result(line.removeprefix(_READY).split()[0])
        if self._process is not None:
            await self._process.wait()
        if not self._ready.done():
            self._ready.set_exception(ProcessFailed(f"ended before it was ready:\n{self.output}"))

    async def wait_for(self, text: str) -> str:
        """Wait until the process writes a line that holds `text`, from now on; return the line.

        Raises:
            TimeoutError: It did not within the time a start may take.
        """
        waiter: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiters.append((text, waiter))
        async with asyncio.timeout(_START_S):
            return await waiter

    def _tell(self, line: str) -> None:
        for entry in list(self._waiters):
            text, waiter = entry
            if text in line:
                self._waiters.remove(entry)
                if not waiter.done():
                    waiter.set_result(line)

    async def kill(self) -> None:
        """End the process at once, as a power cut would (SIGKILL)."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """Ask the process to stop (SIGTERM) and return its exit status."""
        return await self._end(signal.SIGTERM)

    async def wait(self) -> int:
        """Wait for the process to end by itself and return its exit status."""
        return await self._end(None)

    async def _end(self, number: signal.Signals | None) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        if number is not None and process.returncode is None:
            process.send_signal(number)
        try:
            async with asyncio.timeout(_STOP_S):
                status = await process.wait()
        except TimeoutError:
            process.kill()
            status = await process.wait()
        for reader in self._readers:
            await reader
        self._readers = []
        return status

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()
