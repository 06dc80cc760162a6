"""`flarelet dev`: one Worker on one address, until a signal."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import click

from workers.runtime.app import App, StateError
from workers.runtime.cli.watch import SourceWatch
from workers.runtime.config.load import ConfigError, Project, find, load
from workers.runtime.edge.listener import BindError, Listener
from workers.runtime.edge.outbound import OutboundClient
from workers.runtime.edge.serving import serving
from workers.runtime.loader import LoadError

__all__ = ["READY", "DevOptions", "run"]

READY = "Ready on "
"""What the line begins with that gives the URL: requests are answered from then on."""

_FLUSH_S = 0.05
_MOST_FILES = 262_144
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
    quiet: bool = False
    watch: bool = False


class RequestLog:
    """Shows a line for each answered request; lines are written together, so that a busy server is not slowed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._seen: list[tuple[str, str, int, float]] = []

    def seen(self, method: str, url: str, status: int, seconds: float) -> None:
        """Note one answered request; what stands behind `?` is left out, it may hold a key or a token."""
        if not self._seen:
            self._loop.call_later(_FLUSH_S, self.flush)
        self._seen.append((method, url.partition("?")[0], status, seconds))

    def flush(self) -> None:
        """Write what was noted."""
        seen, self._seen = self._seen, []
        if not seen:
            return
        now = time.strftime("%H:%M:%S")
        lines = [
            f"[{now}] {method} {url if url.isprintable() else ascii(url)} {status} ({seconds * 1000:.1f} ms)\n"
            for method, url, status, seconds in seen
        ]
        click.echo("".join(lines), nl=False)


def run(options: DevOptions) -> int:
    """Serve until SIGINT or SIGTERM; return the exit status."""
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s" if options.verbose else "%(levelname)s: %(message)s",
        stream=sys.stderr,
    )
    _allow_many_sockets()
    try:
        asyncio.run(_serve(options))
    except _MISTAKES as error:
        _show_mistake(error, options)
        return 1
    except KeyboardInterrupt:  # a second Ctrl+C while stopping
        return 130
    return 0


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
    if options.verbose and isinstance(error, LoadError) and error.detail:
        click.echo(error.detail, err=True)


async def _serve(options: DevOptions) -> None:
    """Serve until a signal; with `watch`, start again after every change of the source."""
    loop = asyncio.get_running_loop()
    wake = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        _on_signal(loop, number, wake)
    config = find(options.config.absolute()) if options.config.is_dir() else options.config
    watch = SourceWatch(config) if options.watch else None
    options = replace(options, config=config)
    with closing(_Address(options)) as address:
        await _serve_again_and_again(options, address, wake, watch)
    click.echo("Stopping.")


async def _serve_again_and_again(
    options: DevOptions, address: _Address, wake: asyncio.Event, watch: SourceWatch | None
) -> None:
    while not wake.is_set():
        try:
            await _serve_once(options, address, wake, watch)
        except _MISTAKES as error:
            if watch is None:
                raise
            _show_mistake(error, options)
            click.echo("Waiting for a change.")
            await watch.changed(wake)


class _Address:
    """Where a run of the command listens. It stays claimed from one start to the next, so that clients wait."""

    def __init__(self, options: DevOptions) -> None:
        self._ip, self._port = options.ip, options.port
        self._listener: Listener | None = None

    def listen(self, project: Project) -> Listener:
        """Return the listener; the port stays what it was at the first start.

        Raises:
            BindError: The address is in use or not ours.
        """
        dev = project.settings.dev
        host = self._ip or dev.ip or "127.0.0.1"
        if self._listener is None or self._listener.host != host:
            port = self._port if self._port is not None else dev.port if dev.port is not None else 8787
            self.close()
            self._listener = Listener(host, port)
            self._port = self._listener.port
        return self._listener

    def close(self) -> None:
        """Give the address back."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None


async def _serve_once(options: DevOptions, address: _Address, wake: asyncio.Event, watch: SourceWatch | None) -> None:
    """Serve until a signal or a change."""
    project = load(options.config, options.environment, options.variables)
    if watch is not None and project.main is not None:
        watch.follow([project.main.parent])
    # Before the state is opened: of two servers in one folder, the second should name the port, not the lock.
    listener = address.listen(project)
    requests = RequestLog(asyncio.get_running_loop())
    seen = None if options.quiet else requests.seen
    async with (
        OutboundClient() as outbound,
        App.open(project, persist_to=options.persist_to, outbound=outbound.fetch) as app,
    ):
        for warning in app.warnings:
            click.echo(f"warning: {warning}", err=True)
        async with serving(app, host=listener.host, listener=listener, seen=seen) as edge:
            _spare_the_collector()
            _banner(app, edge.url)
            if watch is None:
                await wake.wait()
            else:
                watch.follow(app.source_folders)
                changed = await watch.changed(wake)
                if changed is not None:
                    click.echo(f"Reloading: {changed} was changed.")
            requests.flush()


def _spare_the_collector() -> None:
    """Keep what the start made out of garbage collections, and make those rarer: they stop every socket."""
    gc.freeze()
    gc.set_threshold(5_000, 20, 20)
    gc.enable()


def _on_signal(loop: asyncio.AbstractEventLoop, number: signal.Signals, stop: asyncio.Event) -> None:
    def first() -> None:
        loop.remove_signal_handler(number)  # the next one interrupts
        stop.set()

    try:
        loop.add_signal_handler(number, first)
    except NotImplementedError:  # Windows: Ctrl+C raises KeyboardInterrupt
        return


def _banner(app: App, url: str) -> None:
    project = app.project
    lines = [
        ("Worker", f"{project.name} ({project.settings.main or 'no main module'})"),
        ("Config", f"{_near(project.path)}{f', environment {project.environment}' if project.environment else ''}"),
        ("Bindings", ", ".join(_bindings(project)) or "none"),
        ("State", str(_near(app.state))),
        ("Realtime", _realtime(app, url)),
    ]
    click.echo("flarelet dev")
    for label, text in lines:
        click.echo(f"  {label:<9} {text}")
    click.echo(f"{READY}{url}")


def _near(path: Path) -> Path:
    """Show a path from the working directory when it is below it."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path


def _bindings(project: Project) -> list[str]:
    settings = project.settings
    shown = [f"{entry.binding} (D1 {entry.database_name or entry.local_id})" for entry in settings.d1_databases]
    shown += [f"{entry.name} (Durable Object {entry.class_name})" for entry in settings.durable_objects.bindings]
    shown += [f"{name} (var)" for name in settings.vars if name not in project.dev_vars]
    shown += [f"{name} (secret)" for name in project.dev_vars]
    return shown


def _realtime(app: App, url: str) -> str:
    flarelet = app.project.settings.flarelet
    if flarelet is None or flarelet.realtime is None:
        return "off"
    address = f"{url.replace('http', 'ws', 1)}/api/realtime"
    if app.realtime_is_open:
        return f"on at {address}, OPEN: no keys are configured, so any program on this machine may read and write"
    return f"on at {address}, with keys"
