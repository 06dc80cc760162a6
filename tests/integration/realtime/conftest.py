from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # for `drivers`, `history_clients` and `histories`, which hold no tests

from drivers import Aiohttp, Driver, Node, Raw, Websockets  # noqa: E402

INSTALLED = HERE.parents[2] / "build" / "realtime-clients"


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """Install `ws` once; a changed lock file installs anew."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node is not installed")
    folder = INSTALLED / hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:16]
    if not (folder / "node_modules" / "ws").exists():
        INSTALLED.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=INSTALLED) as unfinished:
            fresh = Path(unfinished) / "fresh"
            fresh.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / name, fresh)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            done = subprocess.run(command, cwd=fresh, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode:
                pytest.skip(f"npm could not install ws: {done.stderr[-300:]}")
            if not folder.exists():
                fresh.rename(folder)
    return folder


@pytest.fixture(params=["raw", "websockets", "aiohttp", "ws"])
async def make_driver(request: pytest.FixtureRequest) -> AsyncIterator[Callable[[], Driver]]:
    """Make clients of one kind; they are closed at the end."""
    kinds: dict[str, Callable[[], Any]] = {"raw": Raw, "websockets": Websockets, "aiohttp": Aiohttp}
    if request.param == "ws":
        modules = request.getfixturevalue("node_modules")
        kinds["ws"] = lambda: Node(modules)
    async with AsyncExitStack() as stack:

        def make() -> Driver:
            driver = kinds[request.param]()
            stack.push_async_callback(driver.close)
            return driver

        yield make
