"""The load client: `wsload.c`, built on the fly, and what it measured."""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("wsload.c")
BUILT = Path(__file__).resolve().parents[2] / "build" / "bench"


def build() -> Path | None:
    """Return the program, None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    program = BUILT / f"wsload-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]}"
    if not program.exists():
        BUILT.mkdir(parents=True, exist_ok=True)
        subprocess.run([compiler, "-O2", "-w", "-o", str(program), str(SOURCE)], check=True)
    return program


def allow_many_files() -> int:
    """Raise the limit of open files as far as it goes, here and in what is started from here."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@dataclass(frozen=True)
class Target:
    """A server under load: where subscribers connect, what they say first, what the publisher says."""

    name: str
    url: str
    pid: int
    topic: str = "ai/session/p1"
    event: str = "tick"

    def arguments(self) -> list[str]:
        message = {
            "type": "publish",
            "topic": self.topic,
            "event": self.event,
            "data": {"token": "hello ", "t": "{ts}"},
        }
        return [
            *("--url", self.url, "--pids", str(self.pid), "--match", f'"{self.event}"'),
            *("--send", json.dumps({"type": "subscribe", "topic": self.topic}), "--wait", '"subscribed"'),
            *("--pub", json.dumps(message, separators=(",", ":")).replace('"{ts}"', "{ts}")),
        ]


def load(program: Path, target: Target, *options: object, timeout_s: float = 300) -> dict[str, Any]:
    """Run the client and return its figures; later options replace earlier ones."""
    command = [str(program), *target.arguments(), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode:
        raise SystemExit(f"{target.name}: {done.stderr.strip()[-300:]}")
    figures: dict[str, Any] = json.loads(done.stdout)
    if target.name == "flarelet" and figures.get("lost"):  # peers may be too slow for the time they have
        raise SystemExit(f"{figures['lost']} deliveries were lost or late")
    return figures
