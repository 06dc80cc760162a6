"""The composition root: a checked configuration becomes a running application.

This is the only place that knows every room. `App.open` builds databases, the object host, the Worker and realtime, in
that order, and takes them down in the reverse order; one TaskGroup owns every task the Worker leaves running.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random, SystemRandom
from typing import TYPE_CHECKING

from durable_objects.clock import Clock, SystemClock
from workers.compat import ambient, web
from workers.request import Request
from workers.response import Response
from workers.runtime import bindings
from workers.runtime.config.load import Project, load
from workers.runtime.config.models import LimitsSection, RealtimeSection
from workers.runtime.deadlines import Deadlines
from workers.runtime.dispatch import Dispatcher
from workers.runtime.isolate import Isolate, Outbound
from workers.runtime.loader import ModuleSpace
from workers.runtime.resources import Resources, StateError
from workers.runtime.tracebacks import Report, make_report
from workers.runtime.worker import Worker

if TYPE_CHECKING:
    from durable_objects.host import Host
    from durable_objects.namespace import DurableObjectNamespace
    from durable_objects.realtime.binding import Realtime
    from durable_objects.realtime.core.meter import Sample

__all__ = ["App", "StateError", "StateInUse"]

_DRAIN_S = 3.0
# Whether realtime might answer: a cheap look, before the URL is taken apart.
_REALTIME_PATH = re.compile(
    r"^https?://[^/]+/(?:api/(?:v1/public/)?realtime|v1/realtime|realtime|internal/(?:hooks/rpc|metrics))"
)


class StateInUse(StateError):
    """Another process has the state folder open; two writers would lose each other's data."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} is in use by another flarelet; stop it or choose another folder with --persist-to")


