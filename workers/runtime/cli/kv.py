"""`flarelet kv`: the KV namespaces on this machine, with wrangler's words. A running server sees the changes."""

from __future__ import annotations

import asyncio
import functools
import json
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from durable_objects.clock import SystemClock
from workers.compat.proxies import JsException
from workers.runtime.config.load import ConfigError, Project, load
from workers.runtime.kv.namespace import KvNamespace
from workers.runtime.kv.store import KvStore

__all__ = ["group"]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_MOST_LISTED = 1000


@click.group()
def group() -> None:
    """Work with the KV namespaces on this machine, which wrangler uses too."""


@group.group()
def key() -> None:
    """Read and write single keys."""


@group.group()
def bulk() -> None:
    """Write and delete many keys, listed in a JSON file."""


@group.group()
def namespace() -> None:
    """Look at the namespaces of a configuration."""


def _on_namespace(command: _Command) -> _Command:
    """Add the options that say which namespace is meant."""
    decorators = [
        click.option("-c", "--config", type=click.Path(path_type=Path), help="Configuration file, or its folder."),
        click.option("-e", "--env", "environment", help="Environment of the configuration file."),
        click.option(
            "--persist-to", type=click.Path(path_type=Path), help="Folder of state (default .wrangler/state)."
        ),
        click.option("--binding", help="The namespace of this binding; the only one of the file by default."),
        click.option("--namespace-id", help="The namespace with this id, whatever the file says."),
        click.option("--local", is_flag=True, help="Accepted for wrangler's sake: all is local here."),
        click.option("--preview/--no-preview", default=None, hidden=True),
    ]
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def _project(config: Path | None, environment: str | None) -> Project:
    try:
        return load(config or Path.cwd(), environment)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error


def _chosen(project: Project, binding: str | None, namespace_id: str | None) -> str:
    """Return the id of the namespace that is meant."""
    if namespace_id is not None:
        return namespace_id
    entries = {entry.binding: entry.local_id for entry in project.settings.kv_namespaces}
    known = ", ".join(entries) or "none"
    if binding is None and len(entries) == 1:
        return next(iter(entries.values()))
    if binding is None:
        raise click.ClickException(f"say which namespace with --binding or --namespace-id; configured: {known}")
    if binding not in entries:
        raise click.ClickException(f'there is no KV binding "{binding}" in {project.path.name}; configured: {known}')
    return entries[binding]


@asynccontextmanager
async def _opened(options: dict[str, Any]) -> AsyncGenerator[KvNamespace, None]:
    project = _project(options["config"], options["environment"])
    state = (options["persist_to"] or project.directory / ".wrangler" / "state") / "v3" / "kv"
    clock = SystemClock()
    store = KvStore(state, _chosen(project, options["binding"], options["namespace_id"]), clock)
    try:
        yield KvNamespace(store, clock)
    finally:
        store.close()


