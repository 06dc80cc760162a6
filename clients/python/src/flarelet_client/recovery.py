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
        self._verdict: Recovered | Gap | None = None

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
        self._at = self._verdict = None
        self._missed = 0

    def pass_over(self, frame: dict[str, Any]) -> None:
        """Take the position of a frame that has nothing for handlers."""
        self._is_new(frame.get("epoch"), frame.get("offset"))

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
        verdict, self._verdict = self._verdict, None
        self._tell(verdict)

    def judge(self, frame: dict[str, Any]) -> None:
        """Take the server's verdict."""
        count = frame.get("count", 0)
        if frame["type"] == "recovered":
            self._verdict = Recovered(self._topic, count)
        else:
            reason = frame["reason"]
            message = _REASONS.get(reason, "events may be missing")
            end = Position.from_frame(frame.get("to"))
            self._verdict = Gap(self._topic, reason, message, Position.from_frame(frame.get("from")), end)
            if self._at is not None and (end is None or self._at.epoch != end.epoch):
                self._at = None
            if end is not None and not count:
                self._at = end
        self._missed = count
        self.settle()

    def _is_new(self, epoch: str | None, offset: int | None) -> bool:
        if epoch is None or offset is None:
            return True
        if self._at is not None and self._at.epoch == epoch and offset <= self._at.offset:
            return False
        self._at = Position(epoch, offset)
        return True
