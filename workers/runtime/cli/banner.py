"""What `flarelet dev` says when it is ready."""

from __future__ import annotations

from pathlib import Path

import click

from workers.runtime.app import App
from workers.runtime.config.load import Project

__all__ = ["READY", "show"]

READY = "Ready on "
"""What the line begins with that gives the URL: requests are answered from then on."""


def show(app: App, url: str, *, keys: bool, again_after_s: float | None = None) -> None:
    """Write what is served and where, once; then only how long it took to start again.

    Args:
        app: The application that serves.
        url: Where it answers.
        keys: Keys can be typed.
        again_after_s: How long starting again took; None at the first start.
    """
    if again_after_s is not None:
        click.echo(f"{READY}{url} again, after {again_after_s * 1000:.0f} ms")
        return
    project = app.project
    lines = [
        ("Worker", f"{project.name} ({project.settings.main or 'no main module'})"),
        ("Config", f"{_near(project.path)}{f', environment {project.environment}' if project.environment else ''}"),
        ("Bindings", ", ".join(_bindings(project)) or "none"),
        ("State", str(_near(app.state))),
        ("Realtime", _realtime(app, url)),
    ]
    if keys:
        lines.append(("Keys", "b opens the page, c clears the screen, x quits"))
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
    shown += [f"{entry.binding} (KV)" for entry in settings.kv_namespaces]
    if settings.assets is not None and settings.assets.directory is not None:
        name = settings.assets.binding or "static files"
        shown.append(f"{name} (files of {settings.assets.directory})")
    shown += [f"{entry.binding} (Worker {entry.service})" for entry in settings.services]
    shown += [f"{entry.binding} (Workflow {entry.class_name})" for entry in settings.workflows]
    shown += [f"{entry.name} (rate limit)" for entry in settings.ratelimits]
    shown += [f"{entry.binding} (Worker loader)" for entry in settings.worker_loaders]
    if settings.ai is not None:
        ai = None if settings.flarelet is None else settings.flarelet.ai
        shown.append(f"{settings.ai.binding} (AI: {(ai and ai.base_url) or 'demo model'})")
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
