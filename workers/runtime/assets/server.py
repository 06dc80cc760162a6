"""Static files answer requests: alone, before the Worker, or when the Worker asks through `env.ASSETS`."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import IO, Any

from workers.compat import web
from workers.compat.fetcher import Fetcher
from workers.compat.headers import Headers
from workers.compat.streams import ReadableStream
from workers.compat.url import URL
from workers.response import Response
from workers.runtime.assets.content_types import content_type
from workers.runtime.assets.ignore import Ignore
from workers.runtime.assets.paths import Intent, Resolver, decode_path, encode_path
from workers.runtime.assets.rules import (
    HeaderRule,
    Mistake,
    Redirect,
    Redirects,
    filled,
    glob,
    parse_headers,
    parse_redirects,
)
from workers.runtime.config.load import Project
from workers.runtime.config.models import Assets

__all__ = ["AssetServer", "open_assets"]

Handler = Callable[[web.Request], Awaitable[web.Response]]

_SMALL = 64 * 1024
_CHUNK = 256 * 1024
_NAVIGATION_DATE = "2025-04-01"
_CACHE_CONTROL = "public, max-age=0, must-revalidate"
_MOST_ROUTES = 100


class _Watched:
    """A file of rules that is read again when it was changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None

    def changed(self) -> str | None:
        """Return the text if it is not what was returned before; an absent file is empty."""
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_size)
            if seen == self._seen:
                return None
            self._seen = seen
            return self._path.read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            if self._seen == (0, 0):
                return None
            self._seen = (0, 0)
            return ""


class AssetServer:
    """The files of one folder."""

    def __init__(self, folder: Path, settings: Assets, *, has_worker: bool, navigation_first: bool) -> None:
        """Serve a folder.

        Args:
            folder: The folder.
            settings: The `assets` table.
            has_worker: Paths that no file answers go to the Worker.
            navigation_first: `not_found_handling` answers a browser's navigation before the Worker does.
        """
        self._folder = str(folder)
        self._settings = settings
        self._has_worker = has_worker
        self._navigation_first = navigation_first
        self._resolver = Resolver(self._exists, settings.html_handling)
        first = settings.run_worker_first
        rules = first if isinstance(first, list) else []
        self._to_files = [glob(rule[1:]) for rule in rules if rule.startswith("!")]
        self._to_worker = [glob(rule) for rule in rules if not rule.startswith("!")]
        self._has_routes = isinstance(first, list)
        self._worker_first = first is True
        self._files = {name: _Watched(folder / name) for name in (".assetsignore", "_headers", "_redirects")}
        self._ignore = Ignore()
        self._headers: list[HeaderRule] = []
        self._redirects = Redirects()
        self.mistakes: list[str] = []
        """What is wrong in the files of rules, a line each."""
        self._refresh()

    def _refresh(self) -> None:
        """Read the files of rules that were changed."""
        text = self._files[".assetsignore"].changed()
        if text is not None:
            self._ignore = Ignore(text)
        text = self._files["_headers"].changed()
        if text is not None:
            self._headers, mistakes = parse_headers(text)
            self._note("_headers", mistakes)
        text = self._files["_redirects"].changed()
        if text is not None:
            self._redirects, mistakes = parse_redirects(text, self._settings.html_handling)
            self._note("_redirects", mistakes)

    def _note(self, name: str, mistakes: list[Mistake]) -> None:
        self.mistakes = [line for line in self.mistakes if not line.startswith(name)]
        self.mistakes += [f"{name}:{mistake.line}: {mistake.text}" for mistake in mistakes]

    # -- the way of a request

    async def route(self, request: web.Request, worker: Handler) -> web.Response:
        """Answer with a file, or let the Worker answer, as `run_worker_first` and the files decide."""
        path = URL(request.url).pathname
        if self._has_worker:
            to_files = any(rule.fullmatch(path) for rule in self._to_files)
            if not to_files and (self._worker_first or any(rule.fullmatch(path) for rule in self._to_worker)):
                return await worker(request)
            if not to_files and not self._can_answer(request):
                return await worker(request)
        return await self.fetch(request)

    def _can_answer(self, request: web.Request) -> bool:
        self._refresh()
        is_navigation = self._navigation_first and request.headers.get("sec-fetch-mode") == "navigate"
        not_found = self._settings.not_found_handling if self._has_routes or is_navigation else "none"
        return self._decide(request, not_found) is not None

    async def fetch(self, request: web.Request) -> web.Response:
        """Answer a request with a file, a redirect or 404."""
        self._refresh()
        decision = self._decide(request, self._settings.not_found_handling)
        if decision is None:
            response = web.Response(None, status=404)
        elif isinstance(decision, web.Response):
            response = decision
        else:
            assert decision.file is not None
            response = await self._send(decision.file, decision.status, request)
        self._add_headers(request, response)
        return response

    def _decide(self, request: web.Request, not_found: str) -> Intent | web.Response | None:
        url = URL(request.url)
        path, proxied = url.pathname, False
        rule = self._redirects.match(path)
        if rule is not None and rule.status != 200:
            return _redirected(rule, url)
        if rule is not None:
            path, proxied = URL(rule.to, request.url).pathname, True
        decoded = decode_path(path)
        intent = self._resolver.resolve(decoded, not_found)
        if intent is None:
            return web.Response(None, status=404) if proxied else None
        if request.method not in ("GET", "HEAD"):
            return web.Response(None, status=405)
        destination = encode_path(decoded if intent.redirect is None else intent.redirect)
        if intent.redirect is not None or destination != path:
            return _to(destination + url.search, 307)
        return intent

    def _add_headers(self, request: web.Request, response: web.Response) -> None:
        if not self._headers:
            return
        url, done = URL(request.url), set[str]()
        for rule in self._headers:
            values = rule.match(url.hostname, url.pathname)
            if values is None:
                continue
            for name in rule.unset:
                response.headers.delete(name)
            for name, value in rule.set.items():
                (response.headers.append if name in done else response.headers.set)(name, filled(value, values))
                done.add(name)

    # -- files

    def _local(self, path: str) -> str | None:
        """Return the file that a path below the folder names; None for a path that leads anywhere else."""
        parts = path.split("/")[1:]
        if "\0" in path or any(part in ("", ".", "..") or "\\" in part or os.sep in part for part in parts):
            return None
        if os.name == "nt" and any(":" in part for part in parts):
            return None
        try:
            path.encode()
        except UnicodeEncodeError:
            return None
        return self._folder + path

    def _stat(self, path: str) -> os.stat_result | None:
        local = self._local(path)
        if local is None:
            return None
        try:
            status = os.stat(local)
        except (OSError, ValueError):
            return None
        return status if stat.S_ISREG(status.st_mode) else None

    def _exists(self, path: str) -> bool:
        return self._stat(path) is not None and not self._ignore.covers(path)

    async def _send(self, path: str, status: int, request: web.Request) -> web.Response:
        found, local = self._stat(path), self._local(path)
        if found is None or local is None:
            return web.Response(None, status=404)
        tag = hashlib.sha256(f"{path}{found.st_mtime_ns} {found.st_size}".encode()).hexdigest()[:32]
        headers = Headers()
        # DIFFERS(static-etag): production hashes the content.
        headers.set("etag", f'"{tag}"')
        kind = content_type(path)
        if kind is not None:
            headers.set("content-type", kind)
        if not request.headers.has("authorization") and not request.headers.has("range"):
            headers.set("cache-control", _CACHE_CONTROL)
        headers.set("cf-cache-status", "HIT")
        if request.headers.get("if-none-match") in (f'"{tag}"', f'W/"{tag}"'):
            return web.Response(None, status=304, headers=headers)
        try:
            file = open(local, "rb")  # noqa: SIM115, ASYNC230 - closed when its content was sent
        except OSError:
            return web.Response(None, status=404)
        if request.method == "HEAD":
            file.close()
            return web.Response(None, status=status, headers=headers)
        if found.st_size <= _SMALL:
            with file:
                body: Any = file.read(_SMALL)
        else:
            body = ReadableStream.from_iterator(_Chunks(file), length=found.st_size)
        return web.Response(body, status=status, headers=headers)


