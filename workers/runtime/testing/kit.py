"""One project under test: its configuration, the state that tests start from, and instances on clones of it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from d1.migrations import apply_d1_migrations, read_d1_migrations
from workers.compat import ambient
from workers.runtime.config.load import Project, load
from workers.runtime.testing.helpers import current
from workers.runtime.testing.leftovers import left_running
from workers.runtime.testing.miniflare import Miniflare
from workers.runtime.testing.options import Options, WorkerOptions
from workers.runtime.testing.report import Figures, Route, collect
from workers.runtime.testing.state import StateTemplate
from workers.runtime.testing.tally import RouteLog, Tally

__all__ = ["Kit", "Seed", "Session"]

Seed = Callable[..., Awaitable[None] | None]
"""Fills the state every test starts from: called once with `env`, as `seed(env)`."""


class Kit:
    """Instances of one project, each on state of its own that ends with it."""

    def __init__(self, project: Project, folder: Path, *, migrates: bool = True) -> None:
        """Describe the project.

        Args:
            project: Its configuration.
            folder: Where state is kept.
            migrates: Apply the migrations of every D1 binding before the first test.
        """
        self.project = project
        self._template = StateTemplate(folder)
        self._migrates = migrates
        self._seeded_by: Seed | None = None
        self._is_filled = False

    async def _fill(self, seed: Seed | None) -> None:
        if self._is_filled:
            if seed is not self._seeded_by:
                raise RuntimeError("flarelet_seed must be the same for all tests of a project")
            return
        migrations = [
            (entry.binding, entry.migrations_table, folder)
            for entry in self.project.settings.d1_databases
            if self._migrates and (folder := self.project.directory / entry.migrations_dir).is_dir()
        ]
        if migrations or seed is not None:
            miniflare = self._instance(self._template.folder)
            try:
                await self._prepare(miniflare, migrations, seed)
            finally:
                await miniflare.dispose()
        self._seeded_by, self._is_filled = seed, True

    async def _prepare(self, miniflare: Miniflare, migrations: list[tuple[str, str, Path]], seed: Seed | None) -> None:
        for binding, table, folder in migrations:
            database = await miniflare.get_d1_database(binding)
            await apply_d1_migrations(database, read_d1_migrations(folder), table)
        if seed is not None:
            result = seed(await miniflare.get_bindings())
            if inspect.isawaitable(result):
                await result

    def _instance(
        self, state: Path, *, clock: Any = False, interleave: int | None = None, evict: str | None = None
    ) -> Miniflare:
        options = Options([WorkerOptions(self.project)], {}, clock=clock, interleave=interleave, evict=evict)
        return Miniflare.over(options, state)

    @asynccontextmanager
    async def instance(
        self,
        *,
        clock: Any = False,
        interleave: int | None = None,
        evict: str | None = None,
        seed: Seed | None = None,
        left: Callable[[list[str]], None] | None = None,
        report: Callable[[Figures], None] | None = None,
    ) -> AsyncGenerator[Miniflare, None]:
        """Run the project for the time of the block, on a clone of the prepared state.

        Args:
            clock: True, or the date to start at, for virtual time.
            interleave: Seed of another order of what is ready; with virtual time.
            evict: "every-turn" to take objects out of memory after each event.
            seed: What fills the prepared state, the first time.
            left: Is told at the end what was still running, a line for each.
            report: Is told at the end what the test came to.
        """
        before = asyncio.all_tasks()
        await self._fill(seed)
        with self._template.clone() as state:
            miniflare = self._instance(state, clock=clock, interleave=interleave, evict=evict)
            try:
                app = await miniflare.start()
                routes: dict[str, Route] = {}
                if report is not None:
                    miniflare.route_log = RouteLog(Tally(app))
                    routes = miniflare.route_log.routes
                token = current.set(miniflare)
                with ambient.enter(app.workers[0].isolate.ambient):
                    yield miniflare
                current.reset(token)
                lines = await left_running(app, frozenset(before | miniflare.tasks))
                if lines and left is not None:
                    left(lines)
                if report is not None:
                    report(collect(app, routes))
                app.patience_s = 0.0
            finally:
                await miniflare.dispose()


class Session:
    """The kits of one test session, one for each configuration."""

    def __init__(self, folder: Callable[[], Path], environment: str | None, *, migrates: bool) -> None:
        """Keep state in folders that `folder` makes."""
        self._folder = folder
        self._environment = environment
        self._migrates = migrates
        self._kits: dict[Path, Kit] = {}

    def kit(self, config: Path) -> Kit:
        """Return the kit of a configuration file.

        Raises:
            ConfigError: The file cannot be used.
        """
        if config not in self._kits:
            project = load(config, self._environment)
            self._kits[config] = Kit(project, self._folder(), migrates=self._migrates)
        return self._kits[config]
