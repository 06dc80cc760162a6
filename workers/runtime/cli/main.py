"""The `flarelet` command."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Literal

import click

__all__ = ["main"]


def _show_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from importlib import metadata  # costs more than everything else here, and nobody else needs it

    try:
        version = metadata.version("flarelet")
    except metadata.PackageNotFoundError:
        version = "(not installed)"
    click.echo(f"flarelet {version}")
    context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)
def cli() -> None:
    """Run Cloudflare-style Python Workers on plain CPython."""


def _variables(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in given:
        name, colon, value = text.partition(":")
        if not colon or not name.isidentifier():
            raise click.BadParameter(f"{text!r} is not NAME:VALUE")
        pairs[name] = value
    return pairs


@cli.command()
@click.option(
    "-c",
    "--config",
    "configs",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Configuration file, or the folder that holds it. Further ones are Workers that the first is bound to.",
)
@click.option("-e", "--env", "environment", help="Environment of the configuration file to run.")
@click.option("--ip", help="Address to listen on (default 127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on (default 8787; 0 picks a free one).")
@click.option("--persist-to", type=click.Path(path_type=Path), help="Folder for state (default .wrangler/state).")
@click.option("--var", "variables", multiple=True, callback=_variables, help="A text variable, NAME:VALUE. Repeatable.")
@click.option("--test-scheduled", is_flag=True, help="Run the scheduled handler for a request of /__scheduled.")
@click.option("--fire-crons", is_flag=True, help="Run the scheduled handler at the times of [triggers] crons (UTC).")
@click.option("--reload/--no-reload", default=True, help="Start again when source or configuration change (default).")
@click.option("--verbose", is_flag=True, help="Show tracebacks and debug messages.")
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", help="Write log lines as text or JSON."
)
@click.option("--quiet", is_flag=True, help="Do not show a line for each request.")
def dev(
    configs: tuple[Path, ...],
    environment: str | None,
    ip: str | None,
    port: int | None,
    persist_to: Path | None,
    variables: dict[str, str],
    test_scheduled: bool,
    fire_crons: bool,
    reload: bool,
    verbose: bool,
    log_format: Literal["text", "json"],
    quiet: bool,
) -> None:
    """Serve a Worker on this machine."""
    gc.disable()  # nothing that importing makes is garbage; `run` turns it on again
    from workers.runtime.cli.dev import DevOptions, run

    options = DevOptions(
        config=configs[0] if configs else Path.cwd(),
        others=configs[1:],
        environment=environment,
        ip=ip,
        port=port,
        persist_to=persist_to,
        variables=variables,
        test_scheduled=test_scheduled,
        fire_crons=fire_crons,
        reload=reload,
        verbose=verbose,
        log_format=log_format,
        quiet=quiet,
    )
    sys.exit(run(options))


_config = click.option(
    "-c", "--config", type=click.Path(path_type=Path), help="Configuration file, or the folder that holds it."
)
_environment = click.option("-e", "--env", "environment", help="Environment of the configuration file.")
_persist_to = click.option(
    "--persist-to", type=click.Path(path_type=Path), help="Folder for state (default .wrangler/state)."
)


@cli.command("types")
@_config
@_environment
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write (default beside the main module).")
@click.option("--check", is_flag=True, help="Write nothing; fail when the file is not what the configuration says.")
def write_types(config: Path | None, environment: str | None, output: Path | None, check: bool) -> None:
    """Write a Python module that describes `env` to type checkers."""
    from workers.runtime.cli.types import FILE_NAME, env_module
    from workers.runtime.config.load import ConfigError, load

    try:
        project = load(config or Path.cwd(), environment)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    folder = project.main.parent if project.main is not None else project.directory
    path, text = output or folder / FILE_NAME, env_module(project)
    if check:
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            raise click.ClickException(f"{path} is not what {project.path.name} says; run flarelet types")
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from error
    click.echo(f"Wrote {path}. In a Worker: from {path.stem} import Env")


@cli.command()
@_config
@_environment
@_persist_to
@click.option("--port", type=click.IntRange(0, 65535), help="Port that is to be free (default 8787).")
def doctor(config: Path | None, environment: str | None, persist_to: Path | None, port: int | None) -> None:
    """Look at this machine and a project, and say what does not work."""
    from workers.runtime.cli.doctor import examine

    worst = 0
    for finding in examine(config or Path.cwd(), environment, persist_to, port):
        click.echo(f"{finding.level:<8} {finding.text}")
        if finding.advice:
            click.echo(f"         {finding.advice}")
        worst = max(worst, int(finding.level == "error"))
    sys.exit(worst)


@cli.command()
@_config
@_persist_to
@click.option("--format", "form", type=click.Choice(["pretty", "json"]), default="pretty", help="How to show events.")
@click.option("--status", type=click.Choice(["ok", "error"]), help="Show only what went well, or only what failed.")
@click.option("--method", help="Show only requests of this HTTP method.")
@click.option("--search", help="Show only what holds this text.")
def tail(
    config: Path | None, persist_to: Path | None, form: str, status: str | None, method: str | None, search: str | None
) -> None:
    """Show what happens in a running `flarelet dev`: requests, exceptions and what the Worker prints."""
    import asyncio
    import json

    from workers.runtime.cli.tail import Filter, NotRunning, events, pretty
    from workers.runtime.config.load import ConfigError, find

    chosen = Filter(status, method, search)

    async def show() -> None:
        where = config or Path.cwd()
        folder = persist_to or (find(where.absolute()) if where.is_dir() else where).parent / ".wrangler" / "state"
        async for event in events(folder / "v3"):
            if chosen.passes(event):
                click.echo(json.dumps(event, ensure_ascii=False) if form == "json" else pretty(event))
        click.echo("The server stopped.", err=True)

    try:
        asyncio.run(show())
    except (NotRunning, ConfigError) as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        return


class _D1Group(click.Group):
    """Imports its commands when one is asked for: serving needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from workers.runtime.cli.d1 import group

        return group.list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from workers.runtime.cli.d1 import group

        return group.get_command(ctx, cmd_name)


@cli.group(cls=_D1Group)
def d1() -> None:
    """Work with the D1 databases on this machine, which wrangler uses too."""


class _KvGroup(click.Group):
    """Imports its commands when one is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from workers.runtime.cli.kv import group

        return group.list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from workers.runtime.cli.kv import group

        return group.get_command(ctx, cmd_name)


@cli.group(cls=_KvGroup)
def kv() -> None:
    """Work with the KV namespaces on this machine, which wrangler uses too."""


def main() -> None:
    """Run the command line."""
    cli()
