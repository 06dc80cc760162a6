"""Notices code that never lets the event loop go on: an infinite loop, say, or a long computation.

A thread looks whether the loop still beats. If it does not, the log says which line of the Worker is being run and for
which request, while it is being run. After the limit the code is interrupted by an exception, by a signal to the main
thread, whose handler sees what is being run and interrupts nothing but the Worker's own code: state of the runtime is
never left half done. Where there are no signals (Windows, a loop in another thread) there is the report only.

DIFFERS(busy-code): Cloudflare ends the instance.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from workers.runtime.deadlines import Deadlines
from workers.runtime.tracebacks import Frame, stack_frames

__all__ = ["BusyError", "StubbornBusyError", "Watchdog"]

_BEAT_S = 0.2
_REPORT_S = 1.5
_RETRY_S = 0.05
_TRIES = 20  # then the exception is one that `except Exception` does not catch

_log = logging.getLogger(__name__)


class BusyError(Exception):
    """Raised in code that kept everything else from running for too long."""


class StubbornBusyError(BaseException):
    """Raised in code that goes on in spite of a `BusyError`."""


class Watchdog:
    """Watches the running event loop."""

    def __init__(
        self,
        is_own: Callable[[str], bool],
        shown: Callable[[str], str],
        deadlines: Deadlines,
        *,
        busy_s: float,
        report_s: float = _REPORT_S,
    ) -> None:
        """Prepare; `start` begins.

        Args:
            is_own: Says whether a file is a Worker's own source.
            shown: Returns how the path of such a file is shown.
            deadlines: Knows which request a task answers.
            busy_s: After how long the code is interrupted; 0 for never.
            report_s: After how long there is a report.
        """
        self._is_own, self._shown, self._deadlines = is_own, shown, deadlines
        self._busy_s, self._report_s = busy_s, report_s
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._beat = time.monotonic()
        self._beating: asyncio.TimerHandle | None = None
        self._stop = threading.Event()
        self._paused = 0
        self._before: Any = None
        self._tries = 0

    def start(self) -> None:
        """Begin to watch."""
        if self._can_interrupt:
            self._before = signal.signal(signal.SIGXCPU, self._interrupt)
        self._live()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._beating is not None:
            self._beating.cancel()
        if self._can_interrupt:
            signal.signal(signal.SIGXCPU, self._before)

    @contextmanager
    def paused(self) -> Generator[None, None, None]:
        """Do not watch inside the `with` block: a person is at the debugger."""
        began = time.monotonic()
        self._paused += 1
        try:
            yield
        finally:
            self._paused -= 1
            self._beat = time.monotonic()
            self._deadlines.forgive(self._beat - began)

    @property
    def is_stuck(self) -> bool:
        """Whether the loop does not go on at the moment."""
        return not self._paused and time.monotonic() - self._beat > self._report_s

    @property
    def _can_interrupt(self) -> bool:
        return hasattr(signal, "SIGXCPU") and threading.main_thread().ident == self._thread_id

    def _live(self) -> None:
        self._beat = time.monotonic()
        self._beating = self._loop.call_later(_BEAT_S, self._live)

    # -- in the thread

    def _watch(self) -> None:
        told = 0.0
        wait_s = _BEAT_S
        while not self._stop.wait(wait_s):
            wait_s, late_s = _BEAT_S, time.monotonic() - self._beat
            if self._paused or late_s < self._report_s:
                told, self._tries = 0.0, 0
                continue
            if late_s >= (told * 4 or self._report_s):  # again after 4, 16 ... times as long
                told = late_s
                self._report(late_s)
            if self._busy_s and self._can_interrupt and late_s >= self._busy_s:
                wait_s = _RETRY_S
                signal.pthread_kill(self._thread_id, signal.SIGXCPU)

    def _report(self, late_s: float) -> None:
        frames = self._frames(sys._current_frames().get(self._thread_id))  # pyright: ignore[reportPrivateUsage]
        own = next((frame for frame in reversed(frames) if frame.own), None)
        what = self._what()
        if own is None:
            where = f"{frames[-1].where} in {frames[-1].function}" if frames else "code that cannot be seen"
            _log.warning("nothing else has run for %.1f s: %s%s", late_s, what, where)
            return
        calls = "".join(
            f"called from {frame.where} in {frame.function}\n"
            for frame in reversed(frames)
            if frame.own and frame != own
        )
        _log.warning(
            "nothing else has run for %.1f s: %s%s in %s\n%s%s",
            *(late_s, what, own.where, own.function, own.excerpt(), calls),
            extra={"frame": own},
        )

    def _what(self) -> str:
        try:
            request = self._deadlines.of(asyncio.current_task(self._loop))
        except RuntimeError:  # another thread may not ask in every version of Python
            return ""
        return f"{request.method} {request.url.partition('?')[0]} is at " if request is not None else ""

    # -- in the main thread, wherever it is

    def _interrupt(self, _number: int, frame: FrameType | None) -> None:
        if self._paused or time.monotonic() - self._beat < self._busy_s:
            return
        if not self._in_own_code(frame):
            return  # the next try may meet it there
        self._tries += 1
        message = (
            f"this code let nothing else run for {self._busy_s:g} s (flarelet.limits.busy_s); long work needs an await "
            "now and then, or another process"
        )
        raise BusyError(message) if self._tries <= _TRIES else StubbornBusyError(message)

    def _in_own_code(self, frame: FrameType | None) -> bool:
        """Say whether the Worker's code, or a library it called, is being run rather than the runtime."""
        while frame is not None:
            file = frame.f_code.co_filename
            if self._is_own(file):
                return True
            if file.startswith("<frozen") or frame.f_globals.get("__name__", "").partition(".")[0] in _OURS:
                return False
            frame = frame.f_back
        return False

    def _frames(self, frame: FrameType | None) -> tuple[Frame, ...]:
        return stack_frames(frame, self._is_own, self._shown)


_OURS = frozenset({"workers", "durable_objects", "d1", "asyncio", "sqlite3", "logging", "threading", "importlib"})
