"""One Worker of the application: a configuration, its loaded modules, its bindings and the calls of its handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING

from durable_objects.clock import Clock
from workers.compat import web
from workers.compat.lacking import DATED
from workers.runtime import bindings
from workers.runtime.bindings import Home
from workers.runtime.config.load import Project
from workers.runtime.deadlines import Deadlines
from workers.runtime.dispatch import Dispatcher
from workers.runtime.isolate import Isolate, Outbound
from workers.runtime.loader import ModuleSpace
from workers.runtime.services import Callee, Export, Link, ServiceBinding

if TYPE_CHECKING:
    from durable_objects.host import Host
    from workers.runtime.assets.server import AssetServer
    from workers.runtime.worker_loader import WorkerLoader

__all__ = ["Worker"]


class Worker:
    """A Worker between its configuration and its end. `load`, then `connect`, then it answers."""

    def __init__(
        self, project: Project, tasks: asyncio.TaskGroup, outbound: Outbound, after: ModuleSpace | None = None
    ) -> None:
        """Prepare a Worker.

        Raises:
            ConfigError: The main module's file does not exist.
        """
        main = project.main
        if main is not None and not main.is_file():
            raise project.error("main", f"{project.settings.main} does not exist")
        self.project = project
        self.space = ModuleSpace(main, after) if main is not None else None
        """The Worker's modules, None without a main module."""
        flags, source = sorted(project.flags), project.path.name
        self.isolate = Isolate(project.name, self.space, tasks, outbound, flags, source)
        self.isolate.ambient.lacks = DATED - project.flags
        self.callee = Callee(self.isolate, tasks)
        self.assets: AssetServer | None = None
        self._tasks, self._outbound = tasks, outbound
        self._loaders: list[WorkerLoader] = []
        self.dispatcher: Dispatcher

    @property
    def home(self) -> Home:
        """The Worker as its Durable Object classes need it."""
        return Home(self.project, self.isolate.ambient, self.isolate.module)

    def load(self, shared: Mapping[str, object], callees: Mapping[str, Callee]) -> None:
        """Import the Worker with its env in place.

        Raises:
            ConfigError: A binding cannot be made as configured.
            LoadError: The Worker's source cannot be loaded.
        """
        settings = self.project.settings
        found: dict[str, object] = {**bindings.plain(self.project), **shared, **bindings.unavailable(settings)}
        found.update({service.binding: ServiceBinding(Link(service, callees)) for service in settings.services})
        if settings.assets is not None and settings.assets.directory is not None:
            found.update(self._open_assets())
        if settings.ai is not None:
            found[settings.ai.binding] = self._open_ai()
        if settings.worker_loaders:
            from workers.runtime.worker_loader import WorkerLoader

            for entry in settings.worker_loaders:
                loader = WorkerLoader(self.project.name, self._tasks, self._outbound)
                self._loaders.append(loader)
                found[entry.binding] = loader
        self.isolate.bind(found)
        self.isolate.load()

    def _open_ai(self) -> object:
        from workers.runtime.ai.binding import Ai
        from workers.runtime.ai.settings import open_model

        return Ai(open_model(self.project, lambda request: self.isolate.ambient.fetch(request)))

    def _open_assets(self) -> dict[str, object]:
        from workers.runtime.assets.server import open_assets

        opened, settings = open_assets(self.project), self.project.settings.assets
        if opened is None or settings is None:
            return {}
        self.assets, binding = opened
        self.callee.front = self.assets.route
        return {settings.binding: binding} if settings.binding is not None else {}

    def connect(self, host: Host | None, homes: Mapping[str, Home], callees: Mapping[str, Callee]) -> list[str]:
        """Bind what needs the classes of loaded Workers; return lines of warning.

        Raises:
            ConfigError: A binding names a class that does not exist.
        """
        found, warnings = bindings.namespaces(self.home, host, homes)
        self.isolate.bind(found)
        self._export(found, callees)
        assets = self.project.settings.assets
        if self.assets is not None and assets is not None:
            folder = PurePath(assets.directory or ".").as_posix()
            warnings += [f"{folder}/{mistake}" for mistake in self.assets.mistakes]
        for number, service in enumerate(self.project.settings.services):
            callee = callees.get(service.service)
            if callee is None:
                warnings.append(
                    f'{self.project.path.name}: env.{service.binding}: the Worker "{service.service}" is not running '
                    "here; name its configuration too, with another -c"
                )
            elif service.entrypoint is not None and callee.entrypoint(service.entrypoint) is None:
                known = ", ".join(callee.entrypoints) or "none"
                raise self.project.error(
                    f"services.{number}.entrypoint",
                    f'the Worker "{service.service}" has no entrypoint "{service.entrypoint}"; it exports {known}',
                )
        return warnings

    def _export(self, namespaces: Mapping[str, object], callees: Mapping[str, Callee]) -> None:
        """Fill `ctx.exports`."""
        exports, name = self.isolate.context.exports, self.project.name
        for entrypoint in self.callee.entrypoints:
            is_default = self.isolate.classes[entrypoint] is self.isolate.default
            exports["default" if is_default else entrypoint] = Export(name, None if is_default else entrypoint, callees)
        for entry in self.project.settings.durable_objects.bindings:
            if entry.script_name in (None, name):
                exports[entry.class_name] = namespaces[entry.name]

    def ready(self, clock: Clock, *, pages: bool, raises: bool, test_scheduled: bool, deadlines: Deadlines) -> None:
        """Begin to answer; see `Dispatcher` for the options."""
        self.dispatcher = Dispatcher(
            self.isolate, clock, pages=pages, raises=raises, test_scheduled=test_scheduled, deadlines=deadlines
        )

    async def drain(self, patience_s: float) -> None:
        """Stop calls of other Workers, and let work given to `waitUntil` finish for a while."""
        self.callee.cancel()
        await self.isolate.drain(patience_s)
        for loader in self._loaders:
            await loader.drain()

    def close(self) -> None:
        """Remove the Worker, and those it loaded itself, from the process."""
        for loader in self._loaders:
            loader.close()
        self.isolate.unload()

    def respond(self, request: web.Request) -> Awaitable[web.Response]:
        """Answer a request: static files where they come first, else the Worker."""
        if self.assets is None:
            return self.dispatcher.fetch(request)
        return self._respond_with_assets(self.assets, request)

    async def _respond_with_assets(self, assets: AssetServer, request: web.Request) -> web.Response:
        try:
            return await assets.route(request, self.dispatcher.fetch)
        except OSError as error:  # a file that cannot be read
            return self.dispatcher.failure(error, request)
