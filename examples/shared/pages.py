"""Serve the few files of an example: its page, style and script.

A Worker of these examples has no static-assets binding, so it answers for its own files. Only files found in the
folder at start can be asked for, each under one exact URL: a path with `..` in it is just a name nobody has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from workers import Request, Response

_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

# Everything a page uses comes from its own server; nothing inline runs.
_CONTENT_SECURITY_POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"

_PANEL_START, _PANEL_END = "<!-- panel -->", "<!-- /panel -->"


class Pages:
    """The files of one folder, under one URL prefix; `index.html` answers at the prefix itself."""

    def __init__(self, prefix: str, folder: Path) -> None:
        self._folder = folder
        self._files = {
            (prefix or "/") if file.name == "index.html" else f"{prefix}/{file.name}": file
            for file in folder.iterdir()
            if file.suffix in _CONTENT_TYPES
        }

    def respond(self, request: Request, path: str) -> Response | None:
        """Answer a request for `path`, or None when no file of this folder is there."""
        file = self._files.get(path)
        if file is None:
            return None
        return serve_file(request, file.read_bytes(), file.suffix)

    def panel(self) -> str:
        """Return the part of `index.html` that another page may show: what stands between the panel comments."""
        page = (self._folder / "index.html").read_text(encoding="utf-8")
        return page.partition(_PANEL_START)[2].partition(_PANEL_END)[0]


def serve_file(request: Request, body: bytes, suffix: str) -> Response:
    """Answer GET and HEAD with a file's body. The browser may keep it, but asks whether it is still the same."""
    if request.method not in ("GET", "HEAD"):
        return Response("Method Not Allowed", status=405, headers={"allow": "GET, HEAD"})
    headers = {
        "content-type": _CONTENT_TYPES[suffix],
        "cache-control": "no-cache",
        "etag": f'"{hashlib.sha256(body).hexdigest()[:20]}"',
        "content-security-policy": _CONTENT_SECURITY_POLICY,
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
    }
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(None, status=304, headers=headers)
    return Response(None if request.method == "HEAD" else body, headers=headers)


_shared_pages = Pages("/shared", Path(__file__).resolve().parent)  # client, theme and furniture of all pages


async def first_answer(
    request: Request,
    env: Any,
    handlers: Sequence[Callable[[Request, Any, str], Awaitable[Response | None]]],
    *,
    home: str = "/",
) -> Response:
    """Answer with the first of `handlers` that knows the path, 404 when none does; `home` is what `/` stands for."""
    path = unquote(urlsplit(request.url).path)
    if path != "/":
        path = path.rstrip("/")
    for handler in handlers:
        response = await handler(request, env, home if path == "/" else path)
        if response is not None:
            return response
    if response := _shared_pages.respond(request, path):
        return response
    return Response("Not Found", status=404, headers={"content-type": "text/plain; charset=utf-8"})
