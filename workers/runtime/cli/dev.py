"""`flarelet dev`: one Worker on one address, started again after every save, until a signal."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from durable_objects.clock import SystemClock
from workers.runtime.app import App, StateError
from workers.runtime.cli import banner, debugger
from workers.runtime.cli.crons import fire_crons
from workers.runtime.cli.json_log import JsonFormat
from workers.runtime.cli.keys import Keys, clear_screen, open_in_browser
from workers.runtime.cli.mistake import serving_mistake
from workers.runtime.cli.request_log import RequestLog
from workers.runtime.cli.watch import Bell, SourceWatch
from workers.runtime.config.load import ConfigError, Project, find, load
from workers.runtime.edge.hosts import is_loopback
from workers.runtime.edge.listener import BindError, Listener
from workers.runtime.edge.outbound import OutboundClient
from workers.runtime.edge.serving import serving
from workers.runtime.loader import LoadError, ModuleSpace
from workers.runtime.tracebacks import Report
from workers.runtime.watchdog import Watchdog

if TYPE_CHECKING:
    from workers.runtime.cli.tail_server import TailServer

__all__ = ["READY", "DevOptions", "run"]

READY = banner.READY

_MOST_FILES = 262_144
_RELOAD_PATIENCE_S = 0.1
_MISTAKES = (ConfigError, LoadError, BindError, StateError)


@dataclass(frozen=True, slots=True)
class DevOptions:
    """What the command line says."""

    config: Path
    environment: str | None = None
    ip: str | None = None
    port: int | None = None
    persist_to: Path | None = None
    variables: Mapping[str, str] | None = None
    verbose: bool = False
    log_format: Literal["text", "json"] = "text"
    quiet: bool = False
    reload: bool = True
    others: tuple[Path, ...] = ()
    test_scheduled: bool = False
    fire_crons: bool = False


def run(options: DevOptions) -> int:
    """Serve until SIGINT or SIGTERM; return the exit status."""
    form = _log_to_terminal(verbose=options.verbose, as_json=options.log_format == "json")
    _allow_many_sockets()
    try:
        asyncio.run(_serve(options, form))
    except _MISTAKES as error:
        _show_mistake(error, options)
        return 1
    except KeyboardInterrupt:  # a second Ctrl+C while stopping
        return 130
    return 0


class _Format(logging.Formatter):
    """The level in front, but for what a Worker says with `console.log`; the Worker's own frames of an exception."""

    explain: Callable[[BaseException], Report] | None = None
    """Describes an exception; None shows whole tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return record.getMessage() if record.name == "console" and record.levelno <= logging.INFO else text

    def formatException(self, ei: Any) -> str:  # logging's name
        if self.explain is None or ei[1] is None:
            return super().formatException(ei)
        return self.explain(ei[1]).text().rstrip()


def _log_to_terminal(*, verbose: bool, as_json: bool) -> _Format:
    handler = logging.StreamHandler(sys.stderr)
    plain = _Format("%(levelname)s %(name)s: %(message)s" if verbose else "%(levelname)s: %(message)s")
    handler.setFormatter(JsonFormat() if as_json else plain)
    logging.basicConfig(level=logging.DEBUG if verbose else logging.WARNING, handlers=[handler])
    logging.getLogger("console").setLevel(logging.DEBUG)
    return plain


def _allow_many_sockets() -> None:
    """Use as many file descriptors as the system allows: the usual soft limit of 1,024 is 1,000 clients."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):  # macOS has a lower limit of its own
            return


def _show_mistake(error: Exception, options: DevOptions) -> None:
    click.echo(f"error: {error}", err=True)
    if not isinstance(error, LoadError):
        return
    if options.verbose and error.detail:
        click.echo(error.detail, err=True)
    elif error.report is not None:
        click.echo(error.report.details(), err=True, nl=False)


async def _serve(options: DevOptions, form: _Format) -> None:
    """Serve until a signal; start again after every change of the source."""
    config, *others = (find(path.absolute()) if path.is_dir() else path for path in (options.config, *options.others))
    with ExitStack() as stack:
        dev = _Dev(replace(options, config=config, others=tuple(others)), stack, form)
        await dev.serve()
    click.echo("Stopping.")


class _Address:
    """Where a run of the command listens. It stays claimed from one start to the next, so that clients wait."""

    def __init__(self, options: DevOptions) -> None:
        self._ip, self._port = options.ip, options.port
        self.listener: Listener | None = None

    def listen(self, project: Project) -> Listener:
        """Return the listener; the port stays what it was at the first start.

        Raises:
            BindError: The address is in use or not ours; the one before is listened on again.
        """
        dev, before = project.settings.dev, self.listener
        host = self._ip or dev.ip or "127.0.0.1"
        if before is None:
            port = self._port if self._port is not None else dev.port if dev.port is not None else 8787
            self.listener = Listener(host, port)
        elif before.host != host:
            port = before.port
            before.close()  # first: one of the two may be every address of the machine
            try:
                self.listener = Listener(host, port)
            except BindError:
                self.listener = Listener(before.host, port)
                raise
        assert self.listener is not None
        return self.listener

    def close(self) -> None:
        """Give the address back."""
        if self.listener is not None:
            self.listener.close()
            self.listener = None


