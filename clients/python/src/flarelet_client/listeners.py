"""A set of callbacks. One that raises is logged and never stops the others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Listeners"]

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Listeners(Generic[T]):
    """Callbacks of one kind, called in the order they were added."""

    def __init__(self) -> None:
        self._all: dict[Callable[[T], object], None] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(self, callback: Callable[[T], object]) -> Callable[[], None]:
        """Add a callback; return a function that removes it."""
        self._all[callback] = None
        return lambda: self.remove(callback)

    def remove(self, callback: Callable[[T], object]) -> None:
        """Remove a callback; an unknown one is ignored."""
        self._all.pop(callback, None)

    def clear(self) -> None:
        """Remove all callbacks."""
        self._all.clear()

    def tell(self, value: T) -> None:
        """Call all callbacks."""
        for callback in list(self._all):
            try:
                callback(value)
            except Exception:  # user code: the others must still be called
                _log.exception("a realtime handler failed")
