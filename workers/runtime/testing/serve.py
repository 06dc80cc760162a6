"""A Worker behind a real server on a free port, in the test's own process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from durable_objects.clock import Clock
from workers.runtime.app import App
from workers.runtime.config.load import load
from workers.runtime.edge.outbound import OutboundClient
from workers.runtime.edge.serving import serving

__all__ = ["serve", "serve_app"]


@asynccontextmanager
async def serve(
    config_path: Path,
    persist_to: Path,
    *,
    environment: str | None = None,
    variables: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    random: Random | None = None,
    others: Sequence[Path] = (),
) -> AsyncGenerator[str, None]:
    """Serve a configuration file's Worker and give the base URL, such as `http://127.0.0.1:41234`.

    `others` are the configuration files of Workers that it reaches by bindings.
    """
    async with serve_app(
        config_path,
        persist_to,
        environment=environment,
        variables=variables,
        clock=clock,
        random=random,
        others=others,
    ) as (_app, url):
        yield url


@asynccontextmanager
async def serve_app(
    config_path: Path,
    persist_to: Path,
    *,
    environment: str | None = None,
    variables: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    random: Random | None = None,
    others: Sequence[Path] = (),
) -> AsyncGenerator[tuple[App, str], None]:
    """Like `serve`, and give the application too."""
    project = load(config_path, environment, variables)
    async with (
        OutboundClient() as outbound,
        App.open(
            project, persist_to=persist_to, outbound=outbound.fetch, clock=clock, random=random, others=others
        ) as app,
        serving(app, port=0) as edge,
    ):
        yield app, edge.url
