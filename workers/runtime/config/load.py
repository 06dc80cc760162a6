"""Find, read and check a wrangler configuration: TOML, JSON or JSONC in, one `Project` out."""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast, get_args

from pydantic import BaseModel, ValidationError

from workers.runtime.config import dotenv, jsonc
from workers.runtime.config.compat_dates import contradictions, flags_on, unknown_flags
from workers.runtime.config.known_keys import not_served, unknown_inside
from workers.runtime.config.models import Environment, Section, WranglerFile
from workers.runtime.cron import CronError, parse_cron

__all__ = ["NAMES", "ConfigError", "Project", "find", "load"]

NAMES = ("wrangler.json", "wrangler.jsonc", "wrangler.toml")
"""File names looked for, in wrangler's order."""

_INHERITED = frozenset(
    {"main", "compatibility_date", "compatibility_flags", "migrations", "triggers", "assets", "flarelet"}
)
_NEVER_WARN = frozenset({"name", "dev", "env", "secrets"}) | _INHERITED

_DEFAULT_NAME = "worker"


class ConfigError(Exception):
    """The configuration cannot be used; the text is one line for the person who wrote it."""


@dataclass(frozen=True, slots=True)
class Project:
    """A checked configuration with one environment chosen."""

    path: Path
    """The configuration file."""
    settings: WranglerFile
    """The file's keys, those of the chosen environment in place."""
    name: str
    """The Worker's name: part of the key of every Durable Object."""
    environment: str | None = None
    dev_vars: Mapping[str, str] = field(default_factory=dict[str, str])
    """Secrets from `.dev.vars`; they win over `vars`."""
    warnings: tuple[str, ...] = ()
    """Lines for stderr: unknown keys and the like."""

    @property
    def directory(self) -> Path:
        """The folder that relative paths of the file start from."""
        return self.path.parent

    @property
    def main(self) -> Path | None:
        """The main module's file, whether or not it exists."""
        return self.directory / self.settings.main if self.settings.main else None

    @property
    def flags(self) -> frozenset[str]:
        """The compatibility flags that are on, by name or by date."""
        return flags_on(self.settings.compatibility_date, self.settings.compatibility_flags)

    def error(self, key: str, message: str) -> ConfigError:
        """Return an error that names this file and a key of it."""
        return ConfigError(f"{self.path.name}: {key}: {message}")


def find(start: Path) -> Path:
    """Return the configuration file of a folder or of the nearest folder above it.

    Raises:
        ConfigError: There is none.
    """
    for folder in (start, *start.parents):
        for name in NAMES:
            if (folder / name).is_file():
                return folder / name
    raise ConfigError(f"no {', '.join(NAMES[:-1])} or {NAMES[-1]} in {start} or above it")


def load(path: Path, environment: str | None = None, overrides: Mapping[str, str] | None = None) -> Project:
    """Read and check a configuration file.

    Args:
        path: The file, or the folder that holds one.
        environment: Name of an `env.<name>` table to run.
        overrides: Plain text variables that win over those of the file.

    Raises:
        ConfigError: The file is missing, does not parse or holds a wrong value.
    """
    path = find(path.absolute()) if path.is_dir() else path.absolute()
    raw = _read(path)
    whole = _validate(path, raw)
    warnings = [f"{path.name}: {text}" for text in (*_unknown_keys(whole), *_unknown_inside_of(raw))]
    settings, name, merged = whole, whole.name or _DEFAULT_NAME, raw
    if environment is not None:
        merged, more = _choose(path, raw, environment)
        warnings += more
        settings = _validate(path, merged)
        name = settings.name or _DEFAULT_NAME
    if settings.dev.local_protocol == "https":
        warnings.append(f"{path.name}: dev.local_protocol: https is not served yet; the server speaks http")
    warnings += [
        f"{path.name}: {text}" for text in (*_wrong_crons(settings), *not_served(merged), *_odd_flags(settings))
    ]
    for first, second in contradictions(settings.compatibility_flags):
        raise ConfigError(f'{path.name}: compatibility_flags: "{first}" and "{second}" contradict each other')
    if overrides:
        settings = settings.model_copy(update={"vars": {**settings.vars, **overrides}})
    dev_vars = _dev_vars(path.parent, environment)
    for key in overrides or ():
        dev_vars.pop(key, None)
    secrets = settings.secrets
    if secrets is not None:
        taken = {*settings.vars, *secrets.required}
        warnings += [
            f"{path.name}: secrets.required: {key} is not set in .dev.vars"
            for key in secrets.required
            if key not in dev_vars
        ]
        dev_vars = {key: value for key, value in dev_vars.items() if key in taken}
    return Project(path, settings, name, environment, dev_vars, tuple(warnings))


def _read(path: Path) -> dict[str, object]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    try:
        value = cast(object, tomllib.loads(text) if path.suffix == ".toml" else jsonc.parse(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path.name}: not valid TOML: {error}") from error
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path.name}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path.name}: must hold an object with keys, not {_shown(value)}")
    return cast(dict[str, object], value)


def _validate(path: Path, raw: Mapping[str, object]) -> WranglerFile:
    try:
        return WranglerFile.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(dict(detail)) for detail in error.errors(include_url=False)]
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise ConfigError(f"{path.name}: {lines[0]}{more}") from error


