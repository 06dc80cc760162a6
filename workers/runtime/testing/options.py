"""Miniflare's options become checked configurations: one `Project` for each Worker they describe.

Names are Miniflare's, in camelCase or in snake_case. https://developers.cloudflare.com/workers/testing/miniflare/
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final, cast

from pydantic import ValidationError

from workers.runtime.config.load import Project, load
from workers.runtime.config.models import WranglerFile

__all__ = ["Options", "WorkerOptions", "read_options"]

_DEFAULT_NAME: Final = "worker"
_FILE: Final = "Miniflare options"

# Options of a Worker that say the same in a configuration file, where their names may differ.
_SAME: Final = {
    "compatibility_date": "compatibility_date",
    "compatibility_flags": "compatibility_flags",
    "assets": "assets",
    "ratelimits": "ratelimits",
    "workflows": "workflows",
    "flarelet": "flarelet",
    "ai": "ai",
    "version_metadata": "version_metadata",
}
_OF_A_WORKER: Final = frozenset(
    {
        *_SAME,
        "name",
        "script",
        "script_path",
        "modules",
        "modules_root",
        "bindings",
        "text_blob_bindings",
        "data_blob_bindings",
        "durable_objects",
        "d1_databases",
        "kv_namespaces",
        "service_bindings",
        "outbound_service",
        "config",
        "environment",
    }
)
_SHARED: Final = frozenset(
    {
        "root_path",
        "host",
        "port",
        "cf",
        "default_persist_root",
        "resource_persistence_path",
        "d1_persist",
        "kv_persist",
        "durable_objects_persist",
        "workflows_persist",
        "clock",
        "evict",
        "interleave",
        "random",
        "workers",
    }
)
# Taken and without effect here, so that options written for Miniflare need no change.
_WITHOUT_EFFECT: Final = frozenset(
    {
        "cache",
        "cache_persist",
        "handle_runtime_stdio",
        "https",
        "inspector_port",
        "live_reload",
        "log",
        "modules_rules",
        "r2_persist",
        "unsafe_direct_sockets",
        "unsafe_ephemeral_durable_objects",
        "unsafe_eval_binding",
        "unsafe_trigger_handlers",
        "upstream",
        "verbose",
    }
)
_NOT_SERVED: Final = frozenset(
    {"browser_rendering", "hyperdrives", "pipelines", "queue_consumers", "queue_producers", "r2_buckets"}
)


@dataclass
class WorkerOptions:
    """One Worker: its configuration, and the bindings that no configuration file could hold."""

    project: Project
    extra_bindings: dict[str, object] = field(default_factory=dict[str, object])
    services: dict[str, Callable[..., Any]] = field(default_factory=dict[str, Callable[..., Any]])
    outbound: Callable[..., Any] | None = None


@dataclass
class Options:
    """Everything `Miniflare(...)` was told."""

    workers: list[WorkerOptions]
    persist: dict[str, Path | None]
    """Folder of each kind of state (`d1`, `do`, `kv`, `workflows`); `None` is a temporary one."""
    host: str = "127.0.0.1"
    port: int = 0
    cf: dict[str, Any] | None = None
    clock: Any = False
    random: Any = None
    interleave: int | None = None
    evict: str | None = None

    def __post_init__(self) -> None:
        if self.evict not in (None, "every-turn"):
            raise TypeError(f"evict: must be 'every-turn', not {self.evict!r}")
        if self.interleave is not None:
            self.clock = self.clock or True  # real time would make another order each time
            self.random = self.random or Random(self.interleave)


def read_options(given: Mapping[str, Any], folder: Path) -> Options:
    """Read the options of `Miniflare`.

    Args:
        given: The options.
        folder: Where the source of `script` and of `modules` with contents is written.

    Raises:
        TypeError: An option has a name or a value that is not known.
        ConfigError: A configuration file that an option names cannot be used.
    """
    options = _by_snake_case(given, _OF_A_WORKER | _SHARED | _WITHOUT_EFFECT | _NOT_SERVED)
    shared = {name: options[name] for name in _SHARED if name in options}
    described = shared.get("workers")
    root = Path(shared.get("root_path", "."))
    own = {name: value for name, value in options.items() if name not in _SHARED}
    if described is None:
        workers = [_worker(own, root, folder / "0")]
    else:
        workers = [
            _worker({**own, **_by_snake_case(one, _OF_A_WORKER | _WITHOUT_EFFECT | _NOT_SERVED)}, root, folder / str(n))
            for n, one in enumerate(cast("Iterable[Mapping[str, Any]]", described))
        ]
    if not workers:
        raise TypeError("workers: at least one Worker is needed")
    return Options(
        workers,
        _persistence(shared),
        host=shared.get("host", "127.0.0.1"),
        port=shared.get("port", 0),
        cf=shared["cf"] if isinstance(shared.get("cf"), dict) else None,
        clock=shared.get("clock", False),
        random=shared.get("random"),
        interleave=shared.get("interleave"),
        evict=shared.get("evict"),
    )


def _by_snake_case(given: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in given.items():
        snake = _snake(name)
        if snake not in known:
            near = difflib.get_close_matches(snake, sorted(known), n=1)
            raise TypeError(f"Miniflare has no option {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        if snake in _NOT_SERVED and value:
            raise TypeError(f"{name}: this binding is not served yet")
        if value is not None:
            found[snake] = value
    return found


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z]+)", lambda found: "_" + found[1], name).lower()


def _persistence(shared: Mapping[str, Any]) -> dict[str, Path | None]:
    root = shared.get("resource_persistence_path", shared.get("default_persist_root"))
    root = None if root is None else Path(root)
    found: dict[str, Path | None] = {}
    for folder, option in (
        ("d1", "d1_persist"),
        ("kv", "kv_persist"),
        ("do", "durable_objects_persist"),
        ("workflows", "workflows_persist"),
    ):
        value = shared.get(option, root is not None)
        if value is True:
            found[folder] = (root or Path(".mf")) / folder
        else:
            found[folder] = None if value is False else Path(value)
    return found


def _worker(options: Mapping[str, Any], root: Path, folder: Path) -> WorkerOptions:
    raw = _raw(options)
    base: Project | None = None
    if "config" in options:
        base = load(root / options["config"], options.get("environment"))
        raw = {**base.settings.model_dump(exclude_unset=True, by_alias=True), **raw}
    main = _main(options, root, folder)
    if main is not None:
        raw["main"] = str(main)
    try:
        settings = WranglerFile.model_validate(raw)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        raise TypeError(f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}") from None
    if base is not None:
        project = Project(
            base.path, settings, options.get("name", base.name), base.environment, base.dev_vars, base.warnings
        )
    else:
        project = Project((root / _FILE).absolute(), settings, options.get("name", _DEFAULT_NAME))
    extra: dict[str, object] = {
        name: (root / path).read_text("utf-8") for name, path in options.get("text_blob_bindings", {}).items()
    }
    extra |= {name: (root / path).read_bytes() for name, path in options.get("data_blob_bindings", {}).items()}
    services = {name: value for name, value in options.get("service_bindings", {}).items() if callable(value)}
    return WorkerOptions(project, extra, services, options.get("outbound_service"))


def _raw(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Worker's options as a configuration file would hold them."""
    raw: dict[str, Any] = {_SAME[name]: value for name, value in options.items() if name in _SAME}
    if "name" in options:
        raw["name"] = options["name"]
    if "bindings" in options:
        raw["vars"] = dict(options["bindings"])
    if "d1_databases" in options:
        raw["d1_databases"] = [
            {"binding": name, "database_id": value} for name, value in _ids(options["d1_databases"], "d1_databases")
        ]
    if "kv_namespaces" in options:
        raw["kv_namespaces"] = [
            {"binding": name, "id": value} for name, value in _ids(options["kv_namespaces"], "kv_namespaces")
        ]
    if "durable_objects" in options:
        raw |= _objects(options["durable_objects"])
    services = [
        {"binding": name, **({"service": value} if isinstance(value, str) else _service(name, value))}
        for name, value in options.get("service_bindings", {}).items()
        if not callable(value)
    ]
    if services:
        raw["services"] = services
    return raw


