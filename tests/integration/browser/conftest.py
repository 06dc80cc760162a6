"""A real headless Chromium, one browser a test process, one fresh context (profile) a page."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright

from workers.runtime.testing import DevProcess

ROOT = Path(__file__).resolve().parents[3]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

OpenPage = Callable[..., Awaitable[Page]]
BuildExample = Callable[[str, Path], Path]

# What builds the React pages is what the clients' workspace has installed; the packages are taken from their sources.
CLIENTS = ROOT / "clients"
VITE = CLIENTS / "node_modules" / "vite" / "bin" / "vite.js"
VITE_CONFIG = f"""
import base from "./vite.config.js";
const alias = {{
  "@flarelet/react": "{(CLIENTS / "react" / "src" / "index.ts").as_posix()}",
  "@flarelet/realtime": "{(CLIENTS / "typescript" / "src" / "index.ts").as_posix()}",
}};
export default {{ ...base, resolve: {{ ...base.resolve, alias }} }};
"""


@pytest.fixture(scope="session")
def build_example() -> BuildExample:
    """Copy an example into a folder, build its page there, and return the copy; without Node the test is skipped."""
    node = shutil.which("node")
    if node is None or not VITE.exists():
        reason = "node is not installed" if node is None else "run `npm ci` in clients/ first"
        if os.environ.get("CI"):
            pytest.fail(f"React pages cannot be built: {reason}")
        pytest.skip(f"React pages cannot be built: {reason}")

    def build(name: str, folder: Path) -> Path:
        copy = folder / name
        left_out = shutil.ignore_patterns("node_modules", "dist", ".wrangler", "__pycache__")
        shutil.copytree(ROOT / "examples" / name, copy, ignore=left_out)
        (copy / "node_modules").symlink_to(CLIENTS / "node_modules")
        (copy / "vite.test.config.js").write_text(VITE_CONFIG)
        command = [node, str(VITE), "build", "--config", "vite.test.config.js", "--logLevel", "warn"]
        built = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=120)
        assert built.returncode == 0, built.stdout + built.stderr
        return copy

    return build


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is not installed; .ci/run installs it")
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
async def open_page(browser: Browser) -> OpenPage:
    """Open a URL in a profile of its own; a script error on the page fails the test."""

    async def open_page(url: str, *, width: int = 1280, height: int = 800) -> Page:
        context = await browser.new_context(viewport={"width": width, "height": height})
        page = await context.new_page()
        page.set_default_timeout(15_000)

        def fail(error: object) -> None:
            errors.append(str(error))

        page.on("pageerror", fail)
        await page.goto(url)
        return page

    errors: list[str] = []
    open_page.errors = errors  # type: ignore[attr-defined]
    return open_page


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[DevProcess]:
    """The root demo app as `make dev` serves it, with its state in a folder of the test's own."""
    process = DevProcess(ROOT / "wrangler.toml", persist_to=tmp_path / "state")
    await process.start()
    yield process
    await process.stop()