class _Chunks(AsyncIterator[bytes]):
    """The content of a file, read as the client takes it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    async def __anext__(self) -> bytes:
        chunk = b""
        try:
            chunk = await asyncio.get_running_loop().run_in_executor(None, self._file.read, _CHUNK)
        finally:
            if not chunk:
                self._file.close()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Close the file: nobody reads on."""
        self._file.close()


def _to(location: str, status: int) -> web.Response:
    return web.Response(None, status=status, headers=[("location", location)])


def _redirected(rule: Redirect, url: URL) -> web.Response:
    """Answer with the target of a rule; the query is kept unless the target has its own."""
    target = URL(rule.to, url.href)
    search = target.search or url.search
    if target.origin == url.origin:
        return _to(f"{target.pathname}{search}{target.hash}", rule.status)
    bare = target.href[: len(target.href) - len(target.search) - len(target.hash)]
    return _to(f"{bare}{search}{target.hash}", rule.status)


class _Files:
    """The folder as the target of `env.ASSETS`."""

    def __init__(self, server: AssetServer) -> None:
        self._server = server

    async def fetch(self, request: web.Request) -> web.Response:
        return await self._server.fetch(request)

    def method(self, name: str) -> None:
        """Nothing: the folder has no methods."""


def open_assets(project: Project) -> tuple[AssetServer, Fetcher] | None:
    """Return the server of a configuration's files and its binding; None when it has no folder.

    Raises:
        ConfigError: The folder does not exist, or a rule of `run_worker_first` cannot be used.
    """
    settings = project.settings.assets
    if settings is None or settings.directory is None:
        return None
    folder = project.directory / settings.directory
    if not folder.is_dir():
        raise project.error("assets.directory", f"{settings.directory} is not a folder")
    _check_routes(project, settings)
    flags = project.settings.compatibility_flags
    navigation_first = (
        "assets_navigation_prefers_asset_serving" in flags
        or (project.settings.compatibility_date or "") >= _NAVIGATION_DATE
    ) and "assets_navigation_has_no_effect" not in flags
    server = AssetServer(folder, settings, has_worker=project.main is not None, navigation_first=navigation_first)
    return server, Fetcher(_Files(server), Response)


def _check_routes(project: Project, settings: Assets) -> None:
    first = settings.run_worker_first
    if first and project.main is None:
        raise project.error("assets.run_worker_first", 'needs a Worker: set "main"')
    if not isinstance(first, list):
        return
    key = "assets.run_worker_first"
    if len(first) > _MOST_ROUTES:
        raise project.error(key, f"has more than {_MOST_ROUTES} rules")
    for number, rule in enumerate(first):
        if not rule.startswith(("/", "!/")):
            raise project.error(f"{key}.{number}", f'"{rule}" must begin with "/" or "!/"')
        if len(rule) > _MOST_ROUTES:
            raise project.error(f"{key}.{number}", f"is longer than {_MOST_ROUTES} characters")
    if not any(rule.startswith("/") for rule in first):
        raise project.error(key, 'needs a rule that does not begin with "!"')