def _ids(value: Any, option: str) -> list[tuple[str, str]]:
    """Read a list of names, or a table of name and id; an id may stand in a table of its own."""
    if isinstance(value, Mapping):
        pairs = cast("Mapping[str, Any]", value).items()
        return [(name, given["id"] if isinstance(given, Mapping) else str(given)) for name, given in pairs]
    if isinstance(value, str):
        raise TypeError(f"{option}: must be a list of names or a table of name and id, not {value!r}")
    return [(str(name), str(name)) for name in value]


def _objects(given: Mapping[str, Any]) -> dict[str, Any]:
    bindings: list[dict[str, Any]] = []
    migration: dict[str, Any] = {"tag": "v1", "new_classes": [], "new_sqlite_classes": []}
    for name, value in given.items():
        settings: dict[str, Any] = {"class_name": value}
        if isinstance(value, Mapping):
            settings = {_snake(key): item for key, item in cast(Any, value).items()}
        binding = {"name": name, "class_name": settings["class_name"]}
        if settings.get("script_name"):
            binding["script_name"] = settings["script_name"]
        bindings.append(binding)
        kind = "new_sqlite_classes" if settings.get("use_sqlite") else "new_classes"
        migration[kind].append(settings["class_name"])
    return {"durable_objects": {"bindings": bindings}, "migrations": [migration]}


def _service(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or "name" not in value:
        raise TypeError(f"service_bindings.{name}: must be a Worker's name, a table with name, or a function")
    table = cast("Mapping[str, Any]", value)
    return {"service": table["name"], **{key: table[key] for key in ("entrypoint", "props") if table.get(key)}}


def _main(options: Mapping[str, Any], root: Path, folder: Path) -> Path | None:
    """Return the main module's file; source given as text is written below `folder`."""
    modules = options.get("modules")
    if isinstance(modules, (list, tuple)):
        return _write_modules(cast("list[Mapping[str, Any]]", modules), Path(options.get("modules_root", ".")), folder)
    if "script" in options:
        return _write(folder, str(options.get("script_path", "worker.py")), options["script"])
    if "script_path" in options:
        return (root / options["script_path"]).absolute()
    return None


def _write_modules(modules: list[Mapping[str, Any]], modules_root: Path, folder: Path) -> Path | None:
    main: Path | None = None
    for module in modules:
        path = Path(module["path"])
        if "contents" in module:
            inside = path.relative_to(modules_root) if path.is_relative_to(modules_root) else Path(path.name)
            file = _write(folder, str(inside), module["contents"])
        else:
            file = (modules_root / path).absolute()
        main = main or file
    return main


def _write(folder: Path, name: str, source: str | bytes) -> Path:
    file = folder / name
    if not file.resolve().is_relative_to(folder.resolve()):
        raise TypeError(f"{name}: a module's path must stay below modules_root")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(source.encode() if isinstance(source, str) else source)
    return file.absolute()
