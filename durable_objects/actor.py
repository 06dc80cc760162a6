"""One Durable Object of this node: what outlasts its instances, and the events that wake one.

The actor keeps identity, hibernatable sockets and counters, and makes a new `Instance` on the next event.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from durable_objects.alarms import AlarmInvocationInfo, Alarms
from durable_objects.crossing import cross
from durable_objects.errors import ObjectReset
from durable_objects.hibernation import Hibernation
from durable_objects.ids import DurableObjectId
from durable_objects.instance import Instance, Surroundings
from durable_objects.methods import call_fetch, positional_limit, reach
from durable_objects.rpc import fail
from durable_objects.state import ObjectClass
from durable_objects.usage import ObjectSnapshot, Usage
from workers.request import Request

__all__ = ["Actor", "Keeper"]

_HANDLERS = {"message": "webSocketMessage", "close": "webSocketClose", "error": "webSocketError"}

_log = logging.getLogger(__name__)


class Keeper(Surroundings, Protocol):
    """What an actor needs of its host."""

    def retire(self, actor: Actor) -> None:
        """The actor holds nothing any more; a new one may take its place."""
        ...


def _refusal(error: Exception | None) -> Callable[[Any, asyncio.Future[Any]], None]:
    """Answer calls of what an instance that is gone handed out."""
    return lambda _work, future: fail(future, cross(error or ObjectReset()))


class Actor:
    """One object id on this node, alive or not."""

    def __init__(self, host: Keeper, spec: ObjectClass, object_id: DurableObjectId, path: Path, alarms: Alarms) -> None:
        self.host = host
        self.spec = spec
        self.id = object_id
        self.path = path
        self.alarms = alarms
        self.usage = Usage()
        self.instance: Instance | None = None
        self.hibernation = Hibernation(host.clock, self._socket_event)

    def wake(self) -> Instance:
        """Return the live instance, making one when there is none."""
        if self.instance is None:
            self.instance = Instance(self)
        return self.instance

    def ended(self, instance: Instance, reason: str) -> None:
        """Forget an instance that was evicted, reset or closed."""
        if self.instance is instance:
            self.instance = None
            awake_s, busy_s = instance.times()
            self.usage.awake_s += awake_s
            self.usage.busy_s += busy_s
            if instance.target is not None:
                self.host.observer.object_stopped(self.spec.unique_key, str(self.id), reason)
                self.host.observer.object_used(self.snapshot())
            instance.target = None  # a stub may hold the instance for long, but not the memory of the object
            instance.outlet.retire(_refusal(instance.file.dead))
            self.hibernation.sleep()
            if self.hibernation.is_blank:
                self.host.retire(self)

    def snapshot(self) -> ObjectSnapshot:
        """Return a picture of the object as it is now."""
        instance = self.instance
        awake_s, busy_s = (0.0, 0.0) if instance is None else instance.times()
        return ObjectSnapshot(
            unique_key=self.spec.unique_key,
            id=str(self.id),
            name=self.id.name,
            is_awake=instance is not None,
            sockets=len(self.hibernation),
            accepted_sockets=0 if instance is None else len(instance.outlet.accepted),
            obstacle=None if instance is None else instance.obstacle(),
            usage=self.usage.figures(awake_s=awake_s, busy_s=busy_s),
        )

    # -- calls

    def call(
        self, instance: Instance, path: tuple[str, ...], args: tuple[object, ...], future: asyncio.Future[Any]
    ) -> None:
        """Start an RPC call of the method at `path`; `args` are copies already."""
        instance.submit("rpc", lambda target: reach(target, path)(*args), future)

    def read(self, instance: Instance, path: tuple[str, ...], future: asyncio.Future[Any]) -> None:
        """Start reading the property at `path`."""
        instance.submit("rpc", lambda target: reach(target, path), future)

    def fetch(self, instance: Instance, request: Request, future: asyncio.Future[Any]) -> None:
        """Start an HTTP event."""
        instance.submit("fetch", lambda target: call_fetch(target, request), future)

    def _socket_event(self, kind: str, socket: Any, args: tuple[object, ...]) -> None:
        instance = self.wake()
        handler = _HANDLERS[kind]
        limit = positional_limit(self.spec.cls, handler)
        instance.submit(kind, lambda target: self._handle_socket(target, handler, limit, kind, socket, args), None)

    def _handle_socket(
        self, target: Any, handler: str, limit: int | None, kind: str, socket: Any, args: tuple[object, ...]
    ) -> Any:
        if kind == "message":
            if limit is None:
                return None
            given = (self.hibernation.end(socket), *args)
            result = getattr(target, handler)(*(given if limit < 0 else given[:limit]))
            return result if self.hibernation.event_timeout_ms is None else self._limited(result)
        return self._handle_end(target, handler, limit, socket, args)

    async def _limited(self, result: Any) -> None:
        """Await a socket handler for no longer than the limit the object has set."""
        limit_ms = self.hibernation.event_timeout_ms
        if inspect.isawaitable(result):
            async with asyncio.timeout(None if limit_ms is None else limit_ms / 1000):
                await result

    async def _handle_end(
        self, target: Any, handler: str, limit: int | None, socket: Any, args: tuple[object, ...]
    ) -> None:
        try:
            if limit is not None:
                given = (self.hibernation.end(socket), *args)
                await self._limited(getattr(target, handler)(*(given if limit < 0 else given[:limit])))
        finally:
            self.hibernation.forget(socket)

    # -- alarm

    def fire_alarm(self, at_ms: int, failures: int) -> None:
        """Start the alarm handler for the time `at_ms`."""
        instance = self.wake()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda done: self._alarm_done(instance, done, at_ms))
        instance.submit("alarm", lambda target: self._run_alarm(instance, target, at_ms, failures), future)

    def _run_alarm(self, instance: Instance, target: Any, at_ms: int, failures: int) -> Any:
        stored = instance.storage.read_alarm()
        if stored != at_ms:  # left over from a crash between two files
            return self.alarms.settle(str(self.id), self.id.name, stored)
        limit = positional_limit(self.spec.cls, "alarm")
        info = AlarmInvocationInfo(retryCount=failures, isRetry=failures > 0, scheduledTime=at_ms)
        instance.alarm.is_running = True
        return self._finish_alarm(instance, target.alarm() if limit == 0 else target.alarm(info))

    async def _finish_alarm(self, instance: Instance, result: Any) -> None:
        if inspect.isawaitable(result):
            await result
        if instance.alarm.is_running:
            instance.storage.write_alarm(None)

    def _alarm_done(self, instance: Instance, done: asyncio.Future[Any], at_ms: int) -> None:
        self.alarms.finished(str(self.id))
        if done.cancelled() or done.exception() is None:
            return
        was_running, instance.alarm.is_running = instance.alarm.is_running, False
        _log.warning("alarm() failed: %s", done.exception(), extra={"object_id": str(self.id)})
        if (was_running or instance.broken is not None) and not self.alarms.failed(str(self.id), at_ms):
            self.wake().submit("alarm", lambda _target: self.wake().storage.write_alarm(None), None)

    def stop(self, code: int) -> list[asyncio.Task[Any]]:
        """Close sockets and end the instance; return the tasks that are still ending."""
        tasks = self.instance.stop(code) if self.instance is not None else []
        self.hibernation.close_all(code, "")
        return tasks
