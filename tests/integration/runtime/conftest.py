from __future__ import annotations

import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp
import pytest

from workers.runtime.testing import serve

Write = Callable[..., Path]
Serve = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a project: the source of its main module, and lines of configuration; return the configuration file."""

    def project(source: str, config: str = "", name: str = "demo") -> Path:
        folder = tmp_path / name
        (folder / "src").mkdir(parents=True, exist_ok=True)
        (folder / "src" / "entry.py").write_text(textwrap.dedent(source))
        path = folder / "wrangler.toml"
        path.write_text(f'name = "{name}"\nmain = "src/entry.py"\n{textwrap.dedent(config)}')
        return path

    return project


@pytest.fixture
def run(write: Write, tmp_path: Path) -> Serve:
    """Serve a project written on the spot."""

    def start(source: str, config: str = "") -> AbstractAsyncContextManager[str]:
        return serve(write(source, config), tmp_path / "state")

    return start


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session
