"""What is still going on when a test ends, in words that name it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from workers.runtime.app import App
from workers.runtime.worker import Worker

__all__ = ["left_running"]

_PASSES: Final = 20


async def left_running(app: App, ours: frozenset[asyncio.Task[Any]]) -> list[str]:
    """Return a line for each piece of work that has not ended; what can end at once is given the chance.

    Args:
        app: The application of the test.
        ours: Tasks that belong to the test kit.
    """
    for _ in range(_PASSES):
        if not _busy(app):
            break
        await asyncio.sleep(0)
    lines: list[str] = []
    told: set[asyncio.Task[Any]] = set(ours)
    for worker in app.workers:
        lines += _of_worker(worker, told)
    lines += _of_objects(app, told)
    current = asyncio.current_task()
    for task in sorted(asyncio.all_tasks(), key=lambda task: task.get_name()):
        where = _where(task)
        if task is not current and task not in told and where is not None and not _is_runtime(where):
            lines.append(f"a task of the test, {task.get_name()}, waits at {_shown(where)}")
    return lines


def _busy(app: App) -> bool:
    if any(worker.isolate.pending or worker.callee.running for worker in app.workers):
        return True
    return any(snapshot.is_awake and snapshot.obstacle for snapshot in app.host.objects())


def _of_worker(worker: Worker, told: set[asyncio.Task[Any]]) -> Iterator[str]:
    name = worker.project.name
    for kind, tasks in (
        ("waitUntil work", worker.isolate.pending),
        ("a call by a service binding", worker.callee.running),
    ):
        for task in tasks:
            told.add(task)
            yield f"{kind} of the Worker {name}{_at(task)}"


def _of_objects(app: App, told: set[asyncio.Task[Any]]) -> Iterator[str]:
    for found in app.host.classes():
        for actor in app.host.actors(found.unique_key):
            name = actor.id.name or f"{str(actor.id)[:12]}..."
            label = f'{actor.spec.cls.__name__} "{name}"'
            instance = actor.instance
            for task in () if instance is None else instance.tasks:
                told.add(task)
                yield f"an event of {label}{_at(task)}"
            sockets = len(actor.hibernation) + (0 if instance is None else len(instance.outlet.accepted))
            if sockets and not app.is_topic(actor.spec.cls):
                yield f"{sockets} open WebSocket{'s' if sockets > 1 else ''} of {label}"


def _where(task: asyncio.Task[Any]) -> tuple[str, int] | None:
    """Return the innermost place a task waits at that is neither asyncio's nor ours, else its innermost place."""
    coroutine: Any = task.get_coro()
    places: list[tuple[str, int]] = []
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            places.append((frame.f_code.co_filename, frame.f_lineno))
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    own = [place for place in places if not _is_runtime(place)]
    return own[-1] if own else (places[-1] if places else None)


_ROOT: Final = Path(__file__).resolve().parents[3]
_RUNTIME: Final = tuple(str(_ROOT / room) for room in ("workers", "durable_objects", "d1"))


def _is_runtime(place: tuple[str, int]) -> bool:
    path = place[0]
    return path.startswith(_RUNTIME) or "/asyncio/" in path or "pytest_asyncio" in path or "/aiohttp/" in path


def _at(task: asyncio.Task[Any]) -> str:
    where = _where(task)
    return "" if where is None else f", at {_shown(where)}"


def _shown(place: tuple[str, int]) -> str:
    path = Path(place[0])
    short = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return f"{short}:{place[1]}"
