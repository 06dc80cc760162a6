"""`Miniflare`: a Worker, or several, running in the test's own event loop, with Miniflare's options and methods.

Every method has its snake_case name and Miniflare's own, so that its documentation applies.
https://developers.cloudflare.com/workers/testing/miniflare/
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from d1.database import D1Database
from d1.engine import InlineExecutor
from durable_objects.ids import DurableObjectId
from durable_objects.instance import EvictionTimes
from durable_objects.namespace import DurableObjectNamespace
from workers.compat import web
from workers.compat.ambient import Env
from workers.response import Response
from workers.runtime.app import App
from workers.runtime.config.models import RealtimeSection
from workers.runtime.testing import controls
from workers.runtime.testing.doubles import answer_of, service_double
from workers.runtime.testing.erase import erase
from workers.runtime.testing.faults import Faults
from workers.runtime.testing.interleave import Interleaving
from workers.runtime.testing.machine_time import follow_machine_time
from workers.runtime.testing.network import Network
from workers.runtime.testing.options import Options, read_options
from workers.runtime.testing.owned import Owned
from workers.runtime.testing.tally import RouteLog
from workers.runtime.testing.worker import TestWorker
from workers.runtime.virtual_time import VirtualTime

__all__ = ["Bindings", "Miniflare"]


class Bindings(Env):
    """The bindings of a Worker, by attribute or by key."""

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            raise KeyError(name)
        return getattr(self, name)


class _Ready:
    """What `await mf.ready` waits for."""

    def __init__(self, serve: Callable[[], Awaitable[str]]) -> None:
        self._serve = serve

    def __await__(self) -> Generator[Any, None, str]:
        return self._serve().__await__()


class Miniflare:
    """A running application for tests. Use it in `async with`, or call `dispose` at the end.

    It starts when it is first used. Without a persistence option its state is temporary.
    """

    def __init__(self, options: Mapping[str, Any] | None = None, /, **given: Any) -> None:
        """Take options by Miniflare's names, in one table or by keyword, in camelCase or snake_case.

        Those of its documentation, and:

        * `config`: path of a wrangler configuration to start from;
        * `clock`: True or an aware datetime for virtual time, or a `Clock` to take dates from;
        * `random`: a `random.Random` for everything that is drawn by chance;
        * `outbound_service`: a function that answers the Worker's `fetch` instead of the network;
        * `interleave`: a seed by which what is ready runs in another order;
        * `evict`: "every-turn" to take objects out of memory after each event.

        Raises:
            TypeError: An option is not known or has a wrong value.
        """
        wanted: dict[str, Any] = {**(options or {}), **given}
        self._folder = Path(tempfile.mkdtemp(prefix="flarelet-"))
        try:
            self._options = read_options(wanted, self._folder / "source")
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self._state = self._folder / "state"
        self._owned: Owned[App] | None = None
        self._app: App | None = None
        self._server: Owned[str] | None = None
        self._url: str | None = None
        self._is_disposed = False
        self._stop_following: Callable[[], None] = _nothing
        self._interleaving: Interleaving | None = None
        self._network = Network()
        self.route_log: RouteLog | None = None
        """Counts the requests of the test, once somebody has set it."""
        self.faults = Faults()
        """Faults to plan: commits that fail, requests without an answer, sockets that are cut."""
        self.clock: VirtualTime | None = None
        """The one clock, when it was asked for."""

    @classmethod
    def over(cls, options: Options, state: Path) -> Miniflare:
        """Return an instance for options that are read already, on a state folder that somebody else removes."""
        made = cls.__new__(cls)
        made._options = options
        made._folder, made._state = state, state
        made._owned = made._app = made._server = made._url = made.clock = None
        made._is_disposed = False
        made._stop_following, made._interleaving = _nothing, None
        made.faults, made._network, made.route_log = Faults(), Network(), None
        return made

    # -- life

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.dispose()

    async def start(self) -> App:
        """Start, unless it runs; return the application."""
        if self._is_disposed:
            raise RuntimeError("this Miniflare instance was disposed")
        if self._app is None:
            options = self._options
            if options.clock and not hasattr(options.clock, "now_ms") and self.clock is None:
                self.clock = VirtualTime(start=options.clock if isinstance(options.clock, datetime) else None)
                self.clock.start()
                self._stop_following = follow_machine_time(self.clock)
                if options.interleave is not None:
                    self._interleaving = Interleaving(self.clock, asyncio.get_running_loop(), options.interleave)
                    self._interleaving.start()
            self._link_persistent_folders()
            self._owned = Owned(self._opened())
            try:
                self._app = await self._owned.enter()
            except BaseException:
                await self.dispose()
                raise
        return self._app

    def _link_persistent_folders(self) -> None:
        root = self._state / "v3"
        root.mkdir(parents=True, exist_ok=True)
        for kind, folder in self._options.persist.items():
            if folder is not None and not (root / kind).exists():
                folder.mkdir(parents=True, exist_ok=True)
                (root / kind).symlink_to(folder.absolute(), target_is_directory=True)

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[App, None]:
        options, workers = self._options, self._options.workers
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._network.close)
            app = await stack.enter_async_context(
                App.open(
                    workers[0].project,
                    persist_to=self._state,
                    outbound=self._outbound,
                    clock=self.clock or options.clock or None,
                    random=options.random,
                    executor=InlineExecutor() if self.clock is not None else None,
                    raises=True,
                    others=[worker.project for worker in workers[1:]],
                )
            )
            self.faults.install(app.host.open_files)
            if options.evict is not None:
                app.host.eviction = EvictionTimes(0.0, (0.0, 0.0))
            for described, worker in zip(workers, app.workers, strict=True):
                doubles = {name: service_double(function) for name, function in described.services.items()}
                worker.isolate.bind({**described.extra_bindings, **doubles})
            yield app

    async def _outbound(self, request: web.Request) -> web.Response:
        outcome = self.faults.planned(request.url)
        if isinstance(outcome, Exception):
            raise outcome
        double = outcome or self._options.workers[0].outbound
        return await (self._network.fetch(request) if double is None else answer_of(double, request))

    async def dispose(self) -> None:
        """Stop and remove temporary state. Idempotent."""
        self._is_disposed = True
        await self._stop()
        if self._interleaving is not None:
            self._interleaving.stop()
            self._interleaving = None
        if self.clock is not None:
            self.clock.stop()
            self._stop_following()
        if self._folder != self._state:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _stop(self) -> None:
        server, self._server, self._url = self._server, None, None
        owned, self._owned, self._app = self._owned, None, None
        if server is not None:
            await server.leave()
        if owned is not None:
            await owned.leave()

    async def set_options(self, options: Mapping[str, Any] | None = None, /, **given: Any) -> None:
        """Replace all options and start again; state stays.

        Raises:
            TypeError: An option is not known or has a wrong value; nothing has changed.
        """
        new: dict[str, Any] = {**(options or {}), **given}
        read = read_options(new, self._folder / "source")
        was_running = self._app is not None
        await self._stop()
        self._options = read
        if was_running:
            await self.start()

    @property
    def realtime(self) -> RealtimeSection | None:
        """The first Worker's realtime settings, None when it has none."""
        project = self._options.workers[0].project
        flarelet = project.settings.flarelet
        section = None if flarelet is None else flarelet.realtime
        return section and section.model_copy(update={"project": section.project or project.name})

    @property
    def tasks(self) -> set[asyncio.Task[Any]]:
        """The tasks that belong to this instance itself."""
        return {owned.task for owned in (self._owned, self._server) if owned is not None and owned.task is not None}

    @property
    def ready(self) -> Awaitable[str]:
        """Await it to serve over HTTP too; gives the base URL."""
        return _Ready(self._serve)

    async def _serve(self) -> str:
        if self._url is None:
            app = await self.start()
            self._server = Owned(_listening(app, self._options.host, self._options.port))
            self._url = await self._server.enter()
        return self._url

    # -- what runs

    async def dispatch_fetch(self, resource: Any, init: Mapping[str, Any] | None = None, /, **options: Any) -> Response:
        """Send a request to the first Worker, as `TestWorker.fetch` does."""
        return await (await self.get_worker()).fetch(resource, init, **options)

    async def get_worker(self, name: str | None = None) -> TestWorker:
        """Return a Worker to call: the first one, or the one of that name.

        Raises:
            TypeError: There is none of that name.
        """
        app = await self.start()
        worker = await self._worker(name)
        respond = app.respond if worker is app.workers[0] else worker.respond
        log = self.route_log
        if log is not None:
            inner = respond

            def respond(request: web.Request) -> Awaitable[web.Response]:
                return log.seen(request, inner(request))

        return TestWorker(worker.isolate, respond, self._options.cf, self.faults.watch)

    async def _worker(self, name: str | None) -> Any:
        app = await self.start()
        for worker in app.workers:
            if name in (None, worker.project.name):
                return worker
        known = ", ".join(worker.project.name for worker in app.workers)
        raise TypeError(f"{name!r} is no Worker here; there is {known}")

    async def get_bindings(self, worker: str | None = None) -> Bindings:
        """Return the bindings of a Worker, `env`."""
        return Bindings(dict((await self._worker(worker)).isolate.env.__dict__))

    async def _binding(self, name: str, kind: type[Any] | None, what: str, worker: str | None) -> Any:
        env = await self.get_bindings(worker)
        found = vars(env).get(name)
        if found is None or (kind is not None and not isinstance(found, kind)):
            raise TypeError(f"{name!r} is no {what} binding; configured: {', '.join(env) or 'none'}")
        return found

    async def get_d1_database(self, binding: str, worker: str | None = None) -> D1Database:
        """Return a D1 binding.

        Raises:
            TypeError: There is none of that name.
        """
        return await self._binding(binding, D1Database, "D1", worker)

    async def get_durable_object_namespace(self, binding: str, worker: str | None = None) -> DurableObjectNamespace:
        """Return a Durable Object binding.

        Raises:
            TypeError: There is none of that name.
        """
        return await self._binding(binding, DurableObjectNamespace, "Durable Object", worker)

    async def get_kv_namespace(self, binding: str, worker: str | None = None) -> Any:
        """Return a KV binding.

        Raises:
            TypeError: There is none of that name.
        """
        from workers.runtime.kv.namespace import KvNamespace

        return await self._binding(binding, KvNamespace, "KV", worker)

    # -- Durable Objects

    async def list_durable_object_ids(self, namespace: DurableObjectNamespace | str) -> list[DurableObjectId]:
        """Return the ids of all objects of a namespace, or of a binding's, that have stored something."""
        app = await self.start()
        if isinstance(namespace, str):
            namespace = await self.get_durable_object_namespace(namespace)
        return controls.list_ids(app.host, namespace)

    async def run_in_durable_object(self, stub: object, callback: Callable[..., Any]) -> Any:
        """Call `callback(instance, state)` inside an object; see `controls.run_inside`."""
        return await controls.run_inside(stub, callback)

    async def run_durable_object_alarm(self, stub: object) -> bool:
        """Run an object's alarm now, if one is set; say whether one was."""
        return await controls.run_alarm(stub)

    async def evict_durable_object(
        self, stub: object, options: Mapping[str, Any] | None = None, /, *, web_sockets: str = "hibernate"
    ) -> None:
        """Take an object out of memory; see `controls.evict`. `options` is JavaScript's `{webSockets}`."""
        await controls.evict(stub, web_sockets=(options or {}).get("webSockets", web_sockets))

    async def evict_all_durable_objects(
        self, options: Mapping[str, Any] | None = None, /, *, web_sockets: str = "hibernate"
    ) -> None:
        """Take every object that is running out of memory."""
        app = await self.start()
        how = (options or {}).get("webSockets", web_sockets)
        await controls.evict_all(app.host, web_sockets=how)

    async def abort_all_durable_objects(self) -> None:
        """Break every instance: what is not committed is lost, stored data stays."""
        (await self.start()).host.abort_all()

    async def unsafe_evict_durable_object(
        self, script_name: str, class_name: str, options: Mapping[str, Any], /
    ) -> None:
        """Take one object out of memory, named by its class and `{"name"}` or `{"id"}`."""
        app = await self.start()
        stub = controls.stub_of(app, script_name, class_name, options)
        await controls.evict(stub, web_sockets=options.get("webSockets", "hibernate"))

    async def reset(self) -> None:
        """Delete all data of all bindings; the bindings stay."""
        await erase(await self.start())

    dispatchFetch = dispatch_fetch
    getWorker = get_worker
    getBindings = get_bindings
    getD1Database = get_d1_database
    getDurableObjectNamespace = get_durable_object_namespace
    getKVNamespace = get_kv_namespace
    listDurableObjectIds = list_durable_object_ids
    runInDurableObject = run_in_durable_object
    runDurableObjectAlarm = run_durable_object_alarm
    evictDurableObject = evict_durable_object
    evictAllDurableObjects = evict_all_durable_objects
    abortAllDurableObjects = abort_all_durable_objects
    unsafeEvictDurableObject = unsafe_evict_durable_object
    setOptions = set_options


def _nothing() -> None:
    pass


@asynccontextmanager
async def _listening(app: App, host: str, port: int) -> AsyncGenerator[str, None]:
    from workers.runtime.edge.serving import serving  # aiohttp, which only a test that listens pays for

    async with serving(app, host=host, port=port) as edge:
        yield edge.url