class App:
    """A Worker with its bindings, and the Workers it is bound to, ready to answer."""

    def __init__(self, project: Project, state: Path, tasks: asyncio.TaskGroup, clock: Clock | None) -> None:
        self.project = project
        self.state = state
        self.warnings: list[str] = list(project.warnings)
        """Lines the person at the terminal should read once."""
        self.patience_s = _DRAIN_S
        """How long work given to `waitUntil` has at the end."""
        self._tasks = tasks
        self._own_clock = clock
        self._clock = clock or SystemClock()
        self._executor: Executor | None = None
        self._raises = False
        self._test_scheduled = False
        self.limits = LimitsSection() if project.settings.flarelet is None else project.settings.flarelet.limits
        """How long the Workers' code may take."""
        self.deadlines = Deadlines(self.limits.handler_s)
        """The handlers that are running."""
        self._realtime: Realtime | None = None
        self._realtime_answers = False
        self._pages = False
        self._after: ModuleSpace | None = None
        self.space: ModuleSpace | None = None
        """The Worker's modules, None without a main module."""
        self._workers: list[Worker] = []
        self._resources: Resources
        self._isolate: Isolate
        self._dispatcher: Dispatcher
        self._answer: Callable[[web.Request], Awaitable[web.Response]]
        self._random: Random
        self._host: Host | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        config: Project | Path,
        *,
        persist_to: Path | None = None,
        outbound: Outbound | None = None,
        clock: Clock | None = None,
        random: Random | None = None,
        pages: bool = False,
        after: ModuleSpace | None = None,
        executor: Executor | None = None,
        raises: bool = False,
        test_scheduled: bool = False,
        others: Sequence[Project | Path] = (),
    ) -> AsyncGenerator[App, None]:
        """Run the application of a configuration inside the `async with` block.

        Args:
            config: A loaded project, or the path of a configuration file.
            persist_to: Folder for state; by default `.wrangler/state` beside the configuration file.
            outbound: The way to the network for `fetch`; without it, outbound requests fail.
            clock: Source of dates, in SQL and JavaScript's `Date` too; the machine's by default.
            random: Source of randomness.
            pages: Show exceptions as pages to browsers: they hold the Worker's source.
            after: The modules of the same Worker before its source was changed.
            executor: Runs long SQL statements; a thread for each database by default.
            raises: Let the exception of a handler reach the caller of `respond` instead of answering with a 500.
            test_scheduled: Run `scheduled` handlers for requests of `/__scheduled`.
            others: Configurations of further Workers, which this one and they among themselves reach by bindings.

        Raises:
            ConfigError: A binding cannot be made as configured.
            LoadError: The Worker's source cannot be loaded.
        """
        project = config if isinstance(config, Project) else load(config)
        random = random or SystemRandom()
        projects = [project, *(other if isinstance(other, Project) else load(other) for other in others)]
        _check(projects)
        async with AsyncExitStack() as stack:
            state = (persist_to or project.directory / ".wrangler" / "state") / "v3"
            stack.callback(_lock(state))
            tasks = asyncio.TaskGroup()
            await tasks.__aenter__()
            # Without the error of the block: a TaskGroup would wrap what the caller raised.
            stack.push_async_callback(tasks.__aexit__, None, None, None)
            app = cls(project, state, tasks, clock)
            app._pages, app._after, app._executor, app._raises = pages, after, executor, raises
            app._test_scheduled = test_scheduled
            await app._build(stack, projects, outbound or _no_network, random)
            yield app

    async def _build(
        self, stack: AsyncExitStack, projects: Sequence[Project], outbound: Outbound, random: Random
    ) -> None:
        project = self.project
        resources = self._resources = Resources(self.state, self._own_clock, self._executor)
        if project.main is None and self._realtime_section is None and not _has_files(project):
            raise project.error("main", 'is required: the Worker\'s main module, for example "src/entry.py"')
        self._random = random
        host = self.host if self._realtime_section is not None or any(map(_has_objects, projects)) else None
        workers = self._workers = [
            Worker(one, self._tasks, outbound, self._after if one is project else None) for one in projects
        ]
        primary = workers[0]
        self._isolate, self.space = primary.isolate, primary.space
        for worker in workers:
            if self._own_clock is not None:
                worker.isolate.ambient.clock = self._own_clock.now_ms
            stack.callback(worker.close)
        stack.callback(self.deadlines.close)
        stack.push_async_callback(resources.close)
        stack.push_async_callback(self._drain)
        stack.push_async_callback(self._close_host)
        callees = {worker.project.name: worker.callee for worker in workers}
        for worker in workers:
            version = bindings.version_metadata(worker.project, self._clock, random)
            worker.load({**version, **resources.bindings(worker.project)}, callees)
        homes = {worker.project.name: worker.home for worker in workers}
        for worker in workers:
            self._warn(worker.project, worker.connect(host, homes, callees))
        if any(one.settings.workflows for one in projects):
            from workers.runtime.workflows.opening import open_workflows

            sites = [(worker.project, worker.isolate) for worker in workers]
            flows, warnings = open_workflows(sites, self.state / "workflows", self._clock, random, self._tasks)
            self.warnings += warnings
            for flow in flows:
                stack.push_async_callback(flow.close)
        else:
            flows = []
        self._add_realtime(stack, random)
        for worker in workers:
            worker.ready(
                self._clock,
                pages=self._pages,
                raises=self._raises,
                test_scheduled=self._test_scheduled,
                deadlines=self.deadlines,
            )
        self._dispatcher, self._answer = primary.dispatcher, primary.respond
        if primary.isolate.module is not None and not self._dispatcher.has_fetch and self._realtime is None:
            self.warnings.append(f"{project.settings.main} exports no Default class with fetch and no on_fetch")
        if self._host is not None:
            await self._host.start()
        for flow in flows:
            flow.start()

    async def _close_host(self) -> None:
        if self._host is not None:
            await self._host.close()

    def _add_realtime(self, stack: AsyncExitStack, random: Random) -> None:
        section = self._realtime_section
        if section is not None:
            self._realtime = self._open_realtime(section, random)
            self._realtime_answers = section.routes
            stack.push_async_callback(self._realtime.close)
            self._isolate.bind({section.binding: self._realtime})

    @property
    def _realtime_section(self) -> RealtimeSection | None:
        flarelet = self.project.settings.flarelet
        return flarelet.realtime if flarelet is not None else None

    def _warn(self, project: Project, warnings: list[str]) -> None:
        if project is not self.project:
            self.warnings += project.warnings
        self.warnings += warnings
        stand_ins = bindings.unavailable(project.settings).values()
        self.warnings += [f"{project.path.name}: {stand_in}" for stand_in in stand_ins]

    async def _drain(self) -> None:
        for worker in self._workers:
            await worker.drain(self.patience_s)

    def _open_realtime(self, section: RealtimeSection, random: Random) -> Realtime:
        from d1.engine import CaptureBounds, LogBounds
        from durable_objects.realtime.binding import Realtime
        from durable_objects.realtime.core.settings import RealtimeSettings, TopicClass

        feed = None
        if section.database is not None:
            feed = self._resources.feed(self.project, section.database)
            if feed is None:
                known = ", ".join(entry.binding for entry in self.project.settings.d1_databases) or "none"
                raise self.project.error(
                    "flarelet.realtime.database", f'there is no D1 binding "{section.database}"; configured: {known}'
                )
        try:
            settings = RealtimeSettings(
                project=section.project or self.project.name,
                database=section.database,
                public_keys=tuple(section.public_keys),
                secret_keys=tuple(section.secret_keys),
                topics=tuple(TopicClass(**topic.model_dump()) for topic in section.topics),
                routes=section.routes,
                jwt=section.jwt and section.jwt.settings(self.project.directory, self._variables),
                rules=tuple(rule.settings() for rule in section.rules),
                **section.limits(),
            )
            realtime = Realtime(
                settings,
                self._topic_namespaces(section),
                feed,
                clock=self._clock,
                random=random,
                fetch=self._read,
                figures=self._figures,
            )
        except ValueError as error:
            raise self.project.error("flarelet.realtime", str(error)) from error
        if feed is not None:
            bounds = section.table_log_rows, section.table_log_bytes, section.table_log_age_s, section.table_grace_s
            feed.start_log(LogBounds(*bounds), CaptureBounds(section.table_max_changes, section.table_max_change_bytes))
            feed.listen(realtime.table_changes)
        return realtime

    def _figures(self) -> Iterable[Sample]:
        from workers.runtime.metrics import figures

        return figures(self.host, self._resources.databases)

    @property
    def _variables(self) -> dict[str, object]:
        return {**self.project.settings.vars, **self.project.dev_vars}

    async def _read(self, address: str) -> bytes:
        """Read an address that the configuration names."""
        response = Response(await self._isolate.ambient.fetch(web.Request(address)))
        if response.status != 200:
            raise OSError(f"it was answered with status {response.status}")
        return await response.bytes()

    def _topic_namespaces(self, section: RealtimeSection) -> dict[str, DurableObjectNamespace]:
        """Return a namespace for every class a topic may run, the built-in one among them."""
        from durable_objects.realtime.core.settings import BUILT_IN_CLASS
        from durable_objects.realtime.topic_object import TopicObject

        ambient, module = self._isolate.ambient, self._isolate.module
        classes: dict[str, type] = {BUILT_IN_CLASS: TopicObject}
        for number, topic in enumerate(section.topics):
            key = f"flarelet.realtime.topics.{number}.class_name"
            if topic.class_name == BUILT_IN_CLASS:
                continue
            found = bindings.find_class(self.project, module, key, topic.class_name)
            if not issubclass(found, TopicObject):
                raise self.project.error(key, f'"{topic.class_name}" is not a subclass of durable_objects.TopicObject')
            classes[topic.class_name] = found
        return {
            name: bindings.object_namespace(self.project, self.host, ambient, found, name)
            for name, found in classes.items()
        }

    # -- events

    async def respond(self, request: web.Request) -> web.Response:
        """Answer one request: realtime's own endpoints first, then the Worker."""
        if self._realtime_answers and _REALTIME_PATH.search(request.url) is not None:
            answer = await self._answer_realtime(request)
            if answer is not None:
                return answer
        return await self._answer(request)

    async def _answer_realtime(self, request: web.Request) -> web.Response | None:
        assert self._realtime is not None
        with ambient.enter(self._isolate.ambient):
            try:
                answer = await self._realtime.answer(Request(request))
            except Exception as error:  # a request
                return self._dispatcher.failure(error, request)
        return None if answer is None else answer.js_object

    def failure(self, error: BaseException, request: web.Request | None = None) -> web.Response:
        """Return the 500 for a response that could not be sent."""
        return self._dispatcher.failure(error, request)

    async def handle(self, request: Request) -> Response:
        """Answer a request made in this process, as `dispatchFetch` does."""
        return Response(await self.respond(request.js_object))

    async def scheduled(self, cron: str = "", at_ms: int | None = None) -> tuple[str, bool]:
        """Run the Worker's `scheduled` handler; return its outcome and whether it asked for no retry."""
        return await self._dispatcher.scheduled(cron, self._clock.now_ms() if at_ms is None else at_ms)

    async def close_objects(self, code: int = 1012) -> None:
        """Commit and stop every Durable Object; their sockets are closed with `code`."""
        if self._realtime is not None:
            await self._realtime.remember()
        if self._host is not None:
            await self._host.close(code)

    @property
    def workers(self) -> Sequence[Worker]:
        """Every Worker, the one that answers requests first."""
        return self._workers

    def is_topic(self, cls: type) -> bool:
        """Whether objects of a class are topics of realtime."""
        return self._realtime is not None and any(base.__name__ == "TopicObject" for base in cls.__mro__)

    @property
    def resources(self) -> Resources:
        """What the Workers share."""
        return self._resources

    @property
    def host(self) -> Host:
        """Where Durable Objects live; made when somebody needs it."""
        if self._host is None:
            from durable_objects.host import Host  # imports all that storage needs

            self._host = Host(self.state / "do", clock=self._own_clock, random=self._random)
        return self._host

    def is_source(self, path: str) -> bool:
        """Say whether a file is the own source of one of the Workers."""
        return any(worker.isolate.is_own(path) for worker in self._workers)

    def explain(self, error: BaseException) -> Report:
        """Describe an exception with the Workers' own frames first."""
        return make_report(error, self.is_source, self.shown)

    def shown(self, path: str) -> str:
        """Return a source file's path as it is shown."""
        spaces = [worker.space for worker in self._workers if worker.space is not None]
        return next((space.shown(path) for space in spaces if space.is_source(path)), path)

    @property
    def source_folders(self) -> list[Path]:
        """The folders whose modules are the Workers' own."""
        return [Path(folder) for worker in self._workers for folder in worker.isolate.source_folders]

    @property
    def realtime_has_keys(self) -> bool:
        """True when realtime is on and keys or tokens protect it."""
        section = self._realtime_section
        return section is not None and bool(section.public_keys or section.secret_keys or section.jwt)

    @property
    def realtime_is_open(self) -> bool:
        """True when realtime is on and no key protects it."""
        return self._realtime_section is not None and not self.realtime_has_keys


def _check(projects: Sequence[Project]) -> None:
    """Refuse Workers that cannot be told apart, and configurations in which two bindings want one name."""
    known: dict[str, Project] = {}
    for project in projects:
        bindings.check_names(project)
        first = known.setdefault(project.name, project)
        if first is not project:
            raise project.error("name", f'"{project.name}" is also the name of the Worker in {first.path}')


def _has_objects(project: Project) -> bool:
    settings = project.settings
    return bool(settings.durable_objects.bindings or settings.workflows or settings.worker_loaders)


def _has_files(project: Project) -> bool:
    assets = project.settings.assets
    return assets is not None and assets.directory is not None


def _lock(folder: Path) -> Callable[[], None]:
    """Claim a state folder for this process; return what gives it back. A killed process holds nothing.

    Raises:
        StateInUse: Another process has claimed it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".flarelet.lock").open("a")
    except OSError as error:
        raise StateError(f"{folder} cannot hold state: {error.strerror}") from error
    try:
        import fcntl
    except ImportError:  # Windows: SQLite's own locks are what there is
        return file.close
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise StateInUse(folder) from None
    return file.close


async def _no_network(request: web.Request) -> web.Response:
    raise OSError(f"no way to the network is configured here: {request.url}")