class _Dev:
    """One run of the command: what stays while the Worker is loaded again and again."""

    def __init__(self, options: DevOptions, stack: ExitStack, form: _Format) -> None:
        self._options, self._form = options, form
        self._loop = asyncio.get_running_loop()
        self._bell = Bell()
        self._url = ""
        self._clock = SystemClock()
        self._noticed: float | None = None  # when the last change was
        self._space: ModuleSpace | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            stack.callback(signal.signal, number, signal.signal(number, self._signalled))
        self._watch = (
            stack.enter_context(closing(SourceWatch([options.config, *options.others], self._bell)))
            if options.reload
            else None
        )
        self._address = stack.enter_context(closing(_Address(options)))
        self._tail: TailServer | None = None
        self._requests = RequestLog(self._loop, quiet=options.quiet, tell=self._request_seen)
        self._keys = Keys(
            {
                "b": lambda: open_in_browser(self._url),
                "c": clear_screen,
                "x": self._bell.stop,
                "q": self._bell.stop,
            }
        )
        self._keys.start(self._loop)
        stack.callback(self._keys.stop, self._loop)
        self._watchdog: Watchdog | None = None
        debugger.install(self._at_debugger)

    async def serve(self) -> None:
        """Serve, and start again after a change, until the bell says to stop.

        Raises:
            ConfigError, LoadError, BindError, StateError: The first start failed; later ones wait for a change.
        """
        started = False
        try:
            while not self._bell.stopping:
                try:
                    await self._serve_once()
                except _MISTAKES as error:
                    if not started or self._watch is None:
                        raise
                    await self._serve_mistake(error)
                started = True
        finally:
            if self._tail is not None:
                await self._tail.stop()

    async def _serve_once(self) -> None:
        options, watch = self._options, self._watch
        if watch is not None:
            watch.follow()  # before the files are read: what is saved meanwhile counts as changed
        project = load(options.config, options.environment, options.variables)
        others = [_load_other(path, options) for path in options.others]
        if watch is not None:
            watch.follow([one.main.parent for one in (project, *others) if one.main is not None])
        # Before the state is opened: of two servers in one folder, the second should name the port, not the lock.
        listener = self._address.listen(project)
        async with (
            OutboundClient() as outbound,
            App.open(
                project,
                persist_to=options.persist_to,
                outbound=outbound.fetch,
                pages=is_loopback(listener.host),
                after=self._space,
                test_scheduled=options.test_scheduled,
                others=others,
            ) as app,
            asyncio.TaskGroup() as tasks,
        ):
            self._space = app.space
            if not options.verbose:
                self._form.explain = app.explain
            for warning in app.warnings:
                click.echo(f"warning: {warning}", err=True)
            async with serving(app, host=listener.host, listener=listener, seen=self._requests.seen) as edge:
                _spare_the_collector()
                self._url = edge.url
                took_s = None if self._noticed is None else self._loop.time() - self._noticed
                banner.show(app, edge.url, keys=self._keys.active, again_after_s=took_s)
                if watch is not None:
                    watch.follow_too(app.source_folders)
                self._watchdog = self._watch_over(app)
                await self._start_tail(app.state)
                firing = tasks.create_task(fire_crons(app, self._clock)) if options.fire_crons else None
                changed = await self._changed()
                self._watchdog.stop()
                if firing is not None:
                    firing.cancel()
                if changed:
                    edge.patience_s = app.patience_s = _RELOAD_PATIENCE_S  # a page that streams would hold up the rest
                self._requests.flush()

    def _watch_over(self, app: App) -> Watchdog:
        watchdog = Watchdog(app.is_source, app.shown, app.deadlines, busy_s=app.limits.busy_s)
        watchdog.start()
        return watchdog

    @contextmanager
    def _at_debugger(self) -> Generator[None, None, None]:
        """The person types at the debugger: keys are lines again, and time does not count."""
        with self._keys.paused(), self._watchdog.paused() if self._watchdog is not None else nullcontext():
            yield

    def _signalled(self, _number: int, _frame: object) -> None:
        """Stop in good order; at once the second time, and when the loop is held up by an infinite loop."""
        stuck = self._watchdog is not None and self._watchdog.is_stuck
        if self._bell.stopping or stuck:
            raise KeyboardInterrupt
        self._bell.stopping = True
        self._loop.call_soon_threadsafe(self._bell.stop)

    async def _changed(self) -> bool:
        """Wait for a change of the source, or for the end."""
        if self._watch is None:
            while not self._bell.stopping:
                await self._bell.wait()
            return False
        name = await self._watch.changed()
        if name is not None:
            self._noticed = self._loop.time()
            click.echo(f"Reloading: {name} was changed.")
            if self._tail is not None:
                self._tail.tell({"event": "reload", "text": f"Reloading: {name} was changed."})
        return name is not None

    async def _start_tail(self, state: Path) -> None:
        from workers.runtime.cli.tail_server import TailServer  # after the first answer: nobody waits for it

        if self._tail is not None:
            return
        tail = TailServer(state)
        try:
            await tail.start()
        except OSError as error:
            logging.getLogger(__name__).debug("flarelet tail will find nothing: %s", error)
            return
        self._tail = tail

    def _request_seen(self, method: str, url: str, status: int, seconds: float) -> None:
        if self._tail is not None:
            self._tail.request(method, url, status, seconds)

    async def _serve_mistake(self, error: Exception) -> None:
        """Say in the terminal and to every client what is wrong, until the next save."""
        _show_mistake(error, self._options)
        if self._tail is not None:
            self._tail.tell({"event": "mistake", "text": str(error)})
        listener = self._address.listener
        assert listener is not None  # the first start had one
        async with serving_mistake(error, listener, self._requests.seen):
            click.echo("Waiting for a change.")
            await self._changed()
            self._requests.flush()


def _load_other(path: Path, options: DevOptions) -> Project:
    """Load a further Worker; the chosen environment counts for it if it has one of that name."""
    project = load(path)
    if options.environment is not None and options.environment in project.settings.env:
        return load(path, options.environment)
    return project


def _spare_the_collector() -> None:
    """Keep what the start made out of garbage collections, and make those rarer: they stop every socket."""
    gc.freeze()
    gc.set_threshold(5_000, 20, 20)
    gc.enable()
