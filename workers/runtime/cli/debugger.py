"""`breakpoint()` in a Worker: pdb at the terminal of `flarelet dev`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

__all__ = ["install"]


def install(pause: Callable[[], AbstractContextManager[None]]) -> None:
    """Make `breakpoint()` stop here; `pause` is entered while the person types at the debugger.

    PYTHONBREAKPOINT, with which people choose another debugger, keeps its meaning.
    """
    if "PYTHONBREAKPOINT" in os.environ:
        return

    def stop_here(*_args: object, **_options: object) -> None:
        import pdb  # reads terminfo and more: only for those who stop

        class Debugger(pdb.Pdb):
            def interaction(self, *args: object) -> None:  # type: ignore[override] - differs between Python versions
                with pause():
                    super().interaction(*args)  # type: ignore[arg-type] - as above

        # Without a SIGINT handler of its own: Ctrl+C goes on to stop the server.
        Debugger(nosigint=True).set_trace(sys._getframe(1))  # pyright: ignore[reportPrivateUsage]

    sys.breakpointhook = stop_here
