"""Recursion as deep as JavaScript's: values may be nested further than Python's recursion limit."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

from workers.compat.proxies import JsRangeError

__all__ = ["deeply"]

_T = TypeVar("_T")
_FURTHER = 30_000


def deeply(work: Callable[[], _T]) -> _T:
    """Return `work()`, which Python's recursion limit has stopped, under a higher limit.

    Only for recursion between Python functions, which does not use the C stack.

    Raises:
        JsRangeError: It is nested too deeply for JavaScript too.
    """
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + _FURTHER)
    try:
        return work()
    except RecursionError:
        raise JsRangeError("Maximum call stack size exceeded") from None
    finally:
        sys.setrecursionlimit(limit)
