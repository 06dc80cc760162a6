"""The objects of this node: finds or makes the actor of an id, owns their tasks, starts late alarms, stops."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

from durable_objects.actor import Actor
from durable_objects.alarms import Alarms
from durable_objects.clock import Clock, SystemClock
from durable_objects.errors import ObjectReset
from durable_objects.ids import DurableObjectId
from durable_objects.instance import EvictionTimes, Instance
from durable_objects.namespace import DurableObjectNamespace
from durable_objects.observer import NullObserver, Observer
from durable_objects.state import ObjectClass
from durable_objects.storage.commits import Commits
from durable_objects.storage.files import OpenFiles
from durable_objects.usage import ClassSnapshot, ObjectSnapshot, Usage
from workers.compat.proxies import JsException

__all__ = ["Host", "ObjectClass"]

_STOP_LIMIT_S = 5.0
_REMEMBERED = 1000


class _Directory:
    """The actors of one class."""

    def __init__(self, host: Host, spec: ObjectClass, directory: Path) -> None:
        self.spec = spec
        self.actors: dict[str, Actor] = {}
        self._host = host
        self._path = directory
        self._retired: dict[str, Usage] = {}
        self._forgotten = Usage()
        self.alarms = Alarms(directory / "metadata.sqlite", host.clock, host.random, self._fire)

    def actor(self, object_id: DurableObjectId) -> Actor:
        """Return the actor of an id."""
        hex_id = str(object_id)
        actor = self.actors.get(hex_id)
        if actor is None:
            self._host.refuse_when_closed()
            path = self._path / f"{hex_id}.sqlite"
            actor = self.actors[hex_id] = Actor(self._host, self.spec, object_id, path, self.alarms)
            actor.usage = self._retired.pop(hex_id, None) or actor.usage
        return actor

    def retire(self, actor: Actor) -> None:
        """Forget an actor, but not what it used: for a while under its id, then in the sum of the class only."""
        if self.actors.get(str(actor.id)) is actor:
            del self.actors[str(actor.id)]
            self._retired[str(actor.id)] = actor.usage
            if len(self._retired) > _REMEMBERED:
                self._forgotten.add(self._retired.pop(next(iter(self._retired))))

    def snapshot(self) -> ClassSnapshot:
        """Sum up the class."""
        total = Usage()
        for usage in (self._forgotten, *self._retired.values()):
            total.add(usage)
        awake = sockets = 0
        for actor in self.actors.values():  # there may be many: their pictures are not taken
            total.add(actor.usage)
            sockets += len(actor.hibernation)
            if actor.instance is not None:
                awake += 1
                awake_s, busy_s = actor.instance.times()
                total.awake_s += awake_s
                total.busy_s += busy_s
        return ClassSnapshot(self.spec.unique_key, len(self.actors), awake, sockets, total.figures())

    def erase(self) -> None:
        """Forget alarms and delete the files; nothing may be running."""
        self.alarms.close()
        for file in self._path.glob("*.sqlite*") if self._path.is_dir() else ():
            file.unlink(missing_ok=True)

    def _fire(self, object_id: str, name: str | None, at_ms: int, failures: int) -> None:
        self.actor(DurableObjectId(object_id, name)).fire_alarm(at_ms, failures)


class Host:
    """Runs Durable Objects in the current event loop.

    Each live object owns its tasks; `close` ends them all. Files are `<root>/<unique key>/<hex id>.sqlite`, alarms
    `<root>/<unique key>/metadata.sqlite`.
    """

    def __init__(
        self,
        root: Path,
        *,
        clock: Clock | None = None,
        observer: Observer | None = None,
        random: Random | None = None,
    ) -> None:
        self.root = root
        self.clock: Clock = clock or SystemClock()
        self.observer: Observer = observer or NullObserver()
        self.random: Random = random or SystemRandom()
        self.eviction = EvictionTimes()
        """After how long an idle object leaves memory; a test may shorten it."""
        self.open_files = OpenFiles(now_ms=None if clock is None else clock.now_ms)
        self.commits = Commits()
        self._directories: dict[str, _Directory] = {}
        self._is_started = False
        self._is_closed = False

    def namespace(self, spec: ObjectClass) -> DurableObjectNamespace:
        """Return the namespace of a class; registered again, live objects stay and new ones get the newer class."""
        directory = self._directories.get(spec.unique_key)
        if directory is None:
            directory = self._directories[spec.unique_key] = _Directory(self, spec, self.root / spec.unique_key)
            if self._is_started:
                directory.alarms.load()
        else:
            directory.spec = spec
        return DurableObjectNamespace(spec.unique_key, directory, self.random)

    async def start(self) -> None:
        """Schedule the alarms that earlier processes left; late ones fire at once."""
        if not self._is_started:
            self._is_started = True
            for directory in self._directories.values():
                directory.alarms.load()

    async def close(self, code: int = 1012) -> None:
        """Commit what is written, close sockets with `code`, stop everything. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        tasks: list[asyncio.Task[Any]] = []
        for directory in self._directories.values():
            for actor in list(directory.actors.values()):
                tasks += actor.stop(code)
            directory.alarms.close()
        tasks = [task for task in tasks if task is not asyncio.current_task()]
        if tasks:
            await asyncio.wait(tasks, timeout=_STOP_LIMIT_S)
        self.commits.close()

    async def evict(
        self, namespace: DurableObjectNamespace, object_id: DurableObjectId, *, close_sockets: bool = False
    ) -> None:
        """Drop an idle instance now, for tests; with `close_sockets` its connections are cut.

        Raises:
            JsException: It has running events, or live accepted sockets.
        """
        actor = self._directories[namespace.unique_key].actors.get(str(object_id))
        if actor is None:
            return
        instance: Instance | None = actor.instance
        if close_sockets:
            actor.hibernation.drop_all()
        if instance is not None and not instance.evict():
            raise JsException("Timed out waiting to evict Durable Object: it still has active references.")

    def abort_all(self) -> None:
        """Break every instance, as `ctx.abort()` does: uncommitted writes and sockets are lost, stored data stays."""
        for actor in [actor for directory in self._directories.values() for actor in directory.actors.values()]:
            if actor.instance is not None:
                actor.instance.reset(ObjectReset("Application called abortAllDurableObjects()."))
            actor.hibernation.drop_all()

    def erase(self) -> None:
        """Break every instance and delete everything that any object has stored, alarms included."""
        self.abort_all()
        for directory in self._directories.values():
            directory.erase()

    def stored_ids(self, unique_key: str) -> list[str]:
        """Return the ids of the objects of one namespace that have stored something, as text in order."""
        folder = self.root / unique_key
        files = folder.glob("*.sqlite") if folder.is_dir() else ()
        return sorted(file.stem for file in files if file.stem != "metadata")

    def actors(self, unique_key: str) -> list[Actor]:
        """Return the loaded actors of one namespace, for inspection."""
        return list(self._directories[unique_key].actors.values())

    def objects(self, unique_key: str | None = None) -> list[ObjectSnapshot]:
        """Return pictures of the loaded objects, of one namespace or of all: counters, sockets, what keeps them awake.

        An object is loaded while it has an instance or hibernating sockets.
        """
        chosen = [unique_key] if unique_key is not None else list(self._directories)
        return [actor.snapshot() for key in chosen for actor in self._directories[key].actors.values()]

    def classes(self) -> list[ClassSnapshot]:
        """Return the sums of every namespace since the host began; they never shrink."""
        return [directory.snapshot() for directory in self._directories.values()]

    # -- what actors ask for

    def retire(self, actor: Actor) -> None:
        """Forget an actor without instance and sockets."""
        directory = self._directories.get(actor.spec.unique_key)
        if directory is not None:
            directory.retire(actor)

    def refuse_when_closed(self) -> None:
        """Refuse new objects while the runtime stops.

        Raises:
            JsException: The host is closed.
        """
        if self._is_closed:
            raise JsException("The runtime is shutting down.")
