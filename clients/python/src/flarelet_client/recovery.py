"""Where a topic stands: the position of the last event handed on, and what the server says of those in between.

A subscription that comes back sends its position. The server answers with a verdict, `recovered` or `gap`, and with the
events that were missed, as ordinary frames in order; the verdict is told once they are handed on. What arrives twice is
handed on once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flarelet_client.types import Gap, Payload, Position, Recovered

__all__ = ["Recovery"]

_REASONS = {
    "ahead": "the position is not one of the server's",
    "dropped": "too much was missed to be kept",
    "epoch": "the server numbers anew",
    "expired": "older events are no longer kept",
    "not_stored": "what was said before a restart was not stored",
    "reset": "the topic was reset",
    "resync": "changes came that cannot be told row by row",
    "slow": "this client did not read for too long",
    "unwatched": "nobody followed the table",
}


class Recovery:
    """The position of one topic, and the verdict that is still to be told."""

    def __init__(self, topic: str, tell: Callable[[Recovered | Gap], None]) -> None:
        self._topic, self._tell = topic, tell
        self._at: Position | None = None
        self._missed = 0  # frames that belong to the verdict and are still to come
        self._verdict: tuple[Recovered | Gap, Position | None] | None = None

    @property
    def since(self) -> Position | None:
        """What to continue after."""
        return self._at

    def begin(self, frame: dict[str, Any]) -> None:
        """Take a confirmation: a subscription begins at its position, or stands there already."""
        if self._at is None and "epoch" in frame:
            self._at = Position(frame["epoch"], frame["offset"])

    def forget(self) -> None:
        """Forget the position: what is shown is read anew."""
        self._at = None
        self.interrupt()

    def interrupt(self) -> None:
        """Note that frames still to come will not come: another verdict will."""
        self._missed, self._verdict = 0, None

    def pass_over(self, frame: dict[str, Any]) -> None:
        """Take a frame with a position that has nothing for handlers; it counts among those that were missed."""
        self._missed = max(0, self._missed - 1)
        self._is_new(frame["epoch"], frame["offset"])
        self.settle()

    def accept(self, payload: Payload) -> Payload | None:
        """Take a message; return it as handlers see it, None when it was handed on before."""
        if self._missed:
            payload = replace(payload, recovered=True)
            self._missed -= 1
        return payload if self._is_new(payload.epoch, payload.offset) else None

    def settle(self) -> None:
        """Tell the verdict, if the message just handed on was the last of those that were missed."""
        if self._missed or self._verdict is None:
            return
        (verdict, end), self._verdict = self._verdict, None
        if end is not None:  # what lies before it was told, or is hidden from this subscription
            self._is_new(end.epoch, end.offset)
        self._tell(verdict)

    def judge(self, frame: dict[str, Any]) -> None:
        """Take the server's verdict."""
        count = frame.get("count", 0)
        if frame["type"] == "recovered":
            verdict, end = Recovered(self._topic, count), Position.from_frame(frame)
        else:
            end = Position.from_frame(frame.get("to"))
            verdict = self._gap(frame, end)
            if self._missed:  # one of the frames that were missed: changes that cannot be told row by row
                self._missed -= 1
                self._tell(verdict)
                self.settle()
                return
            if self._at is not None and (end is None or self._at.epoch != end.epoch):
                self._at = None
        self._verdict, self._missed = (verdict, end), count
        self.settle()

    def _gap(self, frame: dict[str, Any], end: Position | None) -> Gap:
        reason = frame["reason"]
        message = _REASONS.get(reason, "events may be missing")
        return Gap(self._topic, reason, message, Position.from_frame(frame.get("from")), end)

    def _is_new(self, epoch: str | None, offset: int | None) -> bool:
        if epoch is None or offset is None:
            return True
        if self._at is not None and self._at.epoch == epoch and offset <= self._at.offset:
            return False
        self._at = Position(epoch, offset)
        return True
