"""The `flarelet` command."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

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
        quiet=quiet,
    )
    sys.exit(run(options))


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


def main() -> None:
    """Run the command line."""
    cli()
