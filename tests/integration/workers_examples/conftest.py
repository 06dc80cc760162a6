from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp
import pytest

from workers.runtime.testing import serve

PROJECTS = Path(__file__).parent / "projects"
Start = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture
def project(tmp_path: Path) -> Callable[[str], Path]:
    """Copy a project, as somebody who tries it would; return its folder."""

    def copied(name: str) -> Path:
        folder = tmp_path / name
        shutil.copytree(PROJECTS / name, folder, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        for module in folder.glob("src/*/**/*.py"):  # tests hold no packages, a project may
            (module.parent / "__init__.py").touch()
        return folder

    return copied


@pytest.fixture
def start(project: Callable[[str], Path], tmp_path: Path) -> Start:
    """Serve a project as it is; `others` are served beside it, `variables` override its own."""

    def started(name: str, *others: str, **variables: str) -> AbstractAsyncContextManager[str]:
        folders = [project(other) for other in others]
        return serve(project(name), tmp_path / "state", others=folders, variables=variables)

    return started


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        yield session


async def text(client: aiohttp.ClientSession, url: str, **options: object) -> str:
    """Return the text of an answer."""
    async with client.get(url, **options) as response:  # type: ignore[arg-type]
        return await response.text()


@pytest.fixture
def get(client: aiohttp.ClientSession) -> Callable[..., object]:
    return lambda url, **options: text(client, url, **options)
