"""`flarelet types`: what a Worker finds in `env`, as a Python module that a type checker reads."""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Mapping
from typing import Any, cast

from workers.runtime.config.load import Project

__all__ = ["FILE_NAME", "env_module"]

FILE_NAME = "worker_types.py"
"""What the module is called; it lies beside the main module."""

_D1 = "d1.database", "D1Database"
_OBJECTS = "durable_objects.namespace", "DurableObjectNamespace"
_KV = "workers.runtime.kv.namespace", "KvNamespace"
_WORKFLOW = "workers.runtime.workflows.binding", "WorkflowBinding"
_LIMIT = "workers.runtime.ratelimit", "Ratelimit"
_LOADER = "workers.runtime.worker_loader", "WorkerLoader"
_SERVICE = "workers.runtime.services", "ServiceBinding"
_FETCHER = "workers.compat.fetcher", "Fetcher"
_REALTIME = "durable_objects.realtime.binding", "Realtime"


def env_module(project: Project) -> str:
    """Return the source of a module with the class `Env`: one annotated attribute for each binding.

    It imports nothing when it is run, so that a Worker may import it anywhere, deployed too.
    """
    writer = _Writer()
    rows = dict(_bindings(project, writer))
    body = "".join(f"    {name}: {kind}\n" for name, kind in rows.items()) or "    pass\n"
    environment = f", environment {project.environment}" if project.environment else ""
    return (
        f'"""What this Worker finds in `env`. Written by `flarelet types` from {project.path.name}{environment}."""\n\n'
        "from __future__ import annotations\n\n"
        f"{writer.imports()}"
        f"{''.join(writer.classes)}"
        f'class Env:\n    """The bindings of {project.name}."""\n\n{body}'
    )


class _Writer:
    """Collects what the annotations need."""

    def __init__(self) -> None:
        self.classes: list[str] = []
        self._needed: set[tuple[str, str]] = set()

    def named(self, where: tuple[str, str]) -> str:
        """Return the name of a class that the module has to import."""
        self._needed.add(where)
        return where[1]

    def imports(self) -> str:
        typing = ["TYPE_CHECKING"] if self._needed - {("typing", "Any")} else []
        typing += ["Any"] if ("typing", "Any") in self._needed else []
        lines = [f"from typing import {', '.join(typing)}\n\n"] if typing else []
        others = sorted(self._needed - {("typing", "Any")})
        if others:
            lines.append("if TYPE_CHECKING:\n")
            lines += [f"    from {module} import {name}\n" for module, name in others]
        return "".join(lines) + ("\n\n" if lines else "\n")

    def value(self, name: str, value: object) -> str:
        """Return the annotation of a value from the configuration."""
        if isinstance(value, bool | int | float | str):
            return type(value).__name__
        if isinstance(value, dict):
            return self._table(name, cast(dict[str, Any], value))
        if isinstance(value, list):
            kinds = sorted({self.value(f"{name}_item", item) for item in cast(list[Any], value)})
            return f"list[{' | '.join(kinds) or self.named(('typing', 'Any'))}]"
        return "None" if value is None else self.named(("typing", "Any"))

    def _table(self, name: str, table: Mapping[str, object]) -> str:
        """Write a class for a JSON variable, whose keys are attributes; return its name."""
        base, title = self.named(("workers.compat.proxies", "JsDict")), f"{name.title().replace('_', '')}Value"
        rows = "".join(
            f"        {key}: {self.value(f'{name}_{key}', inner)}\n"
            for key, inner in table.items()
            if key.isidentifier() and not keyword.iskeyword(key)
        )
        # Behind the guard: the base class is not there when the Worker runs elsewhere.
        self.classes.append(f"if TYPE_CHECKING:\n\n    class {title}({base}):\n{rows or '        pass' + chr(10)}\n\n")
        return title


def _bindings(project: Project, writer: _Writer) -> Iterator[tuple[str, str]]:
    from workers.runtime.bindings import unavailable

    settings = project.settings
    for name, value in settings.vars.items():
        yield name, writer.value(name, value)
    for name in project.dev_vars:
        yield name, "str"
    for entry in settings.d1_databases:
        yield entry.binding, writer.named(_D1)
    for entry in settings.durable_objects.bindings:
        yield entry.name, writer.named(_OBJECTS)
    for entry in settings.kv_namespaces:
        yield entry.binding, writer.named(_KV)
    for entry in settings.workflows:
        yield entry.binding, writer.named(_WORKFLOW)
    for entry in settings.ratelimits:
        yield entry.name, writer.named(_LIMIT)
    for entry in settings.services:
        yield entry.binding, writer.named(_SERVICE)
    for entry in settings.worker_loaders:
        yield entry.binding, writer.named(_LOADER)
    if settings.assets is not None and settings.assets.binding:
        yield settings.assets.binding, writer.named(_FETCHER)
    if settings.version_metadata is not None:
        facts = {"id": "", "tag": "", "timestamp": ""}
        yield settings.version_metadata.binding, writer.value(settings.version_metadata.binding, facts)
    if settings.flarelet is not None and settings.flarelet.realtime is not None:
        yield settings.flarelet.realtime.binding, writer.named(_REALTIME)
    if settings.ai is not None:
        yield settings.ai.binding, writer.named(("workers.runtime.ai.binding", "Ai"))
    for name in unavailable(settings):
        yield name, writer.named(("typing", "Any"))
