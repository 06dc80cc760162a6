"""Token streams of a topic: what each has said so far, and the events that tell of it.

A stream is told as the plain convention of public clients, an event `ai:token` with data `{token}` for each piece of
text and `ai:done` at its end. Data has more for who can use it: `stream`, its id, and `index`, the number of the first
token in it; `lastIndex` is there when one event holds several, as for who comes late (everything so far, in one event)
and for who reads slowly. `ai:done` says why it ended: `done`, `cancelled`, `no-viewers`, `length`, `abandoned` or
`error`, and an `ai:error` with a message comes before the last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

__all__ = ["CANCEL", "DONE", "ERROR", "TOKEN", "Reason", "StreamOptions", "TokenStream"]

TOKEN: Final = "ai:token"
DONE: Final = "ai:done"
ERROR: Final = "ai:error"
CANCEL: Final = "ai:cancel"
"""What a public client publishes to end a stream: the one that its data names as `stream`, else all of the topic."""

Reason = Literal["done", "cancelled", "no-viewers", "length", "abandoned", "error"]

_MAX_CHARACTERS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How a stream is run.

    `without_viewers`: "cancel" ends it when nobody has followed the topic for `viewer_grace_s`, long enough for a page
    to be loaded again. `persist` stores the whole text with `ai:done`. `idle_s` ends a stream whose producer is silent.
    """

    without_viewers: Literal["go-on", "cancel"] = "go-on"
    viewer_grace_s: float = 10.0
    persist: bool = False
    idle_s: float = 300.0
    user_id: str | None = None
    max_characters: int = _MAX_CHARACTERS

    def __post_init__(self) -> None:
        if self.without_viewers not in ("go-on", "cancel"):
            raise ValueError(f"without_viewers is {self.without_viewers!r}, but must be 'go-on' or 'cancel'")
        for name in ("viewer_grace_s", "idle_s"):
            if not 0 <= getattr(self, name) <= 86_400:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be 0 to 86400")


class TokenStream:
    """One stream that is running."""

    __slots__ = ("_parts", "_size", "count", "id", "options")

    def __init__(self, id: str, options: StreamOptions, text: str = "", count: int = 0) -> None:
        """`text` and `count` are what it said in an earlier life of its topic."""
        self.id = id
        self.options = options
        self.count = count
        self._parts = [text] if text else []
        self._size = len(text)

    @property
    def text(self) -> str:
        """Everything it said so far."""
        if len(self._parts) > 1:
            self._parts = ["".join(self._parts)]
        return self._parts[0] if self._parts else ""

    @property
    def is_full(self) -> bool:
        """Whether it said as much as it may."""
        return self._size >= self.options.max_characters

    def say(self, tokens: Iterable[str]) -> list[Mapping[str, Any]]:
        """Take the next tokens; returns the data of an event for each. Empty ones say nothing."""
        told: list[Mapping[str, Any]] = []
        for token in tokens:
            if not token or self.is_full:
                continue
            token = token[: self.options.max_characters - self._size]
            self._parts.append(token)
            self._size += len(token)
            told.append({"token": token, "stream": self.id, "index": self.count})
            self.count += 1
        return told

    def so_far(self) -> Mapping[str, Any] | None:
        """Return the data of the event that tells everything so far to who comes late, None when that is nothing."""
        if not self.count:
            return None
        return {"token": self.text, "stream": self.id, "index": 0, "lastIndex": self.count - 1}

    def done(self, reason: Reason) -> Mapping[str, Any]:
        """Return the data of its last event."""
        told: dict[str, Any] = {"stream": self.id, "reason": reason, "tokens": self.count}
        return told | {"text": self.text} if self.options.persist else told
