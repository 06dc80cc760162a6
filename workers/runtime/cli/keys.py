"""Single keys typed at the terminal of `flarelet dev`."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = ["Keys", "clear_screen", "open_in_browser"]

_SPECIAL_KEY = re.compile(r"\x1b(?:\[[0-9;]*.|O.)?")  # an arrow, say


class Keys:
    """Runs an action for a key while the terminal is ours; without a terminal it does nothing."""

    def __init__(self, actions: Mapping[str, Callable[[], None]]) -> None:
        self._actions = actions
        self._saved: list[Any] | None = None
        self._file = -1

    @property
    def active(self) -> bool:
        """Whether keys are listened to."""
        return self._saved is not None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to listen, if a person sits at a terminal."""
        try:
            import termios
            import tty
        except ImportError:  # Windows
            return
        if not (sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()):
            return
        file = sys.stdin.fileno()
        if os.tcgetpgrp(file) != os.getpgrp():  # in the background, touching the terminal would stop the process
            return
        self._file, self._saved = file, termios.tcgetattr(file)
        tty.setcbreak(file, termios.TCSANOW)
        loop.add_reader(file, self._typed)

    def stop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Leave the terminal as it was found."""
        if self._saved is not None:
            loop.remove_reader(self._file)
            self._restore()
            self._saved = None

    @contextmanager
    def paused(self) -> Generator[None, None, None]:
        """Give the terminal to somebody who reads lines, inside the `with` block."""
        if self._saved is None:
            yield
            return
        import tty

        self._restore()
        try:
            yield
        finally:
            tty.setcbreak(self._file)

    def _restore(self) -> None:
        import termios

        assert self._saved is not None
        termios.tcsetattr(self._file, termios.TCSADRAIN, self._saved)

    def _typed(self) -> None:
        try:
            typed = os.read(self._file, 64).decode("utf-8", "replace")
        except OSError:  # the terminal is gone
            typed = ""
        if not typed:
            asyncio.get_running_loop().remove_reader(self._file)
            return
        for key in _SPECIAL_KEY.sub("", typed).lower():
            action = self._actions.get(key)
            if action is not None:
                action()


def clear_screen() -> None:
    """Empty the terminal, and what could be scrolled back to."""
    sys.stdout.write("\x1b[2J\x1b[3J\x1b[H")
    sys.stdout.flush()


def open_in_browser(url: str) -> None:
    """Show a URL in the person's browser, or say it where there is none."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        print(f"No desktop here; open {url} in a browser.")  # a browser in text mode would fight for the terminal
        return
    import webbrowser

    asyncio.get_running_loop().run_in_executor(None, webbrowser.open, url)
