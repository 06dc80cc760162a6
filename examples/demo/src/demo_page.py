"""The landing page: its own frame around the panels of the three examples' pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ai_app
import chat_app
import orders_app
from pages import Pages, serve_file

from workers import Request, Response

_FOLDER = Path(__file__).resolve().parent / "page"
_PANELS = {"chat": chat_app.pages, "live-orders": orders_app.pages, "ai-stream": ai_app.pages}

_pages = Pages("/demo", _FOLDER)


async def respond(request: Request, env: Any, path: str) -> Response | None:
    """Answer the landing page and its style, None for every other path."""
    if path == "/":
        return serve_file(request, _compose().encode(), ".html")
    return _pages.respond(request, path)


def _compose() -> str:
    page = (_FOLDER / "index.html").read_text(encoding="utf-8")
    for name, pages in _PANELS.items():
        page = page.replace(f"<!-- panel of {name} -->", pages.panel())
    return page
