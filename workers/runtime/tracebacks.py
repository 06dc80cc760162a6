"""What went wrong, told to the author of a Worker: their own line first, frames of libraries folded away."""

from __future__ import annotations

import linecache
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FrameType, TracebackType
from typing import cast

from workers.compat.proxies import error_parts

__all__ = ["Frame", "Report", "log_failure", "make_report", "stack_frames"]

_LIBRARY = re.compile(r".*[/\\](?:site-packages|dist-packages|python_modules|python3\.\d+)[/\\]")
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(__file__))) + os.sep  # of this program
_MOST_OWN = 12
_MOST_CAUSES = 4
_MOST_IN_A_GROUP = 5


@dataclass(frozen=True, slots=True)
class Frame:
    """One line that was being run."""

    path: str
    """The file as it is shown: from the project's folder, or from where libraries lie."""
    file: str
    """The file itself."""
    line: int
    function: str
    source: str
    """The line's text as it stands in the file; empty when that cannot be read."""
    start: int
    """Column of the first character that counts; with `end`, what the caret points at."""
    end: int
    own: bool
    """It is the Worker's own source, not a library's."""

    @property
    def where(self) -> str:
        """`file:line`."""
        return f"{self.path}:{self.line}"

    def excerpt(self, indent: str = "  ") -> str:
        """Return the source line with its number and a caret below, each line ending in a line feed."""
        text = self.source.rstrip().expandtabs(1)
        if not text.strip():
            return ""
        cut = len(text) - len(text.lstrip())
        number = f"{self.line:>4}"
        start = min(max(self.start - cut, 0), len(text) - cut)
        width = max(min(self.end - cut, len(text) - cut) - start, 1)
        shown = f"{indent}{number} | {text[cut:]}\n"
        return shown + f"{indent}{' ' * len(number)} | {' ' * start}{'^' * width}\n"


@dataclass(frozen=True, slots=True)
class Report:
    """One exception as its author should see it."""

    name: str
    message: str
    frames: tuple[Frame, ...]
    """From the first call to the line that raised."""
    notes: tuple[str, ...] = ()
    cause: Report | None = None
    inner: tuple[Report, ...] = ()
    """The exceptions of an exception group."""

    @property
    def headline(self) -> str:
        """`Name: message`."""
        return f"{self.name}: {self.message}" if self.message else self.name

    @property
    def own(self) -> Frame | None:
        """The Worker's own frame nearest to where the exception was raised."""
        return next((frame for frame in reversed(self.frames) if frame.own), None)

    def text(self) -> str:
        """Return the whole report: headline, own frames from the innermost out, what was folded, causes."""
        return f"{self.headline}\n\n{self.details()}"

    def details(self) -> str:
        """Return the report without its headline."""
        lines = [f"  {note}\n" for note in self.notes]
        lines += self._frames()
        for number, inner in enumerate(self.inner, 1):
            lines.append(f"{number} of {len(self.inner)}: {inner.headline}\n{inner.details()}")
        if self.cause is not None:
            lines.append(f"caused by {self.cause.headline}\n{self.cause.details()}")
        return "".join(lines)

    def _frames(self) -> list[str]:
        own = [frame for frame in reversed(self.frames) if frame.own]
        folded = [frame for frame in reversed(self.frames) if not frame.own]
        lines: list[str] = []
        for number, frame in enumerate(own[:_MOST_OWN]):
            label = "at" if number == 0 else "called from"
            lines.append(f"{label} {frame.where} in {frame.function}\n{frame.excerpt()}")
        if len(own) > _MOST_OWN:
            lines.append(f"... and {len(own) - _MOST_OWN} more calls in the Worker\n")
        if folded and self.frames[-1] is folded[0] and not (own and folded[0].file.startswith(_ROOT)):
            last, *folded = folded
            lines.append(f"raised in {last.where} in {last.function}\n{last.excerpt() if not own else ''}")
        if folded:
            plural = "" if len(folded) == 1 else "s"
            lines.append(f"({len(folded)} frame{plural} of libraries and the runtime not shown)\n")
        return lines


def make_report(error: BaseException, is_own: Callable[[str], bool], shown: Callable[[str], str]) -> Report:
    """Describe an exception.

    Args:
        error: The exception.
        is_own: Says whether a file is the Worker's own source.
        shown: Returns how the path of such a file is shown.
    """
    return _Reporter(is_own, shown).report(error, _MOST_CAUSES)