def _run(work: Callable[[KvNamespace], Coroutine[Any, Any, None]], options: dict[str, Any]) -> None:
    async def run() -> None:
        async with _opened(options) as kv:
            await work(kv)

    try:
        asyncio.run(run())
    except JsException as error:
        raise click.ClickException(error.message) from error


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gather the options of `_on_namespace` into one argument."""

    @functools.wraps(command)
    def gathered(**given: Any) -> None:
        names = ("config", "environment", "persist_to", "binding", "namespace_id")
        options = {name: given.pop(name) for name in names}
        given.pop("local")
        given.pop("preview")
        command(options, **given)

    return gathered


@key.command("put")
@click.argument("name", metavar="KEY")
@click.argument("value", required=False)
@click.option("--path", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="File that holds the value.")
@click.option("--ttl", type=int, help="Seconds from now until the key expires, 60 or more.")
@click.option("--expiration", type=int, help="When the key expires, in seconds since the epoch.")
@click.option("--metadata", help="JSON that is kept with the key.")
@_on_namespace
@_with_options
def put(
    options: dict[str, Any],
    name: str,
    value: str | None,
    path: Path | None,
    ttl: int | None,
    expiration: int | None,
    metadata: str | None,
) -> None:
    """Set a key to VALUE, or to the content of a file."""
    if (value is None) == (path is None):
        raise click.UsageError("give either a VALUE or --path")
    content: str | bytes = path.read_bytes() if path is not None else value or ""
    members: dict[str, Any] = {
        "expirationTtl": ttl,
        "expiration": expiration,
        "metadata": _json(metadata, "--metadata"),
    }

    async def work(kv: KvNamespace) -> None:
        await kv.put(name, content, {key: item for key, item in members.items() if item is not None})

    _run(work, options)
    click.echo(f"Wrote {name!r}.", err=True)


@key.command("get")
@click.argument("name", metavar="KEY")
@click.option("--text", is_flag=True, help="Accepted for wrangler's sake: bytes are written as they are.")
@_on_namespace
@_with_options
def get(options: dict[str, Any], name: str, text: bool) -> None:
    """Write the value of a key to standard output."""

    async def work(kv: KvNamespace) -> None:
        value = await kv.get(name, "arrayBuffer")
        if value is None:
            raise click.ClickException(f"there is no key {name!r}")
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()

    _run(work, options)


@key.command("list")
@click.option("--prefix", default="", help="Only keys that begin with this.")
@_on_namespace
@_with_options
def list_keys(options: dict[str, Any], prefix: str) -> None:
    """Write the keys as JSON."""

    async def work(kv: KvNamespace) -> None:
        found: list[Any] = []
        cursor: str | None = None
        while True:
            page = await kv.list(prefix=prefix, limit=_MOST_LISTED, cursor=cursor)
            found += page["keys"]
            if page["list_complete"]:
                break
            cursor = page["cursor"]
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))

    _run(work, options)


@key.command("delete")
@click.argument("name", metavar="KEY")
@_on_namespace
@_with_options
def delete(options: dict[str, Any], name: str) -> None:
    """Remove a key."""

    async def work(kv: KvNamespace) -> None:
        await kv.delete(name)

    _run(work, options)
    click.echo(f"Deleted {name!r}.", err=True)


@bulk.command("put")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_on_namespace
@_with_options
def bulk_put(options: dict[str, Any], file: Path) -> None:
    """Set the keys of FILE: a JSON list of {key, value, expiration?, expiration_ttl?, metadata?, base64?}."""
    entries = _entries(file)

    async def work(kv: KvNamespace) -> None:
        for number, entry in enumerate(entries):
            if not isinstance(entry, dict) or not {"key", "value"} <= cast("dict[str, Any]", entry).keys():
                raise click.ClickException(f"{file.name}: entry {number} has no key or no value")
            fields = cast("dict[str, Any]", entry)
            value: Any = fields["value"]
            if fields.get("base64"):
                import base64

                value = base64.b64decode(value)
            members = {
                "expiration": fields.get("expiration"),
                "expirationTtl": fields.get("expiration_ttl"),
                "metadata": fields.get("metadata"),
            }
            await kv.put(fields["key"], value, {key: item for key, item in members.items() if item is not None})

    _run(work, options)
    click.echo(f"Wrote {len(entries)} keys.", err=True)


@bulk.command("delete")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_on_namespace
@_with_options
def bulk_delete(options: dict[str, Any], file: Path) -> None:
    """Remove the keys of FILE: a JSON list of names, or of {name}."""
    names = [
        cast("dict[str, Any]", entry).get("name") if isinstance(entry, dict) else entry for entry in _entries(file)
    ]

    async def work(kv: KvNamespace) -> None:
        await kv.delete(names)

    _run(work, options)
    click.echo(f"Deleted {len(names)} keys.", err=True)


@namespace.command("list")
@click.option("-c", "--config", type=click.Path(path_type=Path), help="Configuration file, or its folder.")
@click.option("-e", "--env", "environment", help="Environment of the configuration file.")
def list_namespaces(config: Path | None, environment: str | None) -> None:
    """Write the configured namespaces as JSON."""
    entries = _project(config, environment).settings.kv_namespaces
    click.echo(json.dumps([{"binding": entry.binding, "id": entry.local_id} for entry in entries], indent=2))


def _json(text: str | None, where: str) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.ClickException(f"{where} is not JSON: {error}") from error


def _entries(file: Path) -> list[Any]:
    found = _json(file.read_text(encoding="utf-8"), file.name)
    if not isinstance(found, list):
        raise click.ClickException(f"{file.name} is not a JSON list")
    return cast("list[Any]", found)