def _explain(detail: dict[str, object]) -> str:
    """Say one pydantic error the way the file's author thinks of it."""
    where = ".".join(str(part) for part in cast(tuple[object, ...], detail["loc"]))
    given, message = detail.get("input"), str(detail["msg"])
    match str(detail["type"]):
        case "missing":
            return f"{where}: is required"
        case "extra_forbidden":
            return f"{where}: is not a known key{_hint(cast(tuple[object, ...], detail['loc']))}"
        case "value_error":
            return f"{where}: {message.removeprefix('Value error, ')}"
        case "string_type":
            return f"{where}: must be text in quotes, not {_shown(given)}"
        case "int_type" | "bool_type" | "list_type" | "dict_type" | "model_type" | "model_attributes_type" as kind:
            wanted = {"int": "a whole number", "bool": "true or false", "list": "a list"}
            return f"{where}: must be {wanted.get(kind.partition('_')[0], 'a table')}, not {_shown(given)}"
        case _:
            return f"{where}: {message}"


def _hint(where: tuple[object, ...]) -> str:
    """Return the known key that is most like the one at a place where unknown ones are errors."""
    known = _known_at(where[:-1])
    near = difflib.get_close_matches(str(where[-1]), sorted(known), n=1, cutoff=0.6)
    prefix = "".join(f"{part}." for part in where[:-1])
    return f'; did you mean "{prefix}{near[0]}"?' if near else ""


def _known_at(where: tuple[object, ...]) -> set[str]:
    """Return the keys of the table at a place of the file."""
    model: type[BaseModel] | None = WranglerFile
    for part in where:
        field = model.model_fields.get(str(part)) if model is not None else None
        if field is not None:
            model = _model_in(field.annotation)
    return {info.alias or name for name, info in model.model_fields.items()} if model is not None else set()


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_in(inner)) is not None), None)


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _unknown_keys(section: BaseModel, prefix: str = "") -> Iterator[str]:
    """Yield one line for each key nobody knows, with the nearest key that is known."""
    fields = type(section).model_fields
    known = {info.alias or name for name, info in fields.items()}
    if isinstance(section, Section):
        known |= section.also_known
    for key in section.model_extra or {}:
        if key not in known:
            yield _unknown_key(prefix, key, known)
    for name in fields:
        yield from _unknown_inside(getattr(section, name), f"{prefix}{name}.")


def _unknown_inside_of(raw: Mapping[str, object]) -> Iterator[str]:
    """Yield a line for each unknown key inside of those that are known by name only, environments included."""
    environments = raw.get("env")
    places = [("", raw)]
    if isinstance(environments, dict):
        places += [(f"env.{name}.", inner) for name, inner in cast(dict[str, dict[str, object]], environments).items()]
    for place, table in places:
        for prefix, key, known in unknown_inside(table):
            yield _unknown_key(f"{place}{prefix}", key, known)


def _unknown_key(prefix: str, key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.6)
    hint = f'; did you mean "{prefix}{near[0]}"?' if near else ""
    return f'unknown key "{prefix}{key}"{hint}'


def _unknown_inside(value: object, prefix: str) -> Iterator[str]:
    if isinstance(value, BaseModel):
        yield from _unknown_keys(value, prefix)
    elif isinstance(value, (list, dict)):
        items = cast("list[object] | dict[str, object]", value)
        pairs = items.items() if isinstance(items, dict) else enumerate(items)
        for key, item in pairs:
            if isinstance(item, BaseModel):
                yield from _unknown_keys(item, f"{prefix}{key}.")


def _wrong_crons(settings: Environment) -> Iterator[str]:
    for number, text in enumerate(settings.triggers.crons or ()):
        try:
            parse_cron(text)
        except CronError as error:
            yield f"triggers.crons.{number}: {text!r}: {error}"


def _odd_flags(settings: Environment) -> Iterator[str]:
    for name, near in unknown_flags(settings.compatibility_flags):
        hint = f'; did you mean "{near}"?' if near is not None else " and knows none like it"
        yield f'compatibility_flags: this runtime does not know "{name}"{hint}'


def _choose(path: Path, raw: dict[str, object], name: str) -> tuple[dict[str, object], list[str]]:
    """Return the file as the environment sees it: bindings and vars do not come down from the top level."""
    environments = cast(dict[str, dict[str, object]], raw.get("env", {}))
    if name not in environments:
        known = ", ".join(environments) or "none"
        raise ConfigError(f'{path.name}: there is no environment "{name}"; configured: {known}')
    chosen = environments[name]
    merged = {key: value for key, value in raw.items() if key in _INHERITED or key not in Environment.model_fields}
    merged.update(chosen)
    merged["env"] = {}
    merged["name"] = chosen.get("name") or f"{raw.get('name', _DEFAULT_NAME)}-{name}"
    forgotten = [
        f'{path.name}: "{key}" exists at the top level, but not on "env.{name}"; it is not inherited'
        for key in raw
        if key in Environment.model_fields and key not in _NEVER_WARN and key not in chosen
    ]
    return merged, forgotten


def _dev_vars(folder: Path, environment: str | None) -> dict[str, str]:
    """Read `.dev.vars.<env>`, else `.dev.vars`, else the `.env` family, as wrangler does."""
    choices = [".dev.vars"] if environment is None else [f".dev.vars.{environment}", ".dev.vars"]
    for name in choices:
        if (folder / name).is_file():
            return dotenv.parse((folder / name).read_text(encoding="utf-8"))
    if os.environ.get("CLOUDFLARE_LOAD_DEV_VARS_FROM_DOT_ENV", "true").lower() == "false":
        return {}
    names = [".env", ".env.local"]
    if environment is not None:
        names += [f".env.{environment}", f".env.{environment}.local"]
    values: dict[str, str] = {}
    for name in names:
        if (folder / name).is_file():
            values.update(dotenv.parse((folder / name).read_text(encoding="utf-8")))
    if os.environ.get("CLOUDFLARE_INCLUDE_PROCESS_ENV", "").lower() == "true":
        values = {**os.environ, **values}
    return values
