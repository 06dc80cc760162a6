"""The tails of this process's topics: one set for each event loop, for rooms and gateways have nothing else in common.

A room finds its own by what its object remembers while it sleeps; a gateway finds one by the object's id.
"""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

from durable_objects.realtime.core.tail import Tail, Tails

__all__ = ["tail_of_object", "tails_here"]

_LASTING = "realtime-tail"

_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Tails] = WeakKeyDictionary()


def tails_here() -> Tails:
    """Return the tails of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _by_loop.get(loop)
    if found is None:
        found = _by_loop[loop] = Tails()
    return found


def tail_of_object(ctx: Any) -> Tail:
    """Return the tail of a topic object, the same one when it wakes; `ctx` is the object's state."""
    lasting = ctx.lasting
    tail = lasting.get(_LASTING)
    if tail is None:
        tails = tails_here()
        tail = lasting[_LASTING] = tails.by_object[str(ctx.id)] = Tail(tails)
    return tail
