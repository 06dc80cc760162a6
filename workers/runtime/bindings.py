"""What the configuration lists becomes what a Worker finds in `env`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from durable_objects.clock import Clock
from workers.compat.ambient import Ambient
from workers.compat.proxies import JsDict, JsException
from workers.entrypoints import DurableObject
from workers.runtime.config.load import Project
from workers.runtime.config.models import Environment, KnownBinding
from workers.runtime.loader import exported_classes

if TYPE_CHECKING:
    from durable_objects.host import Host
    from durable_objects.namespace import DurableObjectNamespace

__all__ = [
    "Home",
    "Unavailable",
    "check_names",
    "find_class",
    "namespaces",
    "object_namespace",
    "plain",
    "unavailable",
    "version_metadata",
]

_KINDS = {
    "r2_buckets": "R2",
    "analytics_engine_datasets": "Analytics Engine",
    "vectorize": "Vectorize",
    "hyperdrive": "Hyperdrive",
    "send_email": "email",
    "mtls_certificates": "mTLS certificate",
    "secrets_store_secrets": "Secrets Store",
    "vpc_services": "VPC service",
    "vpc_networks": "VPC network",
    "pipelines": "Pipelines",
    "dispatch_namespaces": "dispatch namespace",
    "ai_search": "AI Search",
    "ai_search_namespaces": "AI Search",
    "artifacts": "Artifacts",
    "flagship": "Flagship",
    "stream": "Stream",
    "unsafe_hello_world": "hello world",
    "images": "Images",
    "media": "Media",
    "browser": "Browser Rendering",
}
_SPOKEN_WITH_A_VOWEL = ("R2", "Analytics Engine", "email", "mTLS certificate", "Images", "AI Search", "Artifacts")


@dataclass(frozen=True, slots=True)
class Home:
    """A loaded Worker as its Durable Object classes need it."""

    project: Project
    ambient: Ambient
    module: ModuleType | None


class Unavailable:
    """A configured binding that is not served; using it says so."""

    def __init__(self, name: str, kind: str, why: str = "which this runtime does not serve yet") -> None:
        article = "an" if kind in _SPOKEN_WITH_A_VOWEL else "a"
        self.__dict__["_text"] = f"env.{name} is {article} {kind} binding, {why}"

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        raise JsException(self.__dict__["_text"])

    def __repr__(self) -> str:
        return str(self.__dict__["_text"])


def plain(project: Project) -> dict[str, object]:
    """Return the values that need nothing else: vars and secrets."""
    values: dict[str, object] = {name: JsDict.wrap(value) for name, value in project.settings.vars.items()}
    values.update(project.dev_vars)
    return values


def version_metadata(project: Project, clock: Clock, random: Random) -> dict[str, object]:
    """Return the version of a Worker, which is a new one at every start."""
    section = project.settings.version_metadata
    if section is None:
        return {}
    name = UUID(int=random.getrandbits(128), version=4)
    at = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
    timestamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {section.binding: JsDict(id=str(name), tag="", timestamp=timestamp)}


def unavailable(settings: Environment) -> dict[str, Unavailable]:
    """Return stand-ins for configured bindings that are not served."""
    found = {name: Unavailable(name, kind) for name, kind in _unserved(settings)}
    producers: Any = settings.queues.get("producers")
    for producer in cast(list[Any], producers) if isinstance(producers, list) else []:
        name = cast(dict[str, Any], producer).get("binding") if isinstance(producer, dict) else None
        if isinstance(name, str):
            found[name] = Unavailable(name, "queue")
    return found


def _unserved(settings: Environment) -> Iterator[tuple[str, str]]:
    for key, kind in _KINDS.items():
        section: KnownBinding | list[KnownBinding] | None = getattr(settings, key)
        for entry in section if isinstance(section, list) else [section]:
            name = (entry.binding or entry.name) if entry is not None else None
            if name:
                yield name, kind


def check_names(project: Project) -> None:
    """Refuse a configuration in which two bindings want one name.

    Raises:
        ConfigError: Both keys are named.
    """
    settings, taken = project.settings, dict[str, str]()
    claims = [(name, f"vars.{name}") for name in settings.vars]
    claims += [(entry.binding, f"d1_databases.{n}.binding") for n, entry in enumerate(settings.d1_databases)]
    claims += [
        (entry.name, f"durable_objects.bindings.{n}.name") for n, entry in enumerate(settings.durable_objects.bindings)
    ]
    claims += [(entry.binding, f"kv_namespaces.{n}.binding") for n, entry in enumerate(settings.kv_namespaces)]
    claims += [(entry.binding, f"services.{n}.binding") for n, entry in enumerate(settings.services)]
    claims += [(entry.binding, f"worker_loaders.{n}.binding") for n, entry in enumerate(settings.worker_loaders)]
    claims += [(entry.binding, f"workflows.{n}.binding") for n, entry in enumerate(settings.workflows)]
    claims += [(entry.name, f"ratelimits.{n}.name") for n, entry in enumerate(settings.ratelimits)]
    if settings.version_metadata is not None:
        claims.append((settings.version_metadata.binding, "version_metadata.binding"))
    if settings.assets is not None and settings.assets.binding is not None:
        claims.append((settings.assets.binding, "assets.binding"))
    if settings.ai is not None:
        claims.append((settings.ai.binding, "ai.binding"))
    claims += [(name, kind) for name, kind in _unserved(settings)]
    if settings.flarelet is not None and settings.flarelet.realtime is not None:
        claims.append((settings.flarelet.realtime.binding, "flarelet.realtime.binding"))
    for name, key in claims:
        if name in taken:
            raise project.error(key, f'"{name}" is also the name of {taken[name]}')
        taken[name] = key


def storage_kind(project: Project, class_name: str) -> bool | None:
    """Say whether migrations give a class SQLite storage (True), the older kind (False) or do not mention it (None)."""
    kind: dict[str, bool] = {}
    for step in project.settings.migrations:
        kind.update(dict.fromkeys(step.new_classes, False))
        kind.update(dict.fromkeys(step.new_sqlite_classes, True))
        for renamed in step.renamed_classes:
            if renamed.old in kind:
                kind[renamed.new] = kind.pop(renamed.old)
        for deleted in step.deleted_classes:
            kind.pop(deleted, None)
    return kind.get(class_name)


def find_class(project: Project, module: ModuleType | None, key: str, class_name: str) -> type[Any]:
    """Return a Durable Object class of the Worker's main module.

    Raises:
        ConfigError: The main module has no such class, or it is something else; the configuration key is named.
    """
    found = getattr(module, class_name, None)
    if isinstance(found, type):
        return found
    main = project.settings.main
    if main is None or module is None:
        raise project.error(key, f'there is no main module to find "{class_name}" in; set "main"')
    objects = exported_classes(module, (DurableObject,)).items()
    own = sorted(name for name, value in objects if value.__module__.partition(".")[0] != "durable_objects")
    known = ", ".join(own) or "no Durable Object class"
    raise project.error(key, f'{main} has no class "{class_name}"; it exports {known}')


def object_namespace(
    project: Project, host: Host, ambient: Ambient, cls: type[Any], name: str
) -> DurableObjectNamespace:
    """Return the namespace of a class under its own key, `<worker>-<Class>`."""
    from durable_objects.host import ObjectClass

    spec = ObjectClass(
        unique_key=f"{project.name}-{name}",
        cls=cls,
        env=ambient.env,
        is_sqlite=storage_kind(project, name) is not False,
        ambient=ambient,
        deletes_alarm="delete_all_deletes_alarm" in project.flags,
    )
    return host.namespace(spec)


def namespaces(home: Home, host: Host | None, homes: Mapping[str, Home]) -> tuple[dict[str, object], list[str]]:
    """Return the Durable Object bindings of a Worker, and warnings about them; `homes` are all Workers by name.

    There may be no host where no configuration has objects.

    Raises:
        ConfigError: A binding names a class that its Worker's main module does not have.
    """
    found: dict[str, object] = {}
    warnings: list[str] = []
    project = home.project
    for number, binding in enumerate(project.settings.durable_objects.bindings):
        script, class_name = binding.script_name, binding.class_name
        owner = home if script in (None, project.name, project.settings.name) else homes.get(script)
        if owner is None:
            why = f'and its Worker, "{script}", is not running here'
            stand_in = found[binding.name] = Unavailable(binding.name, "Durable Object", why)
            warnings.append(f"{project.path.name}: {stand_in}; name its configuration too, with another -c")
            continue
        assert host is not None  # there is one where a configuration has objects
        cls = find_class(owner.project, owner.module, f"durable_objects.bindings.{number}.class_name", class_name)
        found[binding.name] = object_namespace(owner.project, host, owner.ambient, cls, class_name)
        if storage_kind(owner.project, class_name) is None:
            line = (
                f'{owner.project.path.name}: no migration introduces the class "{class_name}"; it is served with '
                "SQLite storage, but a deployment needs a [[migrations]] entry with new_sqlite_classes"
            )
            if line not in warnings:
                warnings.append(line)
    return found, warnings
