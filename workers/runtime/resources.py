"""What Workers share: databases, KV namespaces and rate limits, each opened once, however many bindings name it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from durable_objects.clock import Clock, SystemClock
from durable_objects.ids import IdFactory
from workers.runtime.config.load import Project
from workers.runtime.config.models import D1Database as D1Entry
from workers.runtime.config.models import RateLimit

if TYPE_CHECKING:
    from d1.database import D1Database
    from workers.runtime.change_feed import ChangeFeed
    from workers.runtime.kv.store import KvStore
    from workers.runtime.ratelimit import Windows

__all__ = ["Resources", "StateError", "rate_limits"]

_D1_KEY = "miniflare-D1DatabaseObject"


class StateError(Exception):
    """The state folder or a file in it cannot be used; the text is one line for the person at the terminal."""


def rate_limits(project: Project) -> Iterator[RateLimit]:
    """Yield the rate limits of a configuration, those in the older `unsafe.bindings` too.

    Raises:
        ConfigError: One of the older form is not complete.
    """
    yield from project.settings.ratelimits
    given: Any = project.settings.unsafe.get("bindings")
    for number, entry in enumerate(cast("list[Any]", given) if isinstance(given, list) else []):
        if isinstance(entry, dict) and cast("dict[str, Any]", entry).get("type") == "ratelimit":
            try:
                yield RateLimit.model_validate(entry)
            except ValidationError as error:
                detail = error.errors()[0]
                key = ".".join(["unsafe.bindings", str(number), *map(str, detail["loc"])])
                raise project.error(key, detail["msg"]) from None


class Resources:
    """The shared things of one state folder."""

    def __init__(self, state: Path, clock: Clock | None = None, executor: Executor | None = None) -> None:
        """Describe what is kept in a folder.

        Args:
            state: The folder.
            clock: Source of dates; the machine's by default.
            executor: Runs long SQL statements; a thread for each database by default.
        """
        self._state = state
        self._own_clock = clock
        self._clock = clock or SystemClock()
        self._executor = executor
        self._databases: dict[str, tuple[D1Database, ChangeFeed]] = {}
        self._stores: dict[str, KvStore] = {}
        self._windows: dict[str, Windows] = {}

    def bindings(self, project: Project) -> dict[str, object]:
        """Return what a configuration binds of this, by its names in `env`.

        Raises:
            ConfigError: A binding is not complete.
            StateError: A file cannot be opened.
        """
        found: dict[str, object] = {}
        for entry in project.settings.d1_databases:
            found[entry.binding] = self._database(project, entry)[0]
        for entry in project.settings.kv_namespaces:
            found[entry.binding] = self._namespace(entry.local_id)
        for entry in rate_limits(project):
            found[entry.name] = self._rate_limit(entry)
        return found

    def feed(self, project: Project, binding: str) -> ChangeFeed | None:
        """Return the commits of a D1 binding of a configuration; None when it has none of that name."""
        for entry in project.settings.d1_databases:
            if entry.binding == binding:
                return self._database(project, entry)[1]
        return None

    @property
    def databases(self) -> list[D1Database]:
        """Every D1 database that is open."""
        return [database for database, _ in self._databases.values()]

    @property
    def stores(self) -> list[KvStore]:
        """Every KV namespace."""
        return list(self._stores.values())

    async def close(self) -> None:
        """Close every file."""
        for _, feed in self._databases.values():
            await feed.close()
        for store in self._stores.values():
            store.close()

    def _database(self, project: Project, entry: D1Entry) -> tuple[D1Database, ChangeFeed]:
        from d1.database import D1Database  # a fifth of the start, for those who have a database
        from d1.engine import Engine
        from d1.limits import PLANS
        from workers.runtime.change_feed import ChangeFeed

        local_id, binding = entry.local_id, entry.binding
        if local_id in self._databases:
            return self._databases[local_id]
        feed = ChangeFeed()
        flarelet = project.settings.flarelet
        plan = PLANS[flarelet.plan if flarelet is not None else "paid"]
        path = self._state / "d1" / _D1_KEY / f"{IdFactory(_D1_KEY).from_name(local_id)}.sqlite"
        try:
            engine = Engine.open(
                path,
                name=binding,
                on_commit=feed.committed,
                clock=self._own_clock,
                executor=self._executor,
                plan=plan,
            )
        except Exception as error:  # a task root: whatever SQLite says about a file it cannot read
            raise StateError(f"the database of {binding} cannot be opened: {error} ({path})") from error
        database = D1Database(engine, binding)
        feed.attach(engine, database)
        self._databases[local_id] = database, feed
        return database, feed

    def _namespace(self, local_id: str) -> object:
        from workers.runtime.kv.namespace import KvNamespace
        from workers.runtime.kv.store import KvStore

        if local_id not in self._stores:
            self._stores[local_id] = KvStore(self._state / "kv", local_id, self._clock)
        return KvNamespace(self._stores[local_id], self._clock)

    def _rate_limit(self, entry: RateLimit) -> object:
        from workers.runtime.ratelimit import Ratelimit, Windows

        windows = self._windows.setdefault(str(entry.namespace_id or entry.name), Windows(self._clock))
        return Ratelimit(windows, entry.simple.limit, entry.simple.period)
