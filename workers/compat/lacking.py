"""What the running Worker's compatibility date does not have yet, of the behaviours that depend on it here."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

__all__ = ["AUTO_REPLY", "BINARY_TYPE", "DATED", "lacks"]

BINARY_TYPE: Final = "websocket_standard_binary_type"
"""Binary events of `accept()`ed sockets are Blobs; before, they were ArrayBuffers."""
AUTO_REPLY: Final = "web_socket_auto_reply_to_close"
"""A Close that an `accept()`ed socket gets is answered; before, that was the Worker's business."""
DATED: Final = frozenset({BINARY_TYPE, AUTO_REPLY})
"""Compatibility flags that this package looks at."""

lacks: ContextVar[frozenset[str]] = ContextVar("workers_lacks", default=frozenset())
"""Those of `DATED` that the Worker running in this context has not."""
