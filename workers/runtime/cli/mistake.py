"""While a Worker cannot be loaded, its address answers with the reason."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from workers.compat import web
from workers.runtime.edge.hosts import is_loopback
from workers.runtime.edge.listener import Listener
from workers.runtime.edge.server import Edge, RequestSeen
from workers.runtime.error_page import error_page, wants_page
from workers.runtime.loader import LoadError
from workers.runtime.tracebacks import Report

__all__ = ["serving_mistake"]

_WAITING = "The Worker could not be loaded. It starts again when you save a change."


def answer(error: BaseException, request: web.Request, *, pages: bool) -> web.Response:
    """Return the 500 that says what is wrong: a page for a browser if `pages`, else text."""
    report = error.report if isinstance(error, LoadError) else None
    if pages and wants_page(request):
        kind = "Configuration" if report is None else type(error).__name__
        return error_page(report or Report(kind, str(error), ()), note=_WAITING)
    details = f"\n{report.details()}" if report is not None else ""
    return web.Response(f"{error}\n{details}\n{_WAITING}\n", status=500)


@asynccontextmanager
async def serving_mistake(error: BaseException, listener: Listener, seen: RequestSeen) -> AsyncGenerator[Edge, None]:
    """Answer every request with what is wrong, inside the `async with` block."""
    pages = is_loopback(listener.host)

    async def respond(request: web.Request) -> web.Response:
        return answer(error, request, pages=pages)

    edge = Edge(
        respond,
        host=listener.host,
        listener=listener,
        seen=seen,
        failed=lambda failure, request: answer(failure, request, pages=pages),
    )
    await edge.start()
    try:
        yield edge
    finally:
        await edge.stop_listening()
