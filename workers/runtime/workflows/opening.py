"""The Workflows that configurations bind, each opened once, however many Workers bind it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random

from durable_objects.clock import Clock
from workers.entrypoints import WorkflowEntrypoint
from workers.runtime.bindings import Unavailable
from workers.runtime.config.load import Project
from workers.runtime.isolate import Isolate
from workers.runtime.workflows.binding import WorkflowBinding
from workers.runtime.workflows.engine import WorkflowEngine

__all__ = ["open_workflows"]


def open_workflows(
    sites: Sequence[tuple[Project, Isolate]], folder: Path, clock: Clock, random: Random, tasks: asyncio.TaskGroup
) -> tuple[list[WorkflowEngine], list[str]]:
    """Bind the Workflows of loaded Workers; return them, to be started, and lines of warning.

    Raises:
        ConfigError: A binding names a class that is no Workflow, or two Workflows have one name.
    """
    engines: dict[str, WorkflowEngine] = {}
    warnings: list[str] = []
    for project, isolate in sites:
        for number, entry in enumerate(project.settings.workflows):
            script = entry.script_name
            here = (site for site in sites if script in (site[0].name, site[0].settings.name))
            owner = (project, isolate) if script is None else next(here, None)
            if owner is None:
                why = f'and its Worker, "{script}", is not running here'
                stand_in = Unavailable(entry.binding, "Workflow", why)
                isolate.bind({entry.binding: stand_in})
                warnings.append(f"{project.path.name}: {stand_in}; name its configuration too, with another -c")
                continue
            key = f"workflows.{number}.class_name"
            cls = _find(project, owner, key, entry.class_name)
            engine = engines.get(entry.name)
            if engine is None:
                path = folder / f"{entry.name}.sqlite"
                engine = engines[entry.name] = WorkflowEngine(
                    entry.name, cls, owner[1], path, clock=clock, random=random, tasks=tasks
                )
            elif engine.cls is not cls:
                raise project.error(f"workflows.{number}.name", f'"{entry.name}" is also the name of another Workflow')
            isolate.bind({entry.binding: WorkflowBinding(engine)})
    return list(engines.values()), warnings


def _find(project: Project, owner: tuple[Project, Isolate], key: str, class_name: str) -> type:
    home, isolate = owner
    found = getattr(isolate.module, class_name, None)
    if isinstance(found, type) and issubclass(found, WorkflowEntrypoint):
        return found
    own = sorted(name for name, cls in isolate.classes.items() if issubclass(cls, WorkflowEntrypoint))
    known = ", ".join(own) or "no WorkflowEntrypoint class"
    raise project.error(key, f'{home.settings.main} has no Workflow "{class_name}"; it exports {known}')
