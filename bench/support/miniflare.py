"""The real thing to compare with: miniflare in a Node process, installed once under build/."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

__all__ = ["install", "serve"]

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "tests/integration/interop/package-lock.json"


def install() -> Path | None:
    """Return the folder that holds `node_modules`, shared with the interop tests; None without Node or network."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return None
    folder = ROOT / "build/interop" / hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
            fresh = Path(unfinished) / "fresh"
            fresh.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(LOCK.with_name(name), fresh)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            if subprocess.run(command, cwd=fresh, check=False).returncode:
                return None
            fresh.rename(folder)
    return folder


@asynccontextmanager
async def serve(script: Path, installed: Path, state: Path) -> AsyncIterator[str]:
    """Run a Node script that starts miniflare and prints its URL; end it, and workerd, at the end of the block."""
    process = await asyncio.create_subprocess_exec(
        *("node", str(script), str(installed), str(state)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "CI": "1", "NO_COLOR": "1"},
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            yield (await process.stdout.readline()).decode().strip()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