def log_failure(log: logging.Logger, report: Report, error: BaseException, worker: str, prefix: str = "") -> None:
    """Write an exception to a log: where it was raised, the report, and the whole traceback for whoever debugs."""
    where = f"{report.own.where}: " if report.own is not None else ""
    details = report.details().rstrip()
    log.error("%s%s%s\n%s", prefix, where, report.headline, details, extra={"worker": worker, "report": report})
    log.debug("the whole traceback", exc_info=error)


def stack_frames(
    frame: FrameType | None, is_own: Callable[[str], bool], shown: Callable[[str], str]
) -> tuple[Frame, ...]:
    """Describe what is being run now, from the first call of the Worker to the line itself; see `make_report`."""
    return tuple(_Reporter(is_own, shown).stack(frame))


class _Reporter:
    def __init__(self, is_own: Callable[[str], bool], shown: Callable[[str], str]) -> None:
        self._is_own, self._shown = is_own, shown

    def report(self, error: BaseException, causes: int) -> Report:
        linecache.checkcache()  # after an edit, lines of the old file would be shown
        name, message = error_parts(error)
        frames = self._walk(error.__traceback__)
        if isinstance(error, SyntaxError):
            name, message = type(error).__name__, error.msg
            frames = [frame for frame in frames if frame.own] + self._syntax(error)
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        inner: tuple[Report, ...] = ()
        if isinstance(error, BaseExceptionGroup):
            several = cast("BaseExceptionGroup[BaseException]", error).exceptions[:_MOST_IN_A_GROUP]
            inner = tuple(self.report(one, causes - 1) for one in several) if causes else ()
        return Report(
            name,
            message,
            tuple(frames),
            notes=tuple(str(note) for note in getattr(cast(BaseException, error), "__notes__", ())),
            cause=self.report(cause, causes - 1) if cause is not None and causes else None,
            inner=inner,
        )

    def _walk(self, trace: TracebackType | None) -> list[Frame]:
        frames: list[Frame] = []
        while trace is not None:
            code = trace.tb_frame.f_code
            if not code.co_filename.startswith("<frozen importlib"):
                position = _position(code, trace.tb_lasti)
                frames.append(self._frame(code.co_filename, trace.tb_lineno, code.co_name, position))
            trace = trace.tb_next
        first = next((number for number, frame in enumerate(frames) if frame.own), 0)
        return frames[first:]  # what the runtime does before the Worker is of no interest

    def stack(self, frame: FrameType | None) -> list[Frame]:
        frames: list[Frame] = []
        while frame is not None:
            code = frame.f_code
            position = _position(code, frame.f_lasti)
            frames.append(self._frame(code.co_filename, frame.f_lineno, code.co_name, position))
            frame = frame.f_back
        frames.reverse()
        first = next((number for number, found in enumerate(frames) if found.own), 0)
        return frames[first:]

    def _frame(self, file: str, line: int, function: str, position: tuple[int, int] | None) -> Frame:
        own = self._is_own(file)
        source = linecache.getline(file, line).rstrip("\n")
        start = len(source) - len(source.lstrip())
        end = len(source.rstrip())
        if position is not None and position[0] < end:
            raw = source.encode()
            start = len(raw[: position[0]].decode(errors="replace"))
            end = len(raw[: position[1]].decode(errors="replace")) if position[1] > position[0] else end
        path = self._shown(file) if own else _LIBRARY.sub("", file.removeprefix(_ROOT))
        return Frame(path, file, line, function, source, start, end, own)

    def _syntax(self, error: SyntaxError) -> list[Frame]:
        if error.filename is None:
            return []
        line, column = error.lineno or 1, max((error.offset or 1) - 1, 0)
        frame = self._frame(error.filename, line, "<module>", None)
        end = error.end_offset - 1 if error.end_offset and error.end_lineno == line else 0
        source = frame.source or (error.text or "").rstrip("\n")
        return [Frame(frame.path, frame.file, line, "<module>", source, column, max(end, column + 1), frame.own)]


def _position(code: CodeType, instruction: int) -> tuple[int, int] | None:
    """Return the columns (in bytes) that an instruction was compiled from, when it is within one line."""
    if instruction < 0:
        return None
    for number, (first, last, start, end) in enumerate(code.co_positions()):
        if number == instruction // 2:
            if start is None or end is None:
                return None
            return start, end if first == last else 0
    return None
