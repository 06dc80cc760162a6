"""An application on a listening address, from the first connection to an orderly end."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from workers.runtime.app import App
from workers.runtime.edge.hosts import is_loopback
from workers.runtime.edge.listener import BindError, Listener
from workers.runtime.edge.server import Edge, RequestSeen

__all__ = ["SERVICE_RESTART", "serving"]

SERVICE_RESTART = 1012
"""Close code of every socket when the server stops: clients come back by themselves."""


@asynccontextmanager
async def serving(
    app: App,
    *,
    host: str = "127.0.0.1",
    port: int = 8787,
    listener: Listener | None = None,
    seen: RequestSeen | None = None,
) -> AsyncGenerator[Edge, None]:
    """Serve an application inside the `async with` block, on a `listener` if there is one, else on `port`.

    Raises:
        BindError: The address is in use, not ours, or public although realtime has no keys.
    """
    if app.realtime_is_open and not is_loopback(host):
        raise BindError(
            f"will not listen on {host}: realtime has no keys, so anybody who reaches it could read and write; "
            "set public_keys and secret_keys in [flarelet.realtime] or listen on 127.0.0.1"
        )
    name = app.project.settings.dev.host
    names = frozenset({name.partition(":")[0]}) if name else frozenset[str]()
    edge = Edge(
        app.respond,
        host=host,
        port=port,
        listener=listener,
        extra_names=names,
        any_origin=app.realtime_has_keys,
        seen=seen,
        failed=app.failure,
    )
    await edge.start()
    try:
        yield edge
    finally:
        # Requests end first, then objects commit and close their sockets, then the sockets that no object owns.
        await edge.stop_listening()
        await app.close_objects(SERVICE_RESTART)
        await edge.close_sockets(SERVICE_RESTART)
